"""Long work off the GUI thread: one generator of events, run in napari's thread pool.

A generator `thread_worker` is not used on purpose: superqt's swallows
RuntimeError (most torch failures are one) without any signal, and its `quit`
never runs the generator's `finally`. `JobWorker` does both right.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Generator
from typing import Any

from napari.qt.threading import FunctionWorker, WorkerBaseSignals, create_worker
from qtpy.QtCore import QObject, QTimer, Signal

RESUME_SECONDS = 0.25
"""How long after the last stroke the work goes on."""

CLOSING_SECONDS = 2.0
"""How long a closing window waits for the work to end."""


class _JobSignals(WorkerBaseSignals):
    happened = Signal(object)


Work = Callable[[Callable[[], bool]], Generator[Any, None, None]]
"""Given `should_stop`, returns a generator of events."""


class JobWorker(FunctionWorker):
    """Run a generator; emit each of its events; close it whatever happens.

    The work is paused by not asking for the next event, so a generator only has
    to yield often.

    Once it is over a worker holds neither the work nor what that has said: napari's window
    keeps every worker, and the function it was made of, for as long as it is open.

    Parameters
    ----------
    func : callable
        What napari takes the worker for; not called.
    work : Work
        What is done.
    """

    def __init__(self, func: Callable[[], None], work: Work) -> None:
        super().__init__(func)
        self.signals = _JobSignals()
        self._work: Work | None = work
        self._may_run = threading.Event()
        self._may_run.set()
        self._failure: Exception | None = None
        self._last_event: object = None
        self._forgets = False
        self.over = threading.Event()

    def pause(self, paused: bool) -> None:
        """Hold the work before its next event, or let it go on."""
        if paused:
            self._may_run.clear()
        else:
            self._may_run.set()

    def quit(self) -> None:
        """Ask the work to end; a paused one too."""
        super().quit()
        self._may_run.set()

    def take_result(self) -> tuple[object, Exception | None]:
        """Give the last event and the exception that ended the work, if any, and forget both."""
        result, self._forgets = (self._last_event, self._failure), True
        self._last_event = self._failure = None
        return result

    def work(self) -> None:
        """Iterate the generator; called in the thread."""
        work, self._work = self._work, None
        assert work is not None, "a worker works once"
        try:
            with contextlib.closing(work(lambda: self.abort_requested)) as events:
                for event in events:
                    if not self._forgets:
                        self._last_event = event
                    self.signals.happened.emit(event)
                    self._may_run.wait()
        except Exception as error:
            # superqt drops a RuntimeError; every failure leaves through `take_result`.
            if not self._forgets:
                self._failure = error
        finally:
            self.over.set()


def segmentation_work() -> None:
    """Name the work of the plugin in napari, which asks before it closes on what is running."""


class Job(QObject):
    """One piece of work at a time, seen from the GUI thread.

    Signals
    -------
    happened : object
        An event of the generator.
    ended : object
        The work is over; carries the exception that ended it, or None.
    """

    happened = Signal(object)
    ended = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self._worker: JobWorker | None = None
        self._resume_timer = QTimer(self)
        self._resume_timer.setSingleShot(True)
        self._resume_timer.setInterval(int(RESUME_SECONDS * 1000))
        self._resume_timer.timeout.connect(self._resume)
        self._stroking = False

    @property
    def running(self) -> bool:
        """Whether work is under way."""
        return self._worker is not None

    def start(self, work: Work) -> None:
        """Run `work(should_stop)` in a thread; refused while other work runs.

        Raises
        ------
        RuntimeError
            If work is already under way.
        """
        if self.running:
            raise RuntimeError("One job at a time: stop the running one first.")
        worker: JobWorker = create_worker(  # type: ignore[assignment]
            segmentation_work,
            work,
            _worker_class=JobWorker,
            _start_thread=False,
            _ignore_errors=True,
        )
        worker.signals.happened.connect(self._on_event)
        worker.finished.connect(self._on_finished)
        self._worker = worker
        worker.start()

    def stop(self) -> None:
        """Ask the work to end; `ended` follows within a step."""
        if self._worker is not None:
            self._worker.quit()

    def on_stroking(self, begins: bool) -> None:
        """Hold the work while a person is drawing; it goes on shortly after the last stroke."""
        self._stroking = begins
        if not begins:
            self._resume_timer.start()
            return
        self._resume_timer.stop()
        if self._worker is not None:
            self._worker.pause(True)

    def _resume(self) -> None:
        if self._worker is not None and not self._stroking:
            self._worker.pause(False)

    def abandon(self) -> object:
        """Stop the work and wait for its end (a step, as a rule): its owner goes away.

        Returns
        -------
        object
            The last event, which nobody will be told of; None if no work was under way.
        """
        worker, self._worker = self._worker, None
        with contextlib.suppress(RuntimeError):  # at exit Qt may have gone first
            self._resume_timer.stop()
        if worker is None:
            return None
        with contextlib.suppress(RuntimeError, TypeError):
            worker.signals.happened.disconnect(self._on_event)
            worker.finished.disconnect(self._on_finished)
        worker.quit()
        worker.over.wait(CLOSING_SECONDS)
        return worker.take_result()[0]

    def _on_event(self, event: object) -> None:
        self.happened.emit(event)

    def _on_finished(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            self.ended.emit(worker.take_result()[1])
