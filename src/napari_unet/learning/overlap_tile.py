"""Slices too large for a network of valid convolutions: tiles that join without a seam.

A valid convolution never looks beyond its input, so each pixel that is scored depends on
image pixels alone. Tiles of the result can therefore lie side by side while what the
network sees for them overlaps, and together they say what the whole slice would have
said: the overlap-tile strategy (Ronneberger et al., 2015, arXiv:1505.04597). Beyond the
borders of the slice the network sees its mirror image.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import Tensor

from napari_unet.learning import layer_sizes
from napari_unet.learning.config import ModelConfig
from napari_unet.learning.tiling import SMALLEST_TILE, Tiling, cut


def plan_overlap_tiles(config: ModelConfig, size: tuple[int, int], pixels: int) -> Tiling:
    """Cut the result for a slice into tiles whose input has a limited number of pixels.

    Parameters
    ----------
    config : ModelConfig
        A network with valid convolutions.
    size : tuple of int
        Rows and columns of the slice.
    pixels : int
        Pixels of a tile's input at most (but see `tiling.SMALLEST_TILE`).
    """
    multiple = layer_sizes.multiple(config)
    rows, columns = (math.ceil(side / multiple) * multiple for side in size)
    around = layer_sizes.input_size(config, multiple) - multiple
    square = max(math.isqrt(pixels), SMALLEST_TILE * multiple + around)
    # A slice that is narrower than a square tile leaves room for longer tiles.
    tallest = max(square, pixels // (columns + around)) - around
    widest = max(square, pixels // (rows + around)) - around
    return Tiling(cut(rows, tallest, 0, multiple), cut(columns, widest, 0, multiple))


def predict_overlap_tiles(
    predict: Callable[[Tensor], Tensor],
    images: Tensor,
    tiling: Tiling,
    n_classes: int,
) -> Tensor:
    """Predict slices tile by tile.

    Parameters
    ----------
    predict : callable
        Gives the class probabilities of the inside of images of a valid input size.
    images : Tensor, shape (n, c, h', w')
        Whole slices and what is around them, as `UNet.surround` makes them for
        `Tiling.size`.
    tiling : Tiling
        As `plan_overlap_tiles` gives it.
    n_classes : int
        k.

    Returns
    -------
    Tensor, shape (n, k, *tiling.size)
        Class probabilities, on the device of `images`.
    """
    rows, columns = tiling.size
    below, right = images.shape[-2] - rows, images.shape[-1] - columns
    result = images.new_empty((len(images), n_classes, rows, columns))
    for at_rows, at_columns in tiling.tiles():
        seen_rows = slice(at_rows.start, at_rows.stop + below)
        seen_columns = slice(at_columns.start, at_columns.stop + right)
        part = predict(images[..., seen_rows, seen_columns])
        # The smallest valid input may score a few pixels more than asked for.
        result[..., at_rows, at_columns] = part[..., : tiling.rows.piece, : tiling.columns.piece]
    return result
