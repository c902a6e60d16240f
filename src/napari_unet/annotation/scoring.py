"""The score on screen: how good predictions were before a person corrected them.

A slice that is predicted first and corrected afterwards is a held-out test: the
model had not seen it. Slices accepted or corrected without a prediction, and
partial slices, say nothing and are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_unet.annotation.record import AnnotationRecord
from napari_unet.annotation.states import SliceState
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


def correction_score(record: AnnotationRecord) -> CorrectionScore | None:
    """Score the predictions that a person has corrected or accepted.

    Parameters
    ----------
    record : AnnotationRecord
        The labels and their history.

    Returns
    -------
    CorrectionScore or None
        None while no predicted slice has been corrected. A slice counts with the
        mean Dice of the structures that appear in the prediction or in the
        correction; a slice where both are empty has no Dice and is left out.
    """
    scores = []
    for index in record.slices_in(SliceState.ANNOTATED):
        predicted = record.held_out_prediction(index)
        if predicted is None:
            continue
        truth = record.truth(index)
        present = [v for v in np.union1d(np.unique(predicted), np.unique(truth)) if v > 0]
        if present:
            scores.append(float(np.mean([dice(predicted, truth, int(v)) for v in present])))
    if not scores:
        return None
    return CorrectionScore(float(np.mean(scores)), min(scores), max(scores), len(scores))
