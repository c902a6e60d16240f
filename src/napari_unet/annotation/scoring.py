"""The score on screen: how good predictions were before a person corrected them.

A slice that is predicted first and corrected afterwards is a held-out test: the
model had not seen it. Slices accepted or corrected without a prediction, and
partial slices, say nothing and are left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from napari_unet.annotation.record import NOT_ANNOTATED, AnnotationRecord
from napari_unet.imaging.measurement import dice


@dataclass(frozen=True, slots=True)
class CorrectionScore:
    """Dice of predictions against their corrections.

    Parameters
    ----------
    mean : float
        Mean over the corrected slices.
    lowest, highest : float
        The worst and the best slice.
    n_slices : int
        How many corrected slices there are.
    """

    mean: float
    lowest: float
    highest: float
    n_slices: int


def slice_score(record: AnnotationRecord, index: int) -> float | None:
    """Score the prediction of one slice against its correction.

    Parameters
    ----------
    record : AnnotationRecord
        The labels and their history.
    index : int
        Slice number.

    Returns
    -------
    float or None
        Mean Dice of the structures that appear in the prediction or in the
        correction. None if the slice is not annotated, was not predicted by a model
        that had not seen it, or is empty in both.
    """
    predicted = record.held_out_prediction(index)
    if predicted is None:
        return None
    truth = record.truth(index)
    present = np.bincount(predicted.ravel(), minlength=256) + np.bincount(
        truth.ravel(), minlength=256
    )
    values = np.flatnonzero(present[1:NOT_ANNOTATED]) + 1
    if not len(values):
        return None
    return float(np.mean([dice(predicted, truth, int(value)) for value in values]))


def summarise(scores: Iterable[float]) -> CorrectionScore | None:
    """Mean and range of slice scores; None while there are none."""
    known = list(scores)
    if not known:
        return None
    return CorrectionScore(float(np.mean(known)), min(known), max(known), len(known))
