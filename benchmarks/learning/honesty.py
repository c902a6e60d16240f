"""Is the score on screen true? Predict-then-correct Dice minus the Dice nobody sees.

    python -m benchmarks.learning.honesty [--data DIR] [--quick] [--seconds 30] [--rounds 6]

The score is the plugin's own (`annotation.scoring`). The truth is the Dice of the present
prediction on all slices that are not annotated, against the true labels, and against what the
annotator would draw there: an annotator who is a voxel off lowers every score. Beside it, what
one would show without estimating: the Dice of the corrections alone, and of the slices that
were trained on. The annotator corrects the slice that the plugin suggests, or random ones,
which shows how much comes from choosing difficult slices.
"""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import cases, options, report
from benchmarks.common.scores import mean_dice
from benchmarks.learning import rounds
from benchmarks.learning.loop import STRATEGIES, add_loop_options, loop_budgets, max_slices
from benchmarks.learning.simulated_annotator import SimulatedAnnotator

COMPARED = ("suggested", "random")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and write."""
    parser = options.make_parser(__doc__, families=("deepgrey", "core"))
    add_loop_options(parser)
    given = report.parse(parser, argv)
    out = report.Report("learning.honesty", given)
    for case in options.scans(given):
        for seed, name in itertools.product(options.seeds(given), COMPARED):
            annotator = SimulatedAnnotator.of(case, seed)
            full = annotator.whole()
            model = rounds.Trainer(case, *loop_budgets(given), seed)
            most = max_slices(given, case)
            for each in rounds.simulate(case, annotator, model, STRATEGIES[name], seed):
                out.add(
                    case=case.name,
                    family=case.family,
                    strategy=name,
                    seed=seed,
                    slices=len(each.annotated),
                    **_scores(case, each, full),
                )
                if len(each.annotated) >= most:
                    break
    scored = [row for row in out.rows if not math.isnan(float(row["on_screen"]))]
    last = [
        row
        for row, following in itertools.zip_longest(scored, scored[1:])
        if following is None or following["slices"] <= row["slices"]
    ]
    values = ["on_screen", "true", "bias", "off_by", "bias_drawn", "bias_corrected", "bias_trained"]
    out.table("After the last round", report.summarise(last, ["family", "strategy"], values))
    out.table("All rounds", report.summarise(scored, ["family", "strategy"], values))
    out.plot(
        report.lines_plot(
            scored,
            panel="family",
            line="strategy",
            x="slices",
            ys=["bias", "bias_corrected", "bias_trained"],
        )
    )
    return 0


def _scores(case: cases.Case, each: rounds.Round, full: NDArray[np.uint8]) -> dict[str, float]:
    """What is shown, what is true, and the difference; NaN before there is a score."""
    rest = case.rest(each.annotated)
    on_screen = each.score.dice if each.score else math.nan
    true = mean_dice(case.truth, each.predicted, case.n_classes, rest)
    trained = list(each.annotated)
    return {
        "on_screen": on_screen,
        "true": true,
        "bias": on_screen - true,
        "off_by": abs(on_screen - true),
        "bias_drawn": on_screen - mean_dice(full, each.predicted, case.n_classes, rest),
        "bias_corrected": _dice_of_corrections(case, each) - true,
        "bias_trained": mean_dice(case.truth, each.predicted, case.n_classes, trained) - true,
    }


def _dice_of_corrections(case: cases.Case, each: rounds.Round) -> float:
    """What was predicted against what it was corrected to, all corrected slices together."""
    if not each.corrected:
        return math.nan
    drawn = np.stack([each.annotated[index] for index in each.corrected])
    return mean_dice(drawn, np.stack(list(each.corrected.values())), case.n_classes)


if __name__ == "__main__":
    sys.exit(main())
