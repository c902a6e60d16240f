"""Lesions over time: learn from the first scans of each patient, segment the last one.

    python -m benchmarks.lesions.time_points [--data DIR] [--quick] [--losses ce dice+ce]

* Without ``--data``: synthetic heads scanned four times (`phantom_series`), the last for testing.
* DIR with ``brats``: three patients scanned once each, so one patient is left out in turn:
  that is not a split in time.
* Any other DIR: NIfTI pairs, patients and times told from the names (`scan_pairs`, which says
  how; OpenBTAI included). If nobody has two scans, one patient is left out in turn.

A patient's last scan shows a head that was learned from, with lesions many of which were seen
when they had another size: easier than a new patient, and what follow-up is about.

What is measured, and by which rules: `benchmarks.lesions.metrics`. Beside the table and the plots:
``time_points.csv`` (a row a scan), ``time_points-lesions.csv`` (a lesion),
``time_points-outlines.csv`` (a slice of a lesion).
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np

from benchmarks.common import cases, options, ours, report
from benchmarks.common.cases import Case, Lesson
from benchmarks.common.scores import mean_dice
from benchmarks.lesions import results
from benchmarks.lesions.metrics import Findings, compare_lesions, size_bin
from benchmarks.lesions.phantom_series import make_series
from benchmarks.lesions.scan_pairs import find_pairs
from napari_unet.errors import NapariUnetError
from napari_unet.imaging.loading import load_labels, load_volume
from napari_unet.learning.config import PRESETS, RECIPES, LossName

LOSSES = ("ce", "weighted-ce", "dice+ce")

PATIENTS = 3
"""Synthetic ones; their seeds are not those that the packaged weights were made with."""

SECONDS = 240.0
QUICK_SECONDS = 6.0
_SHAPE = (144, 208, 176)
_QUICK_SHAPE = (48, 104, 88)


@dataclass(frozen=True, slots=True, eq=False)
class Exam:
    """A scan with its truth, and whose it is and when; `time` may be empty."""

    case: Case
    patient: str
    time: str


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """What is learned from, and what is tested on."""

    name: str
    lessons: Sequence[Exam]
    tests: Sequence[Exam]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and write."""
    parser = options.make_parser(__doc__, families=())
    parser.add_argument("--patients", dest="scans", type=int, help="at most so many")
    parser.add_argument("--losses", nargs="+", choices=get_args(LossName), default=list(LOSSES))
    parser.add_argument("--preset", choices=PRESETS, default="fast", help="the network")
    parser.add_argument(
        "-k", type=int, help="annotate so many slices of each scan, one of them empty; default: all"
    )
    parser.add_argument(
        "--labels", type=int, nargs="+", help="mask values that are lesion; default: all but 0"
    )
    given = report.parse(parser, argv)
    out = report.Report("lesions.time_points", given)
    splits = by_time(list(_exams(given)))
    for split in splits:
        print(f"{split.name}: learn from {', '.join(each.case.name for each in split.lessons)};")
        print(f"  test on {', '.join(each.case.name for each in split.tests)}")
    (budget, *_) = options.budgets(given, [SECONDS], quick=QUICK_SECONDS)
    found: list[report.Row] = []
    outlines: list[report.Row] = []
    pictures = results.Pictures()
    for split in splits[:1] if given.quick else splits:
        lessons = [_lesson(each.case, given.k) for each in split.lessons]
        for seed in options.seeds(given):
            for loss in given.losses:
                recipe = dataclasses.replace(RECIPES[given.preset], loss=loss)
                config = ours.config_for(budget, seed, given.preset)
                learned = ours.learn(lessons, dataclasses.replace(config, recipe=recipe))
                for exam in split.tests:
                    labels = ours.segment_case(exam.case, {}, learned.checkpoint)
                    findings = compare_lesions(exam.case.truth, labels, exam.case.volume.spacing_mm)
                    which = {"case": exam.case.name, "loss": loss, "seed": seed}
                    out.add(
                        **which,
                        split=split.name,
                        steps=learned.steps,
                        learn_s=learned.seconds,
                        dice=mean_dice(exam.case.truth, labels, 1),
                        **_scan_scores(findings),
                    )
                    of_lesions = [
                        {**which, "size": size_bin(each.diameter_mm), **dataclasses.asdict(each)}
                        for each in findings.lesions
                    ]
                    of_outlines = [{**which, **dataclasses.asdict(o)} for o in findings.outlines]
                    out.details("lesions", of_lesions)
                    out.details("outlines", of_outlines)
                    found += of_lesions
                    outlines += of_outlines
                    pictures.keep(exam.case, loss, labels)
    scans = ["dice", "sensitivity", "false_alarms", "f1"]
    out.table("Scans", report.summarise(out.rows, ["loss"], scans))
    for title, text in results.tables(found, outlines).items():
        out.table(title, text)
    out.plot(results.failures_plot(found, outlines), size=(13, 4))
    for name, size, draw in pictures.figures():
        out.plot(draw, suffix=f"-{name}", size=size)
    return 0


