"""Is the score on screen true? Predict-then-correct Dice minus the Dice nobody sees.

    python -m benchmarks.honesty [--data DIR] [--quick] [--seconds 30] [--rounds 6]

The score is the plugin's own (`annotation.scoring`): the Dice between what was predicted
and the correction, over the pixels of all corrected slices. The truth is the Dice of the
present prediction on all slices that are not annotated, against the true labels: slice
by slice, as the score is made, and of the volume. Beside it, what a score on the slices
that were trained on would say. The annotator corrects the slice that the plugin suggests,
or random ones, which shows how much of the bias comes from choosing difficult slices.
"""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Sequence

from benchmarks import cases, options, report, rounds
from benchmarks.annotator import Annotator
from benchmarks.loop import STRATEGIES, add_loop_options, loop_budgets, max_slices
from benchmarks.scores import mean_dice, slicewise_dice

COMPARED = ("suggested", "random")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and write."""
    parser = options.make_parser(__doc__, families=("deepgrey", "core"))
    add_loop_options(parser)
    given = report.parse(parser, argv)
    out = report.Report("honesty", given)
    for case in options.scans(given):
        for seed, name in itertools.product(options.seeds(given), COMPARED):
            annotator = Annotator.of(case, seed)
            model = rounds.Learner(case, *loop_budgets(given), seed)
            most = max_slices(given, case)
            for each in rounds.simulate(case, annotator, model, STRATEGIES[name], seed):
                out.add(
                    case=case.name,
                    family=case.family,
                    strategy=name,
                    seed=seed,
                    slices=len(each.annotated),
                    **_scores(case, each),
                )
                if len(each.annotated) >= most:
                    break
    scored = [row for row in out.rows if not math.isnan(float(row["on_screen"]))]
    last = [
        row
        for row, following in itertools.zip_longest(scored, scored[1:])
        if following is None or following["slices"] <= row["slices"]
    ]
    values = ["on_screen", "true_slices", "bias_slices", "bias_volume", "bias_trained"]
    out.table("After the last round", report.summarise(last, ["family", "strategy"], values))
    out.table("All rounds", report.summarise(scored, ["family", "strategy"], values))
    out.plot(
        report.lines_plot(
            scored, panel="family", line="strategy", x="slices", ys=["bias_slices", "bias_trained"]
        )
    )
    return 0


def _scores(case: cases.Case, each: rounds.Round) -> dict[str, float]:
    """What is shown, what is true, and the difference; NaN before there is a score."""
    rest = case.rest(each.annotated)
    on_screen = each.score.dice if each.score else math.nan
    by_slice = slicewise_dice(case.truth, each.predicted, case.n_classes, rest)
    of_volume = mean_dice(case.truth, each.predicted, case.n_classes, rest)
    trained = slicewise_dice(case.truth, each.predicted, case.n_classes, list(each.annotated))
    return {
        "on_screen": on_screen,
        "true_slices": by_slice,
        "true_volume": of_volume,
        "on_trained": trained,
        "bias_slices": on_screen - by_slice,
        "bias_volume": on_screen - of_volume,
        "bias_trained": trained - by_slice,
    }


if __name__ == "__main__":
    sys.exit(main())
