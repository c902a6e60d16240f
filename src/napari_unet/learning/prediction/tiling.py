"""Slices too large to be predicted at once: overlapping tiles, blended smoothly.

Tiles begin at multiples of the network's coarsest pixel, so that strides and
pooling windows fall where they would in the whole slice, and overlap by twice
what the network sees around a pixel where they are large enough for it: the
tile that decides about a pixel has then seen what the whole slice would have
shown. Near its borders, where it has not, its neighbour counts:
weights fall off as a Gaussian of an eighth of the tile, as in nnU-Net (Isensee
et al., 2021, doi:10.1038/s41592-020-01008-z).

A valid convolution never looks beyond its input, so each pixel that is scored depends on
image pixels alone. Tiles of its result lie side by side without a seam, while their inputs
overlap: the overlap-tile strategy (Ronneberger et al., 2015, arXiv:1505.04597).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from napari_unet.learning.config import ModelConfig
from napari_unet.learning.network import layer_sizes

SMALLEST_TILE = 4
"""Side of the smallest tile in multiples of the coarsest pixel."""


@dataclass(frozen=True, slots=True)
class Cut:
    """One side of a slice, cut into equal overlapping pieces.

    Parameters
    ----------
    piece : int
        Pixels of a piece.
    starts : tuple of int
        First pixel of each piece.
    """

    piece: int
    starts: tuple[int, ...]

    def weights(self) -> Tensor:
        """Share (pieces, piece) that each pixel of each piece has in the result."""
        middle = (self.piece - 1) / 2
        distance = (torch.arange(self.piece) - middle) / (self.piece / 8)
        bell = torch.exp(-0.5 * distance**2)
        total = torch.zeros(self.starts[-1] + self.piece)
        for start in self.starts:
            total[start : start + self.piece] += bell
        return torch.stack([bell / total[start : start + self.piece] for start in self.starts])


@dataclass(frozen=True, slots=True)
class Tiling:
    """Where the tiles of a slice are.

    Parameters
    ----------
    rows, columns : Cut
        How its sides are cut, filled up to whole coarsest pixels.
    """

    rows: Cut
    columns: Cut

    def __len__(self) -> int:
        return len(self.rows.starts) * len(self.columns.starts)

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of the slice, filled up."""
        rows, columns = self.rows, self.columns
        return rows.starts[-1] + rows.piece, columns.starts[-1] + columns.piece

    def tiles(self) -> Iterator[tuple[slice, slice]]:
        """Rows and columns of each tile."""
        for top, left in itertools.product(self.rows.starts, self.columns.starts):
            yield slice(top, top + self.rows.piece), slice(left, left + self.columns.piece)


def cut(side: int, longest: int, overlap: int, multiple: int) -> Cut:
    """Cut a side into as few pieces as do it.

    Parameters
    ----------
    side : int
        Pixels, a multiple of `multiple`.
    longest : int
        Pixels of a piece at most; at least two multiples.
    overlap : int
        Pixels that neighbours share, if half a piece allows it; give or take a multiple.
    multiple : int
        Pieces begin at multiples of this.
    """
    longest = max(longest // multiple, 2) * multiple
    if side <= longest:
        return Cut(side, (0,))
    overlap = min(overlap, longest // 2)
    n = math.ceil((side - overlap) / (longest - overlap))
    piece = min(longest, math.ceil((side + (n - 1) * overlap) / n / multiple) * multiple)
    steps = (side - piece) // multiple
    starts = tuple(multiple * round(i * steps / (n - 1)) for i in range(n))
    return Cut(piece, starts)


def plan_tiles(size: tuple[int, int], pixels: int, overlap: int, multiple: int) -> Tiling:
    """Cut a slice into tiles of a limited number of pixels.

    Parameters
    ----------
    size : tuple of int
        Rows and columns of the slice.
    pixels : int
        Pixels of a tile at most (but see `SMALLEST_TILE`).
    overlap : int
        Pixels that neighbours should share.
    multiple : int
        Pixels of the network that make one of its coarsest.
    """
    rows, columns = (math.ceil(side / multiple) * multiple for side in size)
    square = max(math.isqrt(pixels), SMALLEST_TILE * multiple)
    # A slice that is narrower than a square tile leaves room for longer tiles.
    tallest, widest = max(square, pixels // columns), max(square, pixels // rows)
    return Tiling(cut(rows, tallest, overlap, multiple), cut(columns, widest, overlap, multiple))


def predict_tiled(
    predict: Callable[[Tensor], Tensor], images: Tensor, tiling: Tiling, n_classes: int
) -> Tensor:
    """Predict slices tile by tile.

    Parameters
    ----------
    predict : callable
        Gives the class probabilities (n, k, h, w) of images (n, c, h, w).
    images : Tensor, shape (n, c, h, w)
        Whole slices.
    tiling : Tiling
        As `plan_tiles` gives it for (h, w).
    n_classes : int
        k.

    Returns
    -------
    Tensor, shape (n, k, h, w)
        Class probabilities, on the device of `images`.
    """
    n, _, height, width = images.shape
    total_rows, total_columns = tiling.size
    # What the network itself does to a whole slice.
    images = functional.pad(
        images, (0, total_columns - width, 0, total_rows - height), mode="replicate"
    )
    result = images.new_zeros((n, n_classes, total_rows, total_columns))
    shares = itertools.product(
        tiling.rows.weights().to(images), tiling.columns.weights().to(images)
    )
    for (at_rows, at_columns), (down, across) in zip(tiling.tiles(), shares, strict=True):
        part = predict(images[..., at_rows, at_columns])
        result[..., at_rows, at_columns] += part.mul_(down[:, None]).mul_(across)
    return result[..., :height, :width]


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
    multiple = layer_sizes.size_divisor(config)
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
