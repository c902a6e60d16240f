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
from typing import TextIO

from tqdm import tqdm

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
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except OSError:  # the terminal is closed, or the pipe
        _discard(sys.stdout)


def _discard(stream: TextIO) -> None:
    """Let go of what is printed from now on, and of what waits: it would fail again at exit."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


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
        self._title = title
        self._bar: tqdm[None] | None = None
        self._last_line = time.monotonic()

    def __enter__(self) -> Progress:
        if sys.stderr.isatty():
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
        with contextlib.suppress(OSError):  # the terminal is closed
            tqdm.write(text, file=sys.stderr)


@contextmanager
def stop_on_interrupt() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C into a request to stop; the second one interrupts.

    Yields
    ------
    callable
        Whether stopping was requested.
    """
    requested = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        # Signals reach the main thread only.
        yield requested.is_set
        return

    def request(_signal: int, _frame: FrameType | None) -> None:
        requested.set()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, request)
    try:
        yield requested.is_set
    finally:
        signal.signal(signal.SIGINT, before)
