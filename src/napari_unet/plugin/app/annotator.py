"""What the plugin does: the annotation loop over one viewer, without any widget.

The widget forwards intent to an `Annotator` and renders what its signals say.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from napari.layers import Image, Labels
from napari.viewer import Viewer
from qtpy.QtCore import QObject, Qt, Signal

from napari_unet.annotation.states import (
    IGNORE_LABEL,
    TOUCHED,
    UNTOUCHED,
    SliceState,
    Structure,
)
from napari_unet.errors import AnnotationError
from napari_unet.imaging.volume import PLANES
from napari_unet.learning.config import TrainConfig
from napari_unet.plugin.app.mask_exchange import (
    FoundMask,
    export_mask,
    mask_of_file,
    mask_of_layer,
    take_over,
)
from napari_unet.plugin.app.panel_text import Said
from napari_unet.plugin.app.scan_on_screen import ScanOnScreen
from napari_unet.plugin.app.session import MAX_STRUCTURES, ScanSession
from napari_unet.plugin.app.session_registry import SessionRegistry
from napari_unet.plugin.app.shortcuts import Shortcut
from napari_unet.plugin.app.work_controller import WorkController
from napari_unet.plugin.layers.label_layers import highest_label, is_from_elsewhere, lies_over
from napari_unet.plugin.layers.reorient import reoriented
from napari_unet.plugin.layers.scan_layers import check_scan, resampling_notes

OUTSIDE = "This slice lies outside the scan: nothing was drawn. Click the strip to go to one of it."
"""What is said of a stroke where only another layer of the viewer has a slice."""


class Annotator(QObject):
    """The loop: choose a scan, paint, train, correct, segment, save.

    Methods raise a `NapariUnetError` with a sentence for the annotator when they
    cannot do what is asked; nothing has changed then.

    Signals
    -------
    session_changed : ()
        Another scan, or none, is being annotated.
    slices_changed : ()
        States of slices, or the slice on screen, have changed.
    edited : ()
        A person has changed the labels.
    closing : ()
        The annotator lets go of viewer and layers.
    message : (str, bool)
        A sentence for the annotator, `said` from now on; True if something went wrong.
        Empty: nothing that was said holds any more.
    """

    session_changed = Signal()
    slices_changed = Signal()
    edited = Signal()
    closing = Signal()
    message = Signal(str, bool)

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self.open = True
        self.viewer = viewer
        self.session: ScanSession | None = None
        self.said: Said | None = None
        self.config = TrainConfig()
        self.work = WorkController()
        self.work.predicted.connect(self.slices_changed)
        self.work.message.connect(self.say)
        self.screen = ScanOnScreen(viewer)
        self.screen.refused.connect(partial(self.say, failed=True))
        self._sessions = SessionRegistry(viewer, self)
        dims = viewer.dims.events
        self._connections = (
            (viewer.layers.events.removed, self._on_layer_removed),
            *((event, self._on_dims) for event in (dims.current_step, dims.order, dims.ndisplay)),
        )
        for event, answer in self._connections:
            event.connect(answer)

    def close(self) -> None:
        """Stop the work and let go of viewer and layers; what is in the viewer stays.

        Another annotator can take up the Segmentation layers where this one left them.
        """
        self.open = False
        with contextlib.suppress(RuntimeError):  # at exit Qt may have gone first
            self.closing.emit()
        self.work.close()
        for event, answer in self._connections:
            event.disconnect(answer)
        self.screen.close()
        self._sessions.close()
        self.session = None

    def choose(
        self,
        images: Sequence[Image],
        axis: int | None = None,
        labels: Labels | None = None,
        *,
        fresh: bool = False,
        complete: bool = True,
    ) -> None:
        """Annotate a scan; makes its Segmentation layer, or takes up the one it has.

        Where that is another scan than before, or `labels` is None, the scan and its mask are
        shown alone (see `ScanOnScreen.show_alone`).

        Parameters
        ----------
        images : sequence of Image
            One layer, or several as channels: those on another grid than the first are
            resampled when they are learned from.
        axis : int, optional
            Slicing axis; default: as before for this scan, else the thickest.
        labels : Labels, optional
            An existing layer to use. One that does not lie over the scan is brought onto
            its grid, in a new layer.
        fresh : bool
            Make another Segmentation layer even if the scan has one.
        complete : bool
            Whether slices that show a structure in a label layer from elsewhere are
            annotated; otherwise they are predictions.
        """
        self.work.require_idle("choose another scan")
        check_scan(images)
        adopts = labels is not None and is_from_elsewhere(labels)
        mask = None
        with reoriented(self.viewer, images) as (images, turned):
            onto = images[0]
            if labels is not None and adopts and labels.data.any() and not lies_over(labels, onto):
                mask, labels, fresh = mask_of_layer(labels, onto), None, True
            session, begun = self._sessions.open(
                images, axis, labels, fresh=fresh, complete=complete
            )
        if begun:
            # Queued: a stroke is announced before it has reached the labels.
            layer = session.segmentation
            layer.edited.connect(
                partial(self._on_edited, session), Qt.ConnectionType.QueuedConnection
            )
            layer.stroking.connect(self.work.on_stroking)
            layer.label_picked.connect(partial(self._on_label_picked, session))
            layer.outside.connect(partial(self.say, OUTSIDE, failed=True))
            layer.unchanged.connect(partial(self._on_unchanged, session))
            layer.failed.connect(partial(self.say, failed=True))
        alone = session is not self.session or labels is None
        self.session = session
        self.unsay()
        self._sessions.end_lost(but=session)
        self.viewer.layers.selection.active = session.labels
        if alone:
            self.screen.show_alone(session, self._sessions.all)
        else:
            self.screen.make_seen()
        session.labels.mode = "paint"
        session.segmentation.face_axis()
        session.segmentation.note_focus()
        self.session_changed.emit()
        self.slices_changed.emit()
        if mask is not None:
            self.take_mask(mask, complete=complete)
        elif adopts and (shown := session.record.slices_in(*TOUCHED, SliceState.PREDICTED)):
            became = f"correct them, or accept them as they are ({Shortcut.ACCEPT.key})."
            if complete:
                became = "they count as annotated. Reset those that are not."
            self.say(f"{len(shown)} slices of “{session.labels.name}” show a structure: {became}")
        elif notes := " ".join([*resampling_notes(images), turned]).strip():
            self.say(notes)

    def restore_labels(self) -> None:
        """Bring a deleted Segmentation layer back, strokes and all."""
        session = self.require_session(present=False)
        if self.work.running:
            raise AnnotationError("The work is still stopping. Press “Bring it back” again.")
        self.choose(session.images, labels=session.labels)

    def follow(self, layer: object) -> None:
        """Go on with the scan whose Segmentation layer the annotator has selected.

        Not where the one at hand was just deleted: napari selects another layer then.
        """
        if self.session is not None and self.session.labels not in self.viewer.layers:
            return
        session = self._sessions.of(layer)
        if session is not None and session is not self.session and not self.work.running:
            self.choose(session.images, labels=session.labels)

    def say(self, text: str, failed: bool = False) -> None:
        """Tell the annotator what just happened; see `message`."""
        self.said = Said(text, failed)
        self.message.emit(text, failed)

    def unsay(self) -> None:
        """What was said no longer holds: another scan, or work, or what was wrong is right."""
        if self.said is not None:
            self.said = None
            self.message.emit("", False)

    def require_session(self, *, present: bool = True) -> ScanSession:
        """Get the scan at hand, for something that needs it; `present`: with its layer.

        Raises
        ------
        AnnotationError
            If there is none, or a stroke is being drawn.
        """
        if self.session is None:
            raise AnnotationError("Choose a scan first: open an MRI volume with File > Open.")
        if present and self.session.labels not in self.viewer.layers:
            raise AnnotationError("The Segmentation layer was deleted. Bring it back first.")
        if self.session.segmentation.drawing:
            raise AnnotationError("Finish the stroke first.")
        return self.session

    # -- work ------------------------------------------------------------------

    def train(self) -> None:
        """Start to learn from the annotated slices, in the background."""
        self.work.train(self.require_session(), self.config)
        self.unsay()

    def segment(self) -> None:
        """Predict every slice that no person has annotated, in the background."""
        self.work.segment(self.require_session())
        self.unsay()

    def fill(self) -> None:
        """Interpolate between the annotated slices; where that is done already, take it back."""
        session = self.require_session()
        self.screen.make_seen()
        if not session.filling.is_current:
            self.work.fill(session)
            self.unsay()
            return
        self.work.require_idle("remove the filling")
        session.remove_filling()
        self.work.predicted.emit()
        self.say("The filling is removed; what was there before is back.")

    def stop(self) -> None:
        """End the running work; training keeps its best weights."""
        self.unsay()
        self.work.stop()

    # -- the slice on screen ---------------------------------------------------

    def accept_slice(self) -> None:
        """Take the slice as it is, also an empty one."""
        session, index = self._slice_on_screen("accept it")
        with session.segmentation.step([index]):
            session.record.accept(index)
        self._on_edited(session, [index])

    def set_partial(self, partial: bool) -> None:
        """Say whether only the painted voxels of the slice are truth."""
        session, index = self._slice_on_screen("say what counts there")
        with session.segmentation.step([index]):
            session.record.set_partial(index, partial)
        self._on_edited(session, [index])

    def toggle_partial(self) -> None:
        """Have only the painted voxels of the slice count, or all again."""
        session, index = self._slice_on_screen("say what counts there")
        self.set_partial(session.record.state(index) is not SliceState.PARTIAL)

    def reset_slice(self) -> None:
        """Forget what was painted on the slice; the model's prediction returns."""
        session, index = self._slice_on_screen("reset it")
        if session.record.state(index) in UNTOUCHED:
            raise AnnotationError("You have not painted on this slice.")
        session.reset(index)
        session.segmentation.refresh()
        self._on_edited(session, [index])

    def next_slice(self) -> None:
        """Go to the suggested slice, and say why."""
        session = self.require_session()
        layer = session.segmentation
        mended = self.screen.make_seen()
        left = layer.visible_index if layer.in_view else None
        layer.face_axis()
        session.record.sync()
        suggestion = session.suggest(left)
        if suggestion is None:
            self.say("No other slice is left: all are annotated.")
            return
        layer.go_to(suggestion.index)
        said = f"Slice {suggestion.index}: {suggestion.reason}"
        self.say(f"{said}. {mended}" if mended else said)
        self.slices_changed.emit()

    def go_to_annotated(self, step: int) -> None:
        """Go to the next (1) or the previous (-1) slice that a person has annotated."""
        layer = self.require_session().segmentation
        self.screen.make_seen()
        layer.face_axis()
        here = layer.visible_index
        annotated = layer.record.slices_in(*TOUCHED)[::step]
        found = next((index for index in annotated if (index - here) * step > 0), None)
        if found is None:
            where = "after" if step > 0 else "before"
            self.say(f"No slice {where} this one is annotated.")
            return
        layer.go_to(found)
        self.slices_changed.emit()

    def toggle_mask(self) -> None:
        """Hide the mask to see the scan alone, or show it again."""
        labels = self.require_session().labels
        labels.visible = not labels.visible

    def _slice_on_screen(self, wanted: str) -> tuple[ScanSession, int]:
        """Get the scan and the slice on screen, which the annotator must have seen."""
        session = self.require_session()
        if mended := self.screen.make_seen():
            raise AnnotationError(f"{mended} Look at the slice now, then {wanted}.")
        if not session.segmentation.in_view:
            raise AnnotationError(
                f"No {PLANES[session.axis]} slice of the scan is on screen. Click the strip to go "
                "to one."
            )
        return session, session.segmentation.visible_index

    # -- structures ------------------------------------------------------------

    def pick_structure(self, number: int) -> None:
        """Paint with this label from now on."""
        session = self.session
        if session is None:
            return
        if mended := self.screen.make_seen():
            self.say(f"{mended} Now it can be painted.")
        session.labels.selected_label = number
        self.viewer.layers.selection.active = session.labels
        if session.labels.mode not in ("paint", "fill", "polygon"):
            session.labels.mode = "paint"

    def _on_label_picked(self, session: ScanSession, label: int) -> None:
        """Have only labels painted that are learned and saved."""
        usable = session.usable_label(label)
        if usable != label:
            session.labels.selected_label = usable  # and here again
            return
        if session.new_label is not None:
            self.unsay()  # what it does is told instead
        self.slices_changed.emit()

    def change_structure(self, number: int, structure: Structure) -> None:
        """Give class `number` another name or colour."""
        if self.session is not None:
            self.session.change_structure(number, structure)
            self.session_changed.emit()

    def add_structure(self) -> None:
        """Add a structure, and paint with it."""
        if self.session is not None and self.session.add_structure():
            self.session_changed.emit()

    def remove_last_structure(self) -> None:
        """Remove the last structure; see `ScanSession.remove_last_structure`."""
        if self.session is not None:
            self.session.remove_last_structure()
            self.session_changed.emit()

    # -- models ----------------------------------------------------------------

    def forget_model(self) -> None:
        """Start the next training from scratch; the annotation stays."""
        session = self._idle_session("forget the model")
        session.models.forget()
        session.progress.unlearn()
        session.step = None
        self.work.changed.emit()
        self.say("The next training starts from scratch.")

    def restore_model(self, position: int) -> None:
        """Go back to one of the earlier models; see `ScanSession.restore_model`."""
        said = self._idle_session("choose another model").restore_model(position)
        self.session_changed.emit()
        self.work.changed.emit()
        self.say(said)

    def load_model(self, path: Path) -> None:
        """Use a saved model on this scan; see `ScanSession.load_model`."""
        said = self._idle_session("load a model").load_model(path)
        self.session_changed.emit()
        self.say(said)

    def save_model(self, path: Path, session: ScanSession | None = None) -> None:
        """Write the model of a scan, by default the one at hand, to one .safetensors file."""
        session = session or self.require_session(present=False)
        session.models.to_segment(session.structures).save(path)
        session.models.note_saved()
        self.say(f"Model saved: {path.name}")

    def _idle_session(self, wanted: str) -> ScanSession:
        session = self.require_session()
        self.work.require_idle(wanted)
        return session

    # -- masks in files --------------------------------------------------------

    def find_mask(self, path: Path) -> FoundMask:
        """Read a mask of this scan, which may be on another grid; nothing is shown yet."""
        return mask_of_file(path, self.require_session().images[0])

    def take_mask(self, mask: FoundMask, *, complete: bool) -> None:
        """Show a mask, wherever no person has decided; see `mask_exchange.take_over`."""
        session = self._idle_session("load a mask")
        self.screen.make_seen()
        said = take_over(session, mask, complete=complete)
        self.session_changed.emit()
        self.edited.emit()
        self.slices_changed.emit()
        self.say(said)

    def save_mask(self, path: Path, session: ScanSession | None = None) -> None:
        """Write the mask of a scan, by default the one at hand, and check what was written."""
        self.say(export_mask(session or self.require_session(present=False), path))

    def unsaved(self) -> list[ScanSession]:
        """Scans with annotation or a model that no file holds; also once this is closed."""
        scans = (*self._sessions.all, *self._sessions.left)
        return [each for each in scans if each.saved.unsaved() or self.has_unsaved_model(each)]

    def has_unsaved_model(self, session: ScanSession) -> bool:
        """Whether no file holds the model of a scan, or it is being trained."""
        return session.models.unsaved or self.work.is_training(session)

    def _on_unchanged(self, session: ScanSession) -> None:
        if session.record.state(session.segmentation.visible_index) in UNTOUCHED:
            self.say(
                "Nothing changed: it was like that already. Is the slice right? "
                f"{Shortcut.ACCEPT.key}."
            )

    def _on_edited(self, session: ScanSession, indices: list[int]) -> None:
        """Take note of slices that a person has changed, and say what follows from that."""
        session.edited(indices)
        self.unsay()
        labels, record = session.labels.data, session.record
        highest = max(highest_label(labels[record.plane(index)]) for index in indices)
        training = self.work.is_training(session)
        added = session.add_painted(highest)
        dropped = [] if training else session.drop_painted()
        if highest > len(session.structures):
            self.say(
                f"Label {highest} is not learned: {MAX_STRUCTURES} structures are the most. "
                "Repaint it with one of them.",
                failed=True,
            )
        if any((labels[record.plane(index)] == IGNORE_LABEL).any() for index in indices):
            self.say(
                f"Label {IGNORE_LABEL} means “not annotated”: it is neither learned nor saved. "
                "Repaint it with a structure.",
                failed=True,
            )
        if added or dropped:
            session.show_structures()
            self.session_changed.emit()
        if added:
            names = ", ".join(f"“{each.name}”" for each in added)
            joins = " It joins at the next training." if training else ""
            self.say(
                f"Added as a structure, since its label was painted: {names}. Double-click it to "
                f"name it, or undo the stroke to remove it.{joins}"
            )
        if dropped:
            names = ", ".join(f"“{each.name}”" for each in dropped)
            self.say(f"No longer a structure, since nothing shows it: {names}.")
        if len(indices) > 1 and SliceState.PARTIAL in map(record.state, indices):
            self.say(
                f"That stroke crossed {len(indices)} slices: on new ones only what you painted "
                "counts. Accept a slice once it is complete."
            )
        if training:
            self.work.tell_training()
        self.edited.emit()
        self.slices_changed.emit()

    def _on_dims(self, _event: Any = None) -> None:
        if self.session is not None:
            self.session.segmentation.note_focus()
            self.slices_changed.emit()

    def _on_layer_removed(self, event: Any) -> None:
        session = self.session
        self._sessions.end_lost(but=session)
        if session is None:
            self.unsay()
            return
        if event.value == session.labels:
            self.work.stop()
            self.unsay()
            self.session_changed.emit()
        elif event.value in session.images[1:]:
            self.work.stop()
            rest = tuple(image for image in session.images if image != event.value)
            session.use(rest, session.axis)
            self.session_changed.emit()
            self.say(f"“{event.value.name}” is no longer one of the sequences.", failed=True)
        elif event.value in session.images:
            self.work.stop()
            self.screen.attend(None)
            self._sessions.end(session)
            self.session = None
            self.session_changed.emit()
            self.say("The scan was removed; its Segmentation layer is kept.", failed=True)
