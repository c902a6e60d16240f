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

import numpy as np
from numpy.typing import NDArray

from napari_unet.annotation.error_estimate import ErrorEstimate, count
from napari_unet.annotation.record import AnnotationRecord

FEWEST = 2
"""Corrected slices that must show a structure before predictions are judged."""

USUAL_RATIO = 3.0
"""Errors for each one expected: from 2.5 to 5 in nuclei of three people, after 3 to 20 slices."""

PRIOR_SLICES = 8
"""The usual ratio weighs as much as so many slices that show something. (Fewer: a single slice
that surprised an early model moves the score by a tenth or two.)"""


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

    true = count(truth)
    found = Overlap(count(truth[predicted == truth]), count(predicted) + true, true)
    return found if found.total[1:].any() else None


def estimate(
    corrected: Sequence[Overlap],
    foreseen: Sequence[ErrorEstimate],
    ahead: Sequence[ErrorEstimate],
) -> CorrectionScore | None:
    """Estimate the Dice of slices that nobody has corrected.

    Parameters
    ----------
    corrected : sequence of Overlap
        What corrections have shown.
    foreseen : sequence of ErrorEstimate
        What the predictions that were corrected had said of themselves.
    ahead : sequence of ErrorEstimate
        What the present predictions of slices that are not annotated say.

    Returns
    -------
    CorrectionScore or None
        None while corrections show too little, see `FEWEST`, or nothing is predicted.
    """
    if sum(each.true[1:].any() for each in corrected) < FEWEST or not ahead:
        return None
    areas = np.stack([each.area[1:] for each in ahead])
    excesses = np.stack([each.excess[1:] for each in ahead])
    missings = np.stack([each.missing[1:] for each in ahead])
    area, excess, missing = (np.nansum(each, axis=0) for each in (areas, excesses, missings))
    expected = excess + missing
    seen = area > 0
    if not expected[seen].any():
        return None
    made, thought = 0, 0.0
    for each, said in zip(corrected, foreseen, strict=True):
        known = ~np.isnan(said.excess)  # no model is blamed for a structure added since
        made += int(each.errors[known][1:].sum())
        thought += float((said.excess + said.missing)[known][1:].sum())
    prior = PRIOR_SLICES * expected.sum() / np.count_nonzero(areas.any(axis=1))
    ratio = (made + USUAL_RATIO * prior) / (thought + prior)
    total = 2 * area - excess + missing
    errors = np.minimum(1, ratio * expected[seen] / total[seen])
    # A structure that was missed on all corrected slices is being missed on the others.
    true, both = (sum(getattr(each, name)[1:] for each in corrected) for name in ("true", "both"))
    learned = ~np.isnan(excesses).any(axis=0)
    n_missed = np.count_nonzero(~seen & learned & (true > 0) & (both == 0))
    slices = [each.dice for each in corrected]
    dice = float((1 - errors).sum() / (len(errors) + n_missed))
    return CorrectionScore(dice, min(slices), max(slices), len(slices))
