"""Which model the scan at hand is worked on with: none yet, an earlier one, one from a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_unet.learning.model_history import structures_of

if TYPE_CHECKING:
    from napari_unet.plugin.app.annotator import Annotator
    from napari_unet.plugin.app.session import ScanSession


class ModelChoice:
    """Choose another model, or save the present one.

    Parameters
    ----------
    annotator : Annotator
        Knows the scan at hand.
    """

    def __init__(self, annotator: Annotator) -> None:
        self._annotator = annotator

    def forget(self) -> None:
        """Start the next training from scratch; the annotation stays."""
        session = self._annotator.require_session()
        self._annotator.require_idle("forget the model")
        session.models.forget()
        session.notes.unlearn()
        self._annotator.work.changed.emit()
        self._annotator.say("The next training starts from scratch.")

    def restore(self, position: int) -> None:
        """Go back to one of the earlier models; Train then goes on from it.

        Parameters
        ----------
        position : int
            Its place in `ModelHistory.kept`.

        Raises
        ------
        CheckpointError
            If it knows more structures than there are, or others.
        """
        session = self._annotator.require_session()
        self._annotator.require_idle("choose another model")
        model = session.models.restore(position, session.shown_structures, session.fixed_axis)
        if session.shown_structures is None:
            session.set_structures(structures_of(model.checkpoint))
        plane = session.follow_model()
        self._annotator.session_changed.emit()
        learned = model.checkpoint.card.provenance.learned_slices
        session.notes.learned(index for _, index in learned)  # of whatever scan: rather too many
        self._annotator.work.changed.emit()
        self._annotator.say(
            f"{model.origin} is in use. Segment the volume, or train on from there.{plane}"
        )

    def save(self, path: Path, session: ScanSession | None = None) -> None:
        """Write the model of a scan, by default the one at hand, to one .safetensors file."""
        session = session or self._annotator.require_session(present=False)
        session.models.to_segment(session.structures).save(path)
        session.models.note_saved()
        self._annotator.say(f"Model saved: {path.name}")

    def load(self, path: Path) -> None:
        """Use a saved model on this scan; Train then goes on from it.

        Where the mask is empty its structures are taken over too, else their values; and
        where nothing is annotated, its plane.

        Raises
        ------
        CheckpointError
            If the file is damaged, or made for other channels, structures or slices.
        """
        session = self._annotator.require_session()
        self._annotator.require_idle("load a model")
        before = [each.value for each in session.structures]
        found = session.models.load(path, session.shown_structures, session.fixed_axis)
        changed = [s for s, value in zip(found, before, strict=False) if s.value != value]
        values = ", ".join(f"{s.name} = {s.value}" for s in changed)
        note = f" Saved masks have its label values: {values}." if session.shown_structures else ""
        session.set_structures(found)
        plane = session.follow_model()
        self._annotator.session_changed.emit()
        self._annotator.say(
            f"Model {path.name} loaded. Segment the volume, or correct slices and train on."
            + plane
            + (note if changed else "")
        )
