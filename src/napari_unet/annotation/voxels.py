"""The labels of a scan, voxel by voxel: what they are, and who decided them.

A person and a model write into one array. The rules of who may change which voxel:

* a voxel that a person changed is HUMAN; the model never writes there;
* an edit taken back (undo) makes the voxel the model's again;
* labels interpolated between annotated slices lie over the model's prediction, which is
  kept, until its next one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_unet.annotation.error_estimate import ErrorEstimate
from napari_unet.annotation.states import Origin


class LabelledVoxels:
    """Live labels, and who decided each of them.

    Parameters
    ----------
    labels : ndarray of uint8, shape (z, y, x)
        The live labels; shared, never copied. What is non-zero counts as the model's.
    axis : int
        Slicing axis: 0, 1 or 2.

    Attributes
    ----------
    labels : ndarray of uint8, shape (z, y, x)
        The live labels.
    origin : ndarray of uint8, shape (n, h, w)
        Who decided each voxel (`Origin`), slice by slice.
    human : ndarray of bool, shape (n,)
        Slices with a HUMAN voxel.
    underlay : Underlay
        What is shown where there is none.
    """

    def __init__(self, labels: NDArray[np.uint8], axis: int) -> None:
        self.labels = labels
        self._axis = axis
        # Slices first and contiguous, so that work on one slice touches only its own memory.
        self._seen = np.moveaxis(labels, axis, 0).copy()
        self.origin = np.minimum(self._seen, np.uint8(Origin.MODEL))
        self.human = np.zeros(len(self._seen), bool)
        self.underlay = Underlay(self._seen)

    def live(self, index: int) -> NDArray[np.uint8]:
        """Live labels of a slice, shape (h, w); a view."""
        return np.asarray(np.moveaxis(self.labels, self._axis, 0)[index])

    def free(self, index: int) -> NDArray[np.bool_] | None:
        """Voxels of a slice that no person has decided, shape (h, w); None: all of them."""
        # Four times as fast as looking: a filling writes hundreds of slices.
        return self.origin[index] != Origin.HUMAN if self.human[index] else None

    # -- what a person does ----------------------------------------------------

    def slices_of(self, region: tuple[Any, ...]) -> list[int]:
        """Slices that an index into the (z, y, x) labels touches, ascending."""
        along = region[self._axis]
        if isinstance(along, slice):
            return list(range(*along.indices(len(self._seen))))
        return [int(index) for index in np.unique(along)]

    def paint(self, region: tuple[Any, ...], changed: NDArray[np.bool_] | None, value: Any) -> None:
        """Note a stroke; parameters as of `AnnotationRecord.painted`."""
        origin = np.moveaxis(self.origin, 0, self._axis)
        seen = np.moveaxis(self._seen, 0, self._axis)
        if changed is None:
            origin[region] = Origin.HUMAN
            seen[region] = value
        else:
            origin[region][changed] = Origin.HUMAN
            seen[region][changed] = value
        for index in self.slices_of(region):
            self.recount(index)

    def edited(self) -> list[int]:
        """Slices that a person has changed since they were last seen, ascending."""
        different = np.moveaxis(self.labels, self._axis, 0) != self._seen
        return [int(index) for index in np.flatnonzero(different.any(axis=(1, 2)))]

    def is_edited(self, index: int) -> bool:
        """Whether a person has changed a slice since it was last seen."""
        return not np.array_equal(self.live(index), self._seen[index])

    def take_edit(self, index: int) -> bool:
        """See what a person has changed on a slice; return whether strokes were undone."""
        labels, seen, origin = self.live(index), self._seen[index], self.origin[index]
        changed = labels != seen
        undone = self.underlay.undone(index, labels, changed, origin == Origin.HUMAN)
        origin[changed] = Origin.HUMAN
        origin[undone] = self.underlay.source(index)[undone]
        seen[...] = labels
        self.recount(index)
        return bool(undone.any())

    def recount(self, index: int) -> None:
        """Note whether a slice has a HUMAN voxel, after its `origin` has changed."""
        self.human[index] = bool((self.origin[index] == Origin.HUMAN).any())

    def forget(self, index: int) -> None:
        """Give all voxels of a slice back to what lies beneath."""
        self.origin[index] = self.underlay.source(index)
        self.recount(index)
        self.uncover(index)

    def restore(self, index: int, origin: NDArray[np.uint8]) -> None:
        """Take a slice as it is shown, and its voxels as decided by `origin` (h, w)."""
        self.origin[index] = origin
        self._seen[index] = self.live(index)
        self.recount(index)

    def uncover(self, index: int) -> None:
        """Show what lies beneath the strokes on a slice."""
        self._seen[index] = self.underlay.top(index)
        self.write_back([index])

    # -- what others write -----------------------------------------------------

    def predict(
        self, index: int, labels: NDArray[np.uint8], error_estimate: ErrorEstimate | None
    ) -> bool:
        """Note the model's prediction (h, w) for `write_back`; True if that makes a difference."""
        self.underlay.predict(index, labels, self.free(index), error_estimate)
        return self._see(index, labels, Origin.MODEL)

    def fill(self, index: int, labels: NDArray[np.uint8]) -> None:
        """Note interpolated labels (h, w) for `write_back`."""
        self.underlay.fill(index, labels, self.free(index))
        self._see(index, labels, Origin.INTERPOLATED)

    def unfill(self, index: int) -> None:
        """Note for `write_back` what the model says in place of interpolated labels."""
        self.underlay.drop_filling(index, self.free(index))
        self._see(index, self.underlay.model(index), Origin.MODEL)

    def write_back(self, indices: Sequence[int]) -> None:
        """Bring the live labels up to date from the first to the last of some slices."""
        if indices:
            # One strided copy: a slice at a time takes 20 s for sagittal slices of 512x512x400.
            several = slice(indices[0], indices[-1] + 1)
            np.moveaxis(self.labels, self._axis, 0)[several] = self._seen[several]

    def _see(self, index: int, labels: NDArray[np.uint8], source: Origin) -> bool:
        """Have labels seen where no person has decided; True if the slice differs now."""
        free = self.free(index)
        if free is None:
            self.origin[index] = (labels > 0) * np.uint8(source)
            different = not np.array_equal(self._seen[index], labels)
            self._seen[index] = labels
            return different
        self.origin[index][free] = np.where(labels[free] > 0, source, Origin.NONE)
        if (self._seen[index][free] == labels[free]).all():
            return False
        self._seen[index][free] = labels[free]
        return True


