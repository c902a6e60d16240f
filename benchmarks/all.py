"""All commands one after the other.

    python -m benchmarks.all --quick [--data DIR] [--out FOLDER]

Quick, they take under five minutes on two cores and show that everything runs; without
``--quick`` hours, and they give the figures that are published. Left out are those that
need data of their own, a screen, or no options: `paper.isbi`, `lesions.time_points`,
`speed.window` and `speed.memory`.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from collections.abc import Sequence

COMMANDS = (
    "learning.few_slices",
    "learning.loop",
    "learning.next_scan",
    "speed.first_prediction",
    "speed.inference",
    "learning.honesty",
    "learning.restart",
    "learning.masked_loss",
    "learning.shapes",
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
