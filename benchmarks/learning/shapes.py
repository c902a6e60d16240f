"""What painted slices say of the others, by the shape of what is painted.

    python -m benchmarks.learning.shapes [--shapes dots organ] [-k 1 3 9] [--lengths 90 300]

Between painted slices an organ goes on and a dot does not. One network a row, and the Dice on
all slices that were not painted: of the network slice by slice, of its prediction without the
painted slices (as by `napari-unet segment` without ``--labels``), of the interpolation between
painted slices, and of the prediction with them, which should not be far behind the best of these,
whatever the shape. The same shapes as in `tests/learning/test_calibration.py`.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.common import options, ours, report
from benchmarks.common.cases import Case, Lesson
from benchmarks.common.methods import Budget
from benchmarks.common.peers import interpolate
from benchmarks.common.scores import mean_dice
from napari_unet.imaging.volume import Grid, Volume

SHAPE = (24, 40, 40)
"""Voxels (z, y, x) of 1 mm; the slices of "lesions" are 3 mm apart."""

Drawn = NDArray[np.bool_]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and write."""
    parser = options.make_parser(__doc__, families=())
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, help="default: all")
    parser.add_argument("-k", type=int, nargs="+", help="painted slices; default: 1 2 3 5 9")
    parser.add_argument("--lengths", type=int, nargs="+", help="steps; default: 90 300 900")
    given = report.parse(parser, argv)
    default = [60] if given.quick else [90, 300, 900]
    lengths = given.lengths or ([given.steps] if given.steps else default)
    out = report.Report("learning.shapes", given)
    for case in cases(given):
        for k in given.k or ([3] if given.quick else [1, 2, 3, 5, 9]):
            annotated = case.annotate(case.chosen(k))
            filled = interpolate(annotated, case.truth.shape, 1, case.spacing_mm)
            for steps in lengths:
                for seed in options.seeds(given):
                    budget = Budget(1e6, steps, given.threads, given.device)
                    learned = ours.learn([Lesson(case, annotated)], ours.config_for(budget, seed))
                    results = {
                        "by_slice": ours.segment_by_slice(case, learned.checkpoint),
                        "alone": ours.segment_case(case, {}, learned.checkpoint),
                        "filled": filled,
                        "painted": ours.segment_case(case, annotated, learned.checkpoint),
                    }
                    rest = case.rest(annotated)
                    scores = {
                        name: mean_dice(case.truth, labels, 1, rest)
                        for name, labels in results.items()
                    }
                    out.add(
                        case=case.name,
                        k=k,
                        steps=steps,
                        seed=seed,
                        **scores,
                        behind=max(scores["by_slice"], scores["alone"], scores["filled"])
                        - scores["painted"],
                        found=found(case, results["painted"], rest),
                    )
    values = ["by_slice", "alone", "filled", "painted", "behind", "found"]
    out.table("Each shape", report.summarise(out.rows, ["case", "k", "steps"], values))
    worst = max(out.rows, key=lambda row: float(row["behind"]))
    where = ", ".join(f"{key} {worst[key]}" for key in ("case", "k", "steps", "seed"))
    out.table("Farthest behind", f"{where}: {float(worst['behind']):.3f}")
    return 0


def cases(given: argparse.Namespace) -> Iterator[Case]:
    """Draw the shapes asked for."""
    for name in given.shapes or (["dots", "organ"] if given.quick else SHAPES):
        yield make(name)


def make(name: str, seed: int = 0) -> Case:
    """Draw a scan that shows a shape here and there.

    Parameters
    ----------
    name : str
        One of `SHAPES`.
    seed : int
        Where they are, and the noise.
    """
    rng = np.random.default_rng([seed, *name.encode()])
    spacing = (3.0 if name == "lesions" else 1.0, 1.0, 1.0)
    drawn, contrast = SHAPES[name](rng)
    texture = ndimage.gaussian_filter(rng.normal(size=SHAPE), 2)
    values = 100 + 10 * texture / texture.std() + rng.normal(0, 8, SHAPE) + contrast * drawn
    grid = Grid.from_spacing(SHAPE, spacing)
    volume = Volume(values[None].astype(np.float32), grid, name=name)
    return Case(name, "shapes", volume, drawn.astype(np.uint8), (name,))


def found(case: Case, labels: NDArray[np.uint8], rest: Sequence[int]) -> float:
    """Share of the pieces on the slices `rest` of which any voxel is found."""
    shown = np.zeros(case.truth.shape, dtype=bool)
    shown[list(rest)] = case.truth[list(rest)] > 0
    pieces, n = ndimage.label(shown, np.ones((3, 3, 3)))
    hit = np.unique(pieces[(labels > 0) & shown])
    return len(hit) / n if n else math.nan


# -- shapes --------------------------------------------------------------------------


def _scattered(
    rng: np.random.Generator, n: int, draw: Callable[[Drawn, NDArray[np.float64]], None]
) -> Drawn:
    drawn = np.zeros(SHAPE, dtype=bool)
    for _ in range(n):
        draw(drawn, rng.uniform((0, 4, 4), (SHAPE[0], SHAPE[1] - 8, SHAPE[2] - 8)))
    return drawn


