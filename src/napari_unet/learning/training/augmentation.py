"""Variations of a slice that leave its truth intact: the cheapest annotated data.

Parameters are sampled apart from being applied, so that a test (or a curious
user) can look at, repeat or switch off each of them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from napari_unet.annotation.states import IGNORE_LABEL
from napari_unet.learning.config import ModelConfig, Recipe


@dataclass(frozen=True, slots=True)
class AugmentationRange:
    """How far slices are varied.

    Parameters
    ----------
    rotation_degrees : float
        Largest rotation, either way.
    scale : float
        Largest magnification or reduction: 0.15 means up to 15 percent.
    shift : float
        Largest shift, as a fraction of the side.
    elastic : float
        Standard deviation of the elastic displacement, as a fraction of the side.
    elastic_knots : int
        Control points of the elastic displacement along each side.
    bend : float
        Standard deviation, in pixels, of the displacements of a coarse 3x3 grid
        (Ronneberger et al., 2015: 10 pixels).
    gain, offset, noise, shading : float
        Standard deviation of the logarithm of the contrast factor, of the
        brightness shift, of the largest noise level and of the smooth
        multiplicative bias field (intensities have unit variance).
    flip, flip_rows : bool
        Whether columns, and rows, are mirrored half of the time.
    mirrored : bool
        What lies outside the slice: its mirror image (about the middle of its outer pixels),
        labels and all, or the colour of its edge, which is ignored.
    """

    rotation_degrees: float = 15.0
    scale: float = 0.15
    shift: float = 0.05
    elastic: float = 0.012
    elastic_knots: int = 6
    bend: float = 0.0
    gain: float = 0.1
    offset: float = 0.1
    noise: float = 0.1
    shading: float = 0.1
    flip: bool = True
    flip_rows: bool = False
    mirrored: bool = False

    def scaled(self, strength: float) -> AugmentationRange:
        """Ranges times `strength` (0 to 1); mirroring stays as it is."""
        return dataclasses.replace(
            self,
            rotation_degrees=self.rotation_degrees * strength,
            scale=self.scale * strength,
            shift=self.shift * strength,
            elastic=self.elastic * strength,
            bend=self.bend * strength,
            gain=self.gain * strength,
            offset=self.offset * strength,
            noise=self.noise * strength,
            shading=self.shading * strength,
        )


def training_range(
    model: ModelConfig, recipe: Recipe, axis: int, class_names: Sequence[str]
) -> AugmentationRange:
    """Say how far training varies slices for a network.

    Parameters
    ----------
    model : ModelConfig
        The network: what one with valid convolutions sees beyond the borders of a slice is
        the mirror image, in training as in prediction.
    recipe : Recipe
        How it is trained.
    axis : int
        Display axis of slicing.
    class_names : sequence of str
        Names of classes 1..K.
    """
    limits = AugmentationRange(
        flip=may_mirror(axis, class_names),
        flip_rows=recipe.flip_rows,
        mirrored=recipe.elastic > 0 or model.padding == "valid",
    )
    if recipe.elastic > 0:
        limits = dataclasses.replace(limits, elastic=0.0, bend=recipe.elastic)
    return limits


@dataclass(frozen=True, slots=True, eq=False)
class Augmentation:
    """One sampled variation per slice of a batch of n.

    Parameters
    ----------
    matrix : Tensor, shape (n, 2, 2)
        Maps (x, y) of the result to (x, y) of the slice, relative to the centre.
    displacement : Tensor, shape (n, 2, knots, knots)
        Elastic displacement (x, y) as a fraction of the side.
    bend : Tensor, shape (n, 2, 3, 3)
        Elastic displacement (x, y) in pixels.
    shift : Tensor, shape (n, 2)
        Shift (x, y) as a fraction of the side.
    gain, offset, noise : Tensor, shape (n,)
        Contrast factor, brightness shift, noise level.
    shading : Tensor, shape (n, 1, 4, 4)
        Logarithm of the bias field.
    noise_seed : int
        Seed of the noise itself.
    mirrored : bool
        See `AugmentationRange`.
    """

    matrix: Tensor
    displacement: Tensor
    bend: Tensor
    shift: Tensor
    gain: Tensor
    offset: Tensor
    noise: Tensor
    shading: Tensor
    noise_seed: int
    mirrored: bool


def sample_augmentation(
    n: int, limits: AugmentationRange, generator: torch.Generator, *, aspect: float = 1.0
) -> Augmentation:
    """Draw variations for `n` slices.

    Parameters
    ----------
    n : int
        Slices in the batch.
    limits : AugmentationRange
        How far to go.
    generator : torch.Generator
        Source of randomness, on the CPU.
    aspect : float
        Height of a pixel divided by its width, both in millimetres: rotations
        turn anatomy, not pixels.
    """

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator) * 2 - 1

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    angle = uniform(n) * math.radians(limits.rotation_degrees)
    zoom = torch.exp(uniform(n) * math.log1p(limits.scale))

    # Drawn only where it is wanted: otherwise everything else stays what it was.
    def mirroring(wanted: bool) -> Tensor:
        return 1.0 - 2.0 * (torch.rand(n, generator=generator) < 0.5) if wanted else torch.ones(n)

    across, down = mirroring(limits.flip), mirroring(limits.flip_rows)
    cos, sin = angle.cos() * zoom, angle.sin() * zoom
    matrix = torch.stack(
        [cos * across, -sin * down * aspect, sin * across / aspect, cos * down], dim=1
    )
    bend = normal(n, 2, 3, 3) * limits.bend if limits.bend else torch.zeros(n, 2, 3, 3)
    return Augmentation(
        bend=bend,
        matrix=matrix.reshape(n, 2, 2),
        displacement=normal(n, 2, limits.elastic_knots, limits.elastic_knots) * limits.elastic,
        shift=uniform(n, 2) * limits.shift,
        gain=torch.exp(normal(n) * limits.gain),
        offset=normal(n) * limits.offset,
        noise=torch.rand(n, generator=generator) * limits.noise,
        shading=normal(n, 1, 4, 4) * limits.shading,
        noise_seed=int(torch.randint(2**31, (1,), generator=generator)),
        mirrored=limits.mirrored,
    )


def apply_augmentation(
    images: Tensor,
    labels: Tensor,
    drawn: Augmentation,
    *,
    centres: Tensor | None = None,
    size: tuple[int, int] | None = None,
) -> tuple[Tensor, Tensor]:
    """Vary a batch; everything geometric in one resampling.

    Parameters
    ----------
    images : Tensor of float, shape (n, c, h, w)
        Normalised slices.
    labels : Tensor of integers, shape (n, h, w)
        Their truth.
    drawn : Augmentation
        What to do.
    centres : Tensor, shape (n, 2), optional
        Pixel (row, column) at the centre of each result; default: the middle.
    size : tuple of int, optional
        Rows and columns of the results; default: as the slices.

    Returns
    -------
    tuple
        Images (n, c, *size) and labels (n, *size) of int64; pixels that come
        from outside the slice are `IGNORE_LABEL`, unless borders are mirrored.
    """
    height, width = images.shape[-2:]
    size = size or (height, width)
    grid = _sampling_grid(drawn, (height, width), centres, size)
    images = functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
    # Shifted by one: outside the slice grid_sample gives 0, an impossible label.
    truth = _nearest(labels.float() + 1, grid, drawn.mirrored).round_().long() - 1
    truth[truth < 0] = IGNORE_LABEL

    shading = _spread(drawn.shading, size)
    images = images * (drawn.gain[:, None, None, None] * shading.exp())
    images += drawn.offset[:, None, None, None]
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(drawn.noise_seed))
    return images.addcmul_(noise, drawn.noise[:, None, None, None]), truth


def move_along(
    maps: Tensor,
    drawn: Augmentation,
    *,
    centres: Tensor | None = None,
    size: tuple[int, int] | None = None,
) -> Tensor:
    """Move values of pixels (weights, say) as `apply_augmentation` moves labels.

    Parameters
    ----------
    maps : Tensor of float, shape (n, h, w)
        A value for each pixel of the slices.
    drawn, centres, size
        As of `apply_augmentation`.

    Returns
    -------
    Tensor, shape (n, *size)
        The value of the pixel that each label comes from; 0 outside the slice.
    """
    height, width = maps.shape[-2:]
    grid = _sampling_grid(drawn, (height, width), centres, size or (height, width))
    return _nearest(maps, grid, drawn.mirrored)


def _sampling_grid(
    drawn: Augmentation,
    shape: tuple[int, int],
    centres: Tensor | None,
    size: tuple[int, int],
) -> Tensor:
    """Where in slices of `shape` each pixel of the results comes from, as grid_sample counts."""
    (height, width), (rows, columns) = shape, size
    n = len(drawn.matrix)
    middle = torch.tensor([(height - 1) / 2, (width - 1) / 2])
    centres = middle.expand(n, 2) if centres is None else centres.float()

    # Pixel coordinates (x, y) of the slice for each pixel of the result.
    y, x = torch.meshgrid(
        torch.arange(rows) - (rows - 1) / 2,
        torch.arange(columns) - (columns - 1) / 2,
        indexing="ij",
    )
    grid = torch.stack([x, y], dim=-1).reshape(1, -1, 2) @ drawn.matrix.transpose(1, 2)
    grid = grid.reshape(n, rows, columns, 2)
    side = torch.tensor([columns, rows], dtype=torch.float32)
    grid += _spread(drawn.displacement, size).movedim(1, -1) * side
    if drawn.bend.any():
        grid += _spread(drawn.bend, size).movedim(1, -1)
    grid += (centres.flip(1) + drawn.shift * side)[:, None, None]
    if drawn.mirrored:  # about the outer pixels, which are not repeated: as `UNet.surround` does
        last = torch.tensor([width - 1, height - 1])
        grid = last - (grid.abs() % (2 * last).clamp(min=1) - last).abs()
    # grid_sample counts from -1 to 1 over the outer edges of the slice.
    return (grid + 0.5) * (2 / torch.tensor([width, height])) - 1


def _spread(knots: Tensor, size: tuple[int, int]) -> Tensor:
    """Interpolate knots (n, c, k, k), the outer ones on the outer pixels, to `size`.

    Bicubic: cubic convolution (Keys, 1981) with a = -0.75, the outer knots repeated.
    """
    return functional.interpolate(knots, size=size, mode="bicubic", align_corners=True)


def _nearest(maps: Tensor, grid: Tensor, mirrored: bool) -> Tensor:
    """Values (n, *size) of the pixels of maps (n, h, w) that are nearest to a grid."""
    moved = functional.grid_sample(
        maps[:, None],
        grid,
        mode="nearest",
        padding_mode="border" if mirrored else "zeros",
        align_corners=False,
    )
    return moved[:, 0]


_SIDED_WORDS = frozenset({"left", "right", "l", "r", "lh", "rh", "links", "rechts"})


def may_mirror(axis: int, class_names: Sequence[str]) -> bool:
    """Whether slices may be mirrored left to right.

    Only across the plane that a head is symmetric about (columns of axial and
    coronal slices), and only while no class is named after a side.

    Parameters
    ----------
    axis : int
        Display axis of slicing.
    class_names : sequence of str
        Names of classes 1..K.
    """
    words = {
        word
        for name in class_names
        for word in "".join(c if c.isalpha() else " " for c in name.lower()).split()
    }
    return axis != 2 and not words & _SIDED_WORDS
