"""Who labelled what: one record beside the labels of a scan.

The labels themselves live in one array that a person paints into and a model
writes into. The record holds what the array cannot say: where each voxel's
label comes from and which slices a person vouches for.

Truth is derived from the arrays. A stroke may be announced (`painted`), but
edits that nobody announces (undo, redo, scripts) are found by comparing the
labels with what was last seen (`sync`). The rules:

* a voxel that a person changed is HUMAN; the model never writes there;
* a slice with a HUMAN voxel, or an accepted one, is *annotated*: all of it is
  truth and the model writes nowhere in it, unless the person declared it
  *partial*: then only HUMAN voxels are truth and the model fills the rest;
* an edit taken back (undo) makes the voxel the model's again, and a slice
  without any human voxel goes back to what it was before;
* labels interpolated between annotated slices lie over the model's opinion,
  which is kept, until its next one; nobody vouches for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_unet.annotation.states import BACKGROUND_BRUSH, Origin, SliceState
from napari_unet.annotation.underlay import Underlay
from napari_unet.errors import AnnotationError

NOT_ANNOTATED = 255
"""Value of voxels without truth in `AnnotationRecord.truth`."""


@dataclass(frozen=True, slots=True, eq=False)
class _Snapshot:
    """What is known of one slice; arrays (h, w)."""

    labels: NDArray[np.uint8]
    origin: NDArray[np.uint8]
    accepted: bool
    partial: bool


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
        self._labels = labels
        # Slices first and contiguous, so that work on one slice touches only its own memory.
        self._seen = np.moveaxis(labels, axis, 0).copy()
        self._underlay = Underlay(self._seen)
        self._origin = np.minimum(self._seen, np.uint8(Origin.MODEL))
        n = labels.shape[axis]
        self._accepted = np.zeros(n, bool)
        self._partial = np.zeros(n, bool)
        self._human = np.zeros(n, bool)  # has a HUMAN voxel
        self._revision = np.zeros(n, np.int64)
        self._crossed: set[int] = set()  # made partial by a stroke through several slices
        self._released: dict[int, _Snapshot] = {}
        self._accepted[list(annotated)] = True
        if unknown is not None:
            unsaid = np.moveaxis(unknown, axis, 0)
            for index in np.flatnonzero(unsaid.any(axis=(1, 2))):
                self._partial[index] = self._human[index] = True
                self._origin[index][~unsaid[index]] = Origin.HUMAN

    # -- reading ---------------------------------------------------------------

    @property
    def labels(self) -> NDArray[np.uint8]:
        """The live labels, shape (z, y, x)."""
        return self._labels

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
        if self._accepted[index] or self._human[index]:
            return SliceState.ANNOTATED
        return SliceState.PREDICTED if self._underlay.predicted[index] else SliceState.EMPTY

    def states(self) -> list[SliceState]:
        """State of every slice."""
        return [self.state(index) for index in range(self.n_slices)]

    def slices_in(self, *states: SliceState) -> list[int]:
        """Numbers of the slices in any of `states`, ascending."""
        return [index for index in range(self.n_slices) if self.state(index) in states]

    def revision(self, index: int) -> int:
        """Return a number that changes whenever something about a slice has changed."""
        return int(self._revision[index])

    def truth(self, index: int) -> NDArray[np.uint8]:
        """What a person says about a slice, shape (h, w).

        0 is background, 1..K the structures; `NOT_ANNOTATED` (255) where nobody
        said anything: everywhere but on annotated slices and on the HUMAN
        voxels of partial ones.
        """
        labels = self._labels[self.plane(index)]
        truth = np.where(labels == BACKGROUND_BRUSH, np.uint8(0), labels)
        if self.state(index) is not SliceState.ANNOTATED:
            truth[self._origin[index] != Origin.HUMAN] = NOT_ANNOTATED
        return truth

    def held_out_prediction(self, index: int) -> NDArray[np.uint8] | None:
        """What the model said before a person corrected this slice.

        Only if that model had not been trained on the slice; None otherwise.
        Shape (h, w).
        """
        if self.state(index) is not SliceState.ANNOTATED or not self._underlay.held_out[index]:
            return None
        return self._underlay.model(index).copy()

    def mask(self) -> NDArray[np.uint8]:
        """Return the mask to save, shape (z, y, x): the background brush becomes background."""
        mask = np.array(self._labels)
        mask[mask >= BACKGROUND_BRUSH] = 0
        return mask

    def human_voxels(self) -> NDArray[np.bool_]:
        """Voxels that the model may not touch, shape (z, y, x)."""
        human = np.asarray(self._origin == Origin.HUMAN)
        human[self.slices_in(SliceState.ANNOTATED)] = True
        return np.moveaxis(human, 0, self.axis)

    def origin(self) -> NDArray[np.uint8]:
        """Who decided each voxel (`Origin`), shape (z, y, x); annotated slices are all HUMAN."""
        origin = np.array(np.moveaxis(self._origin, 0, self.axis))
        origin[self.human_voxels()] = Origin.HUMAN
        return origin

    def human_fraction(self) -> float:
        """Share of the labelled voxels that a person painted or accepted, 0 to 1."""
        return self._share(self.human_voxels())

    def interpolated_fraction(self) -> float:
        """Share of the labelled voxels that were interpolated and not accepted since, 0 to 1."""
        return self._share(self.origin() == Origin.INTERPOLATED)

    def filled_slices(self) -> list[int]:
        """Slices that show interpolated labels and that no person has touched, ascending."""
        untouched = (SliceState.EMPTY, SliceState.PREDICTED)
        return [index for index in self._underlay.filled() if self.state(index) in untouched]

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
        origin = np.moveaxis(self._origin, 0, self.axis)
        seen = np.moveaxis(self._seen, 0, self.axis)
        if changed is None:
            origin[region] = Origin.HUMAN
            seen[region] = value
        else:
            origin[region][changed] = Origin.HUMAN
            seen[region][changed] = value
        along = region[self.axis]
        touched = (
            list(range(*along.indices(self.n_slices)))
            if isinstance(along, slice)
            else [int(i) for i in np.unique(along)]
        )
        for index in touched:
            if len(touched) > 1 and self.state(index) in (SliceState.EMPTY, SliceState.PREDICTED):
                self._partial[index] = True
                self._crossed.add(index)
            self._recount(index)
        return touched

    def sync(self, index: int | None = None) -> list[int]:
        """Find edits that nobody announced, on one slice or on all.

        Returns
        -------
        list of int
            Slices that had changed.
        """
        if index is None:
            different = np.moveaxis(self._labels, self.axis, 0) != self._seen
            changed_slices = np.flatnonzero(different.any(axis=(1, 2)))
            return [i for plane in changed_slices for i in self.sync(int(plane))]
        labels, seen = self._labels[self.plane(index)], self._seen[index]
        changed = labels != seen
        if not changed.any():
            return []
        released = self._released.pop(index, None)
        if released is not None and (labels == released.labels).all():
            self._restore(index, released)  # the release is undone
            return [index]
        origin = self._origin[index]
        undone = self._underlay.undone(index, labels, changed, origin == Origin.HUMAN)
        origin[changed] = Origin.HUMAN
        origin[undone] = self._underlay.source(index)[undone]
        seen[...] = labels
        had_strokes = self._human[index]
        self._recount(index)
        if undone.any() and not self._human[index]:
            # All strokes are undone: what was accepted with them is gone, and the model's
            # present opinion is shown, not what lay under the stroke when it was made.
            self._accepted[index] &= not had_strokes
            if index in self._crossed:
                self._crossed.discard(index)
                self._partial[index] = False
            if not self._accepted[index]:
                self._show_opinion(index)
        return [index]

    def rebind(self, labels: NDArray[Any]) -> list[int]:
        """Use another array as the live labels; its differences count as human edits."""
        if labels.shape != self._labels.shape or labels.dtype != np.uint8:
            raise AnnotationError(
                f"The new labels have shape {labels.shape} and type {labels.dtype}; this scan "
                f"needs {self._labels.shape} and uint8. The annotation so far is kept."
            )
        self._labels = labels
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
            self._origin[index][self._labels[self.plane(index)] > 0] = Origin.HUMAN
        self._recount(index)

    def snapshot(self, index: int) -> _Snapshot:
        """Copy what is known of a slice, for `release`."""
        return _Snapshot(
            self._labels[self.plane(index)].copy(),
            self._origin[index].copy(),
            bool(self._accepted[index]),
            bool(self._partial[index]),
        )

    def release(self, index: int, before: _Snapshot | None = None) -> None:
        """Take back everything a person said about a slice; its `opinion` returns.

        Parameters
        ----------
        index : int
            Slice number.
        before : _Snapshot, optional
            The slice before its labels were changed; once they are those again (undo),
            all of it is as it was.
        """
        self._released[index] = before or self.snapshot(index)
        self._origin[index] = self._underlay.source(index)
        self._accepted[index] = self._partial[index] = False
        self._recount(index)
        self._show_opinion(index)

    def opinion(self, index: int) -> NDArray[np.uint8]:
        """What lies beneath the strokes on a slice, shape (h, w).

        What was interpolated since the model's last word; else that; else zeros.
        """
        return self._underlay.top(index)

    # -- what the model does ---------------------------------------------------

    def write_prediction(self, index: int, labels: NDArray[np.uint8], *, held_out: bool) -> bool:
        """Let the model label a slice, wherever no person has.

        Parameters
        ----------
        index : int
            Slice number.
        labels : ndarray of uint8, shape (h, w)
            The model's opinion.
        held_out : bool
            Whether the model has never been trained on this slice.

        Returns
        -------
        bool
            Whether anything was written; False on an annotated slice.
        """
        self.sync(index)
        if self.state(index) is SliceState.ANNOTATED:
            return False
        if self._adopt(index, labels, held_out):
            self._labels[self.plane(index)] = self._seen[index]
        return True

    def write_volume(
        self, labels: NDArray[np.uint8], mask_slices: Iterable[int] | None = None
    ) -> None:
        """Let the model label the whole scan (z, y, x), wherever no person has.

        Parameters
        ----------
        labels : ndarray of uint8, shape (z, y, x)
            The model's opinion, or a mask that somebody else made.
        mask_slices : iterable of int, optional
            It is such a mask: write these slices only. What it says there is no model's
            held-out prediction.
        """
        self.sync()
        stack = np.ascontiguousarray(np.moveaxis(labels, self.axis, 0))
        for index in range(self.n_slices) if mask_slices is None else mask_slices:
            if self.state(index) is not SliceState.ANNOTATED:
                held_out = mask_slices is None and bool(self._underlay.held_out[index])
                self._adopt(index, stack[index], held_out)
        # One strided copy: a slice at a time takes 20 s for sagittal slices of 512x512x400.
        np.copyto(self._labels, np.moveaxis(self._seen, 0, self.axis))

    # -- what annotated slices say of those between them ----------------------------

    def write_interpolation(self, slices: Mapping[int, NDArray[np.uint8]]) -> list[int]:
        """Show interpolated labels on slices, wherever no person has decided.

        They are nobody's truth, and no prediction: the state of a slice stays as it is, and
        the model's next opinion takes their place.

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
            self._underlay.fill(index, slices[index], self._free(index))
            self._show(index, slices[index], Origin.INTERPOLATED)
        self._copy_seen(written)
        return written

    def remove_interpolation(self) -> list[int]:
        """Show the model's opinion again on slices that are not annotated; return those."""
        self.sync()
        filled = self._underlay.filled()
        changed = [i for i in filled if self.state(i) is not SliceState.ANNOTATED]
        for index in changed:
            self._underlay.drop_filling(index, self._free(index))
            self._show(index, self._underlay.model(index), Origin.MODEL)
        self._copy_seen(changed)
        return changed

    # -- inside ----------------------------------------------------------------

    def _share(self, voxels: NDArray[np.bool_]) -> float:
        """Share of the labelled voxels that are among `voxels` (z, y, x), 0 to 1."""
        labelled = self.mask() > 0
        total = int(np.count_nonzero(labelled))
        return float(np.count_nonzero(labelled & voxels) / total) if total else 0.0

    def _free(self, index: int) -> NDArray[np.bool_] | None:
        """Voxels of a slice that no person has decided, shape (h, w); None: all of them."""
        # Four times as fast as looking: a filling writes hundreds of slices.
        return self._origin[index] != Origin.HUMAN if self._human[index] else None

    def _adopt(self, index: int, labels: NDArray[np.uint8], held_out: bool) -> bool:
        """Note the model's opinion on a synchronised slice; True if it looks different now."""
        self._underlay.predict(index, labels, self._free(index), held_out=held_out)
        return self._show(index, labels, Origin.MODEL)

    def _show(self, index: int, labels: NDArray[np.uint8], source: Origin) -> bool:
        """Put labels where no person has decided; True if the slice looks different now."""
        self._revision[index] += 1
        free = self._free(index)
        if free is None:
            self._origin[index] = (labels > 0) * np.uint8(source)
            different = not np.array_equal(self._seen[index], labels)
            self._seen[index] = labels
            return different
        self._origin[index][free] = np.where(labels[free] > 0, source, Origin.NONE)
        if (self._seen[index][free] == labels[free]).all():
            return False
        self._seen[index][free] = labels[free]
        return True

    def _copy_seen(self, indices: Sequence[int]) -> None:
        """Bring the live labels up to date from the first to the last of some slices."""
        if indices:
            # One strided copy; see `write_volume`.
            several = slice(indices[0], indices[-1] + 1)
            np.moveaxis(self._labels, self.axis, 0)[several] = self._seen[several]

    def _restore(self, index: int, snapshot: _Snapshot) -> None:
        self._origin[index] = snapshot.origin
        self._accepted[index], self._partial[index] = snapshot.accepted, snapshot.partial
        self._seen[index] = snapshot.labels
        self._recount(index)

    def _recount(self, index: int) -> None:
        self._revision[index] += 1
        self._human[index] = bool((self._origin[index] == Origin.HUMAN).any())

    def _show_opinion(self, index: int) -> None:
        self._labels[self.plane(index)] = self.opinion(index)
        self._seen[index] = self.opinion(index)
