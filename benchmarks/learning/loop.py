"""How much correcting it takes: slices and painting seconds to 90 and 95 % of full annotation.

    python -m benchmarks.learning.loop [--data DIR] [--quick] [--seconds 30] [--round-seconds 10]

A simulated annotator (`annotator.py`) paints three slices; then, round by round, one
slice is corrected and the model learns on from where it was. Strategies that pick the
slice: the plugin's suggestion, the widest gap (interval), random, and the one with most
wrong voxels (oracle). "fill" is interpolation between the annotated slices in the place
of a model, corrected in the same ways. The mask that counts holds the annotator's slices
and predictions elsewhere; full annotation is what he would draw on all slices.
"""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Sequence

from benchmarks.common import cases, options, report
from benchmarks.common.methods import Budget
from benchmarks.common.scores import mean_dice
from benchmarks.learning import rounds
from benchmarks.learning.simulated_annotator import SimulatedAnnotator

TARGETS = (0.90, 0.95)

STRATEGIES = {
    "suggested": rounds.suggested,
    "interval": rounds.interval,
    "random": rounds.at_random,
    "oracle": rounds.oracle,
}
FILLED = ("interval", "oracle")
"""Ways to correct interpolation."""

_COLUMNS = [f"{what}_{round(100 * target)}" for target in TARGETS for what in ("slices", "paint_s")]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and write."""
    parser = options.make_parser(__doc__, families=("deepgrey", "core"))
    add_loop_options(parser)
    parser.add_argument(
        "--strategies", nargs="+", choices=list(STRATEGIES), default=list(STRATEGIES)
    )
    given = report.parse(parser, argv)
    out = report.Report("learning.loop", given)
    reached: list[report.Row] = []
    for case in options.scans(given):
        for seed in options.seeds(given):
            for name in [*given.strategies, *(f"fill {each}" for each in FILLED)]:
                rows = _run(case, name, seed, *loop_budgets(given), max_slices(given, case))
                for row in rows:
                    out.add(**row)
                reached.append(_reached(rows))
    out.table(
        "Slices annotated and seconds of painting until 90 and 95 % of the full annotation's Dice",
        report.summarise(reached, ["family", "strategy"], [*_COLUMNS, "share_95"], 2),
    )
    out.table(
        "Each scan", report.summarise(reached, ["case", "strategy"], [*_COLUMNS, "share_95"], 2)
    )
    out.plot(
        report.lines_plot(out.rows, panel="family", line="strategy", x="slices", ys=["of_full"]),
        "_slices",
    )
    # Seconds differ from run to run, so that there is no median: the first scan of each kind.
    firsts = {row["family"]: row for row in reversed(out.rows)}.values()
    shown = {(row["case"], row["seed"]) for row in firsts}
    out.plot(
        report.lines_plot(
            [row for row in out.rows if (row["case"], row["seed"]) in shown],
            panel="case",
            line="strategy",
            x="paint_s",
            ys=["of_full"],
        ),
        "_seconds",
    )
    return 0


def add_loop_options(parser: options.argparse.ArgumentParser) -> None:
    """Options of whatever runs rounds."""
    parser.add_argument("--round-seconds", type=float, help="later trainings; default 10, quick 2")
    parser.add_argument("--round-steps", type=int, help="optimiser steps instead")
    parser.add_argument(
        "--share", type=float, default=0.15, help="stop when this share of slices is annotated"
    )
    parser.add_argument("--rounds", type=int, help="stop after so many corrections; quick: 2")


def loop_budgets(given: options.argparse.Namespace) -> tuple[Budget, Budget]:
    """For the first training, and for each later one."""
    (first,) = options.budgets(given, [30.0], quick=4.0)[:1]
    seconds = given.round_seconds or (2.0 if given.quick else 10.0)
    steps = given.round_steps if given.round_steps is not None else given.steps
    return first, Budget(seconds, steps, given.threads, given.device)


def max_slices(given: options.argparse.Namespace, case: cases.Case) -> int:
    """How many slices are annotated at most."""
    rounds_limit = given.rounds or (2 if given.quick else None)
    if rounds_limit is not None:
        return rounds.FIRST_SLICES + rounds_limit
    return max(rounds.FIRST_SLICES + 1, round(given.share * case.n_slices))


def _run(
    case: cases.Case, name: str, seed: int, first: Budget, later: Budget, most: int
) -> list[report.Row]:
    """One annotator with one strategy, until the last target is reached."""
    annotator = SimulatedAnnotator.of(case, seed)
    full = rounds.full_annotation_dice(case, annotator)
    filled = name.startswith("fill ")
    model = rounds.Interpolator(case) if filled else rounds.Trainer(case, first, later, seed)
    strategy = STRATEGIES[name.removeprefix("fill ")]
    rows: list[report.Row] = []
    for each in itertools.takewhile(
        lambda state: len(state.annotated) <= most,
        rounds.simulate(case, annotator, model, strategy, seed),
    ):
        dice = mean_dice(case.truth, each.result, case.n_classes)
        rest = mean_dice(case.truth, each.predicted, case.n_classes, case.rest(each.annotated))
        rows.append(
            {
                "case": case.name,
                "family": case.family,
                "strategy": name,
                "seed": seed,
                "slices": len(each.annotated),
                "share": len(each.annotated) / case.n_slices,
                "paint_s": each.painting_s,
                "dice": dice,
                "dice_rest": rest,
                "full_dice": full,
                "of_full": dice / full,
            }
        )
        if dice >= TARGETS[-1] * full or len(each.annotated) == most:
            break
    return rows


def _reached(rows: Sequence[report.Row]) -> report.Row:
    """At how many slices, and seconds, each target was reached; NaN: never."""
    found: report.Row = {key: rows[0][key] for key in ("case", "family", "strategy", "seed")}
    for target in TARGETS:
        at = next((row for row in rows if float(row["of_full"]) >= target), None)
        for what in ("slices", "paint_s"):
            found[f"{what}_{round(100 * target)}"] = float(at[what]) if at else math.nan
        found[f"share_{round(100 * target)}"] = float(at["share"]) if at else math.nan
    return found


if __name__ == "__main__":
    sys.exit(main())
