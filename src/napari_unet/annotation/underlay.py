"""What lies beneath a person's strokes: the model's opinion, and what was interpolated over it.

A stroke that is undone uncovers it, and it may have changed since the stroke was made.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_unet.annotation.outlook import Outlook
from napari_unet.annotation.states import Origin


class Underlay:
    """What every slice of a scan shows where no person has decided.

    Parameters
    ----------
    model : ndarray of uint8, shape (n, h, w)
        The model's opinion so far, slice by slice; copied.

    Attributes
    ----------
    predicted : ndarray of bool, shape (n,)
        Slices of which the model has an opinion.
    outlook : dict of int to Outlook
        What its opinions say of themselves, by slice: of slices that it has not been trained on.
    """

    def __init__(self, model: NDArray[np.uint8]) -> None:
        self._model = model.copy()
        self._filled: dict[int, NDArray[np.uint8]] = {}  # interpolated since the last prediction
        self._restored: dict[int, NDArray[np.int16]] = {}  # values that undoing brought back
        self.predicted = np.asarray(model.any(axis=(1, 2)))
        self.outlook: dict[int, Outlook] = {}

    def model(self, index: int) -> NDArray[np.uint8]:
        """What the model says of a slice, shape (h, w); zeros where it has said nothing."""
        return np.asarray(self._model[index])

    def top(self, index: int) -> NDArray[np.uint8]:
        """What is uppermost on a slice, shape (h, w): a filling, else the model's opinion."""
        return self._filled[index] if index in self._filled else self.model(index)

    def source(self, index: int) -> NDArray[np.uint8]:
        """Who decided each voxel of `top` (`Origin`), shape (h, w)."""
        source = Origin.INTERPOLATED if index in self._filled else Origin.MODEL
        return np.where(self.top(index) > 0, source, Origin.NONE).astype(np.uint8)

    def filled(self) -> list[int]:
        """Slices with interpolated labels, ascending."""
        return sorted(self._filled)

    def predict(
        self,
        index: int,
        labels: NDArray[np.uint8],
        free: NDArray[np.bool_] | None,
        outlook: Outlook | None,
    ) -> None:
        """Note what the model says of a slice; it takes the place of a filling.

        Parameters
        ----------
        index : int
            Slice number.
        labels : ndarray of uint8, shape (h, w)
            The model's opinion.
        free : ndarray of bool, shape (h, w), optional
            Where no person has decided: elsewhere its earlier opinion stays. None: everywhere.
        outlook : Outlook or None
            See `AnnotationRecord.write_prediction`.
        """
        self.drop_filling(index, free)
        np.copyto(self._model[index], labels, where=True if free is None else free)
        self.predicted[index] = True
        self.outlook.pop(index, None)
        if outlook is not None:
            self.outlook[index] = outlook

    def fill(self, index: int, labels: NDArray[np.uint8], free: NDArray[np.bool_] | None) -> None:
        """Lay interpolated labels (h, w) over the model's opinion; `free` as of `predict`."""
        self.drop_filling(index, free)
        self._filled[index] = labels

    def drop_filling(self, index: int, free: NDArray[np.bool_] | None) -> None:
        """Forget what was interpolated; strokes over it can still be undone."""
        filling = self._filled.pop(index, None)
        if filling is not None and free is not None:
            self._restore(index, filling, ~free)

    def undone(
        self,
        index: int,
        labels: NDArray[np.uint8],
        changed: NDArray[np.bool_],
        human: NDArray[np.bool_],
    ) -> NDArray[np.bool_]:
        """Find the voxels whose strokes were undone, shape (h, w).

        Parameters
        ----------
        index : int
            Slice number.
        labels : ndarray of uint8, shape (h, w)
            What the slice shows now.
        changed, human : ndarray of bool, shape (h, w)
            Voxels that changed just now, and those that a person had decided.
        """
        # A human voxel back at the value beneath it is an undone stroke. So is a voxel
        # back at what a stroke that was undone before had restored: the model may
        # have written there since, and the history does not know.
        undone = changed & human & (labels == self.top(index))
        if index in self._restored:
            undone |= changed & (labels == self._restored[index])
        if undone.any():
            self._restore(index, labels, undone)
        return np.asarray(undone)

    def _restore(self, index: int, labels: NDArray[np.uint8], where: NDArray[np.bool_]) -> None:
        """Remember values that undoing has brought back, or may bring back."""
        restored = self._restored.setdefault(index, np.full(labels.shape, -1, np.int16))
        restored[where] = labels[where]
