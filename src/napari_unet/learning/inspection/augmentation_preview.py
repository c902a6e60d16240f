"""What training does to a slice before it learns from it, one variation at a time."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from napari_unet.annotation.states import IGNORE_LABEL
from napari_unet.learning.runtime import load_torch

load_torch()

import torch  # noqa: E402

from napari_unet.learning.training.augmentation import (  # noqa: E402
    AugmentationRange,
    apply_augmentation,
    sample_augmentation,
)

_DEFAULT = AugmentationRange()

PAPER_BEND = 10.0
"""Pixels: standard deviation of the elastic displacements of Ronneberger et al. (2015)."""

KINDS = (
    "all",
    "shift",
    "rotation",
    "scale",
    "flip",
    "crop",
    "elastic",
    "elastic (paper)",
    "contrast and brightness",
    "noise",
    "shading",
)
"""Variations by name. Flips are drawn like the others: every other seed shows one."""

_FIELDS = {
    "rotation": ("rotation_degrees",),
    "flip": ("flip", "flip_rows"),
    "elastic": ("elastic", "bend"),
    "contrast and brightness": ("gain", "offset"),
}
"""What of an `AugmentationRange` a kind varies, where it is not called the same."""


def _only(what: str, limits: AugmentationRange) -> AugmentationRange:
    """Ranges of one kind of variation."""
    if what == "all":
        return limits
    nothing = dataclasses.replace(limits.scaled(0.0), flip=False, flip_rows=False)
    if what == "elastic (paper)":
        return dataclasses.replace(nothing, bend=PAPER_BEND, mirrored=True)
    fields = () if what == "crop" else _FIELDS.get(what, (what,))
    return dataclasses.replace(nothing, **{name: getattr(limits, name) for name in fields})


_CROP = 0.5
"""Share of each side that the preview of a crop shows."""


def augmented(
    image: NDArray[np.float32],
    labels: NDArray[np.uint8],
    seed: int,
    what: str = "all",
    *,
    limits: AugmentationRange = _DEFAULT,
    aspect: float = 1.0,
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
    limits : AugmentationRange
        How far training goes, see `training_range`.
    aspect : float
        Height of a pixel divided by its width, both in millimetres.

    Returns
    -------
    tuple
        Image (c, h, w) and labels (h, w), which moved together; pixels that come from
        outside the slice are `IGNORE_LABEL`, or mirrored where the paper does so.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = sample_augmentation(1, _only(what, limits), generator, aspect=aspect)
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
