"""A look inside the model of the open annotator: what is requested for, asked for and shown.

The panel forwards intent to an `Inside` and renders what its signals say. All work is done by the
annotator's `WorkController`: it never runs beside training, and makes way for it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from napari.viewer import Viewer
from qtpy.QtCore import QObject, QTimer, Signal

from napari_unet.errors import AnnotationError, NapariUnetError
from napari_unet.learning.inspection.levels import Level
from napari_unet.plugin.app import messages
from napari_unet.plugin.app.annotator import Annotator
from napari_unet.plugin.app.session import ScanSession
from napari_unet.plugin.app.tasks import ScanPrepared
from napari_unet.plugin.inspector.picture_layers import InsideLayers
from napari_unet.plugin.inspector.tasks import (
    InspectionDone,
    InspectionRequest,
    Inspector,
    LevelsKnown,
    Method,
    Picture,
)
from napari_unet.plugin.layers.metadata import LayerInfo

if TYPE_CHECKING:
    from napari_unet.learning.inspection.explanation import Explanation

PAUSE_MS = 150
"""A slice is looked at once it has been on screen this long."""

NO_ANNOTATOR = "Open the U-Net annotator (menu Plugins) on a scan: its model is looked into."
NO_MODEL = "Train a model first, or load one."
READY = "Click a level of the U, or choose what to see of the slice on screen."


def find_annotator(viewer: Viewer) -> Annotator | None:
    """Find the annotator that is open in a viewer, by the Segmentation layer it has."""
    for layer in viewer.layers:
        known = LayerInfo.of(layer).annotation
        if known is not None and isinstance(known.owner, Annotator) and known.owner.open:
            return known.owner
    return None


class Inside(QObject):
    """What is to be seen inside the model, and what is seen.

    Signals
    -------
    changed : ()
        What is requested for, what can be, or whether work is under way.
    message : (str, bool)
        A sentence for the user; True if something went wrong.
    """

    changed = Signal()
    message = Signal(str, bool)

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self.open = True
        self.viewer = viewer
        self.annotator: Annotator | None = None
        self.levels: tuple[Level, ...] = ()
        self.request = InspectionRequest()
        self.follow = False
        self.method: Method = "gradient"
        self.layers = InsideLayers(viewer)
        self.layers.removed.connect(self._on_layer_removed)
        self._session: ScanSession | None = None  # whose scan the layers lie over
        self._axis: int | None = None  # of its slices
        self._model: object = None  # which the network kept, and the levels, belong to
        self._kept: list[Any] = []
        self._pixel = (0, 0)
        self._asked: tuple[int, tuple[int, int]] | None = None
        self._explaining = False
        self._found: Explanation | None = None  # so far
        self._stale = False  # what is shown is not what is requested for
        self._unfinished = False  # the look under way has not shown everything yet
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(PAUSE_MS)
        self._timer.timeout.connect(self._begin)
        viewer.dims.events.current_step.connect(self._on_slice)

    @property
    def busy(self) -> bool:
        """Whether a look is under way."""
        return self.annotator is not None and self.annotator.work.background.running

    @property
    def _wanted(self) -> dict[str, bool]:
        """Whether pictures of each kind are requested for."""
        return {
            "given": self.request.given,
            "probability": self.request.probabilities,
            "uncertainty": self.request.uncertainty,
            "features": bool(self.request.level),
            "varied": bool(self.request.variation),
        }

    @property
    def _interrupted(self) -> bool:
        """Whether an explanation that ended was not to go on."""
        rounds = None if self.annotator is None else self.annotator.work
        asked_again = self._asked is not None or not self._explaining
        return rounds is None or rounds.running or asked_again

    # -- whose model -----------------------------------------------------------

    def find(self) -> None:
        """Join the annotator that is open, if there is another one than before."""
        found = find_annotator(self.viewer)
        if found is self.annotator:
            self._check_model()
            return
        self._leave()
        self.annotator = found
        if found is not None:
            found.closing.connect(self._leave)
            found.session_changed.connect(self._check_model)
            found.work.changed.connect(self._on_work)
            found.work.background.happened.connect(self._on_seen)
            found.work.background.ended.connect(self._on_looked)
        self._check_model()

    def _leave(self) -> None:
        """Let go of the annotator; nothing of its scan stays on screen."""
        self.reset()
        annotator, self.annotator = self.annotator, None
        if annotator is None:
            return
        annotator.closing.disconnect(self._leave)
        annotator.session_changed.disconnect(self._check_model)
        annotator.work.changed.disconnect(self._on_work)
        annotator.work.background.happened.disconnect(self._on_seen)
        annotator.work.background.ended.disconnect(self._on_looked)
        self._check_model()

    def _check_model(self) -> None:
        """Notice another scan, or another model."""
        session = None if self.annotator is None else self.annotator.session
        gone = self._session is not None and not self._session.present
        if session is not self._session or gone:
            self.reset()
            self._session = session if session is not None and session.present else None
            self._model = None
            self.levels = ()
        axis = None if self._session is None else self._session.axis
        if axis != self._axis:
            self._axis = axis
            self._look_again()
        model = None if self._session is None else self._session.models.present
        if model is not self._model:
            self._model = model
            self.levels = ()
            self._look_again()
            if model is None:
                self.reset()
            else:  # its levels, and whatever is on screen
                self._stale = True
        if self.annotator is None or self._session is None:
            self.message.emit(NO_ANNOTATOR, False)
        elif model is None:
            self.message.emit(NO_MODEL, False)
        self.changed.emit()

    def _look_again(self) -> None:
        """Remove what another model said, or of other slices; what is requested for comes anew."""
        self._kept = []
        self.forget_why()
        self._stop()
        self.layers.clear()
        self._stale = not self.request.empty
        self._timer.start()

    # -- what to see -----------------------------------------------------------

    def see(self, **requests: Any) -> None:
        """Change the request (see `InspectionRequest`); pictures come, or go, soon."""
        self.request = replace(self.request, **requests)
        self.layers.remove(*(key for key, wanted in self._wanted.items() if not wanted))
        self.layers.drop_waiting(*self._wanted)  # they answer the request before
        self._stale = not self.request.empty
        self._timer.start()
        self.changed.emit()

    def follow_slice(self, follow: bool) -> None:
        """Show the same of every slice that comes on screen, or not."""
        self.follow = follow
        if follow:
            self._on_slice()

    def ask_why(self, position: tuple[float, ...]) -> None:
        """Explain the voxel at a place in world coordinates, soon."""
        session = self._session
        if session is None:
            return
        at = session.images[0].world_to_data(position[-3:])
        voxel = [round(float(each)) for each in at]
        shape = session.images[0].data.shape
        if not all(0 <= each < side for each, side in zip(voxel, shape, strict=True)):
            self.message.emit("Click inside the scan.", False)
            return
        index = voxel.pop(session.axis)
        self._asked = (index, (voxel[0], voxel[1]))
        self._begin()

    def forget_why(self) -> None:
        """Remove the explanation, or stop making it."""
        if self._explaining:
            self._stop()
        self._asked = None
        self._explaining = False
        self.layers.remove("explanation", "box")

    def reset(self) -> None:
        """Remove everything, and stop what is under way."""
        self._timer.stop()
        self.request = InspectionRequest()
        self._stale = False
        self._asked = None
        self._explaining = False
        self._found = None
        self._kept = []
        self._unfinished = False
        self._stop()
        self.layers.clear()
        self.changed.emit()

    def _stop(self) -> None:
        """Stop the look under way, if there is one."""
        if self.annotator is not None:
            self.annotator.work.background.stop()

    def close(self) -> None:
        """Remove everything and let go of the viewer and the annotator."""
        self.open = False
        with contextlib.suppress(RuntimeError):  # at exit Qt may have gone first
            self._leave()
            self._timer.stop()
        self.layers.close()
        self.viewer.dims.events.current_step.disconnect(self._on_slice)

    # -- work ------------------------------------------------------------------

    def _begin(self) -> None:
        """Start what has been asked for, or have it wait for its turn."""
        annotator, session = self.annotator, self._session
        if annotator is None or session is None or self._model is None:
            return
        if not (self._stale or self._asked is not None):
            return
        if self.busy:
            self._stop()  # what is asked for now counts
            return
        if annotator.work.running:
            if self._asked is not None or not self.request.empty:
                self.message.emit(
                    f"The plugin is {annotator.work.activity}: pictures come when that is over, "
                    "or stop it.",
                    False,
                )
            return
        try:
            self._start(annotator, session)
        except NapariUnetError as error:
            self._stale, self._asked = False, None
            self.message.emit(str(error), True)

    def _start(self, annotator: Annotator, session: ScanSession) -> None:
        model = session.models.present
        if model is None:
            raise AnnotationError(NO_MODEL)
        inspector = Inspector(
            scan_source=session.scan_source(),
            checkpoint=model,
            class_names=session.class_names,
            kept=self._kept,
        )
        run: partial[Generator[Any, None, None]]
        if self._asked is not None:
            (index, self._pixel), self._asked = self._asked, None
            self._explaining = True
            run = partial(inspector.explain, index, self._pixel, self.method)
            self.message.emit("Finding out why.", False)
        else:
            run = partial(inspector.inspect, session.bridge.visible_index, self.request)
            self._stale, self._explaining = False, False
            self._unfinished = True
        annotator.work.run_in_background(run)

    def _on_slice(self, _event: Any = None) -> None:
        if self.follow and not self.request.empty:
            self._stale = True
            self._timer.start()

    def _on_work(self) -> None:
        self._check_model()
        if self.annotator is not None and not self.annotator.work.running:
            self._timer.start()

    def _on_seen(self, event: object) -> None:
        session = self._session
        if session is None or self.annotator is None:
            return
        if isinstance(event, ScanPrepared):
            session.keep_prepared(event)
            if event.scan.notes:
                self.annotator.say(" ".join(event.scan.notes))
        elif isinstance(event, LevelsKnown):
            self.levels = event.levels
            if self.request.level not in ("", *(level.name for level in event.levels)):
                self.request = replace(self.request, level="")
            self._unfinished = not self.request.empty
            self.message.emit(READY, False)
            self.changed.emit()
        elif isinstance(event, Picture):
            if self._wanted[event.key] and not self._stale:
                self.layers.show(event, session)
        elif isinstance(event, InspectionDone):
            self._unfinished = False
            if event.remark:
                self.message.emit(event.remark, False)
        elif self._explaining and self._asked is None:
            self._show_explanation(event, session)

    def _show_explanation(self, found: Any, session: ScanSession) -> None:
        self._found = found
        self.layers.explain(found, self._pixel, session)
        self._tell(found, session, f"{found.share:.0%} done.")

    def _tell(self, found: Explanation, session: ScanSession, progress: str) -> None:
        names = ("Background", *session.class_names)
        self.message.emit(
            f"{names[found.chosen]}, with probability {found.probability:.2f}. Orange speaks for "
            "it, blue against it; the box is what the model can see from there."
            + (f" {progress}" if found.share < 1 else ""),
            False,
        )

    def _on_looked(self, failure: Exception | None) -> None:
        unfinished, self._unfinished = self._unfinished, False
        found, self._found = self._found, None
        if failure is not None:
            self.message.emit(messages.failed(failure), True)
        elif found is not None and self._session is not None and not self._interrupted:
            missing = "what is farthest away" if found.method == "occlusion" else "some detail"
            self._tell(found, self._session, f"It ended early: {missing} is missing.")
        elif unfinished:  # other work came first
            self._stale = True
        self._on_work()

    def _on_layer_removed(self, key: str) -> None:
        """Take back the request for a layer that the user has deleted."""
        changes: dict[str, Any] = {
            "given": {"given": False},
            "probability": {"probabilities": False},
            "uncertainty": {"uncertainty": False},
            "features": {"level": ""},
            "varied": {"variation": ""},
        }
        if key in self.layers.keys:
            return
        self.request = replace(self.request, **changes.get(key, {}))
        self.changed.emit()