def _dots(rng: np.random.Generator) -> tuple[Drawn, float]:
    """One to three voxels, on one slice each."""

    def draw(drawn: Drawn, at: NDArray[np.float64]) -> None:
        z, y, x = at.astype(int)
        drawn[z, y, x : x + rng.integers(1, 4)] = True

    return _scattered(rng, 60, draw), 90.0


def _squares(side: int, depth: int) -> Callable[[np.random.Generator], tuple[Drawn, float]]:
    """Squares on one slice each, or on a few."""

    def make_squares(rng: np.random.Generator) -> tuple[Drawn, float]:
        def draw(drawn: Drawn, at: NDArray[np.float64]) -> None:
            z, y, x = at.astype(int)
            drawn[z : z + depth, y : y + side, x : x + side] = True

        return _scattered(rng, 48 // depth, draw), 60.0

    return make_squares


def _balls(
    rng: np.random.Generator, n: int, radii_mm: tuple[float, float], slice_mm: float
) -> Drawn:
    z, y, x = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]

    def draw(drawn: Drawn, at: NDArray[np.float64]) -> None:
        radius = rng.uniform(*radii_mm)
        away = ((z - at[0]) * slice_mm) ** 2 + (y - at[1]) ** 2 + (x - at[2]) ** 2
        drawn |= away < radius**2

    return _scattered(rng, n, draw)


def _blobs(rng: np.random.Generator) -> tuple[Drawn, float]:
    """Round lesions of 5 to 10 mm on slices of 1 mm."""
    return _balls(rng, 7, (2.5, 5.0), 1.0), 50.0


def _lesions(rng: np.random.Generator) -> tuple[Drawn, float]:
    """Round lesions of 3 to 8 mm on slices of 3 mm: on one to three of them."""
    return _balls(rng, 36, (1.5, 4.0), 3.0), 50.0


def _rods(rng: np.random.Generator) -> tuple[Drawn, float]:
    """Straight rods through all slices, some aslant."""
    z, y, x = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    drawn = np.zeros(SHAPE, dtype=bool)
    for _ in range(4):
        start, slope = rng.uniform(9, 31, 2), rng.uniform(-0.3, 0.3, 2)
        away = np.hypot(y - start[0] - slope[0] * (z - 12), x - start[1] - slope[1] * (z - 12))
        drawn |= away < rng.uniform(2.0, 4.0)
    return drawn, 40.0


def _vessels(rng: np.random.Generator) -> tuple[Drawn, float]:
    """Thin tubes that wander by one or two pixels from slice to slice."""
    y, x = np.ogrid[: SHAPE[1], : SHAPE[2]]
    drawn = np.zeros(SHAPE, dtype=bool)
    for _ in range(5):
        steps = ndimage.gaussian_filter1d(rng.normal(size=(SHAPE[0], 2)), 2, axis=0)
        path = rng.uniform(10, 30, 2) + np.cumsum(1.5 * steps / steps.std(), axis=0)
        for plane, at in zip(drawn, path, strict=True):
            plane |= np.hypot(y - at[0], x - at[1]) < 2.0
    return drawn, 50.0


def _shells(rng: np.random.Generator) -> tuple[Drawn, float]:
    """Hollow balls with a wall of two millimetres."""
    z, y, x = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    drawn = np.zeros(SHAPE, dtype=bool)
    for at in ((8.0, 12.0, 12.0), (13.0, 29.0, 12.0), (12.0, 20.0, 29.0)):
        away = np.sqrt((z - at[0]) ** 2 + (y - at[1]) ** 2 + (x - at[2]) ** 2)
        drawn |= np.abs(away - rng.uniform(6.0, 8.0)) < 1.0
    return drawn, 40.0


def _organ(rng: np.random.Generator) -> tuple[Drawn, float]:
    """One large, bent ellipsoid that hardly stands out, seen on nearly all slices."""
    z, y, x = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    bend = 3 * np.sin(z / 4.0 + rng.uniform(0, 6))
    away = ((z - 12) / 11.0) ** 2 + ((y - 20 - bend) / 8.0) ** 2 + ((x - 19) / 11.0) ** 2
    return away < 1, 12.0


def _both(rng: np.random.Generator) -> tuple[Drawn, float]:
    """A large lump, and dots on one slice each, all of one structure."""
    z, y, x = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    lump = ((z - 12) / 11.0) ** 2 + ((y - 15) / 6.0) ** 2 + ((x - 15) / 8.0) ** 2 < 1
    squares, contrast = _squares(3, 1)(rng)
    return lump | squares, contrast


SHAPES: dict[str, Callable[[np.random.Generator], tuple[Drawn, float]]] = {
    "dots": _dots,
    "squares": _squares(3, 1),
    "plates": _squares(6, 1),
    "cubes": _squares(3, 3),
    "lesions": _lesions,
    "blobs": _blobs,
    "rods": _rods,
    "vessels": _vessels,
    "shells": _shells,
    "organ": _organ,
    "both": _both,
}
"""Each draws where it is (z, y, x), and says how far its grey value stands out (noise: 8)."""


if __name__ == "__main__":
    sys.exit(main())
