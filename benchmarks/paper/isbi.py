"""The paper's data: membranes in electron micrographs (ISBI 2012), cross-validated.

    python -m benchmarks.paper.isbi [--data DIR] [--quick] [--seconds 300] [--folds 5]
        [--methods paper standard] [--width 16] [--variants full no-borders no-elastic own]

The test labels of the challenge are not public. So its 30 labelled slices are cut into folds
of neighbouring slices (a slice looks much like the next one), and each fold is predicted by
a network that was trained on the others. The errors are the challenge's, see `metrics`:
each at the threshold, of ten, that suits the whole stack best; beside them those at 0.5,
which nobody has to choose. The published figures (Ronneberger et al., 2015, table 1) are of
a network with 64 to 1024 channels, trained for ten hours on a graphics card on all 30 slices,
averaged over seven rotated versions of each test slice, on 30 other slices.

Variants differ in how a network is trained:

* full: border-weighted cross-entropy and the paper's elastic deformation;
* no-borders: the same classes balanced, but gaps between cells weigh no more;
* no-elastic: our own finer elastic deformation in place of the paper's;
* own: Dice and cross-entropy, our own deformation: what the package does by default.

Each network predicts in up to three ways: whole slices; tiles
(overlap-tile with mirrored borders where its convolutions are valid, else blended ones);
and whole slices turned and mirrored in all eight ways, averaged (the paper: seven rotations).
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import options, ours, report
from benchmarks.common.methods import Budget
from benchmarks.paper import micrographs
from benchmarks.paper.micrographs import CELL, Stack
from benchmarks.paper.results import ERRORS, Gatherer, table
from napari_unet.learning.config import PRESETS, LossName, ModelConfig
from napari_unet.learning.events import RoundDone, StepDone
from napari_unet.learning.network.checkpoint import Checkpoint
from napari_unet.learning.preparation import PreparedScan
from napari_unet.learning.presets import recipe_of
from napari_unet.learning.runtime import choose_device, torch_threads
from napari_unet.learning.training.loop import train

PAPER_ELASTIC = 10.0
"""Pixels; see `Recipe.elastic`."""

WAYS = ("whole", "tiles", "turned")


@dataclass(frozen=True, slots=True)
class Variant:
    """What a network is trained with; see `Recipe`."""

    loss: LossName
    elastic: float


VARIANTS = {
    "full": Variant("border-ce", PAPER_ELASTIC),
    "no-borders": Variant("weighted-ce", PAPER_ELASTIC),
    "no-elastic": Variant("border-ce", 0.0),
    "own": Variant("dice+ce", 0.0),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and write."""
    parser = options.make_parser(__doc__, families=())
    parser.add_argument("--folds", type=int, help="default: 5; quick: 2")
    parser.add_argument(
        "--methods", nargs="+", default=["paper", "standard"], help="networks, by preset"
    )
    parser.add_argument(
        "--width", type=int, default=16, help="channels of the first level of paper (its own: 64)"
    )
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, help="default: all; quick: full")
    parser.add_argument("--tile", type=int, default=256, help="side of the tiles, in pixels")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    given = report.parse(parser, argv)
    given.variants = given.variants or (["full"] if given.quick else list(VARIANTS))
    given.seeds = given.seeds or [0]  # the folds are repeats enough
    stack = micrographs.load(given.data)
    folds = np.array_split(np.arange(len(stack)), given.folds or (2 if given.quick else 5))
    out = report.Report("paper.isbi", given)
    results: list[report.Row] = []
    for method, variant, budget, seed in itertools.product(
        _known(given.methods), given.variants, options.budgets(given, [300.0], 6.0), given.seeds
    ):
        setting = {"method": method, "variant": variant, "seconds": budget.seconds, "seed": seed}
        gatherers = {way: Gatherer(stack) for way in given.ways}
        for number, fold in enumerate(folds):
            model = network(method, given.width)
            checkpoint, steps = learn(stack, fold, model, VARIANTS[variant], budget, seed)
            for way, gatherer in gatherers.items():
                probability = predict(stack.scan(), checkpoint, fold, way, budget, given.tile)
                for row in gatherer.add(fold, probability):
                    out.add(**setting, way=way, fold=number, steps=steps, **row)
        for way, gatherer in gatherers.items():
            results.append({**setting, "way": way, **gatherer.errors()})
            name = f"_{method}_{variant}_{way}_{budget.seconds:g}s_{seed}"
            out.plot(gatherer.pictures(f"{method}, {variant}, {way}"), name)
    out.table(f"{stack.name}: errors of the stack", table(results))
    by = ["method", "variant", "way"]
    out.table(
        "Slice by slice, at the best threshold of its fold",
        report.summarise(out.rows, by, ERRORS, digits=5),
    )
    return 0


