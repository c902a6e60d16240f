"""The score on screen: how good predictions were before a person corrected them.

A slice that is predicted first and corrected afterwards is a held-out test: the
model had not seen it. Slices accepted or corrected without a prediction, and
partial slices, say nothing and are left out.

Pixels of all corrected slices are counted together, as in the Dice of a volume. (A mean over
slices lets the few pixels at the ends of a structure weigh as much as its middle.) There is no
score before `FEWEST` corrected slices show each structure: the first slices that are suggested
lie at or beyond its ends, where a few wrong pixels are all there is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_unet.annotation.record import NOT_ANNOTATED, AnnotationRecord

FEWEST = 2
"""Corrected slices that must show a structure before its predictions are judged."""


@dataclass(frozen=True, slots=True, eq=False)
class Overlap:
    """A prediction and its correction in numbers.

    Parameters
    ----------
    both : ndarray of int, shape (255,)
        Pixels of each label that prediction and correction agree on.
    total : ndarray of int, shape (255,)
        Pixels of each label in the prediction plus those in the correction.
    true : ndarray of int, shape (255,)
        Pixels of each label in the correction.
    """

    both: NDArray[np.int64]
    total: NDArray[np.int64]
    true: NDArray[np.int64]

    def __add__(self, other: Overlap) -> Overlap:
        return Overlap(self.both + other.both, self.total + other.total, self.true + other.true)

    @property
    def dice(self) -> float:
        """Mean Dice of the structures that appear in either."""
        seen = self.total[1:] > 0
        return float(np.mean(2 * self.both[1:][seen] / self.total[1:][seen]))


@dataclass(frozen=True, slots=True)
class CorrectionScore:
    """Dice of predictions against their corrections.

    Parameters
    ----------
    dice : float
        Over the pixels of all corrected slices, mean over the structures.
    lowest, highest : float
        The worst and the best slice.
    n_slices : int
        How many corrected slices there are.
    """

    dice: float
    lowest: float
    highest: float
    n_slices: int


def slice_overlap(record: AnnotationRecord, index: int) -> Overlap | None:
    """Compare the prediction of one slice with its correction.

    Parameters
    ----------
    record : AnnotationRecord
        The labels and their history.
    index : int
        Slice number.

    Returns
    -------
    Overlap or None
        None if the slice is not annotated, was not predicted by a model that had not
        seen it, or is empty in both.
    """
    predicted = record.held_out_prediction(index)
    if predicted is None:
        return None
    truth = record.truth(index)

    def count(labels: NDArray[np.uint8]) -> NDArray[np.int64]:
        return np.bincount(labels.ravel(), minlength=256)[:NOT_ANNOTATED]

    true = count(truth)
    found = Overlap(count(truth[predicted == truth]), count(predicted) + true, true)
    return found if found.total[1:].any() else None


def summarise(overlaps: Iterable[Overlap]) -> CorrectionScore | None:
    """Pool slices, and give their range; None while they show too little, see `FEWEST`."""
    known = list(overlaps)
    if not known:
        return None
    pooled = sum(known[1:], start=known[0])
    n_shown = np.sum([each.true > 0 for each in known], axis=0)
    if (n_shown[1:][pooled.total[1:] > 0] < FEWEST).any():
        return None
    scores = [each.dice for each in known]
    return CorrectionScore(pooled.dice, min(scores), max(scores), len(known))
