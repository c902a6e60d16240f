"""What a model was told of the slices of a record, how good its answers are, and what is next."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from napari_unet.annotation.error_estimate import ErrorEstimate
from napari_unet.annotation.record import AnnotationRecord
from napari_unet.annotation.scoring import CorrectionScore, Overlap, estimate, slice_overlap
from napari_unet.annotation.states import (
    IGNORE_LABEL,
    TOUCHED,
    UNTOUCHED,
    LabelledSlice,
    SliceState,
)
from napari_unet.annotation.suggestion import Suggestion, suggest
from napari_unet.errors import AnnotationError


@dataclass(frozen=True, slots=True)
class Judgement:
    """The score, and how much there is to judge by.

    Parameters
    ----------
    score : CorrectionScore, optional
        None while there is too little.
    n_corrected : int
        Corrected slices that show a structure and had been predicted by a model that had not
        seen them.
    n_predicted : int
        Slices that are not annotated and whose predictions say how wrong they may be.
    """

    score: CorrectionScore | None = None
    n_corrected: int = 0
    n_predicted: int = 0


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
        error_estimate: ErrorEstimate | None,
        learned_from: Iterable[int],
    ) -> ErrorEstimate | None:
        """Note a prediction; return what it says of itself if the model has not seen the slice.

        Parameters
        ----------
        index : int
            Which slice.
        error_estimate : ErrorEstimate, optional
            None: the model is too young to know.
        learned_from : iterable of int
            Slices that the model was trained on.
        """
        self.learned(learned_from)
        return None if index in self._learned else error_estimate

    def score(self) -> CorrectionScore | None:
        """Dice of what is not annotated, as far as corrections tell."""
        return self.judge().score

    def judge(self) -> Judgement:
        """Judge the predictions of what is not annotated by corrections of others."""
        corrected: list[Overlap] = []
        foreseen: list[ErrorEstimate] = []
        ahead: list[ErrorEstimate] = []
        for index, state in enumerate(self._record.states()):
            said = self._record.error_estimate(index)
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
        n_corrected = sum(each.true[1:].any() for each in corrected)
        return Judgement(estimate(corrected, foreseen, ahead), int(n_corrected), len(ahead))

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
