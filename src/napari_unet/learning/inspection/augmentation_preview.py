"""What training does to a slice before it learns from it, one variation at a time."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_unet.learning.runtime import load_torch

load_torch()

import torch  # noqa: E402

from napari_unet.learning.training.augmentation import (  # noqa: E402
    AugmentationRange,
    apply_augmentation,
    sample_augmentation,
)

PAPER_BEND = 10.0
"""Pixels: standard deviation of the elastic displacements of Ronneberger et al. (2015)."""

KINDS: dict[str, tuple[str, ...]] = {
    "all": (),
    "shift": ("shift",),
    "rotation": ("rotation_degrees",),
    "scale": ("scale",),
    "flip": ("flip", "flip_rows"),
    "crop": (),
    "elastic": ("elastic", "bend"),
    "elastic (paper)": (),
    "contrast and brightness": ("gain", "offset"),
    "noise": ("noise",),
    "shading": ("shading",),
}
"""Variations by name, and what of an `AugmentationRange` each takes over, the rest being none.
Flips are drawn like the others: every other seed shows one."""

_CROP = 0.5
"""Share of each side that the preview of a crop shows."""

_DEFAULT = AugmentationRange()


@dataclass(frozen=True, slots=True, eq=False)
class VariedSlice:
    """A slice, varied.

    Parameters
    ----------
    values : ndarray of float32, shape (c, h, w)
        Its pixels.
    mirrored : tuple of int
        Axes along which it is mirrored: 0 rows, 1 columns.
    """

    values: NDArray[np.float32]
    mirrored: tuple[int, ...]


def augmented(
    image: NDArray[np.float32],
    seed: int,
    kind: str = "all",
    *,
    limits: AugmentationRange = _DEFAULT,
    aspect: float = 1.0,
) -> VariedSlice:
    """Vary a slice as training does.

    Parameters
    ----------
    image : ndarray of float32, shape (c, h, w)
        A normalised slice, as of `PreparedScan.slices`.
    seed : int
        Each shows another variation; the same one shows the same.
    kind : str
        One of `KINDS`. A ``crop`` keeps the size of the slice: around the patch that
        would be trained on, the image is as dark as it gets.
    limits : AugmentationRange
        How far training goes, see `training_range`.
    aspect : float
        Height of a pixel divided by its width, both in millimetres.

    Returns
    -------
    VariedSlice
        The slice, varied.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = sample_augmentation(1, _only(kind, limits), generator, aspect=aspect)
    no_labels = torch.zeros((1, *image.shape[1:]), dtype=torch.uint8)
    images = torch.from_numpy(np.ascontiguousarray(image)[None])
    varied: NDArray[np.float32] = apply_augmentation(images, no_labels, drawn)[0][0].numpy()
    if kind == "crop":
        inside = np.zeros(image.shape[1:], dtype=bool)
        inside[tuple(_patch(side, generator) for side in image.shape[1:])] = True
        varied = np.where(inside, varied, varied.min(axis=(1, 2), keepdims=True))
    across, down = drawn.matrix[0].diagonal().tolist()  # (x, y); no rotation reaches 90 degrees
    return VariedSlice(varied, tuple(axis for axis, way in enumerate((down, across)) if way < 0))


def _only(kind: str, limits: AugmentationRange) -> AugmentationRange:
    """Ranges of one kind of variation."""
    if kind == "all":
        return limits
    nothing = dataclasses.replace(limits.scaled(0.0), flip=False, flip_rows=False)
    if kind == "elastic (paper)":
        return dataclasses.replace(nothing, bend=PAPER_BEND, mirrored=True)
    return dataclasses.replace(nothing, **{name: getattr(limits, name) for name in KINDS[kind]})


def _patch(side: int, generator: torch.Generator) -> slice:
    """Draw where along a side a crop lies."""
    length = round(side * _CROP)
    start = int(torch.randint(side - length + 1, (1,), generator=generator))
    return slice(start, start + length)
