"""Work on a scan: training, segmenting, filling; in the background, one at a time.

Read-only work in the background makes way for them: they begin when it has ended.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from functools import partial
from typing import Any

from qtpy.QtCore import QObject, QTimer, Signal

from napari_unet.annotation.states import LabelledSlice
from napari_unet.errors import AnnotationError
from napari_unet.learning.config import TrainConfig
from napari_unet.learning.events import Notice, RoundDone, SlicePredicted, StepDone, UnlikeTraining
from napari_unet.plugin.app import messages, tasks
from napari_unet.plugin.app.session import ScanSession
from napari_unet.plugin.app.tasks import Activity
from napari_unet.plugin.app.worker import Job

FEED_MS = 200
"""How long after an edit the running training is told."""


class WorkController(QObject):
    """Run the work on a session and put what it says into the session.

    Attributes
    ----------
    background : Job
        Read-only work, such as inspecting the model: runs only while nothing else does.

    Signals
    -------
    changed : ()
        Work other than that in the background began or ended.
    step : StepDone
        Training has gone a step further.
    predicted : ()
        Slices show something new that no person has painted.
    segmented : ()
        The whole volume is done.
    message : (str, bool)
        A sentence for the annotator; True if something went wrong.
    """

    changed = Signal()
    step = Signal(object)
    predicted = Signal()
    segmented = Signal()
    message = Signal(str, bool)

    def __init__(self) -> None:
        super().__init__()
        self.activity: Activity | None = None
        self.stopping = False
        self._session: ScanSession | None = None
        self._n_structures = 0
        self._outcome = ""
        self._doubts: list[str] = []
        self._job = Job()
        self._job.happened.connect(self._on_event)
        self._job.ended.connect(self._on_ended)
        self._waiting: Any = None  # work that begins when the background is free
        self.background = Job()
        self.background.ended.connect(self._start_waiting)
        self._feed = tasks.AnnotationFeed()
        # A stroke tells of itself several times; the worker needs it once.
        self._feed_timer = QTimer()
        self._feed_timer.setSingleShot(True)
        self._feed_timer.setInterval(FEED_MS)
        self._feed_timer.timeout.connect(self._feed_training)

    @property
    def running(self) -> bool:
        """Whether work other than that in the background is under way, or about to begin."""
        return self._job.running or self._waiting is not None

    def is_training(self, session: ScanSession) -> bool:
        """Whether a session is being trained on."""
        return self.activity is Activity.TRAINING and session is self._session

    def train(self, session: ScanSession, config: TrainConfig) -> None:
        """Start to learn from the annotated slices of a session.

        Raises
        ------
        NapariUnetError
            If there is nothing to learn from, or the scan cannot be used.
        """
        self._refuse_second()
        session.edited(session.record.sync())
        slices = session.progress.training_slices(len(session.structures))
        model = session.models.to_train(session.structures)
        self._n_structures = len(session.structures)
        self._feed.put(slices)
        session.progress.learned(s.index for s in slices)
        task = tasks.TrainingTask(
            session.scan_source(),
            self._feed,
            config,
            structures=tuple(session.structures),
            init=model,
            focus=session.segmentation.focus,
        )
        session.step = None
        self._begin(Activity.TRAINING, session, task.run)

    def segment(self, session: ScanSession) -> None:
        """Start to predict every slice of a session that no person has annotated.

        Raises
        ------
        NapariUnetError
            If there is no model that knows all structures, or the scan cannot be used.
        """
        self._refuse_second()
        model = session.models.to_segment(session.structures)
        session.edited(session.record.sync())
        annotated: list[LabelledSlice] = []
        with contextlib.suppress(AnnotationError):  # a new scan, with a model of another
            annotated = session.progress.training_slices(len(session.structures))
        task = tasks.SegmentationTask(
            session.scan_source(),
            model,
            annotated,
            mask=session.record.mask(),
            human=session.record.human_voxels(),
            clean=dict(session.clean),
            class_names=session.class_names,
            start=session.segmentation.visible_index,
        )
        self._begin(Activity.SEGMENTING, session, task.run)

    def fill(self, session: ScanSession) -> None:
        """Start to interpolate between the annotated slices of a session.

        Raises
        ------
        NapariUnetError
            If there is nothing to interpolate.
        """
        self._refuse_second()
        session.edited(session.record.sync())
        slices = session.filling.interpolate(session.grid.spacing_mm)
        self._begin(Activity.FILLING, session, partial(tasks.fill, slices))

    def run_in_background(
        self, run: Callable[[Callable[[], bool]], Generator[Any, None, None]]
    ) -> None:
        """Start read-only work that ends as soon as any other begins; see `background`.

        Parameters
        ----------
        run : callable
            Given `should_stop`, returns a generator of events.

        Raises
        ------
        NapariUnetError
            If other work is under way.
        RuntimeError
            If the background is busy.
        """
        self._refuse_second()
        self.background.start(run)

    def tell_training(self) -> None:
        """Let the running training have the latest annotation, soon."""
        self._feed_timer.start()

    def stop(self) -> None:
        """End the running work, and that in the background; training keeps its best weights."""
        self.background.stop()
        if self._waiting is not None:
            self._waiting = None
            self._on_ended(None)
        elif self.running:
            self.stopping = True
            self._job.stop()
            self.changed.emit()

    def close(self) -> None:
        """Stop the work; a round of training that was under way is kept."""
        with contextlib.suppress(RuntimeError):  # at exit Qt may have gone first
            self._feed_timer.stop()
        self._waiting = None
        self.background.abandon()
        last = self._job.abandon()
        if isinstance(last, RoundDone) and self._session is not None:
            self._session.models.put_round(last)
        self._session = self.activity = None

    def on_stroking(self, begins: bool) -> None:
        """Hold the work while a stroke is drawn."""
        self._job.on_stroking(begins)
        self.background.on_stroking(begins)

    def require_idle(self, wanted: str) -> None:
        """Make sure that no work is under way where that would be in the way.

        Raises
        ------
        AnnotationError
            If there is, saying what was `wanted`. Work in the background just ends.
        """
        if self.running:
            raise AnnotationError(f"Stop the running work first, then {wanted}.")
        self.background.stop()

    def _refuse_second(self) -> None:
        if self.activity is not None:
            raise AnnotationError(f"The plugin is {self.activity.value}. Stop it first.")

    def _begin(self, activity: Activity, session: ScanSession, run: Any) -> None:
        self.activity = activity
        self.stopping = False
        self._session = session
        self._outcome = messages.STOPPED
        self._doubts = []
        if self.background.running:
            self._waiting = run
            self.background.stop()
        else:
            self._job.start(run)
        self.changed.emit()

    def _say(self, text: str, failed: bool = False) -> None:
        self.message.emit(text, failed)

    def _feed_training(self) -> None:
        if self._session is None or self.activity is not Activity.TRAINING:
            return
        # Without any structure left, training keeps what it has.
        with contextlib.suppress(AnnotationError):
            slices = self._session.progress.training_slices(self._n_structures)
            self._session.progress.learned(s.index for s in slices)
            self._feed.put(slices)

    def _on_event(self, event: object) -> None:
        session = self._session
        if session is None:
            return
        if isinstance(event, StepDone):
            session.step = event
            self.step.emit(event)
        elif isinstance(event, SlicePredicted):
            session.show_prediction(event)
            self.predicted.emit()
        elif isinstance(event, Notice):
            self._say(event.text)
            if isinstance(event, UnlikeTraining):
                self._doubts.append(event.text)
        elif isinstance(event, tasks.ScanPrepared):
            session.keep_prepared(event)
            if event.scan.notes:
                self._say(" ".join(event.scan.notes))
        elif isinstance(event, RoundDone):
            session.models.put_round(event)
            self._outcome = messages.round_ended(event)
        elif isinstance(event, tasks.VolumeSegmented):
            session.show_volume(event)
            self.segmented.emit()
            self._outcome = messages.SEGMENTED
        elif isinstance(event, tasks.SlicesFilled):
            self._outcome = messages.filling_ended(session.show_filling(event.labels))
            self.predicted.emit()

    def _on_ended(self, failure: Exception | None) -> None:
        session, self._session = self._session, None
        self.activity = None
        self.stopping = False
        if session is not None:
            session.progress.forget_passed()
        self.changed.emit()
        if failure is not None:
            self._say(messages.failed(failure), failed=True)
        elif session is not None and session.present:
            self._say(" ".join([self._outcome, *self._doubts]))  # the result is what they are about

    def _start_waiting(self, _failure: Exception | None) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            self._job.start(waiting)
