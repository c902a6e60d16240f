"""What training does to a slice before it learns from it, one variation at a time."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from napari_unet.learning.config import IGNORE_LABEL
from napari_unet.learning.runtime import load_torch

load_torch()

import torch  # noqa: E402

from napari_unet.learning.augmentation import (  # noqa: E402
    AugmentationRange,
    apply_augmentation,
    sample_augmentation,
)

_NOTHING = dataclasses.replace(AugmentationRange().scaled(0.0), flip=False)
_ALL = AugmentationRange()

PAPER_BEND = 10.0
"""Pixels: standard deviation of the elastic displacements of Ronneberger et al. (2015)."""

KINDS: dict[str, AugmentationRange] = {
    "all": _ALL,
    "shift": dataclasses.replace(_NOTHING, shift=_ALL.shift),
    "rotation": dataclasses.replace(_NOTHING, rotation_degrees=_ALL.rotation_degrees),
    "scale": dataclasses.replace(_NOTHING, scale=_ALL.scale),
    "flip": dataclasses.replace(_NOTHING, flip=True),
    "crop": _NOTHING,
    "elastic": dataclasses.replace(_NOTHING, elastic=_ALL.elastic),
    "elastic (paper)": dataclasses.replace(_NOTHING, bend=PAPER_BEND, mirrored=True),
    "contrast and brightness": dataclasses.replace(_NOTHING, gain=_ALL.gain, offset=_ALL.offset),
    "noise": dataclasses.replace(_NOTHING, noise=_ALL.noise),
    "shading": dataclasses.replace(_NOTHING, shading=_ALL.shading),
}
"""Variations by name. Flips are drawn like the others: every other seed shows one."""

_CROP = 0.5
"""Share of each side that the preview of a crop shows."""


def augmented(
    image: NDArray[np.float32],
    labels: NDArray[np.uint8],
    seed: int,
    what: str = "all",
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Vary a slice as training does.

    Parameters
    ----------
    image : ndarray of float32, shape (c, h, w)
        A normalised slice, as of `PreparedScan.slices`.
    labels : ndarray of uint8, shape (h, w)
        Its classes; `IGNORE_LABEL` where nobody annotated.
    seed : int
        Each shows another variation; the same one shows the same.
    what : str
        Name of one of `KINDS`. A ``crop`` keeps the size of the slice: around the
        patch that would be trained on, the image is as dark as it gets, and ignored.

    Returns
    -------
    tuple
        Image (c, h, w) and labels (h, w), which moved together; pixels that come from
        outside the slice are `IGNORE_LABEL`, or mirrored where the paper does so.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = sample_augmentation(1, KINDS[what], generator)
    images, truth = apply_augmentation(
        torch.from_numpy(np.ascontiguousarray(image)[None]),
        torch.from_numpy(np.ascontiguousarray(labels)[None]),
        drawn,
    )
    new_image, new_labels = images[0].numpy(), truth[0].to(torch.uint8).numpy()
    if what == "crop":
        inside = np.zeros(labels.shape, dtype=bool)
        inside[tuple(_part(side, generator) for side in labels.shape)] = True
        new_image = np.where(inside, new_image, new_image.min(axis=(1, 2), keepdims=True))
        new_labels = np.where(inside, new_labels, np.uint8(IGNORE_LABEL))
    return new_image, new_labels


def _part(side: int, generator: torch.Generator) -> slice:
    """Draw where along a side a crop lies."""
    length = round(side * _CROP)
    start = int(torch.randint(side - length + 1, (1,), generator=generator))
    return slice(start, start + length)
