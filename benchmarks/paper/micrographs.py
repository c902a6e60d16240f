"""Electron micrographs of nerve cells: the labelled stack of ISBI 2012, or a drawn one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from napari_unet.annotation.states import LabelledSlice
from napari_unet.imaging.volume import Grid, Volume
from napari_unet.learning.preparation import PreparedScan, prepare

FOLDER = "isbi_em"
"""Folder in ``--data`` with ``image/N.png`` and ``label/N.png``, N counting from 0."""

CELL = 1
"""Label of cells; membranes are background."""

_PHANTOM_SHAPE = (6, 96, 96)
_PHANTOM_CELLS = 30
_MEMBRANE_PIXELS = 3.0


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """Slices and their truth.

    Parameters
    ----------
    name : str
        For tables.
    image : ndarray of float32, shape (n, h, w)
        Grey values.
    cells : ndarray of bool, shape (n, h, w)
        True in cells, False on membranes.
    """

    name: str
    image: NDArray[np.float32]
    cells: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.image)

    def scan(self) -> PreparedScan:
        """Prepare it as any scan; a pixel counts as a millimetre."""
        grid = Grid.from_spacing(self.image.shape, (1.0, 1.0, 1.0))
        return prepare(Volume(self.image[None], grid, self.name), 0)

    def annotated(self, indices: list[int]) -> list[LabelledSlice]:
        """Annotate slices with the truth."""
        return [LabelledSlice(0, z, self.cells[z].astype(np.uint8) * CELL) for z in indices]


def load(data: Path | None) -> Stack:
    """Read the stack of a ``--data`` folder, or draw one."""
    if data is None:
        return phantom()
    files = sorted((data / FOLDER / "image").glob("*.png"), key=lambda path: int(path.stem))
    if not files:
        raise SystemExit(f"There are no files *.png in {data / FOLDER / 'image'}. Check --data.")
    labels = [data / FOLDER / "label" / path.name for path in files]
    return Stack(
        "ISBI 2012",
        np.stack([_grey(path) for path in files]),
        np.stack([_grey(path) > 127 for path in labels]),
    )


def _grey(path: Path) -> NDArray[np.float32]:
    with Image.open(path) as image:
        return np.asarray(image.convert("L"), dtype=np.float32)


def phantom(shape: tuple[int, int, int] = _PHANTOM_SHAPE, seed: int = 0) -> Stack:
    """Draw cells with dark membranes, organelles and noise, drifting from slice to slice.

    Cells are the regions nearest to wandering points (Voronoi); membranes are where two
    it is about equally far to two of them. It looks like a micrograph from afar only: enough
    to see that everything runs.
    """
    rng = np.random.default_rng(seed)
    n, *sides = shape
    rows, columns = np.indices(sides, dtype=np.float32)
    points = rng.uniform(-0.1, 1.1, (_PHANTOM_CELLS, 2)) * sides
    brightness = rng.uniform(150, 190, _PHANTOM_CELLS)
    image, cells = np.empty(shape, np.float32), np.empty(shape, bool)
    for z in range(n):
        points += rng.normal(0, 1.2, points.shape)
        # Wavy, as cells are.
        waves = [ndimage.gaussian_filter(rng.normal(0, 40, sides), 8) for _ in range(2)]
        squared = np.stack(
            [(rows + waves[0] - y) ** 2 + (columns + waves[1] - x) ** 2 for y, x in points]
        )
        own, next_one = np.argsort(squared, axis=0)[:2]
        nearest, second = np.sort(squared, axis=0)[:2]
        apart = np.hypot(*np.moveaxis(points[own] - points[next_one], -1, 0))
        # Distance to the line halfway between the two points.
        cells[z] = (second - nearest) / (2 * apart) > _MEMBRANE_PIXELS / 2
        grey = np.where(cells[z], brightness[own], 70)
        organelles = ndimage.gaussian_filter(rng.normal(0, 1, sides), 2.5)
        grey = grey - 60 * (organelles > 0.28)
        grey = ndimage.gaussian_filter(grey, 0.8) + rng.normal(0, 14, sides)
        image[z] = np.clip(grey, 0, 255)
    return Stack("phantom", image, cells)
