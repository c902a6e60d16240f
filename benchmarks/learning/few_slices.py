"""Dice of the other slices after learning from a few slices of one scan.

    python -m benchmarks.learning.few_slices [--data DIR] [--quick] [-k 3 5 9 15] [--seconds 15 60]

Budgets are wall clock, so the number of steps made is printed beside the Dice: on a
machine that is busy with other things compare those first, or give --steps.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import cases, options, report
from benchmarks.common.methods import DEFAULT_METHODS, solve, usable
from benchmarks.common.scores import mean_dice

SLICES = {"deepgrey": (3, 5, 9, 15), "core": (5,), "regions": (8,), "hippocampus": (5,)}
"""How many slices are annotated; for the tumours one of them is empty."""

WORDS = {
    "k": "annotated slices of one scan",
    "dice_rest": "Dice, all other slices",
    "dice_in_range": "dashed: those in range",
    "ours": "this package",
    "ours-scratch": "this package, random start",
    "ours-standard": "this package, standard",
    "forest": "random forest",
    "monai": "MONAI UNet",
    "deepgrey": "four deep-grey structures, T1",
    "core": "tumour core, T1c",
    "regions": "three tumour regions, T1c + FLAIR",
}
"""Names in the figure."""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and write."""
    parser = options.make_parser(
        __doc__, families=("deepgrey", "core", "regions"), methods=DEFAULT_METHODS
    )
    parser.add_argument("-k", type=int, nargs="+", help="annotated slices; default: by kind")
    given = report.parse(parser, argv)
    methods = usable(given.methods)
    out = report.Report("learning.few_slices", given)
    for case in options.scans(given):
        for k in given.k or ((5,) if given.quick else SLICES[case.family]):
            annotated = case.annotate(case.chosen(k))
            for name, method in methods.items():
                repeats = [0] if name == "interpolation" else options.seeds(given)
                for budget in options.budgets(given, [15.0, 60.0], quick=5.0):
                    for seed in repeats:
                        found = solve(method, case, annotated, budget, seed)
                        out.add(
                            case=case.name,
                            family=case.family,
                            method=name,
                            k=k,
                            seed=seed,
                            budget=_budget_name(budget.seconds, budget.steps),
                            steps=found.steps,
                            learn_s=found.learn_s,
                            predict_s=found.predict_s,
                            **_scores(case, annotated, found.labels),
                        )
    values = ["dice_rest", "dice_in_range", "dice_range_all", "steps"]
    out.table("All scans", report.summarise(out.rows, ["family", "k", "budget", "method"], values))
    out.table("Each scan", report.summarise(out.rows, ["case", "k", "budget", "method"], values))
    last = out.rows[-1]["budget"]
    out.plot(
        report.lines_plot(
            [row for row in out.rows if row["budget"] == last],
            panel="family",
            line="method",
            x="k",
            ys=["dice_rest", "dice_in_range"],
            words=WORDS,
        )
    )
    return 0


def _scores(
    case: cases.Case, annotated: cases.Annotated, labels: NDArray[np.uint8]
) -> dict[str, float]:
    """Dice on the rest, on the rest in range, and of all slices in range as they are shown."""
    within = case.in_range(annotated)
    shown = labels.copy()
    for index, drawn in annotated.items():
        shown[index] = drawn
    all_within = list(range(within[0] - 1, within[-1] + 2)) if within else []
    return {
        "dice_rest": mean_dice(case.truth, labels, case.n_classes, case.rest(annotated)),
        "dice_in_range": mean_dice(case.truth, labels, case.n_classes, within),
        "dice_range_all": mean_dice(case.truth, shown, case.n_classes, all_within),
    }


def _budget_name(seconds: float, steps: int | None) -> str:
    return f"{seconds:g} s" if steps is None else f"{steps} steps"


if __name__ == "__main__":
    sys.exit(main())
