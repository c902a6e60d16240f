"""Dice, as it is defined in all commands here."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from napari_unet.imaging.measurement import dice


def mean_dice(
    truth: NDArray[np.uint8],
    predicted: NDArray[np.uint8],
    n_classes: int,
    slices: Sequence[int] | None = None,
) -> float:
    """Mean over the structures of the Dice of each, all voxels of some slices taken together.

    Parameters
    ----------
    truth, predicted : ndarray of uint8, shape (z, y, x) or (h, w)
        Two masks.
    n_classes : int
        Structures.
    slices : sequence of int, optional
        Slice numbers; default: all.

    Returns
    -------
    float
        0 to 1; a structure that neither mask shows does not count. NaN if there is none.
    """
    if slices is not None:
        truth, predicted = truth[list(slices)], predicted[list(slices)]
    scores = [dice(truth, predicted, value) for value in range(1, n_classes + 1)]
    known = [score for score in scores if not math.isnan(score)]
    return statistics.mean(known) if known else math.nan
