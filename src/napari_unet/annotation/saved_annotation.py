"""What is told of a record when its mask is saved: whose work it is, and what is not on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from napari_unet.annotation.record import AnnotationRecord
from napari_unet.annotation.states import TOUCHED, UNTOUCHED, Origin, SliceState
from napari_unet.text import counted


class SavedAnnotation:
    """What a person said of the slices of a record when its mask was last saved.

    It is compared by what it says, not noted edit by edit: a stroke that is undone leaves
    nothing to save.

    Parameters
    ----------
    record : AnnotationRecord
        Who labelled what.
    before : SavedAnnotation, optional
        What is known of the same labels from before. None: what the record says now is on
        disk, or was never a person's work here.
    """

    def __init__(self, record: AnnotationRecord, before: SavedAnnotation | None = None) -> None:
        self.record = record
        self._on_disk: dict[int, bytes] = self._said() if before is None else dict(before._on_disk)

    def unsaved(self) -> list[int]:
        """Slices of which a person has said something else since, ascending."""
        self.record.sync()
        said = self._said()
        slices = {*said, *self._on_disk}
        return sorted(each for each in slices if said.get(each) != self._on_disk.get(each))

    def note(self, but: Collection[int] = ()) -> None:
        """Note that everything is on disk now, `but` for some slices."""
        kept = {each: self._on_disk[each] for each in but if each in self._on_disk}
        said = {each: digest for each, digest in self._said().items() if each not in but}
        self._on_disk = said | kept

    def _said(self) -> dict[int, bytes]:
        """Digest of the truth of each slice that a person has touched."""
        record = self.record
        return {
            index: hashlib.blake2b(record.truth(index).tobytes(), digest_size=16).digest()
            for index in record.slices_in(*TOUCHED)
        }


@dataclass(frozen=True, slots=True)
class MaskSources:
    """Who decided what a mask says, in slices and in voxels.

    Parameters
    ----------
    n_slices, annotated, partial, unseen_labelled : int
        All slices; those a person painted or accepted; those painted in part; and of the others
        those that show a structure.
    labelled, human, interpolated : int
        Voxels of structures; those that a person painted or accepted; those that were
        interpolated and not accepted since.
    """

    n_slices: int
    annotated: int
    partial: int
    unseen_labelled: int
    labelled: int
    human: int
    interpolated: int

    @classmethod
    def of(cls, record: AnnotationRecord) -> MaskSources:
        """Count what is known of a record."""
        labelled = record.mask() > 0
        shown = np.asarray(np.moveaxis(labelled, record.axis, 0).any(axis=(1, 2)))
        filled = labelled & (record.origin() == Origin.INTERPOLATED)
        return cls(
            n_slices=record.n_slices,
            annotated=len(record.slices_in(SliceState.ANNOTATED)),
            partial=len(record.slices_in(SliceState.PARTIAL)),
            unseen_labelled=int(shown[record.slices_in(*UNTOUCHED)].sum()),
            labelled=int(labelled.sum()),
            human=int((labelled & record.human_voxels()).sum()),
            interpolated=int(filled.sum()),
        )

    def __str__(self) -> str:
        said = f"You painted or accepted {self.annotated} of {counted(self.n_slices, 'slice')}"
        if self.partial:
            said += f", and {self.partial} in part"
        said += f": {self.human:,} of {self.labelled:,} labelled voxels."
        if self.interpolated:
            said += f" {self.interpolated:,} are filled between slices."
        unseen = self.n_slices - self.annotated - self.partial
        if unseen:
            shown = self.unseen_labelled or "none"
            said += (
                f" Nobody has looked at the other {counted(unseen, 'slice')}, of which {shown} "
                f"{'shows' if self.unseen_labelled == 1 else 'show'} a structure."
            )
        return said
