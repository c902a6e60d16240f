"""The command line ``napari-unet``: finds the command, runs it and gives an exit status."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from napari_unet.cli.console import (
    Ended,
    complain,
    ended_by_signals,
    fail,
    print_any_text,
    words_of,
)
from napari_unet.errors import NapariUnetError, UsageError

COMMANDS = ("demo", "train", "segment", "fill", "convert", "info")
"""Each is the function of this name, in the module of this name."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments; default: those of the process.

    Returns
    -------
    int
        Exit status: 0 done, 1 impossible, 2 wrong usage, 130 interrupted, 128 + n ended by
        signal n. Training that Ctrl-C has ended early is done.
    """
    print_any_text()
    tokens = sys.argv[1:] if argv is None else list(argv)
    try:
        with ended_by_signals():
            run = _parse(tokens)
        # While a window is open no Python may run for long: signals end it as they always do.
        with contextlib.nullcontext() if "demo" in tokens[:1] else ended_by_signals():
            run()
    except (NapariUnetError, OSError, MemoryError) as error:
        return fail(words_of(error), 2 if isinstance(error, UsageError) else 1)
    except Ended as error:
        return fail(str(error), error.status)
    except KeyboardInterrupt:
        return fail("Interrupted.", 130)
    return 0


def _parse(tokens: list[str]) -> Callable[[], object]:
    """Find what the command line asks for; what it cannot mean ends the process with one line."""
    # Imported here, as the commands are, where Ctrl-C is looked after: it takes a moment.
    from cyclopts import App, CycloptsError, Parameter

    from napari_unet import __version__
    from napari_unet.cli.options import DAILY

    app = App(
        name="napari-unet",
        help="Train a U-Net on a few annotated MRI slices and segment the rest.",
        version=f"napari-unet {__version__}",
        version_flags="--version",
        help_format="plaintext",
        group_parameters=DAILY,
        default_parameter=Parameter(negative="", show_default=False, allow_repeating=True),
    )
    for name in COMMANDS if tokens[:1] not in [[each] for each in COMMANDS] else tokens[:1]:
        command = getattr(import_module(f"napari_unet.cli.{name}"), name)
        app.command(command, name=name, sort_key=COMMANDS.index(name))
    try:
        if not tokens:
            raise CycloptsError(f"Name a command: {', '.join(COMMANDS)}.")
        run, bound, _ = app.parse_args(tokens, print_error=False, exit_on_error=False)
    except CycloptsError as error:
        of = f"napari-unet {tokens[0]}" if tokens and tokens[0] in COMMANDS else "napari-unet"
        complain(f"{of}: {' '.join(str(error).split())} (see {of} --help)")
        sys.exit(2)
    return lambda: run(*bound.args, **bound.kwargs)
