"""What a later round should do with the weights of the round before.

    python -m benchmarks.learning.restart [--data DIR] [--quick] [--seconds 30] [-k 3 5]

A model learns from the first k annotated slices of a scan, then the second k join (the
widest gaps are halved) and it learns on: from where it was (warm), from those weights
shrunk and perturbed (Ash & Adams 2020), or anew with the packaged weights (scratch),
each with the same budget and all slices. Beside them: all slices at once, from scratch,
with both budgets.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from typing import get_args

from benchmarks.common import options, ours, report
from benchmarks.common.cases import Case, Lesson
from benchmarks.common.methods import Budget
from benchmarks.common.scores import mean_dice
from napari_unet.learning.config import Restart

AT_ONCE = "at once"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and write."""
    parser = options.make_parser(__doc__, families=("deepgrey", "core"))
    parser.add_argument("-k", type=int, nargs="+", help="slices of the first round; default: 3 5")
    given = report.parse(parser, argv)
    out = report.Report("learning.restart", given)
    for case in options.scans(given):
        for k in given.k or ((3,) if given.quick else (3, 5)):
            for budget in options.budgets(given, [30.0], quick=2.0):
                for seed in options.seeds(given):
                    for row in _rounds(case, k, budget, seed):
                        out.add(case=case.name, family=case.family, k=k, seed=seed, **row)
    values = ["dice_rest", "dice_in_range", "steps"]
    out.table(
        "Dice after the second round",
        report.summarise(out.rows, ["family", "k", "restart"], values),
    )
    return 0


def _rounds(case: Case, k: int, budget: Budget, seed: int) -> list[report.Row]:
    """One first round, and every way to go on from it."""
    every = sorted(case.chosen(2 * k))
    first, both = (Lesson(case, case.annotate(slices)) for slices in (every[::2], every))
    config = ours.config_for(budget, seed)
    before = ours.learn([first], config)
    found = {
        how: ours.learn([both], dataclasses.replace(config, restart=how), before.checkpoint)
        for how in get_args(Restart)
    }
    twice = dataclasses.replace(
        budget, seconds=2 * budget.seconds, steps=2 * budget.steps if budget.steps else None
    )
    found[AT_ONCE] = ours.learn([both], ours.config_for(twice, seed))
    rows: list[report.Row] = []
    for how, learned in found.items():
        labels = ours.segment_case(case, both.annotated, learned.checkpoint)
        rows.append(
            {
                "restart": how,
                "steps": learned.steps,
                "dice_rest": mean_dice(
                    case.truth, labels, case.n_classes, case.rest(both.annotated)
                ),
                "dice_in_range": mean_dice(
                    case.truth, labels, case.n_classes, case.in_range(both.annotated)
                ),
            }
        )
    return rows


if __name__ == "__main__":
    sys.exit(main())
