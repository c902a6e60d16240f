"""Looking into the model of a scan, in the background, one look at a time."""

from __future__ import annotations

from typing import Any

from napari.layers import Image
from qtpy.QtCore import QObject, Signal

from napari_unet.errors import AnnotationError
from napari_unet.plugin.app import messages as endings
from napari_unet.plugin.app import tasks as work
from napari_unet.plugin.app.session import ScanSession
from napari_unet.plugin.app.worker import Job


class Inspections(QObject):
    """Look into the model of a session, and say what is found.

    Signals
    -------
    seen : object
        Something that a look has found.
    noted : str
        Something about the scan that its annotator should know.
    ended : str
        A look is over; what went wrong, if anything.
    """

    seen = Signal(object)
    noted = Signal(str)
    ended = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self._at: tuple[ScanSession, tuple[Image, ...], int] | None = None
        self._job = Job()
        self._job.happened.connect(self._on_event)
        self._job.ended.connect(self._on_ended)

    @property
    def running(self) -> bool:
        """Whether the model is being looked into."""
        return self._job.running

    def start(self, session: ScanSession, run: Any) -> None:
        """Start a look; parameters as of `WorkController.look`."""
        if self.running:
            raise AnnotationError("The model is being looked into already.")
        self._at = session, session.images, session.axis
        self._job.start(run)

    def stop(self) -> None:
        """End the look, if there is one; `ended` follows."""
        self._job.stop()

    def on_stroking(self, begins: bool) -> None:
        """Hold the look while a stroke is drawn."""
        self._job.on_stroking(begins)

    def abandon(self) -> None:
        """End the look; nothing more is said of it."""
        self._job.abandon()
        self._at = None

    def _on_event(self, event: object) -> None:
        if self._at is None:
            return
        session, images, axis = self._at
        if (session.images, session.axis) != (images, axis):
            return  # cut along another plane meanwhile
        if isinstance(event, work.ScanPrepared):
            session.keep_prepared(event)
            if event.scan.notes:
                self.noted.emit(" ".join(event.scan.notes))
        else:
            self.seen.emit(event)

    def _on_ended(self, failure: Exception | None) -> None:
        self._at = None
        self.ended.emit("" if failure is None else endings.failed(failure))
