"""Annotated slices that a round leaves out, as a test of old weights against new.

A round that goes on from a model holds back a few of the slices that are new since
then. Neither the weights it starts from nor those it ends with have learned from them,
so their Dice tells honestly which of the two to keep. Once held back, a slice stays so
(the protocol of RootPainter: Smith et al., 2022, New Phytologist 236:774): the model's
card remembers them. No torch here.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from napari_unet.annotation.states import IGNORE_LABEL, LabelledSlice
from napari_unet.errors import AnnotationError
from napari_unet.learning.config import SliceName
from napari_unet.learning.model_card import ModelCard, Provenance
from napari_unet.learning.preparation import PreparedScan

FEWEST = 3
"""New slices from which on one is held back."""

SHARE = 0.2
MOST = 4
"""A round holds back this share of its new slices, and not more than so many; all in all
not more than this share of all slices are held back, but one in any case."""


def n_held_back(n_new: int) -> int:
    """How many of the new slices of a round to hold back."""
    return min(MOST, max(1, round(SHARE * n_new))) if n_new >= FEWEST else 0


@dataclass(frozen=True, slots=True)
class _Content:
    """One annotated slice: which it is, what it shows, and whether it can be a test."""

    name: SliceName
    classes: frozenset[int]
    annotated: bool
    complete: bool


_UNUSABLE = _Content(("", -1), frozenset(), annotated=False, complete=False)


@dataclass(frozen=True, slots=True, eq=False)
class HoldoutSplit:
    """Which annotated slices a round learns from, and which are held back.

    Made by `begin`; every later list of annotations gives another one (`given`).

    Parameters
    ----------
    scans : tuple of PreparedScan
        The scans that annotations refer to.
    card : ModelCard, optional
        Of the model that the round starts from; None holds nothing back.
    training, test : tuple of LabelledSlice
        What to learn from, and what is held back.
    learned : frozenset of SliceName
        What this round has learned from, slices taken away meanwhile included.
    """

    scans: tuple[PreparedScan, ...]
    card: ModelCard | None
    training: tuple[LabelledSlice, ...] = ()
    test: tuple[LabelledSlice, ...] = ()
    learned: frozenset[SliceName] = frozenset()

    @classmethod
    def begin(cls, scans: Sequence[PreparedScan], card: ModelCard | None) -> HoldoutSplit:
        """Begin a round, before the first annotations."""
        return cls(tuple(scans), card)

    def given(self, annotations: Sequence[LabelledSlice]) -> HoldoutSplit:
        """Divide a complete new list of annotations.

        Held back are complete slices that the model to start from does not know:
        those held back before, and as many of the new ones as `n_held_back` says,
        spread out, those that show structures first. What this round has learned
        from already stays, and so does the last slice that shows a class.
        """
        found = [self._content(each) for each in annotations]
        shown = Counter(value for each in found for value in each.classes)
        test: set[int] = set()

        def hold_back(positions: Sequence[int]) -> int:
            before = len(test)
            for position in positions:
                if all(shown[value] > 1 for value in found[position].classes):
                    shown.subtract(found[position].classes)
                    test.add(position)
            return len(test) - before

        reserved, held = frozenset(self._before.held_back), self.held_back
        unknown = self._unknown(found)
        new = [i for i in unknown if found[i].name not in reserved]
        movable = [i for i in unknown if found[i].name not in self.learned]
        hold_back([i for i in movable if found[i].name in reserved | held])
        due = n_held_back(len(new)) - len(test.intersection(new))
        # Slices of a round that was turned down are new again: that must not add up.
        due = min(due, max(1, round(SHARE * sum(e.complete for e in found))) - len(test))
        arrived = [i for i in movable if found[i].name not in reserved | held]
        arrived.sort(key=lambda i: (annotations[i].scan, annotations[i].index))
        due -= hold_back(_spread([i for i in arrived if found[i].classes], due))
        if any(found[i].classes for i in test):  # alone, empty slices have no Dice
            hold_back(_spread([i for i in arrived if not found[i].classes], due))
        learned = {e.name for i, e in enumerate(found) if i not in test and e.annotated}
        return dataclasses.replace(
            self,
            training=tuple(each for i, each in enumerate(annotations) if i not in test),
            test=tuple(each for i, each in enumerate(annotations) if i in test),
            learned=self.learned | learned,
        )

    @property
    def held_back(self) -> frozenset[SliceName]:
        """Names of the slices that are held back now."""
        return frozenset((self.scans[each.scan].name, each.index) for each in self.test)

    def remember(self, provenance: Provenance, *, learned: bool) -> Provenance:
        """Write into a model's history what is held back and, perhaps, what was learned from.

        Parameters
        ----------
        provenance : Provenance
            History of the model to keep.
        learned : bool
            Whether that model has learned from the slices of this round.
        """
        here = {scan.name for scan in self.scans}
        elsewhere = {name for name in self._before.held_back if name[0] not in here}
        known = set(self._before.learned_slices) | self.learned
        return dataclasses.replace(
            provenance,
            learned_slices=tuple(sorted(known)) if learned else provenance.learned_slices,
            held_back=tuple(sorted(elsewhere | self.held_back)),
        )

    @property
    def _before(self) -> Provenance:
        """History of the model to start from."""
        return Provenance() if self.card is None else self.card.provenance

    def _unknown(self, found: Sequence[_Content]) -> list[int]:
        """Positions of complete slices that the model to start from has not learned from."""
        learned = frozenset(self._before.learned_slices)
        # Models of earlier versions do not say which slices of a scan they know.
        vague = set(self._before.trained_on) - {scan for scan, _ in learned}
        return [
            i
            for i, each in enumerate(found)
            if each.complete and each.name not in learned and each.name[0] not in vague
        ]

    def _content(self, each: LabelledSlice) -> _Content:
        """Look at one slice; what cannot be learned from is left to training to refuse."""
        if not 0 <= each.scan < len(self.scans):
            return _UNUSABLE
        scan = self.scans[each.scan]
        try:
            labels = scan.crop(each.labels)
        except AnnotationError:
            return _UNUSABLE
        counts = np.bincount(labels.ravel(), minlength=IGNORE_LABEL + 1)
        classes = frozenset((np.flatnonzero(counts[1:IGNORE_LABEL]) + 1).tolist())
        unknown = int(counts[IGNORE_LABEL])
        fits = 0 <= each.index < scan.n_slices
        complete = False  # with nothing to compare with, no slice is a test
        if self.card is not None:
            known = len(self.card.class_names)
            complete = fits and not unknown and max(classes, default=0) <= known
        return _Content(
            name=(scan.name, each.index),
            classes=classes,
            annotated=fits and unknown < labels.size,
            complete=complete,
        )


def _spread(items: Sequence[int], count: int) -> list[int]:
    """Take `count` items at even distances, or all if there are not more."""
    count = max(0, min(count, len(items)))
    return [items[(2 * i + 1) * len(items) // (2 * count)] for i in range(count)]
