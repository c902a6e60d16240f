"""Dice of the other slices after training on a few slices of one scan.

    python -m benchmarks.few_slices --data DIR [--seconds 15 60] [--threads 2]

`DIR` holds `brats/` (tumour core on T1c) and `deepgrey/` (four structures on
T1). Budgets are wall clock, so the number of steps made is printed beside the
Dice: on a machine that is busy with other things compare those first.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_unet.imaging.nifti import load_labels, load_volume
from napari_unet.imaging.volume import Volume
from napari_unet.learning.config import TrainConfig
from napari_unet.learning.events import LabelledSlice, RoundDone, StepDone
from napari_unet.learning.inference import predict_volume
from napari_unet.learning.preparation import prepare
from napari_unet.learning.training import train

DEEPGREY = ("caudate", "putamen", "thalamus", "hippocampus")


@dataclass(frozen=True, slots=True)
class Case:
    """One scan with its truth and the slices to learn from."""

    name: str
    volume: Volume
    truth: NDArray[np.uint8]  # (z, y, x)
    class_names: tuple[str, ...]
    annotated: tuple[int, ...]

    @property
    def n_classes(self) -> int:
        return len(self.class_names)


@dataclass(frozen=True, slots=True)
class Row:
    """One trained model."""

    case: str
    k: int
    seed: int
    budget_s: float
    steps: int
    dice_rest: float
    dice_in_range: float
    predict_s: float


def spread(truth: NDArray[np.uint8], k: int) -> list[int]:
    """`k` slices evenly over the extent of the structures, not its very ends."""
    seen = np.flatnonzero(truth.any(axis=(1, 2)))
    return [round(float(z)) for z in np.linspace(seen[0], seen[-1], k + 2)[1:-1]]


def empty_slice(truth: NDArray[np.uint8], volume: Volume, distance: int = 8) -> int:
    """A slice of the head without structures: `distance` slices outside their range."""
    seen = np.flatnonzero(truth.any(axis=(1, 2)))
    data = volume.data[0]
    head = np.flatnonzero((data > data.min()).any(axis=(1, 2)))
    candidates = [z for z in (seen[0] - distance, seen[-1] + distance) if head[0] <= z <= head[-1]]
    return int(candidates[0] if candidates else head[-1])


def brats(data: Path, patients: list[str]) -> Iterator[Case]:
    """Tumour core on T1c: four slices with tumour and an empty one."""
    for patient in patients:
        volume = load_volume(data / "brats" / f"{patient}_t1c.nii.gz", name=patient)
        labels, _ = load_labels(data / "brats" / f"{patient}_label.nii.gz", volume.grid)
        truth = np.isin(labels, (1, 3, 4)).astype(np.uint8)
        annotated = (*spread(truth, 4), empty_slice(truth, volume))
        yield Case(f"{patient} core", volume, truth, ("tumour core",), annotated)


def deepgrey(data: Path, people: list[str], k: int) -> Iterator[Case]:
    """Caudate, putamen, thalamus and hippocampus on T1."""
    for person in people:
        volume = load_volume(data / "deepgrey" / f"{person}_t1.nii.gz", name=person)
        labels, _ = load_labels(data / "deepgrey" / f"{person}_label.nii.gz", volume.grid)
        truth = np.where(labels <= len(DEEPGREY), labels, 0).astype(np.uint8)
        yield Case(f"{person} deep grey", volume, truth, DEEPGREY, tuple(spread(truth, k)))


def mean_dice(case: Case, predicted: NDArray[np.uint8], slices: list[int]) -> float:
    """Mean over classes of the Dice on some slices."""
    scores = []
    for value in range(1, case.n_classes + 1):
        a, b = predicted[slices] == value, case.truth[slices] == value
        size = np.count_nonzero(a) + np.count_nonzero(b)
        if size:
            scores.append(2 * np.count_nonzero(a & b) / size)
    return statistics.mean(scores)


def run(case: Case, config: TrainConfig) -> Row:
    """Train on the annotated slices; score all others."""
    scan = prepare(case.volume, 0)
    annotations = [LabelledSlice(0, z, case.truth[z]) for z in case.annotated]
    steps = 0
    for event in train([scan], annotations, config, class_names=case.class_names):
        if isinstance(event, StepDone):
            steps = event.step
    if not isinstance(event, RoundDone):
        raise RuntimeError("Training ended without a model.")
    started = time.perf_counter()
    predicted = predict_volume(case.volume, event.checkpoint)
    predict_s = time.perf_counter() - started
    painted = [z for z in case.annotated if case.truth[z].any()]
    rest = [z for z in range(len(case.truth)) if z not in case.annotated]
    within = [z for z in rest if min(painted) < z < max(painted)]
    return Row(
        case=case.name,
        k=len(case.annotated),
        seed=config.seed,
        budget_s=event.seconds if config.max_steps else config.seconds,
        steps=steps,
        dice_rest=mean_dice(case, predicted, rest),
        dice_in_range=mean_dice(case, predicted, within),
        predict_s=predict_s,
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seconds", type=float, nargs="+", default=[15.0, 60.0])
    parser.add_argument("--steps", type=int, help="fixed number of steps instead of seconds")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--patients", nargs="*", default=["pat0001", "pat0002", "pat0003"])
    parser.add_argument("--people", nargs="*", default=["1000", "1006"])
    parser.add_argument("-k", type=int, default=5, help="annotated slices of deepgrey")
    parser.add_argument("--csv", type=Path, help="where to append the raw rows")
    options = parser.parse_args()

    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, ", end="")
    print(f"threads: {options.threads or 'all'}, load {os.getloadavg()[0]:.1f}")
    print(f"{'case':20} {'k':>2} {'seed':>4} {'budget':>7} {'steps':>5} {'ms':>4}", end=" ")
    print(f"{'rest':>6} {'range':>6} {'volume':>7}")
    rows = []
    cases = [
        *brats(options.data, options.patients),
        *deepgrey(options.data, options.people, options.k),
    ]
    for case in cases:
        for seconds in [1e6] if options.steps else options.seconds:
            for seed in options.seeds:
                config = TrainConfig(
                    seconds=seconds,
                    max_steps=options.steps,
                    seed=seed,
                    threads=options.threads,
                    device=options.device,
                )
                row = run(case, config)
                rows.append(row)
                print(
                    f"{row.case:20} {row.k:2} {row.seed:4} {row.budget_s:6.0f}s {row.steps:5} "
                    f"{1000 * row.budget_s / row.steps:4.0f} {row.dice_rest:6.3f} "
                    f"{row.dice_in_range:6.3f} {row.predict_s:6.1f}s",
                    flush=True,
                )
    if options.csv:
        new = not options.csv.exists()
        with options.csv.open("a", newline="") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(field.name for field in fields(Row))
            writer.writerows(astuple(row) for row in rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
