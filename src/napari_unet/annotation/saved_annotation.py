"""What is told of a record when its mask is saved: whose work it is, and what is not on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from napari_unet.annotation.record import AnnotationRecord
from napari_unet.annotation.states import TOUCHED, Origin


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


def human_fraction(record: AnnotationRecord) -> float:
    """Share of the labelled voxels that a person painted or accepted, 0 to 1."""
    return _share(record, record.human_voxels())


def interpolated_fraction(record: AnnotationRecord) -> float:
    """Share of the labelled voxels that were interpolated and not accepted since, 0 to 1."""
    return _share(record, record.origin() == Origin.INTERPOLATED)


def _share(record: AnnotationRecord, voxels: NDArray[np.bool_]) -> float:
    """Share of the labelled voxels that are among `voxels` (z, y, x), 0 to 1."""
    labelled = record.mask() > 0
    total = int(np.count_nonzero(labelled))
    return float(np.count_nonzero(labelled & voxels) / total) if total else 0.0
