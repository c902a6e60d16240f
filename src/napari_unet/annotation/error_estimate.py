"""How many pixels of a predicted slice are wrong, as the model itself estimates it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_unet.annotation.states import IGNORE_LABEL


@dataclass(frozen=True, slots=True, eq=False)
class ErrorEstimate:
    """Pixels of each label of a predicted slice, and how many of them are wrong by its own account.

    Parameters
    ----------
    area : ndarray of float32, shape (255,)
        Pixels of each label, background first.
    excess : ndarray of float32, shape (255,)
        Those of them that are expected to be none of it; nan: the model does not know the label.
    missing : ndarray of float32, shape (255,)
        Other pixels that are expected to be of it; nan likewise.
    """

    area: NDArray[np.float32]
    excess: NDArray[np.float32]
    missing: NDArray[np.float32]

    @classmethod
    def of(cls, labels: NDArray[np.uint8], excess: ArrayLike, missing: ArrayLike) -> ErrorEstimate:
        """Take what a model says.

        Parameters
        ----------
        labels : ndarray of uint8, shape (h, w)
            What is predicted.
        excess, missing : array of float, shape (k,)
            Of each label that the model knows.
        """
        return cls(count(labels).astype(np.float32), _padded(excess), _padded(missing))


def _padded(known: ArrayLike) -> NDArray[np.float32]:
    """Give nan to labels that are not known, shape (255,)."""
    values = np.asarray(known, np.float32)
    padded = np.full(IGNORE_LABEL, np.nan, np.float32)
    padded[: len(values)] = values
    return padded


def count(labels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Count the pixels of each label, shape (255,)."""
    return np.bincount(labels.ravel(), minlength=IGNORE_LABEL + 1)[:IGNORE_LABEL]
