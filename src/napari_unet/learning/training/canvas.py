"""Slices of one or several scans, whatever their sizes, on one grid of the network's pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_unet.annotation.states import IGNORE_LABEL
from napari_unet.learning.config import ModelConfig
from napari_unet.learning.network import layer_sizes
from napari_unet.learning.network.resampling import network_size, resample_images, resample_labels
from napari_unet.learning.network.unet import mirrored
from napari_unet.learning.preparation import PreparedScan


@dataclass(frozen=True, slots=True)
class SliceCanvas:
    """Grid that has room for a slice of each scan, which lies in its upper left corner.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns.
    spacing_mm : tuple of float
        Pixel size (rows, columns).
    valid : bool
        For a network with valid convolutions: around a slice, nothing is known.
    """

    shape: tuple[int, int]
    spacing_mm: tuple[float, float]
    valid: bool

    @classmethod
    def for_scans(
        cls, scans: Sequence[PreparedScan], spacing_mm: tuple[float, float], model: ModelConfig
    ) -> SliceCanvas:
        """Make the smallest one."""
        sizes = [network_size(scan, spacing_mm) for scan in scans]
        rows, columns = (max(sides) for sides in zip(*sizes, strict=True))
        valid = model.padding == "valid"
        if not valid:  # as the network itself fills slices up
            whole = layer_sizes.size_divisor(model)
            rows, columns = rows + -rows % whole, columns + -columns % whole
        return cls((rows, columns), spacing_mm, valid)

    def image(self, scan: PreparedScan, index: int) -> Tensor:
        """Place a slice: image (c, *shape)."""
        rows, columns = size = network_size(scan, self.spacing_mm)
        image = resample_images(torch.from_numpy(scan.slices[index][None]), size)
        below, right = self.shape[0] - rows, self.shape[1] - columns
        if self.valid:  # around it: what the network sees there when it predicts
            return mirrored(image, 0, below, 0, right)[0]
        # Around it: its darkest value, as air, and background. Whatever the network is
        # not taught about its right and lower edge it fills with structures in scans of
        # another size (four heads, tested on others: Dice .19 instead of .85).
        result = image.amin(dim=(2, 3), keepdim=True)[0].expand(-1, *self.shape).clone()
        result[:, :rows, :columns] = image[0]
        return result

    def labels(self, scan: PreparedScan, labels: NDArray[np.uint8]) -> Tensor:
        """Place the labels (h, w) of a scan's window: uint8 of `shape`."""
        rows, columns = size = network_size(scan, self.spacing_mm)
        around = IGNORE_LABEL if self.valid else 0
        result = torch.full(self.shape, around, dtype=torch.uint8)
        result[:rows, :columns] = resample_labels(torch.from_numpy(labels.copy())[None], size)[0]
        return result

    def own(self, scan: PreparedScan) -> tuple[slice, slice]:
        """Rows and columns that show the scan itself."""
        rows, columns = network_size(scan, self.spacing_mm)
        return slice(rows), slice(columns)
