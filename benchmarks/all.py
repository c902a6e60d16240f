"""All commands one after the other.

    python -m benchmarks.all --quick [--data DIR] [--out FOLDER]

Quick, they take under five minutes on two cores and show that everything runs; without
``--quick`` hours, and they give the figures that are published. (The window has a command
of its own, as it needs a screen: ``benchmarks.window``.)
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from collections.abc import Sequence

COMMANDS = (
    "few_slices",
    "loop",
    "next_scan",
    "first_answer",
    "speed",
    "honesty",
    "restart",
    "masked_loss",
    "shapes",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run them; everything that is not `--only` is passed on."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=COMMANDS, default=list(COMMANDS))
    given, passed_on = parser.parse_known_args(argv)
    begun = time.perf_counter()
    for name in given.only:
        started = time.perf_counter()
        importlib.import_module(f"benchmarks.{name}").main(passed_on)
        print(f"({name}: {time.perf_counter() - started:.0f} s)\n", flush=True)
    print(f"all: {time.perf_counter() - begun:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
