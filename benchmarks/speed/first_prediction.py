"""How soon after Train there is something to look at, and how good it is as time goes on.

    python -m benchmarks.speed.first_prediction [--data DIR] [--quick] [--seconds 60 120]

Training runs as in the plugin, somebody looking at a slice in the middle of the structures
that is not annotated. Time counts from pressing Train, preparing the scan included (the
Python process has imported everything before). Measured:

* seconds until a prediction of the slice in view has a Dice of at least 0.7;
* the Dice of the slice in view, and of all slices that are not annotated as they are on
  screen (empty where nothing was predicted yet), after 5, 15, 30, 60 and 120 s.

Beside them, what interpolation between the annotated slices shows at once.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence

import numpy as np

from benchmarks.common import cases, options, ours, report
from benchmarks.common.methods import Budget
from benchmarks.common.peers import interpolate
from benchmarks.common.scores import mean_dice

GOOD = 0.7
MARKS = (5.0, 15.0, 30.0, 60.0, 120.0)
SLICES = {"deepgrey": 5, "core": 5, "regions": 8, "hippocampus": 5}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and write."""
    parser = options.make_parser(__doc__, families=("deepgrey", "core"))
    given = report.parse(parser, argv)
    out = report.Report("speed.first_prediction", given)
    curves: list[report.Row] = []
    for case in options.scans(given):
        annotated = case.annotate(case.chosen(SLICES[case.family]))
        for budget in options.budgets(given, [60.0, 120.0], quick=10.0):
            for seed in options.seeds(given):
                row, curve = _watch(case, annotated, budget, seed)
                out.add(**row)
                curves += curve
    values = ["first_s", "good_s", *(key for key in out.rows[0] if key.startswith("screen_"))]
    out.table(
        f"Seconds to the first prediction, and to one of Dice {GOOD}; Dice on screen after ... s",
        report.summarise(out.rows, ["family", "budget_s"], [*values, "fill_screen"], 2),
    )
    views = [key for key in out.rows[0] if key.startswith("view_")]
    out.table(
        "Dice of the slice in view after ... s",
        report.summarise(out.rows, ["family", "budget_s"], [*views, "fill_view"], 2),
    )
    out.plot(
        report.lines_plot(curves, panel="family", line="budget_s", x="s", ys=["screen", "view"])
    )
    return 0


def _watch(
    case: cases.Case, annotated: cases.Annotated, budget: Budget, seed: int
) -> tuple[report.Row, list[report.Row]]:
    """Train once and look."""
    rest = case.rest(annotated)
    focus = _in_view(case, rest)
    screen = np.zeros_like(case.truth)
    first, good, last = math.nan, math.nan, 0.0
    seen: list[tuple[float, float, float]] = []  # seconds, Dice on screen, of the slice in view
    view = 0.0
    for seconds, event in ours.watch(case, annotated, ours.config_for(budget, seed), focus):
        if math.isnan(first):
            first = seconds
        screen[event.index] = event.labels
        if event.index == focus:
            view = _or_zero(mean_dice(case.truth[focus], event.labels, case.n_classes))
            if math.isnan(good) and view >= GOOD:
                good = seconds
        if seconds - last >= 0.2:
            last = seconds
            seen.append(
                (seconds, _or_zero(mean_dice(case.truth, screen, case.n_classes, rest)), view)
            )
    seen.append((seconds, mean_dice(case.truth, screen, case.n_classes, rest), view))
    filled = interpolate(annotated, case.truth.shape, case.n_classes, case.spacing_mm)
    row: report.Row = {
        "case": case.name,
        "family": case.family,
        "seed": seed,
        "budget_s": budget.seconds,
        "first_s": first,
        "good_s": good,
    }
    marks = [mark for mark in MARKS if mark <= budget.seconds]
    for number, name in enumerate(("screen", "view"), start=1):
        for mark in MARKS:
            past = [each for each in seen if each[0] <= mark] if mark in marks else []
            row[f"{name}_{mark:g}"] = (
                past[-1][number] if past else (0.0 if mark in marks else math.nan)
            )
        row[f"{name}_end"] = seen[-1][number]
    row["fill_screen"] = mean_dice(case.truth, filled, case.n_classes, rest)
    row["fill_view"] = mean_dice(case.truth[focus], filled[focus], case.n_classes)
    curve: list[report.Row] = [
        {"family": case.family, "budget_s": budget.seconds, "s": round(s), "screen": a, "view": b}
        for s, a, b in seen
    ]
    return row, curve


def _in_view(case: cases.Case, rest: Sequence[int]) -> int:
    """Slice that shows most kinds of structures; of several, the one nearest their middle."""
    middle = sum(case.extent) // 2
    return min(rest, key=lambda z: (-len(np.unique(case.truth[z])), abs(z - middle)))


def _or_zero(value: float) -> float:
    return 0.0 if math.isnan(value) else value


if __name__ == "__main__":
    sys.exit(main())
