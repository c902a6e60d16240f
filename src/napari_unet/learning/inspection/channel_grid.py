"""All channels of a level side by side, in the place of the slice. No torch here."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from napari_unet.learning.inspection.levels import Place

MOST_PIXELS = 2**22
"""Pixels of a channel_grid at most: beyond, each channel is averaged to fewer."""

GAP = 0.04
"""Gap between channels as a share of their longer side."""


def shown_range(values: NDArray[np.float32]) -> tuple[float, float]:
    """Find the values from black to white: all but the half per mille at either end."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0, 1.0
    low, high = (float(v) for v in np.quantile(finite[:: 1 + finite.size // 2**20], (5e-4, 0.9995)))
    return low, max(high, low + 1e-6)


def channel_grid(
    values: NDArray[np.float32],
    order: list[int],
    pixel_mm: tuple[float, float],
    place: Place,
    size: tuple[int, int],
) -> tuple[NDArray[np.float32], Place]:
    """Lay channels out in a square, row by row, over a picture.

    Each is scaled to 0..1 by itself. Between them and where the last row is not full it
    is NaN.

    Parameters
    ----------
    values : ndarray, shape (c, h, w)
        The channels.
    order : list of int
        Which of them, in which order.
    pixel_mm : tuple of float
        Height and width of their pixels: they keep their proportions.
    place, size : Place, tuple of int
        Where the picture lies, and its rows and columns.

    Returns
    -------
    ndarray of float32, shape (rows, columns)
        The channel_grid.
    Place
        Where it lies: it begins where the picture begins, and does not reach beyond it.
    """
    side = math.ceil(math.sqrt(len(order)))
    _, height, width = values.shape
    finer = math.ceil(math.sqrt(len(order) * height * width / MOST_PIXELS))
    finer = max(1, min(finer, height, width))
    high, wide = height // finer, width // finer
    gap = max(1, round(GAP * max(high, wide)))
    n_rows = math.ceil(len(order) / side)
    result = np.full(
        (n_rows * (high + gap) - gap, side * (wide + gap) - gap), np.nan, dtype=np.float32
    )
    for position, channel in enumerate(order):
        tile = values[channel, : high * finer, : wide * finer]
        if finer > 1:
            tile = tile.reshape(high, finer, wide, finer).mean(axis=(1, 3))
        low, top = shown_range(tile)
        down, across = divmod(position, side)
        at = (
            slice(down * (high + gap), down * (high + gap) + high),
            slice(across * (wide + gap), across * (wide + gap) + wide),
        )
        np.clip((tile - low) / (top - low), 0, 1, out=result[at])
    shrunk = min(
        covered * whole / (length * own)
        for covered, whole, length, own in zip(
            size, place.scale_mm, result.shape, pixel_mm, strict=True
        )
    )
    scale = (pixel_mm[0] * shrunk, pixel_mm[1] * shrunk)
    # The outer edge of the first pixel stays where it is.
    down_mm, across_mm = (
        centre - whole / 2 + own / 2
        for centre, whole, own in zip(place.translate_mm, place.scale_mm, scale, strict=True)
    )
    return result, Place(scale, (down_mm, across_mm))
