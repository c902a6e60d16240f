"""The score on screen: how good predictions probably are where nobody has corrected them.

A slice that is predicted first and corrected afterwards is a held-out test: the
model had not seen it. Slices accepted or corrected without a prediction, and
partial slices, say nothing and are left out.

Those slices are few, the hardest come first, and the model has learned from them since: their
own Dice is too low by a tenth. But each prediction says how many errors it expects in itself,
and corrections show how many times more there are (a network is always too sure). The score
takes what predictions of all other slices expect, times that: a ratio estimator (Cochran,
Sampling Techniques, 1977, chapter 6), drawn towards the usual ratio while corrections are few.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from napari_unet.annotation.record import NOT_ANNOTATED, AnnotationRecord

Outlook: TypeAlias = NDArray[np.float32]
"""What predictions say of themselves, see `outlook`."""

FEWEST = 2
"""Corrected slices that must show a structure before predictions are judged."""

USUAL_RATIO = 3.0
"""Errors for each one expected: from 2.5 to 5 in nuclei of three people, after 3 to 20 slices."""

PRIOR_SLICES = 8
"""The usual ratio weighs as much as so many slices. (Fewer: a single slice that surprised an
early model moves the score by a tenth or two.)"""


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

    @property
    def errors(self) -> NDArray[np.int64]:
        """Pixels of each label that are in only one of them."""
        return self.total - 2 * self.both

    @property
    def dice(self) -> float:
        """Mean Dice of the structures that appear in either."""
        seen = self.total[1:] > 0
        return float(np.mean(2 * self.both[1:][seen] / self.total[1:][seen]))


@dataclass(frozen=True, slots=True)
class CorrectionScore:
    """Dice of predictions, as far as corrections tell.

    Parameters
    ----------
    dice : float
        Estimated on the slices that are not annotated, mean over the structures.
    lowest, highest : float
        Dice of the worst and the best corrected slice.
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

    true = _count(truth)
    found = Overlap(_count(truth[predicted == truth]), _count(predicted) + true, true)
    return found if found.total[1:].any() else None


def outlook(labels: NDArray[np.uint8], expected_errors: NDArray[np.float32]) -> Outlook:
    """Count what a prediction says of itself.

    Parameters
    ----------
    labels : ndarray of uint8, shape (h, w)
        What is predicted.
    expected_errors : ndarray, shape (2, k)
        See `SlicePredicted.expected_errors`.

    Returns
    -------
    ndarray, shape (3, 255)
        Pixels of each label; those of them expected to be none; others expected to be of it.
    """
    found = np.zeros((3, NOT_ANNOTATED), np.float32)
    found[0] = _count(labels)
    found[1:, : expected_errors.shape[1]] = expected_errors
    return found


def estimate(
    corrected: Sequence[Overlap], foreseen: Outlook, ahead: Outlook
) -> CorrectionScore | None:
    """Estimate the Dice of slices that nobody has corrected.

    Parameters
    ----------
    corrected : sequence of Overlap
        What corrections have shown.
    foreseen : ndarray, shape (len(corrected), 3, 255)
        `outlook` of the predictions that were corrected.
    ahead : ndarray, shape (n, 3, 255)
        `outlook` of the present predictions of slices that are not annotated.

    Returns
    -------
    CorrectionScore or None
        None while corrections show too little, see `FEWEST`, or nothing is predicted.
    """
    if sum(each.true[1:].any() for each in corrected) < FEWEST:
        return None
    area, excess, missing = ahead.sum(axis=0)[:, 1:]
    seen = area > 0
    expected = excess + missing
    if not (expected[seen] > 0).any():
        return None
    made = sum(int(each.errors[1:].sum()) for each in corrected)
    prior = PRIOR_SLICES * expected.sum() / ahead[:, 0, 1:].any(axis=1).sum()
    ratio = (made + USUAL_RATIO * prior) / (foreseen[:, 1:, 1:].sum() + prior)
    total = 2 * area - excess + missing
    errors = np.minimum(1, ratio * expected[seen] / total[seen])
    slices = [each.dice for each in corrected]
    return CorrectionScore(1 - float(errors.mean()), min(slices), max(slices), len(slices))


def _count(labels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Count the pixels of each label, shape (255,)."""
    return np.bincount(labels.ravel(), minlength=256)[:NOT_ANNOTATED]
