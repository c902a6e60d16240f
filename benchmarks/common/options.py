"""What all commands ask for on the command line."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from benchmarks.common.cases import FAMILIES, Case, available, load
from benchmarks.common.methods import METHODS, Budget
from napari_unet.imaging.volume import PLANES


def make_parser(
    doc: str | None,
    *,
    families: Sequence[str] = FAMILIES,
    methods: Sequence[str] = (),
) -> argparse.ArgumentParser:
    """Make a parser with the options that all commands share.

    Parameters
    ----------
    doc : str
        Docstring of the command.
    families, methods : sequence of str
        Defaults of ``--cases`` and ``--methods``; without any, there is no such option
        (nor ``--scans``, without families).
    """
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder with real scans; default: phantoms")
    parser.add_argument("--quick", action="store_true", help="few cases, short budgets")
    parser.add_argument("--seeds", type=int, nargs="+", help="default: 0 1 2; quick: 0")
    parser.add_argument("--seconds", type=float, nargs="+", help="budgets of learning, wall clock")
    parser.add_argument(
        "--steps", type=int, help="optimiser steps instead of seconds: for a busy machine"
    )
    parser.add_argument("--threads", type=int, help="default: all cores")
    parser.add_argument("--device", default="cpu", help="for the networks; default: cpu")
    if families:
        parser.add_argument(
            "--cases", nargs="+", choices=FAMILIES, default=list(families), help="kinds of scans"
        )
        parser.add_argument("--scans", type=int, help="at most so many scans of each kind")
        parser.add_argument("--axis", choices=PLANES, default=PLANES[0], help="plane of the slices")
        parser.add_argument("--people", nargs="+", help="only scans whose names begin so")
    if methods:
        parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(methods))
    parser.add_argument("--out", type=Path, help="folder for the CSV, the table and the plot")
    return parser


def seeds(options: argparse.Namespace) -> list[int]:
    """Seeds to use."""
    return options.seeds or ([0] if options.quick else [0, 1, 2])


def axis(options: argparse.Namespace) -> int:
    """Display axis of slicing."""
    return PLANES.index(options.axis)


def n_scans(options: argparse.Namespace) -> int | None:
    """How many scans of each kind; None: all."""
    return options.scans or (1 if options.quick else None)


def named(options: argparse.Namespace, family: str, every: Iterable[Case]) -> Iterator[Case]:
    """Give those scans of a family whose names begin as wanted; exit where there are none."""
    beginnings = tuple(options.people or [""])
    found = False
    for case in every:
        if case.name.startswith(beginnings):
            found = True
            yield case
    if not found:
        raise SystemExit(f"No scan of {family} is named {' or '.join(beginnings)}....")


def scans(options: argparse.Namespace) -> Iterator[Case]:
    """Read the scans to measure on, one kind after the other."""
    for family in available(options.cases, options.data):
        every = load(family, options.data, quick=options.quick, axis=axis(options))
        yield from itertools.islice(named(options, family, every), n_scans(options))


def budgets(
    options: argparse.Namespace, seconds: Sequence[float], quick: float | None = None
) -> list[Budget]:
    """Budgets to use; one only, where steps are counted."""
    chosen = options.seconds or ([quick] if options.quick and quick is not None else seconds)
    if options.steps is not None:
        chosen = chosen[:1]
    return [Budget(each, options.steps, options.threads, options.device) for each in chosen]
