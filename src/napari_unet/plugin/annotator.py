"""What the plugin does: the annotation loop over one viewer, without any widget.

The widget forwards intent to an `Annotator` and renders what its signals say.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Image, Labels
from napari.viewer import Viewer
from qtpy.QtCore import QObject, Qt, Signal

from napari_unet.annotation.states import BACKGROUND_BRUSH
from napari_unet.errors import AnnotationError, NapariUnetError
from napari_unet.learning.config import TrainConfig
from napari_unet.learning.events import RoundDone, SlicePredicted, StepDone
from napari_unet.plugin import work
from napari_unet.plugin.jobs import Job
from napari_unet.plugin.session import ScanSession
from napari_unet.plugin.sessions import Sessions


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
    job_changed : ()
        Work began or ended.
    step : StepDone
        Training has gone a step further.
    segmented : VolumeSegmented
        The whole volume is done.
    message : (str, bool)
        A sentence for the annotator; True if something went wrong.
    """

    session_changed = Signal()
    slices_changed = Signal()
    job_changed = Signal()
    step = Signal(object)
    segmented = Signal(object)
    message = Signal(str, bool)

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self.open = True
        self.viewer = viewer
        self.session: ScanSession | None = None
        self.config = TrainConfig()
        self.job = Job()
        self.activity = ""
        self._working: ScanSession | None = None
        self._sessions = Sessions(viewer)
        self._feed = work.AnnotationFeed()
        self._visible = 0
        self.job.happened.connect(self._on_event)
        self.job.ended.connect(self._on_ended)
        viewer.layers.events.removed.connect(self._on_layer_removed)
        viewer.dims.events.current_step.connect(self._on_dims)

    def close(self) -> None:
        """Stop the work and let go of viewer and layers; what is in the viewer stays.

        Another annotator can take up the Segmentation layers where this one left them.
        """
        self.open = False
        self.job.abandon()
        self.viewer.layers.events.removed.disconnect(self._on_layer_removed)
        self.viewer.dims.events.current_step.disconnect(self._on_dims)
        self._sessions.close()
        self.session = None

    # -- choosing a scan -------------------------------------------------------

    def choose(
        self,
        images: Sequence[Image],
        axis: int | None = None,
        labels: Labels | None = None,
        *,
        fresh: bool = False,
    ) -> None:
        """Annotate a scan; makes its Segmentation layer, or takes up the one it has.

        Parameters
        ----------
        images : sequence of Image
            One layer, or several on one grid as channels.
        axis : int, optional
            Slicing axis; default: as before for this scan, else the thickest.
        labels : Labels, optional
            An existing layer to use.
        fresh : bool
            Make another Segmentation layer even if the scan has one.
        """
        if self.job.running:
            raise AnnotationError("Stop the running work first, then choose another scan.")
        session = self._sessions.take_up(images, axis, labels, fresh=fresh)
        if session is None:
            session = self._sessions.begin(images, axis, labels, fresh=fresh)
            # Queued: a stroke is announced before it has reached the labels.
            session.bridge.edited.connect(
                partial(self._on_edited, session), Qt.ConnectionType.QueuedConnection
            )
            session.bridge.stroking.connect(self._on_stroking)
            session.bridge.failed.connect(partial(self._say, failed=True))
        self.session = session
        self.viewer.layers.selection.active = session.labels
        session.labels.mode = "paint"
        session.bridge.face_axis()
        self._visible = session.bridge.visible_index
        self.session_changed.emit()
        self.slices_changed.emit()

    def _require_session(self) -> ScanSession:
        if self.session is None:
            raise AnnotationError("Choose a scan first: open an MRI volume with File > Open.")
        return self.session

    def restore_labels(self) -> None:
        """Bring a deleted Segmentation layer back, strokes and all."""
        session = self._require_session()
        if session.labels not in self.viewer.layers:
            self.viewer.add_layer(session.labels)
        self.choose(session.images)

    # -- painting --------------------------------------------------------------

    def accept_slice(self) -> None:
        """Take the slice on screen as it is, also an empty one."""
        session = self._require_session()
        session.record.accept(session.bridge.visible_index)
        self._on_edited(session, [session.bridge.visible_index])

    def set_partial(self, partial: bool) -> None:
        """Say whether only the painted voxels of the slice on screen are truth."""
        session = self._require_session()
        session.record.set_partial(session.bridge.visible_index, partial)
        self._on_edited(session, [session.bridge.visible_index])

    def release_slice(self) -> None:
        """Forget what was painted on the slice on screen; the model's opinion returns."""
        session = self._require_session()
        session.record.release(session.bridge.visible_index)
        session.bridge.refresh()
        self._on_edited(session, [session.bridge.visible_index])

    def next_slice(self) -> None:
        """Go to the slice whose correction should help most, and say why."""
        session = self._require_session()
        session.record.sync()
        suggestion = session.suggest()
        if suggestion is None:
            self._say("Every slice is annotated.")
            return
        session.bridge.go_to(suggestion.index)
        self._say(f"Slice {suggestion.index}: {suggestion.reason}.")
        self.slices_changed.emit()

    # -- work ------------------------------------------------------------------

    def train(self) -> None:
        """Start to learn from the annotated slices, in the background."""
        session = self._require_session()
        slices = session.training_slices()
        names = [image.name for image in session.images]
        if session.checkpoint is not None:
            session.checkpoint.check_fits(len(names), session.class_names)
        self._feed.put(slices)
        self._begin(
            "training",
            partial(
                work.training,
                session.subject(),
                self._feed,
                self.config,
                tuple(session.structures),
                names,
                session.checkpoint,
                lambda: (0, self._visible),
            ),
        )
        self._say(f"Training on {len(slices)} slices. Go on painting; new slices join in.")

    def segment(self) -> None:
        """Predict every slice that no person has annotated, in the background."""
        session = self._require_session()
        model = session.require_model()
        model.check_fits(len(session.images), session.class_names)
        session.record.sync()
        self._begin(
            "segmenting",
            partial(
                work.segmentation,
                session.subject(),
                model,
                session.record.mask(),
                session.record.human_voxels(),
                dict(session.clean),
                session.class_names,
                session.bridge.visible_index,
            ),
        )
        self._say("Segmenting the whole volume.")

    def stop(self) -> None:
        """End the running work; training keeps its best weights."""
        self.job.stop()

    def _begin(self, activity: str, run: Any) -> None:
        if self.job.running:
            raise AnnotationError(f"The plugin is {self.activity}. Stop it first.")
        self.activity = activity
        self._working = self.session
        self.job.start(run)
        self.job_changed.emit()

    # -- files -----------------------------------------------------------------

    def save_mask(self, path: Path) -> None:
        """Write the mask on the grid of the scan's file, and check what was written."""
        self._say(self._require_session().save_mask(path))

    def save_model(self, path: Path) -> None:
        """Write the model to one .safetensors file."""
        self._require_session().require_model().save(path)
        self._say(f"Model saved: {path.name}")

    def load_model(self, path: Path) -> None:
        """Use a saved model on this scan; Train then goes on from it."""
        session = self._require_session()
        if self.job.running:
            raise AnnotationError("Stop the running work first, then load a model.")
        session.load_model(path)
        self.session_changed.emit()
        self._say(f"Model {path.name} loaded. Segment the volume, or correct slices and train on.")

    # -- what happens ----------------------------------------------------------

    def _say(self, text: str, failed: bool = False) -> None:
        self.message.emit(text, failed)

    def _on_stroking(self, begins: bool) -> None:
        if begins:
            self.job.stroke_begins()
        else:
            self.job.stroke_ends()

    def _on_edited(self, session: ScanSession, indices: list[int]) -> None:
        planes = [session.labels.data[session.record.plane(index)] for index in indices]
        highest = max(
            int(np.max(plane, where=plane < BACKGROUND_BRUSH, initial=0)) for plane in planes
        )
        if session.ensure_structures(highest):
            session.show_structures()
            self.session_changed.emit()
        if self.activity == "training" and session is self._working:
            try:
                self._feed.put(session.training_slices())
            except AnnotationError as error:  # keep learning from what there was
                self._say(str(error), failed=True)
        self.slices_changed.emit()

    def _on_dims(self, _event: Any = None) -> None:
        if self.session is not None:
            self._visible = self.session.bridge.visible_index
            self.slices_changed.emit()

    def _on_event(self, event: object) -> None:
        session = self._working
        if session is None:
            return
        if isinstance(event, StepDone):
            self.step.emit(event)
        elif isinstance(event, SlicePredicted):
            session.show_prediction(event)
            self.slices_changed.emit()
        elif isinstance(event, work.ScanPrepared):
            session.prepared = event.scan
        elif isinstance(event, RoundDone):
            session.checkpoint = event.checkpoint
            verb = "Stopped" if event.stopped else "Done"
            self._say(
                f"{verb} after {event.seconds:.0f} s. Correct the suggested slice (N) and train "
                "again, or segment the volume."
            )
        elif isinstance(event, work.VolumeSegmented):
            for index in range(session.record.n_slices):
                plane = event.labels[session.record.plane(index)]
                session.bridge.write_prediction(index, plane)
            self.segmented.emit(event)
            self.slices_changed.emit()
            self._say("The whole volume is segmented. Check it, then save the mask.")

    def _on_ended(self, failure: Exception | None) -> None:
        self.activity = ""
        self._working = None
        self.job_changed.emit()
        if failure is None:
            return
        text = str(failure)
        if not isinstance(failure, NapariUnetError):
            text = f"Something unexpected stopped the work ({type(failure).__name__}: {failure}). "
            text += "Your annotation is intact; press Train to try again."
        self._say(text, failed=True)

    def _on_layer_removed(self, event: Any) -> None:
        session = self.session
        if session is None:
            return
        if event.value is session.labels:
            self.job.stop()
            self.session_changed.emit()
            self._say("The Segmentation layer was deleted; your strokes are kept.", failed=True)
        elif event.value in session.images:
            self.job.stop()
            self._sessions.end(session)
            self.session = None
            self.session_changed.emit()
            self._say("The scan was removed; its Segmentation layer is kept.", failed=True)