def by_time(exams: Sequence[Exam]) -> list[Split]:
    """Split scans in time: the last one of everybody who has several is the test.

    People with a single scan are learned from. If nobody has several, one person is left
    out in turn, and the names of the splits say so.

    Parameters
    ----------
    exams : sequence of Exam
        In the order of time.
    """
    patients: dict[str, list[Exam]] = {}
    for exam in exams:
        patients.setdefault(exam.patient, []).append(exam)
    tests = [scans[-1] for scans in patients.values() if len(scans) > 1]
    if tests:
        return [Split("last time point", [each for each in exams if each not in tests], tests)]
    if len(patients) < 2:
        raise SystemExit("One scan is not enough to learn from and to test on. Check --data.")
    return [
        Split(f"no time points, without {name}", [e for e in exams if e not in own], own)
        for name, own in patients.items()
    ]


def _exams(given: argparse.Namespace) -> Iterator[Exam]:
    """Read or make the scans, in the order of time."""
    if given.data is None:
        shape = _QUICK_SHAPE if given.quick else _SHAPE
        for seed in range(options.n_scans(given) or PATIENTS):
            for time, visit in enumerate(make_series(seed, shape_zyx=shape), start=1):
                name = visit.volume.name
                case = Case(name, "lesions", visit.volume, visit.truth, ("lesion",), n_empty=1)
                yield Exam(case, f"phantom {seed}", str(time))
    elif (given.data / "brats").is_dir():
        for case in cases.load("core", given.data, limit=given.scans):
            yield Exam(case, case.name, "")
    else:
        yield from _folder(given.data, given.scans, given.labels)


def _folder(folder: Path, limit: int | None, values: Sequence[int] | None) -> Iterator[Exam]:
    """Read NIfTI pairs of at most so many patients; what cannot be used is named."""
    pairs, left_out = find_pairs(folder)
    patients = list(dict.fromkeys(pair.patient for pair in pairs))[:limit]
    for pair in pairs:
        if pair.patient not in patients:
            continue
        name = f"{pair.patient} {pair.time}".strip()
        try:
            volume = load_volume(pair.image, name=name)
            labels, _ = load_labels(pair.mask, volume.grid)
        except NapariUnetError as error:
            left_out.append(f"{pair.image.relative_to(folder)}: {error}")
            continue
        truth = (labels > 0) if values is None else np.isin(labels, values)
        case = Case(name, "lesions", volume, truth.astype(np.uint8), ("lesion",), n_empty=1)
        yield Exam(case, pair.patient, pair.time)
    for each in left_out:
        print(f"left out: {each}")
    if not pairs:
        raise SystemExit(f"There are no images with masks in {folder}. Check --data.")


def _lesson(case: Case, k: int | None) -> Lesson:
    """Annotate a scan: all of it, or `k` slices; all of it too if it shows no lesion."""
    every = k is None or not case.truth.any()
    return Lesson(case, case.annotate(range(case.n_slices) if every else case.chosen(k)))


def _scan_scores(findings: Findings) -> dict[str, int | float]:
    return {
        "lesions": len(findings.lesions),
        "found": sum(each.found for each in findings.lesions),
        "false_alarms": findings.false_alarms,
        "sensitivity": findings.sensitivity,
        "precision": findings.precision,
        "f1": findings.f1,
    }


if __name__ == "__main__":
    sys.exit(main())
