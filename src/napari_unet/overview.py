"""One picture of a result: image, truth and prediction of several slices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from napari_unet.imaging.measurement import dice

# Okabe and Ito: told apart with any colour vision.
TRUTH_COLOUR = (86, 180, 233)
PREDICTION_COLOUR = (230, 159, 0)

_BACKGROUND = (16, 18, 22)
_TEXT = (225, 228, 232)
_FAINT = (150, 156, 164)
_TILE_WIDTH = 264
_GAP = 6
_MARGIN = 16
_HEAD = 54
_FOOT = 30

Pixels: TypeAlias = NDArray[np.uint8]


def interesting_slices(
    truth_zyx: NDArray[Any], count: int, without: Sequence[int] = ()
) -> list[int]:
    """Choose slices that show much of the structures and lie apart, ascending.

    Parameters
    ----------
    truth_zyx : ndarray of integer, shape (z, y, x)
        What there is to see.
    count : int
        How many at most.
    without : sequence of int
        Slices not to choose: those the model learned from.
    """
    area = np.count_nonzero(truth_zyx, axis=(1, 2)).astype(float)
    area[list(without)] = 0
    where = np.arange(len(area))
    chosen: list[int] = []
    while len(chosen) < count and area.any():
        best = int(np.argmax(np.sqrt(area)))
        chosen.append(best)
        area[np.abs(where - best) < max(2, len(area) // (2 * count))] = 0
    return sorted(chosen)


def draw(
    image_zyx: NDArray[np.float32],
    truth_zyx: NDArray[Any],
    prediction_zyx: NDArray[Any],
    slices: Sequence[int],
    spacing_mm: tuple[float, float, float],
    title: str,
) -> Image.Image:
    """Draw a column for each axial slice and a row for image, truth and prediction.

    Parameters
    ----------
    image_zyx, truth_zyx, prediction_zyx : ndarray, shape (z, y, x)
        One channel of the scan, and labels.
    slices : sequence of int
        Slices along z, at least one.
    spacing_mm : tuple of float
        Voxel size (z, y, x).
    title : str
        Line at the top.
    """
    low, high = np.percentile(image_zyx, (1, 99.7))
    rows, columns = _head(image_zyx, float(low + 0.1 * (high - low)))
    height = round(
        _TILE_WIDTH
        * (rows.stop - rows.start)
        * spacing_mm[1]
        / ((columns.stop - columns.start) * spacing_mm[2])
    )
    size = (_TILE_WIDTH, height)
    step_x, step_y = _TILE_WIDTH + _GAP, height + _FOOT
    sheet = Image.new(
        "RGB",
        (2 * _MARGIN + step_x * len(slices) - _GAP, _HEAD + 3 * step_y + _MARGIN // 2),
        _BACKGROUND,
    )
    pen = ImageDraw.Draw(sheet)
    small, large = ImageFont.load_default(16), ImageFont.load_default(22)
    pen.text((_MARGIN, 16), title, font=large, fill=_TEXT)
    for column, index in enumerate(slices):
        grey = (image_zyx[index, rows, columns] - low) / max(float(high - low), 1e-6)
        base = _enlarged(np.clip(grey, 0, 1), size, Image.Resampling.BICUBIC)
        truth = _mask(truth_zyx[index, rows, columns], size)
        found = _mask(prediction_zyx[index, rows, columns], size)
        score = _score(prediction_zyx[index], truth_zyx[index])
        tiles = (
            (f"slice {index}", base),
            ("truth", _tint(base, truth, TRUTH_COLOUR)),
            (
                f"prediction, Dice {score:.2f}" if score == score else "prediction",
                _outline(_tint(base, found, PREDICTION_COLOUR), truth, TRUTH_COLOUR),
            ),
        )
        for row, (caption, tile) in enumerate(tiles):
            corner = (_MARGIN + column * step_x, _HEAD + row * step_y)
            sheet.paste(Image.fromarray(tile), corner)
            pen.text((corner[0] + 2, corner[1] + height + 4), caption, font=small, fill=_FAINT)
    return sheet


def _score(prediction: NDArray[Any], truth: NDArray[Any]) -> float:
    """Dice of all structures taken together in one slice."""
    return dice(prediction > 0, truth > 0, 1)


def _head(image_zyx: NDArray[np.float32], threshold: float) -> tuple[slice, slice]:
    """Rows and columns that show the head in any slice."""
    seen = np.count_nonzero(image_zyx > threshold, axis=0)
    ranges = []
    for axis in (1, 0):
        profile = seen.sum(axis=axis)
        where = np.flatnonzero(profile > 0.02 * profile.max())
        start, stop = (int(where[0]), int(where[-1]) + 1) if where.size else (0, len(profile))
        ranges.append(slice(max(0, start - 2), min(len(profile), stop + 2)))
    return ranges[0], ranges[1]


def _enlarged(values: NDArray[Any], size: tuple[int, int], method: Image.Resampling) -> Pixels:
    """Grey values 0..1 (h, w) as an RGB tile of `size` (width, height)."""
    image = Image.fromarray((255 * values).astype(np.uint8)).resize(size, method)
    return np.repeat(np.asarray(image)[..., None], 3, axis=2)


def _mask(labels: NDArray[Any], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Where a tile shows a structure; smooth at its edges, since the tile is enlarged."""
    shown = Image.fromarray((255 * (labels > 0)).astype(np.uint8))
    return np.asarray(shown.resize(size, Image.Resampling.BILINEAR)) > 127


def _tint(tile: Pixels, mask: NDArray[np.bool_], colour: tuple[int, int, int]) -> Pixels:
    """Colour a structure lightly and outline it."""
    tinted = tile.astype(float)
    tinted[mask] = 0.55 * tinted[mask] + 0.45 * np.asarray(colour)
    return _outline(tinted.astype(np.uint8), mask, colour)


def _outline(tile: Pixels, mask: NDArray[np.bool_], colour: tuple[int, int, int]) -> Pixels:
    """Draw the border of a structure."""
    drawn = tile.copy()
    drawn[ndimage.binary_dilation(mask) & ~mask] = colour
    return drawn
