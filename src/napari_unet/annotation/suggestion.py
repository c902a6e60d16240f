"""Which slice to look at next, and why.

Before any prediction, the answer is the fixed interval: the middle of the widest
stretch without annotation. With predictions, a slice is worth more the larger the
area in doubt at the edge of its structures (class-aware uncertainty; plain
per-slice entropy is dominated by background) and the farther it is from slices
that were already annotated. A stretch of false positives outside the annotated
range is cured by one accepted empty slice, so that comes first when there is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_unet.annotation.states import SliceState

REDUNDANT_MM = 10.0
"""Within this distance of an annotated slice, a slice teaches less."""

NEGLIGIBLE_DOUBT = 0.5
"""Pixels in doubt below which no slice stands out."""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A slice to correct next.

    Parameters
    ----------
    index : int
        Slice number.
    reason : str
        Why, in words an annotator uses.
    """

    index: int
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What the latest predictions say about each slice.

    Parameters
    ----------
    edge_uncertainty : ndarray of float, shape (n,)
        Area in doubt in and around predicted structures, in pixels; nan: not predicted.
    area : ndarray of int, shape (n,)
        Predicted structure pixels.
    """

    edge_uncertainty: NDArray[np.float64]
    area: NDArray[np.int64]


def suggest(
    states: Sequence[SliceState],
    evidence: Evidence | None,
    *,
    spacing_mm: float,
    annotated_empty: bool,
    skip: int | None = None,
) -> Suggestion | None:
    """Pick the slice whose correction is expected to help most.

    Parameters
    ----------
    states : sequence of SliceState
        State of every slice.
    evidence : Evidence or None
        What the predictions say; None before the first.
    spacing_mm : float
        Distance between slices in millimetres.
    annotated_empty : bool
        Whether any annotated slice holds no structure.
    skip : int, optional
        A slice not to suggest: the one that the annotator is asking to leave.

    Returns
    -------
    Suggestion or None
        None when there is no other slice left to annotate.
    """
    done = np.array([s in (SliceState.ANNOTATED, SliceState.PARTIAL) for s in states])
    indices = np.arange(len(done))
    open_ = ~done & (indices != skip)
    if not open_.any():
        return None
    if not done.any():
        if evidence is None or not evidence.area[open_].any():
            middle = int(indices[open_][np.argmin(np.abs(indices[open_] - len(done) // 2))])
            return Suggestion(middle, "the middle of the scan, a good place to start")
        largest = np.where(open_, evidence.area, -1)
        return Suggestion(int(np.argmax(largest)), "the largest predicted structure")
    annotated = indices[done]
    distance = np.abs(indices[:, None] - annotated[None, :]).min(axis=1) * spacing_mm
    if evidence is None or np.isnan(evidence.edge_uncertainty[~done]).all():
        return _interval(~open_, "in the widest gap between annotated slices")

    outside = open_ & ((indices < annotated.min()) | (indices > annotated.max()))
    far = outside & (distance > REDUNDANT_MM)
    if not annotated_empty and evidence.area[far].any():
        largest = np.where(far, evidence.area, -1)
        return Suggestion(int(np.argmax(largest)), "outside the slices you annotated: is it real?")

    doubt = np.nan_to_num(evidence.edge_uncertainty, nan=0.0)
    value = np.where(open_, doubt * np.minimum(1.0, distance / REDUNDANT_MM), -1.0)
    best = int(np.argmax(value))
    if value[best] <= NEGLIGIBLE_DOUBT:
        empty = open_ & (evidence.area == 0)
        if not annotated_empty and empty.any():
            near = np.where(empty, distance, np.inf)
            return Suggestion(int(np.argmin(near)), "looks empty: confirm")
        return _interval(~open_, "far from any annotated slice")
    if evidence.area[best] == 0:
        return Suggestion(best, "something faint in a slice that looks empty: confirm")
    if distance[best] > 3 * REDUNDANT_MM:
        return Suggestion(best, "uncertain edge, far from any annotated slice")
    return Suggestion(best, "uncertain edge")


def _interval(done: NDArray[np.bool_], reason: str) -> Suggestion:
    """Middle of the longest run of slices without annotation.

    A run at an end of the scan counts half: it is mostly air.
    """
    runs = np.flatnonzero(np.diff(np.r_[True, done, True].astype(int)))
    starts, ends = runs[::2], runs[1::2]
    length = (ends - starts) * np.where((starts == 0) | (ends == len(done)), 0.5, 1.0)
    longest = int(np.argmax(length))
    return Suggestion(int((starts[longest] + ends[longest] - 1) // 2), reason)
