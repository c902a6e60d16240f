"""Why unpainted voxels are masked after the softmax: Dice at 1, 5 and 20 % painted.

    python -m benchmarks.learning.masked_loss [--data DIR] [--quick] [--seconds 60] [-k 5]

On five slices a simulated hand puts strokes on the structures and around them until a share
of each slice's voxels is painted; the rest of the slice is unknown. Four ways to learn:

* ours: the loss leaves unknown voxels out, but for a few far from all structures that are
  painted, which are assumed to be background;
* after softmax: the loss leaves all of them out;
* on logits: unknown voxels get logits of zero and count as background in the Dice (as
  RootPainter does): there, a perfect prediction still has a large loss;
* as background: unpainted means background, as if the slice were complete.

Beside them the same slices painted in full.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.common import options, ours, report
from benchmarks.common.cases import Annotated
from benchmarks.common.methods import solve
from benchmarks.common.scores import mean_dice
from napari_unet.annotation.states import IGNORE_LABEL
from napari_unet.learning.runtime import load_torch

load_torch()

import torch  # noqa: E402
from torch import Tensor  # noqa: E402
from torch.nn import functional  # noqa: E402

from napari_unet.learning.training.losses import masked_cross_entropy  # noqa: E402

PAINTED = (0.01, 0.05, 0.20)
BRUSH_PIXELS = 3
"""Radius of the brush."""

OURS = "ours"

SURROUNDINGS_PIXELS = 15
"""Half of the strokes on background are within this distance of a structure."""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and write."""
    parser = options.make_parser(__doc__, families=("deepgrey", "core"))
    parser.add_argument("-k", type=int, default=5, help="annotated slices")
    given = report.parse(parser, argv)
    out = report.Report("learning.masked_loss", given)
    for case in options.scans(given):
        whole = case.annotate(case.chosen(given.k))
        for budget in options.budgets(given, [60.0], quick=2.0):
            for seed in options.seeds(given):
                for share, name, annotated, loss in _variants(whole, seed, given.quick):
                    with ours.learning_otherwise(loss, assume=name == OURS):
                        found = solve(ours.fast, case, annotated, budget, seed)
                    out.add(
                        case=case.name,
                        family=case.family,
                        painted=share,
                        masked=name,
                        seed=seed,
                        steps=found.steps,
                        dice_rest=mean_dice(
                            case.truth, found.labels, case.n_classes, case.rest(whole)
                        ),
                        dice_in_range=mean_dice(
                            case.truth, found.labels, case.n_classes, case.in_range(whole)
                        ),
                    )
    values = ["dice_rest", "dice_in_range", "steps"]
    out.table("Dice", report.summarise(out.rows, ["family", "painted", "masked"], values))
    partial = [row for row in out.rows if row["painted"] != 1.0]
    out.plot(report.lines_plot(partial, panel="family", line="masked", x="painted", ys=values[:2]))
    return 0


def _variants(
    whole: Annotated, seed: int, quick: bool
) -> list[tuple[float, str, Annotated, Callable[..., Tensor] | None]]:
    """All ways to learn: (share painted, name, annotated slices, loss or None for ours)."""
    found: list[tuple[float, str, Annotated, Callable[..., Tensor] | None]] = []
    for share in PAINTED[1:2] if quick else PAINTED:
        strokes = {
            index: paint(labels, share, np.random.default_rng([seed, index]))
            for index, labels in whole.items()
        }
        closed = {
            z: np.where(each == IGNORE_LABEL, np.uint8(0), each) for z, each in strokes.items()
        }
        found.append((share, OURS, strokes, None))
        found.append((share, "after softmax", strokes, None))
        found.append((share, "on logits", strokes, logits_masked_loss))
        found.append((share, "as background", closed, None))
    found.append((1.0, "painted in full", whole, None))
    return found


def paint(labels: NDArray[np.uint8], share: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Paint dabs of a brush until a share of a slice (h, w) is known; the rest is ignored.

    Every other dab is on a structure (each as often), the others around them and anywhere.
    A dab paints only what it was put on, as a careful hand does.
    """
    known = np.zeros(labels.shape, bool)
    present = [int(value) for value in np.unique(labels) if value]
    near = np.argwhere(_grown(labels > 0, SURROUNDINGS_PIXELS) & (labels == 0))
    everywhere = np.argwhere(labels == 0)
    rows, columns = np.ogrid[: labels.shape[0], : labels.shape[1]]
    for number in range(labels.size):
        if np.count_nonzero(known) >= share * labels.size:
            break
        if number % 2 == 0 and present:
            places = np.argwhere(labels == present[(number // 2) % len(present)])
        else:
            places = near if number % 4 == 1 and len(near) else everywhere
        y, x = places[rng.integers(len(places))]
        dab = (rows - y) ** 2 + (columns - x) ** 2 <= BRUSH_PIXELS**2
        known |= dab & (labels == labels[y, x])
    return np.where(known, labels, np.uint8(IGNORE_LABEL))


def _grown(mask: NDArray[np.bool_], pixels: int) -> NDArray[np.bool_]:
    if not mask.any():
        return mask
    return np.asarray(ndimage.distance_transform_edt(~mask) <= pixels)


def logits_masked_loss(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Cross-entropy on known voxels, plus Dice of logits that are zero on unknown ones."""
    known = labels != IGNORE_LABEL
    truth = functional.one_hot(labels.masked_fill(~known, 0), logits.shape[1])
    truth = truth.movedim(-1, 1)[:, 1:].to(logits.dtype)
    predicted = (logits * known[:, None]).softmax(dim=1)[:, 1:]
    dims = (0, 2, 3)
    size = truth.sum(dims)
    dice = 2 * (truth * predicted).sum(dims) / (size + predicted.sum(dims)).clamp(min=1e-6)
    present = (size > 0).to(logits.dtype)
    loss = (present * (1 - dice)).sum() / present.sum().clamp(min=1)
    return torch.add(masked_cross_entropy(logits, labels, weights), loss)


if __name__ == "__main__":
    sys.exit(main())
