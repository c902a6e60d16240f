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

    Returns
    -------
    Suggestion or None
        None when every slice is annotated.
    """
    done = np.array([s in (SliceState.ANNOTATED, SliceState.PARTIAL) for s in states])
    if done.all():
        return None
    if not done.any():
        if evidence is None or not evidence.area.any():
            return Suggestion(len(done) // 2, "the middle of the scan: a good place to start")
        return Suggestion(int(np.argmax(evidence.area)), "the largest predicted structure")
    indices = np.arange(len(done))
    annotated = indices[done]
    distance = np.abs(indices[:, None] - annotated[None, :]).min(axis=1) * spacing_mm
    if evidence is None or np.isnan(evidence.edge_uncertainty[~done]).all():
        return _interval(done, "in the widest gap between annotated slices")

    outside = ~done & ((indices < annotated.min()) | (indices > annotated.max()))
    if not annotated_empty and evidence.area[outside & (distance > REDUNDANT_MM)].any():
        far = np.where(outside & (distance > REDUNDANT_MM), evidence.area, -1)
        return Suggestion(int(np.argmax(far)), "outside the slices you annotated: is this real?")

    doubt = np.nan_to_num(evidence.edge_uncertainty, nan=0.0)
    value = np.where(done, -1.0, doubt * np.minimum(1.0, distance / REDUNDANT_MM))
    best = int(np.argmax(value))
    if value[best] <= 0.5:  # less than half a pixel in doubt: nothing stands out
        if not annotated_empty:
            empty = ~done & (evidence.area == 0)
            if empty.any():
                near = np.where(empty, distance, np.inf)
                return Suggestion(int(np.argmin(near)), "looks empty: confirm")
        return _interval(done, "far from any annotated slice")
    if evidence.area[best] == 0:
        return Suggestion(best, "something faint: looks empty, confirm")
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