def _known(names: Sequence[str]) -> list[str]:
    """Those of the networks that this version has."""
    for name in names:
        if name not in PRESETS:
            print(f"left out: this version has no network named {name}")
    return [name for name in names if name in PRESETS]


def network(method: str, width: int) -> ModelConfig:
    """Take a network by its preset; the paper's as narrow as was asked for."""
    model = PRESETS[method]
    return dataclasses.replace(model, width=width) if method == "paper" else model


def learn(
    stack: Stack,
    held_back: NDArray[np.int64],
    model: ModelConfig,
    variant: Variant,
    budget: Budget,
    seed: int,
) -> tuple[Checkpoint, int]:
    """Train on all slices but some; give the model, and the steps it took."""
    recipe = dataclasses.replace(recipe_of(model), loss=variant.loss, elastic=variant.elastic)
    config = dataclasses.replace(ours.config_for(budget, seed), model=model, recipe=recipe)
    seen = [z for z in range(len(stack)) if z not in held_back]
    steps = 0
    for event in train([stack.scan()], stack.annotated(seen), config, class_names=["cell"]):
        if isinstance(event, StepDone):
            steps = event.step
        elif isinstance(event, RoundDone):
            return event.checkpoint, steps
    raise RuntimeError("Training ended without a model.")


def predict(
    scan: PreparedScan,
    checkpoint: Checkpoint,
    indices: Sequence[int],
    way: str,
    budget: Budget,
    tile: int,
) -> NDArray[np.float32]:
    """Probability of cell (n, h, w) of some slices, predicted in one of `WAYS`.

    By the network alone: interpolation between annotated slices is no part of this.
    """
    if way == "turned":
        views = [
            _untwist(
                predict(
                    _twisted(scan, turns, mirrored), checkpoint, indices, "whole", budget, tile
                ),
                turns,
                mirrored,
            )
            for turns, mirrored in itertools.product(range(4), (False, True))
        ]
        return np.mean(views, axis=0, dtype=np.float32)
    from napari_unet.learning.prediction.predictor import Predictor

    few = mock.patch(
        "napari_unet.learning.prediction.predictor.pixels_that_fit", return_value=tile**2
    )
    device = choose_device(budget.device)
    with torch_threads(budget.threads), few if way == "tiles" else contextlib.nullcontext():
        predictor = Predictor(checkpoint.network(), checkpoint.card.spacing_mm, device)
        found = [predictor.probabilities(scan, [int(z)])[0, CELL].cpu().numpy() for z in indices]
    result = np.zeros((len(found), *scan.full_shape), np.float32)
    result[(slice(None), *scan.window)] = found
    return result


def _twisted(scan: PreparedScan, turns: int, mirrored: bool) -> PreparedScan:
    """Turn the slices of a scan by quarter turns, and mirror them; the window becomes all."""
    whole = np.zeros((*scan.slices.shape[:2], *scan.full_shape), np.float32)
    whole += scan.slices.min()
    whole[(..., *scan.window)] = scan.slices
    slices = np.rot90(whole[..., ::-1] if mirrored else whole, turns, axes=(2, 3)).copy()
    rows, columns = slices.shape[2:]
    return dataclasses.replace(
        scan,
        slices=slices,
        window=(slice(0, rows), slice(0, columns)),
        full_shape=(rows, columns),
        spacing_mm=scan.spacing_mm[::-1] if turns % 2 else scan.spacing_mm,
    )


def _untwist(probability: NDArray[np.float32], turns: int, mirrored: bool) -> NDArray[np.float32]:
    """Turn slices (n, h, w) back."""
    back = np.rot90(probability, -turns, axes=(1, 2))
    return back[..., ::-1] if mirrored else back


if __name__ == "__main__":
    sys.exit(main())
