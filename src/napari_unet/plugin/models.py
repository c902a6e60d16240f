"""The models of a scan: one for each number of sequences it is looked at with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from napari_unet.annotation.states import PALETTE, Structure
from napari_unet.errors import AnnotationError, CheckpointError

if TYPE_CHECKING:
    from napari_unet.learning.checkpoint import Checkpoint


class ModelShelf:
    """The present model, and those of other choices of sequences.

    Parameters
    ----------
    n_channels : int
        Sequences in use; changing it changes which model is the present one.
    """

    def __init__(self, n_channels: int = 1) -> None:
        self.n_channels = n_channels
        self._models: dict[int, Checkpoint] = {}

    @property
    def present(self) -> Checkpoint | None:
        """The model for the sequences in use, if there is one."""
        return self._models.get(self.n_channels)

    def put(self, checkpoint: Checkpoint) -> None:
        """Keep a model; it becomes the present one for its number of channels."""
        self._models[checkpoint.card.model.in_channels] = checkpoint

    def forget(self) -> None:
        """Start the next training from scratch."""
        self._models.pop(self.n_channels, None)

    def to_train(self, structures: Sequence[Structure]) -> Checkpoint | None:
        """Return the model to train on, brought to the present structures.

        Raises
        ------
        CheckpointError
            If it knows more structures than there are.
        """
        if self.present is None:
            return None
        names, colors = [s.name for s in structures], [s.color for s in structures]
        return self.present.with_classes(names, colors)

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

    def load(self, path: Path, structures: Sequence[Structure] | None) -> list[Structure]:
        """Make a saved model the present one; return the structures it segments.

        Parameters
        ----------
        path : Path
            The file.
        structures : sequence of Structure, optional
            What it must have been made for; None takes whatever it knows.

        Raises
        ------
        CheckpointError
            If the file is damaged, or made for other channels or structures.
        """
        from napari_unet.learning.checkpoint import Checkpoint

        checkpoint = Checkpoint.load(path)
        card = checkpoint.card
        wanted = [s.name for s in structures] if structures is not None else card.class_names
        checkpoint.check_fits(self.n_channels, wanted)
        self.put(checkpoint)
        if structures is not None:
            return list(structures)
        colors = card.class_colors or PALETTE
        return [Structure(name, colors[i % len(colors)]) for i, name in enumerate(card.class_names)]
