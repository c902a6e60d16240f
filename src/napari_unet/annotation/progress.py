"""What follows from a record: what to learn from, score, next slice, filling, what is saved."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_unet.annotation.expected_errors import ExpectedErrors
from napari_unet.annotation.record import AnnotationRecord
from napari_unet.annotation.scoring import CorrectionScore, Overlap, estimate, slice_overlap
from napari_unet.annotation.states import (
    IGNORE_LABEL,
    TOUCHED,
    UNTOUCHED,
    LabelledSlice,
    Origin,
    SliceState,
)
from napari_unet.annotation.suggestion import Suggestion, suggest
from napari_unet.errors import AnnotationError
from napari_unet.imaging.interpolation import labels_between


class AnnotationProgress:
    """What a model was told of the slices of one record, and how good its answers are.

    Parameters
    ----------
    record : AnnotationRecord
        Who labelled what.
    """

    def __init__(self, record: AnnotationRecord) -> None:
        self._record = record
        # Derived from the record; each entry carries the revision it was derived from.
        self._slices: dict[int, tuple[int, LabelledSlice]] = {}
        self._scores: dict[int, tuple[int, Overlap | None]] = {}
        self._learned: set[int] = set()
        self._passed: set[int] = set()

    # -- what the model was told -----------------------------------------------

    def training_slices(self, n_structures: int) -> list[LabelledSlice]:
        """Copy what a person has said so far, for the worker.

        Parameters
        ----------
        n_structures : int
            How many structures the training knows; labels above are left out.

        Raises
        ------
        AnnotationError
            If no structure is painted anywhere.
        """
        slices = []
        for index in self._record.slices_in(*TOUCHED):
            revision = self._record.revision(index)
            if self._slices.get(index, (None, None))[0] != revision:
                given = LabelledSlice(0, index, self._record.truth(index))
                self._slices[index] = (revision, given)
            slices.append(_without(self._slices[index][1], n_structures))
        slices = [s for s in slices if (s.labels != IGNORE_LABEL).any()]
        if not any(((s.labels > 0) & (s.labels != IGNORE_LABEL)).any() for s in slices):
            raise AnnotationError(
                "No slice shows a structure yet. Paint it on one slice or more, then press Train."
            )
        return slices

    def learned(self, indices: Iterable[int]) -> None:
        """Remember for good that the model is trained on slices: they are no test any more."""
        self._learned.update(indices)

    def unlearn(self) -> None:
        """Note that the next model starts from scratch."""
        self._learned.clear()

    # -- what the model says ---------------------------------------------------

    def predicted(
        self,
        index: int,
        expected_errors: ExpectedErrors | None,
        learned_from: Iterable[int],
    ) -> ExpectedErrors | None:
        """Note a prediction; return what it says of itself if the model has not seen the slice.

        Parameters
        ----------
        index : int
            Which slice.
        expected_errors : ExpectedErrors, optional
            None: the model is too young to know.
        learned_from : iterable of int
            Slices that the model was trained on.
        """
        self.learned(learned_from)
        return None if index in self._learned else expected_errors

    def score(self) -> CorrectionScore | None:
        """Dice of what is not annotated, as far as corrections tell."""
        corrected: list[Overlap] = []
        foreseen: list[ExpectedErrors] = []
        ahead: list[ExpectedErrors] = []
        for index, state in enumerate(self._record.states()):
            said = self._record.expected_errors(index)
            if said is None:
                continue
            if state is not SliceState.ANNOTATED:
                ahead.append(said)
                continue
            revision = self._record.revision(index)
            if self._scores.get(index, (None, None))[0] != revision:
                self._scores[index] = (revision, slice_overlap(self._record, index))
            overlap = self._scores[index][1]
            if overlap is not None:
                corrected.append(overlap)
                foreseen.append(said)
        return estimate(corrected, foreseen, ahead)

    def suggest(self, left: int | None = None) -> Suggestion | None:
        """Find the slice to look at next; see `annotation.suggestion.suggest`.

        Parameters
        ----------
        left : int, optional
            The slice that the annotator is looking at. If it was left as it was, it comes
            again when no other is left, or after `forget_passed`.
        """
        across = tuple(axis for axis in range(3) if axis != self._record.axis)
        area = np.count_nonzero(self._record.mask(), axis=across)
        states = self._record.states()
        here = set() if left is None else {left}
        self._passed = {index for index in self._passed | here if states[index] in UNTOUCHED}
        found = suggest(states, area, passed=self._passed)
        if found is None:
            self._passed = here
            found = suggest(states, area, passed=here)
        return found

    def forget_passed(self) -> None:
        """Forget which slices were left as they were: they may show something else now."""
        self._passed.clear()


def _without(given: LabelledSlice, known: int) -> LabelledSlice:
    """Leave out labels above `known`: nobody can learn them in this round."""
    unknown = (given.labels > known) & (given.labels != IGNORE_LABEL)
    if not unknown.any():
        return given
    labels = np.where(unknown, np.uint8(IGNORE_LABEL), given.labels)
    return LabelledSlice(given.scan, given.index, labels)


@dataclass(frozen=True, slots=True)
class _Filled:
    """What the latest filling was made from (slice and revision), and the slices it shows on."""

    annotated: list[tuple[int, int]]
    slices: list[int]


class Filling:
    """Labels interpolated between the annotated slices of one record, shown or taken back.

    Parameters
    ----------
    record : AnnotationRecord
        Who labelled what.
    """

    def __init__(self, record: AnnotationRecord) -> None:
        self._record = record
        self._latest: _Filled | None = None

    def interpolate(
        self, spacing_mm: tuple[float, float, float]
    ) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Interpolate between the annotated slices; see `labels_between`.

        Parameters
        ----------
        spacing_mm : tuple of float
            Voxel size (z, y, x).
        """
        record = self._record
        truth = {i: record.truth(i) for i in record.slices_in(SliceState.ANNOTATED)}
        rows, columns = (mm for a, mm in enumerate(spacing_mm) if a != record.axis)
        slices = labels_between(truth, (rows, columns))
        self._latest = _Filled(self._annotated(), [])
        return slices

    def show(self, slices: Mapping[int, NDArray[np.uint8]]) -> int:
        """Write interpolated slices, wherever no person has decided; return how many."""
        written = self._record.write_interpolation(slices)
        if self._latest is not None:
            self._latest = _Filled(self._latest.annotated, self._record.filled_slices())
        return len(written)

    @property
    def is_current(self) -> bool:
        """Whether filling once more would change nothing."""
        now = _Filled(self._annotated(), self._record.filled_slices())
        return bool(now.slices) and self._latest == now

    def _annotated(self) -> list[tuple[int, int]]:
        done = self._record.slices_in(SliceState.ANNOTATED)
        return [(index, self._record.revision(index)) for index in done]


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
