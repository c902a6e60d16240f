"""Between the pixels of a scan and the pixels a network was trained on.

A network knows structures at one pixel size. Scans whose in-plane spacing is
close to it are used as they are; others are resampled slice by slice, and the
class probabilities brought back.
"""

from __future__ import annotations

from napari_unet.learning.preparation import PreparedScan
from napari_unet.learning.runtime import load_torch

load_torch()

import torch  # noqa: E402
from torch import Tensor  # noqa: E402
from torch.nn import functional  # noqa: E402

TOLERANCE = 0.1
"""Relative difference in spacing that a network has to bear (augmentation covers it)."""


def network_size(scan: PreparedScan, spacing_mm: tuple[float, float]) -> tuple[int, int]:
    """Rows and columns of the scan's slices at the network's pixel size in millimetres."""
    ratios = [own / wanted for own, wanted in zip(scan.spacing_mm, spacing_mm, strict=True)]
    if all(abs(ratio - 1) <= TOLERANCE for ratio in ratios):
        return scan.shape
    rows, columns = (
        max(8, round(side * ratio)) for side, ratio in zip(scan.shape, ratios, strict=True)
    )
    return rows, columns


def resample_images(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Resample images or probabilities (n, c, h, w) smoothly to `size`."""
    if images.shape[-2:] == size:
        return images
    return functional.interpolate(
        images, size=size, mode="bilinear", align_corners=False, antialias=True
    )


def resample_labels(labels: Tensor, size: tuple[int, int]) -> Tensor:
    """Resample labels (n, h, w) to `size`, taking the nearest."""
    if labels.shape[-2:] == size:
        return labels
    resampled = functional.interpolate(labels[:, None].float(), size=size, mode="nearest-exact")
    return resampled[:, 0].to(torch.uint8)
