"""What is to be seen inside the model of the open annotator, and what is seen.

A request goes one way: the panel changes it, a task in the annotator's background (see
`WorkController.background`, which gives way to training and all other work) makes pictures of
it, and `PictureLayers` lays them over the scan.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari.viewer import Viewer
from qtpy.QtCore import QObject, QTimer, Signal

from napari_unet.errors import NapariUnetError
from napari_unet.learning.inspection.levels import Level, levels
from napari_unet.plugin.app import messages
from napari_unet.plugin.app.annotator import Annotator
from napari_unet.plugin.app.session import ScanSession
from napari_unet.plugin.app.tasks import ScanPrepared
from napari_unet.plugin.inspection.picture_layers import PictureLayers
from napari_unet.plugin.inspection.tasks import (
    KINDS,
    OF_THE_SLICE,
    ExplanationRequest,
    Inspection,
    InspectionDone,
    InspectionRequest,
    LevelsKnown,
    Outline,
    Picture,
    Remark,
)
from napari_unet.plugin.layers.metadata import LayerInfo

if TYPE_CHECKING:
    from napari_unet.learning.inspection.explanation import Method
    from napari_unet.learning.inspection.probe import NetworkProbe
    from napari_unet.learning.network.checkpoint import Checkpoint

LEVELS = "levels"
"""What is due where the levels of a network are not known yet; no kind of picture."""

SETTINGS = {"seed": "variation", "channel_grid": "level", "rank": "level"}
"""Kinds of pictures that further fields of an `InspectionRequest` are about."""

PAUSE_MS = 150
"""A slice is inspected once it has been on screen this long."""

NO_ANNOTATOR = "Open the U-Net annotator (menu Plugins) on a scan: its model is looked into."
NO_MODEL = "Train a model first, or load one."


def find_annotator(viewer: Viewer) -> Annotator | None:
    """Find the annotator that is open in a viewer, by the Segmentation layer it has."""
    for layer in viewer.layers:
        known = LayerInfo.of(layer).annotation
        if known is not None and isinstance(known.owner, Annotator) and known.owner.open:
            return known.owner
    return None


class InspectionController(QObject):
    """Has the model of the open annotator inspected, and the pictures shown.

    Kinds of pictures are *due* from when they are asked for until an inspection of them is done:
    also while other work comes first. Where another request comes meanwhile, that inspection
    ends, nothing it still says counts, and the next one makes all that is due.

    Signals
    -------
    changed : ()
        The request, or what can be requested.
    message : (str, bool)
        A sentence for the user; True if something went wrong.
    """

    changed = Signal()
    message = Signal(str, bool)

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self.open = True
        self.annotator: Annotator | None = None
        self.levels: tuple[Level, ...] = ()
        self.request = InspectionRequest()
        self.follow = False
        self.method: Method = "gradient"
        self.layers = PictureLayers(viewer)
        self.layers.removed.connect(self._on_layer_removed)
        self._viewer = viewer
        self._session: ScanSession | None = None  # of the annotator, with its layers in the viewer
        self._axis: int | None = None
        self._model: Checkpoint | None = None
        self._kept: list[NetworkProbe] = []
        self._due: set[str] = set()  # kinds of pictures, or `LEVELS`
        self._inspection: Inspection | None = None  # under way, if it still counts
        self._pause = _timer(PAUSE_MS, self._begin)
        # Layers come one by one; the annotator has taken them up once they all are there.
        self._find_soon = _timer(0, self.find)
        self._viewer_events = (
            (viewer.dims.events.current_step, self._on_slice),
            (viewer.layers.events.inserted, self._on_layers),
            (viewer.layers.events.removed, self._on_layers),
        )
        for event, callback in self._viewer_events:
            event.connect(callback)

    @property
    def busy(self) -> bool:
        """Whether something is still to come."""
        running = self.annotator is not None and self.annotator.work.background.running
        return running or bool(self._due) or self._pause.isActive() or not self.layers.complete

    def close(self) -> None:
        """Remove everything and let go of viewer and annotator; safe to call twice."""
        if not self.open:
            return
        self.open = False
        with contextlib.suppress(RuntimeError):  # at exit Qt may have gone first
            self._leave()
            self._pause.stop()
            self._find_soon.stop()
        self.layers.close()
        for event, callback in self._viewer_events:
            event.disconnect(callback)

    # -- whose model -----------------------------------------------------------

    def find(self) -> None:
        """Join the annotator that is open, if there is another one than before."""
        found = find_annotator(self._viewer)
        if found is not self.annotator:
            self._leave()
            self.annotator = found
            for signal, slot in self._annotator_signals():
                signal.connect(slot)
        self._check_model()

    def _annotator_signals(self) -> tuple[tuple[Any, Any], ...]:
        if self.annotator is None:
            return ()
        work = self.annotator.work
        return (
            (self.annotator.closing, self._leave),
            (self.annotator.session_changed, self._check_model),
            (work.changed, self._go_on),
            (work.background.happened, self._on_event),
            (work.background.ended, self._on_ended),
        )

    def _leave(self) -> None:
        """Let go of the annotator; nothing of its scan stays on screen."""
        self.reset()
        for signal, slot in self._annotator_signals():
            signal.disconnect(slot)
        self.annotator = None
        self._check_model()

    def _check_model(self) -> None:
        """Notice another scan, plane or model: what was shown goes."""
        session = None if self.annotator is None else self.annotator.session
        if session is not None and not session.present:
            session = None
        axis = None if session is None else session.axis
        model = None if session is None else session.models.present
        other_scan, other_model = session is not self._session, model is not self._model
        changed = other_scan or other_model or axis != self._axis
        self._session, self._axis, self._model = session, axis, model
        if other_scan or other_model:
            self.levels = ()
        if other_scan or model is None:
            self.request = InspectionRequest()
        elif self.request.level not in (each.name for each in levels(model.card.model, (1, 1))):
            self.request = replace(self.request, level="")  # of a deeper network
        if changed:
            self._clear()
        if session is None:
            self.message.emit(NO_ANNOTATOR, False)
        elif model is None:
            self.message.emit(NO_MODEL, False)
        self.changed.emit()

    # -- what to see -----------------------------------------------------------

    def see(self, **changes: Any) -> None:
        """Change the request (see `InspectionRequest`); pictures come, or go, soon."""
        self.request = replace(self.request, **changes)
        unwanted = set(KINDS) - self.request.wanted
        self.layers.remove(*unwanted)
        changed = {SETTINGS.get(field, field) for field in changes} - unwanted
        if changed or self._due & unwanted:
            self._due -= unwanted
            self._make(changed)
        self.changed.emit()

    def follow_slice(self, follow: bool) -> None:
        """Show the same of every slice that comes on screen, or not."""
        self.follow = follow
        self._on_slice()

    def explain_by(self, method: Method) -> None:
        """Explain decisions by another method from now on, and the present one at once."""
        self.method = method
        if (asked := self.request.explanation) is not None:
            self.see(explanation=replace(asked, method=method))

    def ask_why(self, position: tuple[float, ...]) -> None:
        """Explain the voxel at a place in world coordinates."""
        session = self._session
        if session is None:
            return
        image = session.images[0]
        voxel = [round(float(each)) for each in image.world_to_data(position[-3:])]
        if not all(0 <= each < side for each, side in zip(voxel, image.data.shape, strict=True)):
            self.message.emit("Click inside the scan.", False)
            return
        index = voxel.pop(session.axis)
        self.see(explanation=ExplanationRequest(index, (voxel[0], voxel[1]), self.method))
        self._begin()

    def reset(self) -> None:
        """Remove everything, and stop what is under way."""
        self.request = InspectionRequest()
        self._clear()
        self.changed.emit()

    def _clear(self) -> None:
        """Remove what is shown, an explanation for good; all else that is requested comes anew."""
        self._kept = []
        self._due = set()
        self.request = replace(self.request, explanation=None)
        self.layers.clear()
        known = self._model is None or bool(self.levels)
        self._make(self.request.wanted | (set() if known else {LEVELS}))

    def _make(self, kinds: set[str]) -> None:
        """Let kinds of pictures be due; an inspection under way, and its pictures, do not count."""
        self.layers.drop_waiting(*kinds)
        self._due |= kinds
        self._inspection = None
        if self.annotator is not None:
            self.annotator.work.background.stop()
        self._pause.start()

    # -- work ------------------------------------------------------------------

    def _begin(self) -> None:
        """Start an inspection of what is due, or leave that to `_go_on`."""
        annotator, session, model = self.annotator, self._session, self._model
        if annotator is None or session is None or model is None or not self._due:
            return
        work = annotator.work
        if work.background.running:
            return
        if (activity := work.activity) is not None:
            if self._due != {LEVELS}:
                self.message.emit(
                    f"The plugin is {activity.value}: pictures come when that is over, or stop it.",
                    False,
                )
            return
        try:
            inspection = Inspection(
                scan_source=session.scan_source(),
                checkpoint=model,
                class_names=session.class_names,
                kept=self._kept,
                request=self.request,
                kinds=frozenset(self._due - {LEVELS}),
                index=session.segmentation.visible_index,
            )
            work.run_in_background(inspection.run)
        except NapariUnetError as error:
            self._due = set()
            self.message.emit(str(error), True)
            return
        self._inspection = inspection
        if "explanation" in inspection.kinds:
            self.message.emit("Finding out why.", False)

    def _on_event(self, event: object) -> None:
        annotator, session = self.annotator, self._session
        if annotator is None or session is None:
            return
        if isinstance(event, ScanPrepared):
            session.keep_prepared(event)
            if event.scan.notes:
                annotator.say(" ".join(event.scan.notes))
        elif self._inspection is None:
            return
        elif isinstance(event, LevelsKnown):
            self.levels = event.levels
            self._due.discard(LEVELS)
            self.changed.emit()
        elif isinstance(event, Picture | Outline):
            if event.kind in self.request.wanted:
                self.layers.show(event, session)
        elif isinstance(event, Remark):
            self.message.emit(event.text, False)
        elif isinstance(event, InspectionDone):
            self._due -= self._inspection.kinds

    def _on_ended(self, failure: Exception | None) -> None:
        inspection, self._inspection = self._inspection, None
        if inspection is not None and failure is not None:
            self._due = set()
            self.message.emit(messages.failed(failure), True)
        self._go_on()

    def _go_on(self) -> None:
        """Go on with what is due, soon, if no other work is under way."""
        self._check_model()
        if self.annotator is not None and not self.annotator.work.running:
            self._pause.start()

    def _on_slice(self, _event: Any = None) -> None:
        if self.follow and (kinds := self.request.wanted.intersection(OF_THE_SLICE)):
            self._make(kinds)

    def _on_layers(self, _event: Any = None) -> None:
        self._find_soon.start()

    def _on_layer_removed(self, kind: str) -> None:
        """Take back the request for pictures that the user has deleted."""
        if kind not in self.layers.kinds:
            nothing = getattr(InspectionRequest(), kind)
            self.request = replace(self.request, **{kind: nothing})
            self._due.discard(kind)
            self.changed.emit()


def _timer(milliseconds: int, callback: Any) -> QTimer:
    timer = QTimer()
    timer.setSingleShot(True)
    timer.setInterval(milliseconds)
    timer.timeout.connect(callback)
    return timer
