"""The models of a scan, present and earlier, for each number of sequences it is looked at with."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_unet.annotation.states import PALETTE, Structure
from napari_unet.annotation.structures import is_named
from napari_unet.errors import AnnotationError, CheckpointError
from napari_unet.learning.events import RoundDone
from napari_unet.text import counted

if TYPE_CHECKING:
    from napari_unet.learning.network.checkpoint import Checkpoint


KEPT = 10
"""Models of one scan to go back to; older ones are let go of (`fast`: 8 MB, `standard`: 31)."""


@dataclass(frozen=True, slots=True, eq=False)
class KeptModel:
    """A model that the annotator can go back to.

    Parameters
    ----------
    checkpoint : Checkpoint
        The model.
    origin : str
        ``Round 2``, or the name of its file.
    dice : float, optional
        Its latest score on held-back slices, 0 to 1.
    rejected : bool
        Whether its round kept the earlier model, because this one was worse.
    saved : bool
        Whether a file holds it.
    """

    checkpoint: Checkpoint
    origin: str
    dice: float | None = None
    rejected: bool = False
    saved: bool = False

    @property
    def title(self) -> str:
        """One line: ``Round 2 · 7 slices · held-back Dice 0.84``."""
        slices = counted(self.checkpoint.card.provenance.annotated_slices, "slice")
        score = [] if self.dice is None else [f"held-back Dice {self.dice:.2f}"]
        return " · ".join([self.origin, slices, *score, *["not kept"] * self.rejected])

    @property
    def details(self) -> str:
        """A sentence on when and on what it was trained."""
        history = self.checkpoint.card.provenance
        when = history.created
        with contextlib.suppress(ValueError):  # whatever the card of another program says
            local = datetime.datetime.fromisoformat(when).astimezone()
            when = f"{local:%Y-%m-%d at %H:%M}"
        return (
            f"{self.origin}: trained {when} on {counted(history.annotated_slices, 'slice')} of "
            f"{', '.join(history.trained_on)}; "
            f"{counted(len(history.held_back), 'slice')} held back to test it"
        )


@dataclass(slots=True)
class _History:
    """The models of one number of sequences, oldest first."""

    models: list[KeptModel] = field(default_factory=list)
    present: KeptModel | None = None
    rounds: int = 0

    def add(self, model: KeptModel) -> None:
        self.models.append(model)
        while len(self.models) > KEPT:
            self.models.remove(next(each for each in self.models if each is not self.present))

    def update(self, model: KeptModel | None, **changes: Any) -> None:
        """Know something more about a model."""
        if model is None:
            return
        newer = replace(model, **changes)
        self.models = [newer if each is model else each for each in self.models]
        if self.present is model:
            self.present = newer


class ModelHistory:
    """The present model, the earlier ones, and those of other choices of sequences.

    Parameters
    ----------
    n_channels : int
        Sequences in use; changing it changes which model is the present one.
    """

    def __init__(self, n_channels: int = 1) -> None:
        self.n_channels = n_channels
        self._histories: dict[int, _History] = {}

    def copied(self) -> ModelHistory:
        """Give a history with the same models that goes its own way from now on."""
        twin = ModelHistory(self.n_channels)
        for n_channels, history in self._histories.items():
            twin._histories[n_channels] = replace(history, models=list(history.models))
        return twin

    @property
    def present(self) -> Checkpoint | None:
        """The model for the sequences in use, if there is one."""
        kept = self._history.present
        return None if kept is None else kept.checkpoint

    @property
    def kept(self) -> tuple[KeptModel, ...]:
        """The models to go back to, newest first; the present one is among them."""
        return tuple(reversed(self._history.models))

    @property
    def position(self) -> int | None:
        """Place of the present model in `kept`."""
        present = self._history.present
        return next((i for i, each in enumerate(self.kept) if each is present), None)

    @property
    def _history(self) -> _History:
        return self._histories.setdefault(self.n_channels, _History())

    @property
    def unsaved(self) -> bool:
        """Whether no file holds the present model."""
        present = self._history.present
        return present is not None and not present.saved

    def note_saved(self) -> None:
        """Note that a file holds the present model."""
        self._history.update(self._history.present, saved=True)

    def put(self, checkpoint: Checkpoint, origin: str, *, saved: bool = False) -> None:
        """Keep a model; it becomes the present one for its number of channels."""
        history = self._of(checkpoint)
        history.present = KeptModel(checkpoint, origin, saved=saved)
        history.add(history.present)

    def put_round(self, done: RoundDone) -> None:
        """Keep what a round of training gave: the new model, and which is the better one."""
        history, result = self._of(done.checkpoint), done.comparison
        if result is not None and not result.tells:
            result = None
        history.rounds += 1
        origin = f"Round {history.rounds}"
        before = history.present
        if result is not None:  # the same slices for both: their scores can be compared
            history.update(before, dice=result.old)
        if done.kept == "old" and before is not None:
            history.update(history.present, checkpoint=done.checkpoint)
        else:
            self.put(done.checkpoint, origin)
            if result is not None:
                history.update(history.present, dice=result.new)
        if done.rejected is not None and result is not None:
            history.add(KeptModel(done.rejected, origin, result.new, rejected=True))

    def rename(self, number: int, before: str, name: str) -> None:
        """Call class `number` of all models by its new name, where it had the one before."""
        for history in self._histories.values():
            for model in history.models:
                card = model.checkpoint.card
                names = list(card.class_names)
                if names[number - 1 : number] == [before]:
                    names[number - 1] = name
                    card = replace(card, class_names=tuple(names))
                    history.update(model, checkpoint=replace(model.checkpoint, card=card))

    def restore(
        self, position: int, structures: Sequence[Structure] | None, axis: int | None = None
    ) -> KeptModel:
        """Make one of `kept` the present model again, and return it.

        Slices that were held back since then stay so, unless it has learned from them.

        Parameters
        ----------
        position : int
            Its place in `kept`.
        structures : sequence of Structure, optional
            What the mask shows, the first of which it must have been made for.
        axis : int, optional
            Slicing axis that it must have been made for; None: whichever it knows.

        Raises
        ------
        CheckpointError
            If it knows more structures than there are, or others, or other slices.
        """
        history, chosen = self._history, self.kept[position]
        chosen.checkpoint.check_fits(self.n_channels, axis=axis)
        if structures is not None:
            model = chosen.checkpoint
            _brought_to(model, structures)
            known = structures_of(model)
            _agreed(known, structures[: len(known)])
        card = chosen.checkpoint.card
        held_back = {
            name for each in history.models for name in each.checkpoint.card.provenance.held_back
        }
        held_back -= set(card.provenance.learned_slices)
        provenance = replace(card.provenance, held_back=tuple(sorted(held_back)))
        checkpoint = replace(chosen.checkpoint, card=replace(card, provenance=provenance))
        history.present = chosen
        history.update(chosen, checkpoint=checkpoint)
        return chosen

    def forget(self) -> None:
        """Start the next training from scratch; the earlier models can still be restored."""
        self._history.present = None

    def _of(self, checkpoint: Checkpoint) -> _History:
        return self._histories.setdefault(checkpoint.card.model.in_channels, _History())

    def to_train(self, structures: Sequence[Structure]) -> Checkpoint | None:
        """Return the model to train on, brought to the present structures.

        Raises
        ------
        CheckpointError
            If it knows more structures than there are.
        """
        if self.present is None:
            return None
        return _brought_to(self.present, structures)

    def to_segment(self, structures: Sequence[Structure]) -> Checkpoint:
        """Return the model to segment with.

        Raises
        ------
        AnnotationError
            If there is none yet.
        CheckpointError
            If it does not know all structures.
        """
        model = self.to_train(structures)
        if model is None or self.present is None:
            raise AnnotationError("Train a model first, or load one.")
        unknown = [s.name for s in structures[len(self.present.card.class_names) :]]
        if unknown:
            raise CheckpointError(
                f"The model has not learned {', '.join(unknown)} yet. Train again first."
            )
        return model

    def load(
        self, path: Path, structures: Sequence[Structure] | None, axis: int | None = None
    ) -> list[Structure]:
        """Make a saved model the present one; return the structures it segments.

        Parameters
        ----------
        path : Path
            The file.
        structures : sequence of Structure, optional
            What the mask shows, which it must have been made for; None: whatever it knows.
        axis : int, optional
            Slicing axis that it must have been made for; None: whichever it knows.

        Raises
        ------
        CheckpointError
            If the file is damaged, or made for other channels, structures or slices.
        """
        from napari_unet.learning.network.checkpoint import Checkpoint

        checkpoint = Checkpoint.load(path)
        checkpoint.check_fits(self.n_channels, axis=axis)
        found = structures_of(checkpoint)
        if structures is not None:
            found = _agreed(found, structures)
        self.put(checkpoint, path.name, saved=True)
        return found


def structures_of(model: Checkpoint) -> list[Structure]:
    """Structures that a model segments."""
    card = model.card
    colors = card.class_colors or PALETTE
    return [
        Structure(name, colors[i % len(colors)], value)
        for i, (name, value) in enumerate(zip(card.class_names, card.label_values, strict=True))
    ]


def _agreed(theirs: Sequence[Structure], here: Sequence[Structure]) -> list[Structure]:
    """Structures of a mask for a model that has them too: with its values.

    They are the same where their names are, or where their values are and one of the two
    has no name of its own.

    Raises
    ------
    CheckpointError
        If they are others.
    """
    same = len(theirs) == len(here) and all(map(_same, theirs, here))
    if not same:
        raise CheckpointError(
            f"The structures here ({_listed(here)}) are not those of this model "
            f"({_listed(theirs)}). Rename or add structures to match, choose “New layer” as the "
            "mask, or train a new model."
        )
    return [
        replace(mine if is_named(mine) or not is_named(other) else other, value=other.value)
        for other, mine in zip(theirs, here, strict=True)
    ]


def _same(one: Structure, other: Structure) -> bool:
    if one.name == other.name:
        return True
    return one.value == other.value and not (is_named(one) and is_named(other))


def _listed(structures: Sequence[Structure]) -> str:
    return ", ".join(f"{s.name} = {s.value}" for s in structures)


def _brought_to(model: Checkpoint, structures: Sequence[Structure]) -> Checkpoint:
    return model.with_classes(
        [s.name for s in structures], [s.color for s in structures], [s.value for s in structures]
    )
