"""Who labelled what: one record beside the labels of a scan.

The labels themselves live in one array that a person paints into and a model
writes into. The record holds what the array cannot say: where each voxel's
label comes from (see `voxels`) and which slices a person vouches for.

Truth is derived from the arrays. A stroke may be announced (`painted`), but
edits that nobody announces (undo, redo, scripts) are found by comparing the
labels with what was last seen (`sync`). The rules:

* a slice with a voxel that a person changed, or an accepted one, is *annotated*:
  all of it is truth and the model writes nowhere in it, unless the person declared
  it *partial*: then only those voxels are truth and the model fills the rest;
* when all strokes on a slice are undone, it goes back to what it was before;
* of interpolated labels nobody says that they are true.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_unet.annotation.error_estimate import ErrorEstimate
from napari_unet.annotation.states import (
    BACKGROUND_BRUSH,
    IGNORE_LABEL,
    UNTOUCHED,
    Origin,
    SliceSnapshot,
    SliceState,
    Standing,
)
from napari_unet.annotation.voxels import LabelledVoxels
from napari_unet.errors import AnnotationError


class AnnotationRecord:
    """States of the slices and origin of the voxels of one labelled scan.

    Parameters
    ----------
    labels : ndarray of uint8, shape (z, y, x)
        The live labels; shared, never copied. Whatever is non-zero at the
        start counts as `annotated`, if named there, and otherwise as the
        model's.
    axis : int
        Slicing axis: 0, 1 or 2.
    annotated : iterable of int
        Slices that a person has already completed.
    unknown : ndarray of bool, shape (z, y, x), optional
        Voxels that nobody has annotated on slices that are otherwise truth: those
        slices are partial.
    """

    def __init__(
        self,
        labels: NDArray[Any],
        axis: int,
        annotated: Iterable[int] = (),
        unknown: NDArray[np.bool_] | None = None,
    ) -> None:
        if labels.ndim != 3 or labels.dtype != np.uint8:
            raise AnnotationError(
                f"Labels must be a 3D uint8 array (z, y, x); found {labels.ndim}D {labels.dtype}."
            )
        self.axis = axis
        self._voxels = LabelledVoxels(labels, axis)
        n = labels.shape[axis]
        self._accepted = np.zeros(n, bool)
        self._partial = np.zeros(n, bool)
        self._revision = np.zeros(n, np.int64)
        self._crossed: set[int] = set()  # made partial by a stroke through several slices
        self._before_reset: dict[int, SliceSnapshot] = {}
        self._accepted[list(annotated)] = True
        if unknown is not None:
            unsaid = np.moveaxis(unknown, axis, 0)
            for index in np.flatnonzero(unsaid.any(axis=(1, 2))):
                self._partial[index] = self._voxels.human[index] = True
                self._voxels.origin[index][~unsaid[index]] = Origin.HUMAN

    def copied(self, labels: NDArray[Any]) -> AnnotationRecord | None:
        """Give a copy of these labels a record of its own that says the same of every voxel.

        Parameters
        ----------
        labels : ndarray, shape (z, y, x)
            The copy, of any integer type; copied once more.

        Returns
        -------
        AnnotationRecord or None
            None if these are other labels: of those nobody has said anything.
        """
        if labels.shape != self.labels.shape or not np.can_cast(labels.dtype, np.int64):
            return None
        same = np.array_equal(labels, self.labels)
        labels = labels.astype(np.uint8)
        twin = copy.deepcopy(self, {id(self.labels): labels})
        # Equal to the labels as they are, or as they were when the record last saw them.
        return None if twin.sync() and not same else twin

    # -- reading ---------------------------------------------------------------

    @property
    def labels(self) -> NDArray[np.uint8]:
        """The live labels, shape (z, y, x)."""
        return self._voxels.labels

    @property
    def n_slices(self) -> int:
        """Number of slices along the slicing axis."""
        return len(self._accepted)

    def plane(self, index: int) -> tuple[slice | int, ...]:
        """Index of slice `index` into a (z, y, x) array."""
        return (slice(None),) * self.axis + (index,)

    def state(self, index: int) -> SliceState:
        """State of one slice."""
        if self._partial[index]:
            return SliceState.PARTIAL
        if self._accepted[index] or self._voxels.human[index]:
            return SliceState.ANNOTATED
        predicted = self._voxels.underlay.predicted[index]
        return SliceState.PREDICTED if predicted else SliceState.EMPTY

    def states(self) -> list[SliceState]:
        """State of every slice."""
        return [self.state(index) for index in range(self.n_slices)]

    def slices_in(self, *states: SliceState) -> list[int]:
        """Numbers of the slices in any of `states`, ascending."""
        return [index for index in range(self.n_slices) if self.state(index) in states]

    def revision(self, index: int) -> int:
        """Return a number that changes whenever something about a slice has changed."""
        return int(self._revision[index])

    @property
    def changes(self) -> int:
        """A number that grows whenever something about any slice has changed."""
        return int(self._revision.sum())

    def slices_of(self, region: tuple[Any, ...]) -> list[int]:
        """Slices that an index into the (z, y, x) labels touches, ascending."""
        return self._voxels.slices_of(region)

    def truth(self, index: int) -> NDArray[np.uint8]:
        """What a person says about a slice, shape (h, w).

        0 is background, 1..K the structures; `IGNORE_LABEL` (255) where nobody
        said anything: everywhere but on annotated slices and on the HUMAN
        voxels of partial ones.
        """
        labels = self._voxels.live(index)
        truth = np.where(labels == BACKGROUND_BRUSH, np.uint8(0), labels)
        if self.state(index) is not SliceState.ANNOTATED:
            truth[self._voxels.origin[index] != Origin.HUMAN] = IGNORE_LABEL
        return truth

    def held_out_prediction(self, index: int) -> NDArray[np.uint8] | None:
        """What the model said before a person corrected this slice.

        Only if that prediction has an `error_estimate`; None otherwise. Shape (h, w).
        """
        if self.state(index) is not SliceState.ANNOTATED or self.error_estimate(index) is None:
            return None
        return self._voxels.underlay.model(index).copy()

    def error_estimate(self, index: int) -> ErrorEstimate | None:
        """What the model's prediction of a slice says of itself, see `write_prediction`."""
        return self._voxels.underlay.error_estimate.get(index)

    def mask(self) -> NDArray[np.uint8]:
        """Return the mask to save, shape (z, y, x): the background brush becomes background."""
        mask = np.array(self.labels)
        mask[mask >= BACKGROUND_BRUSH] = 0
        return mask

    def human_voxels(self) -> NDArray[np.bool_]:
        """Voxels that the model may not touch, shape (z, y, x)."""
        human = np.asarray(self._voxels.origin == Origin.HUMAN)
        human[self.slices_in(SliceState.ANNOTATED)] = True
        return np.moveaxis(human, 0, self.axis)

    def origin(self) -> NDArray[np.uint8]:
        """Who decided each voxel (`Origin`), shape (z, y, x); annotated slices are all HUMAN."""
        origin = np.array(np.moveaxis(self._voxels.origin, 0, self.axis))
        origin[self.human_voxels()] = Origin.HUMAN
        return origin

    def filled_slices(self) -> list[int]:
        """Slices that show interpolated labels and that no person has touched, ascending."""
        return [i for i in self._voxels.underlay.filled() if self.state(i) in UNTOUCHED]

    # -- what the person does --------------------------------------------------

    def painted(
        self, region: tuple[Any, ...], changed: NDArray[np.bool_] | None, value: Any
    ) -> list[int]:
        """Note a stroke; it may or may not have reached the labels yet.

        Parameters
        ----------
        region : tuple
            Index of the edit into the (z, y, x) labels: slices, or integer arrays.
        changed : ndarray of bool, optional
            Voxels of a region of slices that the stroke changes; None: all of it.
        value : int or ndarray
            Their new label.

        Returns
        -------
        list of int
            Slices that the stroke touches. If there are several (a brush in 3D, or
            in another plane), those that nobody had touched become partial: nobody
            has looked at all of them.
        """
        touched = self._voxels.slices_of(region)
        for index in touched:
            self._before_reset.pop(index, None)  # the next edit undone is this one, not the reset
            if len(touched) > 1 and self.state(index) in UNTOUCHED:
                self._partial[index] = True
                self._crossed.add(index)
        self._voxels.paint(region, changed, value)
        self._revision[touched] += 1
        return touched

    def sync(self, index: int | None = None) -> list[int]:
        """Find edits that nobody announced, on one slice or on all.

        Returns
        -------
        list of int
            Slices that had changed.
        """
        if index is None:
            return [i for edited in self._voxels.edited() for i in self.sync(edited)]
        if not self._voxels.is_edited(index):
            return []
        self._revision[index] += 1
        before_reset = self._before_reset.pop(index, None)
        if before_reset is not None and np.array_equal(
            self._voxels.live(index), before_reset.labels
        ):
            self._voxels.restore(index, before_reset.origin)  # the reset is undone
            self._accepted[index], self._partial[index] = (
                before_reset.accepted,
                before_reset.partial,
            )
            return [index]
        had_strokes = self._voxels.human[index]
        undone = self._voxels.take_edit(index)
        if undone and not self._voxels.human[index]:
            # All strokes are undone: what was accepted with them is gone, and the model's
            # present prediction is shown, not what lay under the stroke when it was made.
            self._accepted[index] &= not had_strokes
            if index in self._crossed:
                self._crossed.discard(index)
                self._partial[index] = False
            if not self._accepted[index]:
                self._voxels.uncover(index)
        return [index]

    def rebind(self, labels: NDArray[Any]) -> list[int]:
        """Use another array as the live labels; its differences count as human edits."""
        if labels.shape != self.labels.shape or labels.dtype != np.uint8:
            raise AnnotationError(
                f"The new labels have shape {labels.shape} and type {labels.dtype}; this scan "
                f"needs {self.labels.shape} and uint8. The annotation so far is kept."
            )
        self._voxels.labels = labels
        return self.sync()

    def accept(self, index: int) -> None:
        """Take a slice as it is, an empty one too, as the human's truth."""
        self.sync(index)
        self._partial[index] = False
        self._accepted[index] = True
        self._revision[index] += 1

    def set_partial(self, index: int, partial: bool) -> None:
        """Say that only the painted voxels of a slice are truth, or that all of it is.

        The structures of an accepted slice count as painted.
        """
        self.sync(index)
        self._partial[index] = partial
        if partial and self._accepted[index]:
            self._voxels.origin[index][self._voxels.live(index) > 0] = Origin.HUMAN
        self._voxels.recount(index)
        self._revision[index] += 1

    def standing(self, index: int, *, voxels: bool = False) -> Standing:
        """What a person says of a slice, for `stand`; with `voxels`: and of each of them."""
        human = None
        if voxels:
            free = self._voxels.free(index)
            nowhere = np.broadcast_to(np.False_, self._voxels.origin[index].shape)
            human = nowhere if free is None else ~free
        return Standing(bool(self._accepted[index]), bool(self._partial[index]), human)

    def stand(self, index: int, standing: Standing) -> None:
        """Say of a slice what was said of it before, or after; its labels stay."""
        self._accepted[index], self._partial[index] = standing.accepted, standing.partial
        if standing.human is not None:
            origin = self._voxels.origin[index]
            given_back = (origin == Origin.HUMAN) & ~standing.human
            origin[given_back] = np.where(
                self._voxels.live(index)[given_back] > 0, Origin.MODEL, Origin.NONE
            )
            origin[standing.human] = Origin.HUMAN
            self._voxels.recount(index)
        self._revision[index] += 1

    def undo_reset(self, index: int, before: SliceSnapshot) -> None:
        """Have a slice as it was before it was reset, labels and all."""
        self._before_reset.pop(index, None)
        self._voxels.live(index)[...] = before.labels
        self._voxels.restore(index, before.origin)
        self._accepted[index], self._partial[index] = before.accepted, before.partial
        self._revision[index] += 1

    def snapshot(self, index: int) -> SliceSnapshot:
        """Copy what is known of a slice, for `reset`."""
        return SliceSnapshot(
            self._voxels.live(index).copy(),
            self._voxels.origin[index].copy(),
            bool(self._accepted[index]),
            bool(self._partial[index]),
        )

    def reset(self, index: int, before: SliceSnapshot | None = None) -> None:
        """Take back everything a person said about a slice; it shows `without_strokes` again.

        Parameters
        ----------
        index : int
            Slice number.
        before : SliceSnapshot, optional
            The slice before its labels were changed; once they are those again (undo),
            all of it is as it was.
        """
        self._before_reset[index] = before or self.snapshot(index)
        self._voxels.forget(index)
        self._accepted[index] = self._partial[index] = False
        self._revision[index] += 1

    def without_strokes(self, index: int) -> NDArray[np.uint8]:
        """What lies beneath the strokes on a slice, shape (h, w).

        What was interpolated since the model's last prediction; else that; else zeros.
        """
        return self._voxels.underlay.top(index)

    # -- what the model does ---------------------------------------------------

    def write_prediction(
        self, index: int, labels: NDArray[np.uint8], error_estimate: ErrorEstimate | None = None
    ) -> bool:
        """Let the model label a slice, wherever no person has.

        Parameters
        ----------
        index : int
            Slice number.
        labels : ndarray of uint8, shape (h, w)
            The model's prediction.
        error_estimate : ErrorEstimate, optional
            What it says of itself. None: the model has been trained on this slice, or has
            learned too little to know.

        Returns
        -------
        bool
            Whether anything was written; False on an annotated slice.
        """
        self.sync(index)
        if self.state(index) is SliceState.ANNOTATED:
            return False
        self._revision[index] += 1
        if self._voxels.predict(index, labels, error_estimate):
            self._voxels.write_back([index])
        return True

    def write_volume(
        self, labels: NDArray[np.uint8], mask_slices: Iterable[int] | None = None
    ) -> None:
        """Let the model label the whole scan (z, y, x), wherever no person has.

        Parameters
        ----------
        labels : ndarray of uint8, shape (z, y, x)
            The model's prediction, or a mask that somebody else made.
        mask_slices : iterable of int, optional
            It is such a mask: write these slices only. What it says there is no model's
            held-out prediction.
        """
        self.sync()
        stack = np.ascontiguousarray(np.moveaxis(labels, self.axis, 0))
        for index in range(self.n_slices) if mask_slices is None else mask_slices:
            if self.state(index) is not SliceState.ANNOTATED:
                error_estimate = self.error_estimate(index) if mask_slices is None else None
                self._voxels.predict(index, stack[index], error_estimate)
                self._revision[index] += 1
        self._voxels.write_back(range(self.n_slices))

    # -- what annotated slices say of those between them ----------------------------

    def write_interpolation(self, slices: Mapping[int, NDArray[np.uint8]]) -> list[int]:
        """Show interpolated labels on slices, wherever no person has decided.

        They are nobody's truth, and no prediction: the state of a slice stays as it is, and
        the model's next prediction takes their place.

        Parameters
        ----------
        slices : mapping of int to ndarray of uint8, shape (h, w)
            Labels by slice number; kept, not copied.

        Returns
        -------
        list of int
            Slices written to: those that are not annotated.
        """
        self.sync()
        written = [i for i in sorted(slices) if self.state(i) is not SliceState.ANNOTATED]
        for index in written:
            self._voxels.fill(index, slices[index])
        self._revision[written] += 1
        self._voxels.write_back(written)
        return written

    def remove_interpolation(self) -> list[int]:
        """Show the model's prediction again on slices that are not annotated; return those."""
        self.sync()
        filled = self._voxels.underlay.filled()
        changed = [i for i in filled if self.state(i) is not SliceState.ANNOTATED]
        for index in changed:
            self._voxels.unfill(index)
        self._revision[changed] += 1
        self._voxels.write_back(changed)
        return changed
