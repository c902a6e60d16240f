"""What the command line says while it works: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, TextIO

from napari_unet.errors import AlreadyExistsError, IgnoreLabelNeededError, NapariUnetError
from napari_unet.text import printable

if TYPE_CHECKING:
    from tqdm import tqdm

    from napari_unet.imaging.saving import GeometryReceipt
    from napari_unet.imaging.volume import Volume
    from napari_unet.learning.events import Notice

LINE_EVERY = 10.0
"""Seconds between plain progress lines."""


def print_any_text() -> None:
    """Print escapes for letters that a terminal, or UTF-8, does not know, instead of failing.

    What is told about the work must not cost its result.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def say(text: str) -> None:
    """Print one line of result; nobody may be there to read it any more."""
    _print(text, sys.stdout)


def complain(text: str) -> None:
    """Print one line on standard error; nobody may be there to read it any more."""
    _print(text, sys.stderr)


def _print(text: str, stream: TextIO) -> None:
    try:
        stream.write(printable(text) + "\n")
        stream.flush()
    except OSError:  # the terminal is closed, or the pipe
        _discard(stream)


def _discard(stream: TextIO) -> None:
    """Let go of what is printed from now on, and of what waits: it would fail again at exit."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def fail(message: str, status: int) -> int:
    """Print in one line what is wrong; give the exit status."""
    complain(f"napari-unet: {' '.join(message.split())}")
    return status


def words_of(error: Exception) -> str:
    """Say in the words of the command line what is wrong."""
    if isinstance(error, AlreadyExistsError):
        return f"{error.path} exists already. Choose another name, or replace it: --overwrite."
    if isinstance(error, IgnoreLabelNeededError):
        return f"{error.question} Say which: --ignore-label none, or --ignore-label {error.value}."
    if isinstance(error, NapariUnetError):
        return str(error)
    if isinstance(error, MemoryError):
        return "Not enough memory. Close other programs, or use a smaller scan."
    if isinstance(error, OSError):
        return f"{error.filename or 'File'}: {error.strerror or error}."
    return f"{type(error).__name__}: {error}"


def say_notes(volume: Volume) -> None:
    """Say what about the files of a scan its user should know."""
    for note in volume.notes:
        say(f"Note: {note}")


def say_receipt(receipt: GeometryReceipt) -> None:
    """Say what was saved where, and what reading it back has shown."""
    say(receipt.verified(str(receipt.path)))


def show_notice(notice: Notice, volume: Volume, progress: Progress) -> None:
    """Say what the user should know, unless it was said when the scan was read."""
    if notice.about == "labels":
        say(f"Note: {notice.text}")
    elif notice.text not in volume.notes:
        progress.note(notice.text)


class Progress:
    """How far one piece of work has come.

    On a terminal a bar on standard error; elsewhere a line on standard output
    every `LINE_EVERY` seconds. Use it as a context manager.

    Parameters
    ----------
    title : str
        What is being done.
    """

    def __init__(self, title: str) -> None:
        self._title = printable(title)
        self._bar: tqdm[None] | None = None
        self._last_line = time.monotonic()

    def __enter__(self) -> Progress:
        if sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(
                total=100.0,
                desc=self._title,
                leave=False,
                file=sys.stderr,
                bar_format="{desc} {percentage:3.0f}% |{bar}| {elapsed}{postfix}",
            )
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self, fraction: float, detail: str = "") -> None:
        """Show that `fraction` (0 to 1) is done; `detail` is a few words more."""
        if self._bar is not None:
            self._bar.set_postfix_str(detail, refresh=False)
            self._bar.n = min(100.0, 100.0 * fraction)
            self._bar.update(0)
        elif time.monotonic() - self._last_line >= LINE_EVERY:
            self._last_line = time.monotonic()
            say(f"{self._title}: {fraction:.0%}" + (f", {detail}" if detail else ""))

    def note(self, text: str) -> None:
        """Print a sentence that has to be read, on standard error, above the bar."""
        from tqdm import tqdm

        with contextlib.suppress(OSError):  # the terminal is closed
            tqdm.write(printable(text), file=sys.stderr)


class Ended(KeyboardInterrupt):
    """A signal has ended the work.

    Parameters
    ----------
    number : int
        Number of the signal.
    text : str
        What there is to say about it.
    """

    def __init__(self, number: int, text: str = "Interrupted.") -> None:
        super().__init__(text)
        self.status = 128 + number
        """Exit status, as shells have it."""


class StopRequest:
    """Whether a signal has asked to stop, and which one."""

    def __init__(self) -> None:
        self.number = 0

    @property
    def is_ctrl_c(self) -> bool:
        """Whether a person at the keyboard has asked."""
        return self.number == signal.SIGINT

    def __call__(self) -> bool:
        """Whether to stop."""
        return self.number > 0


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let the other signals that end a process end the work like Ctrl-C: nothing half is left.

    Raises
    ------
    Ended
        When one comes.
    """
    came: list[int] = []

    def end(number: int, _frame: FrameType | None) -> None:
        came.append(number)
        raise Ended(number)

    with _handling(end):
        try:
            yield
        except Exception as error:
            if came:  # a library that was being loaded has made another error of it
                raise Ended(came[0]) from error
            raise


@contextmanager
def stopped_by_signals(first: str, again: str = "") -> Iterator[StopRequest]:
    """Turn Ctrl-C, and the other signals that end a process, into a request to stop.

    Parameters
    ----------
    first : str
        What is said at once, when the first signal comes.
    again : str
        What is said when another one comes; none: that ends the work (`Ended`).

    Yields
    ------
    StopRequest
        To be asked whether to stop.
    """
    request = StopRequest()

    def ask(number: int, _frame: FrameType | None) -> None:
        came_before = request()
        if came_before and not again:
            raise Ended(number)
        request.number = request.number or number  # first: another one may come meanwhile
        _say_at_once(again if came_before else first)

    with _handling(ask):
        yield request


@contextmanager
def _handling(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Handle Ctrl-C, SIGTERM and the closing of the terminal in this block."""
    before = {}
    if threading.current_thread() is threading.main_thread():  # signals reach no other
        for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK"):
            number = getattr(signal, name, None)  # no system has all of them
            if number is None or signal.getsignal(number) == signal.SIG_IGN:
                continue  # as nohup has it, and a script that goes on meanwhile (&)
            before[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, handled in before.items():
            signal.signal(number, signal.SIG_DFL if handled is None else handled)


def _say_at_once(text: str) -> None:
    """Print a line on standard error while something else may just be printing there."""
    start = "\n" if sys.stderr.isatty() else ""  # behind ^C, or the bar
    with contextlib.suppress(OSError):  # the terminal is closed
        os.write(2, f"{start}napari-unet: {text}\n".encode())
