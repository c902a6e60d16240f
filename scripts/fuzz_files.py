"""Open thousands of damaged files, and see that each is read or refused in a sentence.

``python -m scripts.fuzz_files --kind models --count 10000`` from the root of the repository;
kinds are those of `scripts.fuzz_cases`. Files are opened in child processes with a limit of
memory and of time: a crash costs one file. What ends in another way than by `NapariUnetError`,
or takes too much memory, is kept in a folder, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType

import numpy as np

from napari_unet.errors import NapariUnetError
from scripts.fuzz_cases import KINDS, Kind, Seeds

MEMORY = 2**31
"""Bytes of address space that a child may take beyond those it starts with."""

MOST_GROWN = 2**18
"""KiB that opening one file may take: the files have some hundred kilobytes."""

SECONDS = 20.0
"""Time for one file."""

CHUNK = 500
"""Files a child process."""


@dataclass(frozen=True)
class Outcome:
    """What came of one file."""

    number: int
    seed: str
    result: str
    seconds: float
    grown: int


class TooSlow(BaseException):
    """A file took longer than it may; no handler of errors may keep it."""


def put(kind: Kind, number: int, seeds: Seeds, folder: Path, seed: int = 7) -> tuple[str, Path]:
    """Write damaged file `number`, always the same, and what belongs to it, into a new folder."""
    rng = np.random.default_rng([seed, number])
    name = sorted(seeds)[number % len(seeds)]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for other in seeds[name][1:]:
        shutil.copy(other, folder)
    path = folder / name
    path.write_bytes(kind.damage(seeds[name][0].read_bytes(), rng))
    return name, path


def open_and_read(kind: Kind, path: Path) -> str:
    """Do with a file all that a user may: ``read``, ``refused`` or what has escaped."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            kind.read(path)
    except NapariUnetError as error:
        return "refused" if str(error).strip() else "refused without a word"
    except (Exception, TooSlow) as error:
        return f"{type(error).__name__}: {error}"
    return "read"


def _slow(_signal: int, _frame: FrameType | None) -> None:
    raise TooSlow(f"more than {SECONDS:g} s")


def _kib(line: str) -> int:
    """Memory of this process; `getrusage` would count that of its parent too."""
    return int(Path("/proc/self/status").read_text().partition(f"{line}:")[2].split()[0])


def work_through(kind: str, numbers: range, seed: int, folder: Path, log: Path) -> None:
    """Open the damaged files of these numbers; runs in a child process."""
    it = KINDS[kind]
    seeds = it.write(folder / f"seeds{numbers.start}")
    open_and_read(it, next(iter(seeds.values()))[0])  # loads what is loaded late
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    signal.signal(signal.SIGALRM, _slow)
    with log.open("a", buffering=1) as lines:
        for number in numbers:
            name, path = put(it, number, seeds, folder / "file", seed)
            lines.write(json.dumps({"begins": number, "seed": name}) + "\n")
            Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
            before, start = _kib("VmRSS"), time.perf_counter()
            signal.setitimer(signal.ITIMER_REAL, SECONDS)
            result = open_and_read(it, path)
            signal.setitimer(signal.ITIMER_REAL, 0)
            grown = _kib("VmHWM") - before
            if grown > MOST_GROWN:
                result = f"{result}, with {grown // 1024} MiB"
            outcome = Outcome(number, name, result, time.perf_counter() - start, grown)
            lines.write(json.dumps(asdict(outcome)) + "\n")


def run(kind: str, numbers: range, seed: int, folder: Path) -> list[Outcome]:
    """Open damaged files in child processes."""
    outcomes: list[Outcome] = []
    context = multiprocessing.get_context("spawn")
    first = numbers.start
    while first < numbers.stop:
        chunk = range(first, min(first + CHUNK, numbers.stop))
        log = folder / f"{first}.jsonl"
        child = context.Process(target=work_through, args=(kind, chunk, seed, folder, log))
        child.start()
        child.join()
        lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        outcomes += [Outcome(**line) for line in lines if "result" in line]
        first = chunk.stop
        if child.exitcode != 0:
            begun = [line for line in lines if "begins" in line]
            if not begun:
                raise RuntimeError("A child process ended before its first file.")
            last = begun[-1]
            result = f"the process ended with status {child.exitcode}"
            outcomes.append(Outcome(last["begins"], last["seed"], result, 0.0, 0))
            first = last["begins"] + 1
        sys.stdout.write(f"{first - numbers.start} of {len(numbers)} files\n")
        sys.stdout.flush()
    return outcomes


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", choices=KINDS, default="scans")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first file")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--keep", type=Path, help="folder for files that escaped")
    arguments = parser.parse_args()
    kind = KINDS[arguments.kind]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        numbers = range(arguments.first, arguments.first + arguments.count)
        outcomes = run(arguments.kind, numbers, arguments.seed, folder)
        escaped = [one for one in outcomes if one.result not in ("read", "refused")]
        if arguments.keep is not None:
            seeds = kind.write(folder / "seeds")
            arguments.keep.mkdir(parents=True, exist_ok=True)
            for one in escaped:
                put(kind, one.number, seeds, arguments.keep / str(one.number), arguments.seed)
    slowest = max(outcomes, key=lambda one: one.seconds)
    largest = max(outcomes, key=lambda one: one.grown)
    counts = Counter(one.result for one in outcomes if one not in escaped)
    sys.stdout.write(
        f"{len(outcomes)} {arguments.kind}: {counts['read']} read, {counts['refused']} refused, "
        f"{len(escaped)} escaped. Slowest: number {slowest.number} ({slowest.seed}), "
        f"{slowest.seconds:.2f} s. Most memory: number {largest.number} ({largest.seed}), "
        f"{largest.grown / 1024:.0f} MiB.\n"
    )
    for one in escaped[:50]:
        sys.stdout.write(f"  {one.number} {one.seed}: {one.result[:200]}\n")
    return 1 if escaped else 0


if __name__ == "__main__":
    sys.exit(main())
