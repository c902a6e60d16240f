"""What a prediction says of itself: how much it shows, and how many errors it expects."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from napari_unet.annotation.states import IGNORE_LABEL

ExpectedErrors: TypeAlias = NDArray[np.float32]
"""Of each label, shape (3, 255): pixels; those of them expected to be none of it; others expected
to be of it. nan in the last two: the model does not know the structure."""


def count_expected(
    labels: NDArray[np.uint8], expected_errors: NDArray[np.float32]
) -> ExpectedErrors:
    """Count what a prediction says of itself.

    Parameters
    ----------
    labels : ndarray of uint8, shape (h, w)
        What is predicted.
    expected_errors : ndarray of float32, shape (2, k)
        See `SlicePredicted.expected_errors`.
    """
    found = np.full((3, IGNORE_LABEL), np.nan, np.float32)
    found[0] = count(labels)
    found[1:, : expected_errors.shape[1]] = expected_errors
    return found


def count(labels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Count the pixels of each label, shape (255,)."""
    return np.bincount(labels.ravel(), minlength=IGNORE_LABEL + 1)[:IGNORE_LABEL]
