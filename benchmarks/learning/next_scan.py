"""What a model learned from some scans is worth on the next ones.

    python -m benchmarks.learning.next_scan [--data DIR] [--quick] [--cases deepgrey hippocampus]

* deepgrey: five slices of each of four scans, 180 s, tested on the other scans; then three
  slices of each new scan are corrected (picked by the plugin's suggestion) and the model
  learns on from where it was, for 60 s, with all slices so far. Peers learn from all of
  them anew; interpolation has the three slices only.
* hippocampus: 20 scans annotated in full, 300 s, tested on the 40 others.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import cases, options, ours, report
from benchmarks.common.cases import Annotated, Case, Lesson
from benchmarks.common.methods import DEFAULT_METHODS, Budget, Method, usable
from benchmarks.common.scores import mean_dice
from napari_unet.annotation.progress import AnnotationProgress
from napari_unet.annotation.record import AnnotationRecord


@dataclass(frozen=True, slots=True)
class Protocol:
    """How a kind of scan is used.

    Parameters
    ----------
    n_train : int
        Scans to learn from; the others are the test.
    n_slices : int or None
        Annotated slices of each; None: all.
    seconds : float
        Budget.
    corrected : int
        Slices that are corrected of each new scan.
    correct_seconds : float
        Budget for learning from these.
    """

    n_train: int
    n_slices: int | None
    seconds: float
    corrected: int = 0
    correct_seconds: float = 0.0


PROTOCOLS = {
    "deepgrey": Protocol(4, 5, 180.0, 3, 60.0),
    "core": Protocol(2, 5, 120.0, 3, 60.0),
    "regions": Protocol(2, 8, 120.0, 3, 60.0),
    "hippocampus": Protocol(20, None, 300.0),
}
QUICK = Protocol(2, 5, 6.0, 3, 3.0)
_QUICK_TESTS = 1


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and write."""
    parser = options.make_parser(
        __doc__, families=("deepgrey", "hippocampus"), methods=DEFAULT_METHODS
    )
    parser.add_argument("--correct-seconds", type=float, help="learning from corrected slices")
    given = report.parse(parser, argv)
    out = report.Report("learning.next_scan", given)
    for family in cases.available(given.cases, given.data):
        plan = QUICK if given.quick else PROTOCOLS[family]
        tests = _QUICK_TESTS if given.quick else given.scans
        limit = None if tests is None else plan.n_train + tests
        every = cases.load(
            family, given.data, limit=limit, quick=given.quick, axis=options.axis(given)
        )
        everything = list(every)
        lessons = [Lesson(case, _annotate(case, plan)) for case in everything[: plan.n_train]]
        unseen = list(options.named(given, family, everything[plan.n_train :]))
        (budget, *_) = options.budgets(given, [plan.seconds])
        correct_s = given.correct_seconds or plan.correct_seconds
        later = Budget(correct_s, given.steps, given.threads, given.device)
        for name, method in usable(given.methods).items():
            for seed in [0] if name == "interpolation" else options.seeds(given):
                rows = (
                    _ours(lessons, unseen, plan, budget, later, seed)
                    if name == "ours"
                    else _peer(name, method, lessons, unseen, plan, budget, seed)
                )
                for row in rows:
                    out.add(**{"family": family, "method": name, "seed": seed, **row})
    out.table(
        "Unseen scans, without and with corrected slices of each",
        report.summarise(out.rows, ["family", "stage", "method"], ["dice", "steps", "learn_s"]),
    )
    out.table(
        "Each structure",
        report.summarise(
            [{**row, "structure": name, "of_it": float(value)} for row in out.rows
             for name, value in (part.split("=") for part in str(row["structures"]).split("; "))],
            ["family", "stage", "method", "structure"],
            ["of_it"],
        ),
    )  # fmt: skip
    return 0


def _annotate(case: Case, plan: Protocol) -> Annotated:
    every = range(case.n_slices) if plan.n_slices is None else case.chosen(plan.n_slices)
    return case.annotate(every)


def _ours(
    lessons: Sequence[Lesson],
    unseen: Sequence[Case],
    plan: Protocol,
    budget: Budget,
    later: Budget,
    seed: int,
) -> list[report.Row]:
    """Learn, then go on with corrected slices of each new scan."""
    learned = ours.learn(lessons, ours.config_for(budget, seed))
    rows = []
    for case in unseen:
        labels = ours.segment_case(case, {}, learned.checkpoint)
        rows.append(_row(case, "unseen", {}, labels, learned.steps, learned.seconds))
        if plan.corrected:
            corrected = _suggested(case, learned, plan.corrected)
            again = ours.learn(
                [*lessons, Lesson(case, corrected)],
                ours.config_for(later, seed),
                init=learned.checkpoint,
            )
            labels = ours.segment_case(case, corrected, again.checkpoint)
            stage = f"{plan.corrected} corrected"
            rows.append(_row(case, stage, corrected, labels, again.steps, again.seconds))
    return rows


def _suggested(case: Case, learned: ours.Learned, count: int) -> Annotated:
    """Slices that the plugin suggests one after the other, from the same predictions."""
    labels = np.zeros_like(case.truth)
    record = AnnotationRecord(labels, axis=0)
    notes = AnnotationProgress(record)
    for index, predicted in enumerate(ours.segment_case(case, {}, learned.checkpoint)):
        record.write_prediction(index, predicted)
    chosen: list[int] = []
    for _ in range(count):
        found = notes.suggest()
        if found is None:
            break
        chosen.append(found.index)
        labels[found.index] = case.truth[found.index]
        record.accept(found.index)
    return case.annotate(chosen)


def _peer(
    name: str,
    method: Method,
    lessons: Sequence[Lesson],
    unseen: Sequence[Case],
    plan: Protocol,
    budget: Budget,
    seed: int,
) -> list[report.Row]:
    """Learn; and learn anew with slices of each new scan, spread evenly."""
    rows = []
    if name != "interpolation":
        started = time.perf_counter()
        fit = method(lessons, budget, seed)
        took = time.perf_counter() - started
        for case in unseen:
            rows.append(_row(case, "unseen", {}, fit.predict(case, {}), fit.steps, took))
    if plan.corrected:
        for case in unseen:
            known = case.annotate(case.chosen(plan.corrected))
            started = time.perf_counter()
            fit = method([*lessons, Lesson(case, known)], budget, seed)
            took = time.perf_counter() - started
            labels = fit.predict(case, known)
            rows.append(_row(case, f"{plan.corrected} corrected", known, labels, fit.steps, took))
    return rows


def _row(
    case: Case,
    stage: str,
    annotated: Annotated,
    labels: NDArray[np.uint8],
    steps: int,
    seconds: float,
) -> report.Row:
    rest = case.rest(annotated)
    each = {
        name: mean_dice(case.truth[rest] == value, labels[rest] == value, 1)
        for value, name in enumerate(case.class_names, start=1)
    }
    return {
        "case": case.name,
        "stage": stage,
        "slices": len(annotated),
        "steps": steps,
        "learn_s": seconds,
        "dice": mean_dice(case.truth, labels, case.n_classes, rest),
        "structures": "; ".join(f"{name}={value:.4f}" for name, value in each.items()),
    }


if __name__ == "__main__":
    sys.exit(main())