class Underlay:
    """What every slice of a scan shows where no person has decided.

    Parameters
    ----------
    model : ndarray of uint8, shape (n, h, w)
        The model's prediction so far, slice by slice; copied.

    Attributes
    ----------
    predicted : ndarray of bool, shape (n,)
        Slices that the model has predicted.
    error_estimate : dict of int to ErrorEstimate
        What its predictions say of themselves, by slice: of slices that it has not been trained on.
    """

    def __init__(self, model: NDArray[np.uint8]) -> None:
        self._model = model.copy()
        self._filled: dict[int, NDArray[np.uint8]] = {}  # interpolated since the last prediction
        self._restored: dict[int, NDArray[np.int16]] = {}  # values that undoing brought back
        self.predicted = np.asarray(model.any(axis=(1, 2)))
        self.error_estimate: dict[int, ErrorEstimate] = {}

    def model(self, index: int) -> NDArray[np.uint8]:
        """What the model says of a slice, shape (h, w); zeros where it has said nothing."""
        return np.asarray(self._model[index])

    def top(self, index: int) -> NDArray[np.uint8]:
        """What is uppermost on a slice, shape (h, w): a filling, else the model's prediction."""
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
        error_estimate: ErrorEstimate | None,
    ) -> None:
        """Note what the model says of a slice; it takes the place of a filling.

        Parameters
        ----------
        index : int
            Slice number.
        labels : ndarray of uint8, shape (h, w)
            The model's prediction.
        free : ndarray of bool, shape (h, w), optional
            Where no person has decided: elsewhere its earlier prediction stays. None: everywhere.
        error_estimate : ErrorEstimate or None
            See `AnnotationRecord.write_prediction`.
        """
        self.drop_filling(index, free)
        np.copyto(self._model[index], labels, where=True if free is None else free)
        self.predicted[index] = True
        self.error_estimate.pop(index, None)
        if error_estimate is not None:
            self.error_estimate[index] = error_estimate

    def fill(self, index: int, labels: NDArray[np.uint8], free: NDArray[np.bool_] | None) -> None:
        """Lay interpolated labels (h, w) over the model's prediction; `free` as of `predict`."""
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
