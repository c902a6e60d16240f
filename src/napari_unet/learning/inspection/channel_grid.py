"""All channels of a level side by side, in the place of the slice. No torch here."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from skimage.util import montage

from napari_unet.learning.inspection.levels import Place

if TYPE_CHECKING:
    from napari_unet.learning.inspection.probe import FeatureMaps

MOST_PIXELS = 2**22
"""Pixels of a channel grid at most: beyond, each channel is averaged to fewer."""

GAP = 0.04
"""Gap between channels as a share of their longer side."""


def contrast_range(values: NDArray[np.float32]) -> tuple[float, float]:
    """Find the values from black to white: all but the half per mille at either end."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0, 1.0
    low, high = (float(v) for v in np.quantile(finite[:: 1 + finite.size // 2**20], (5e-4, 0.9995)))
    return low, max(high, low + 1e-6)


def channel_grid(
    features: FeatureMaps, place: Place, size: tuple[int, int]
) -> tuple[NDArray[np.float32], Place]:
    """Lay the channels of a level out in a square, best ranked first, over a picture.

    Each is scaled to 0..1 by itself. Between them and where the last row is not full it
    is NaN.

    Parameters
    ----------
    features : FeatureMaps
        The channels; their pixels keep their proportions.
    place, size : Place, tuple of int
        Where the picture lies, and its rows and columns.

    Returns
    -------
    ndarray of float32, shape (rows, columns)
        The grid.
    Place
        Where it lies: it begins where the picture begins, and does not reach beyond it.
    """
    n, height, width = features.values.shape
    finer = math.ceil(math.sqrt(n * height * width / MOST_PIXELS))
    finer = max(1, min(finer, height, width))
    rows, columns = height // finer, width // finer
    tiles = features.values[features.ranking, : rows * finer, : columns * finer]
    tiles = tiles.reshape(n, rows, finer, columns, finer).mean(axis=(2, 4))
    tiles = np.stack([np.interp(tile, contrast_range(tile), (0, 1)) for tile in tiles])
    across = math.ceil(math.sqrt(n))
    gap = max(1, round(GAP * max(rows, columns)))
    grid = montage(
        tiles.astype(np.float32),
        fill=np.nan,
        grid_shape=(math.ceil(n / across), across),
        padding_width=gap,
    )[gap:-gap, gap:-gap]
    shrunk = min(
        covered * whole / (length * own)
        for covered, whole, length, own in zip(
            size, place.scale_mm, grid.shape, features.place.scale_mm, strict=True
        )
    )
    # The outer edge of the first pixel stays where it is.
    (height_mm, top), (width_mm, left) = (
        (own * shrunk, centre - whole / 2 + own * shrunk / 2)
        for centre, whole, own in zip(
            place.translate_mm, place.scale_mm, features.place.scale_mm, strict=True
        )
    )
    return grid, Place((height_mm, width_mm), (top, left))
