"""Endless labelled slices of synthetic anatomy: no two have the same contrast.

The idea is SynthSeg's (Billot et al., 2023, arXiv:2107.09559): make up the image of a label
map anew for each batch, so that a network learns shapes and places, not the brightness of
one scanner. The maps are those of the package's phantoms, with random tumours and, after
AnyStar (Dey et al., 2023, arXiv:2307.07044), things that are no anatomy at all.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tissue_contrasts import (
    BETWEEN,
    BLOB,
    BRAIN,
    CAVITY,
    CONTRASTS,
    DEEP,
    HOW_OFTEN,
    N_TISSUES,
    OUTSIDE,
    REALISTIC,
    TARGETS,
)
from torch import Tensor
from torch.nn import functional

from napari_unet.annotation.states import IGNORE_LABEL
from napari_unet.learning.training.augmentation import (
    AugmentationRange,
    apply_augmentation,
    sample_augmentation,
)
from napari_unet.phantom.metastases import make_phantom
from napari_unet.phantom.tissues import Tissue

HEAD_SHAPE, VOXEL_MM = (144, 173, 147), 1.2
SIDE = 173
"""Slices of all planes are padded with air to this many rows and columns."""

SIZES = ((160, 192), (192, 160), (128, 160), (160, 128), (128, 128), (96, 128))
"""Rows and columns of the slices of a batch."""

PLANES = (0.6, 0.2, 0.2)
"""How often slices are axial, coronal and sagittal."""

ROUGHNESS = 0.045
"""Largest standard deviation of the texture within a tissue (brightness: 0 to 1)."""


def make_heads(count: int, seed: int, cache: Path) -> list[NDArray[np.uint8]]:
    """Draw heads with random lesions, or take them from the cache.

    Parameters
    ----------
    count : int
        How many.
    seed : int
        Seed of the first; the others count on.
    cache : Path
        Folder with one file a head, written to as needed.

    Returns
    -------
    list of ndarray of uint8, shape `HEAD_SHAPE`
        Tissues.
    """
    cache.mkdir(parents=True, exist_ok=True)
    heads = []
    for number in range(seed, seed + count):
        path = cache / f"head-{number}.npy"
        if not path.exists():
            rng = np.random.default_rng(number)
            phantom = make_phantom(
                number,
                HEAD_SHAPE,
                (VOXEL_MM, VOXEL_MM, VOXEL_MM),
                n_metastases=int(rng.integers(0, 14)),
                diameters_mm=(3.0, float(rng.uniform(8, 45))),
            )
            np.save(path, phantom.tissue)
        heads.append(np.load(path))
    return heads


class SliceMaker:
    """Makes batches of slices from label maps.

    Parameters
    ----------
    heads : sequence of ndarray of uint8, shape `HEAD_SHAPE`
        Tissues.
    generator : torch.Generator
        Source of everything random.
    """

    def __init__(self, heads: Sequence[NDArray[np.uint8]], generator: torch.Generator) -> None:
        self._generator = generator
        self._heads = [torch.from_numpy(head) for head in heads]
        self._slices = [
            [_worth_showing(head, axis) for axis in range(len(PLANES))] for head in heads
        ]

    def batch(self, n: int) -> tuple[Tensor, Tensor]:
        """Make images (n, 1, h, w), normalised, and their classes (n, h, w) of int64."""
        rows, columns = SIZES[self._integer(len(SIZES))]
        tissue = self._warp(torch.stack([self._slice() for _ in range(n)]), (rows, columns))
        for _ in range(2):
            self._grow_tumour(tissue)
            self._add_blob(tissue)
        stripped = self._strip(tissue)
        return self._render(tissue, stripped), TARGETS[tissue]

    def _uniform(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self._generator)

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self._generator)

    def _integer(self, below: int) -> int:
        return int(torch.randint(below, (1,), generator=self._generator))

    def _slice(self) -> Tensor:
        """Any slice of any head, padded with air to `SIDE` rows and columns."""
        number = self._integer(len(self._heads))
        axis = int(torch.multinomial(torch.tensor(PLANES), 1, generator=self._generator))
        shown = self._slices[number][axis]
        index = int(shown[self._integer(len(shown))])
        part = self._heads[number].select(axis, index)
        rows, columns = SIDE - part.shape[0], SIDE - part.shape[1]
        above, left = rows // 2, columns // 2
        return functional.pad(part, (left, columns - left, above, rows - above))

    def _warp(self, tissue: Tensor, size: tuple[int, int]) -> Tensor:
        """Turn, bend, mirror and magnify label maps (n, h, w); air comes in from outside."""
        n = len(tissue)
        limits = AugmentationRange(rotation_degrees=20, scale=0, shift=0, elastic=0.025)
        drawn = sample_augmentation(n, limits, self._generator)
        # Mostly as large as in scans of 0.7 to 1.5 mm, sometimes a small part only.
        low, high = math.log(0.8), math.log(1.7)
        zoom = torch.exp(low + (high - low) * self._uniform(n))
        close = self._uniform(n) < 0.15
        zoom[close] = torch.exp(math.log(3) * self._uniform(n))[close]
        stretch = torch.exp(0.08 * self._normal(n, 1, 2))
        bend = self._uniform(n) / zoom
        drawn = dataclasses.replace(
            drawn,
            matrix=drawn.matrix * stretch / zoom[:, None, None],
            displacement=drawn.displacement * bend[:, None, None, None],
        )
        room = 6 + (1 - 1 / zoom[:, None]).clamp(min=0) * 60
        centres = (SIDE - 1) / 2 + (2 * self._uniform(n, 2) - 1) * room
        _, warped = apply_augmentation(
            tissue[:, None].float(), tissue, drawn, centres=centres, size=size
        )
        return warped.masked_fill_(warped == IGNORE_LABEL, Tissue.AIR)

    def _lump(self, n: int, rows: int, columns: int, radii: tuple[float, float]) -> Tensor:
        """Distance from the middle of a lump, 1 on its uneven outline, shape (n, h, w)."""
        low, high = radii
        y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        at = (0.15 + 0.7 * self._uniform(2, n)) * torch.tensor([[rows], [columns]])
        radius = low * (high / low) ** self._uniform(n)
        angle, ratio = math.pi * self._uniform(n), torch.exp(0.35 * self._normal(n))
        dy, dx = y - at[0, :, None, None], x - at[1, :, None, None]
        cos, sin = (part[:, None, None] for part in (angle.cos(), angle.sin()))
        along = (cos * dx + sin * dy) / (radius * ratio.sqrt())[:, None, None]
        across = (cos * dy - sin * dx) / (radius / ratio.sqrt())[:, None, None]
        uneven = self._smooth(n, rows, columns, 12)
        return torch.hypot(along, across) * (1 + 0.4 * self._uniform(n, 1, 1) * uneven)

    def _smooth(self, n: int, rows: int, columns: int, knots: int) -> Tensor:
        """Smooth random field (n, h, w) with about this many lumps along a side."""
        field = functional.interpolate(
            self._normal(n, 1, knots, knots), size=(rows, columns), mode="bicubic"
        )
        return field[:, 0]

    def _grow_tumour(self, tissue: Tensor) -> None:
        """Put oedema, rim and necrosis into the brain of some of the label maps, in place."""
        chosen = torch.nonzero(self._uniform(len(tissue)) < 0.25)[:, 0]
        if not len(chosen):
            return
        part = tissue[chosen]
        n, rows, columns = part.shape
        distance = self._lump(n, rows, columns, (4.0, 40.0))
        brain = torch.isin(part, torch.tensor(BRAIN))
        extent = 1 + 1.2 * self._uniform(n, 1, 1) * (self._uniform(n, 1, 1) < 0.7)
        wet = extent * (1 + 0.25 * self._smooth(n, rows, columns, 16))
        part[brain & (distance < wet) & (part != Tissue.GREY)] = Tissue.OEDEMA
        part[brain & (distance < 1)] = Tissue.LESION
        core = 0.9 * self._uniform(n, 1, 1) + 0.25 * self._smooth(n, rows, columns, 16)
        part[brain & (distance < core)] = Tissue.NECROSIS
        tissue[chosen] = part

    def _add_blob(self, tissue: Tensor) -> None:
        """Put an ellipse or a ring anywhere into the head of some label maps, in place."""
        chosen = torch.nonzero(self._uniform(len(tissue)) < 0.12)[:, 0]
        if not len(chosen):
            return
        part = tissue[chosen]
        n, rows, columns = part.shape
        distance = self._lump(n, rows, columns, (3.0, 25.0))
        head = part != Tissue.AIR
        part[head & (distance < 1)] = BLOB
        hollow = (0.4 + 0.4 * self._uniform(n, 1, 1)) * (self._uniform(n, 1, 1) < 0.4)
        part[head & (distance < hollow)] = CAVITY
        tissue[chosen] = part

    def _strip(self, tissue: Tensor) -> Tensor:
        """Remove the skull from half of the label maps, and fluid from some, in place.

        Returns the pixels (n, h, w) that a tool for skull stripping would set to zero.
        """
        outside = torch.isin(tissue, torch.tensor(OUTSIDE))
        chance = self._uniform(len(tissue), 1, 1)
        fluid = (tissue == Tissue.CSF) & (chance < 0.15)
        tissue[(outside & (chance < 0.5)) | fluid] = Tissue.AIR
        return (tissue == Tissue.AIR) & (chance < 0.5)

    def _brightness(self, n: int) -> Tensor:
        """Mean intensity (n, tissues) of each tissue: as in MRI, or anything."""
        sequence = torch.multinomial(HOW_OFTEN, n, replacement=True, generator=self._generator)
        like = CONTRASTS[sequence] + 0.05 * self._normal(n, N_TISSUES)
        anything = self._uniform(n, N_TISSUES)
        grey, white = anything[:, [Tissue.GREY]], anything[:, [Tissue.WHITE]]
        between = grey + (white - grey) * self._uniform(n, len(BETWEEN))
        between += 0.04 * self._normal(n, len(BETWEEN))
        close = self._uniform(n, 1) < 0.6
        anything[:, BETWEEN] = torch.where(close, between, anything[:, BETWEEN])
        same_fluid = self._uniform(n) < 0.7
        anything[same_fluid, Tissue.VENTRICLE] = anything[same_fluid, Tissue.CSF]
        anything[:, Tissue.AIR] *= 0.1
        mean = torch.where(self._uniform(n, 1) < REALISTIC, like, anything)
        mean[:, BLOB:] = self._uniform(n, 2) * 1.1
        return mean

    def _render(self, tissue: Tensor, stripped: Tensor) -> Tensor:
        """Make up an image (n, 1, h, w) for label maps (n, h, w), and normalise it."""
        n, rows, columns = tissue.shape
        flat = tissue.flatten(1)
        mean = self._brightness(n)
        roughness = ROUGHNESS * self._uniform(n, 1) * torch.exp(0.5 * self._normal(n, N_TISSUES))
        roughness[:, Tissue.LESION : Tissue.OEDEMA + 1] *= 2
        grain = functional.interpolate(
            self._normal(n, 1, rows // 2, columns // 2), size=(rows, columns), mode="bilinear"
        )
        lumps = self._smooth(n, rows, columns, 24)[:, None]
        image = mean.gather(1, flat).view(n, 1, rows, columns)
        image = image + roughness.gather(1, flat).view(image.shape) * (grain * 1.5 + lumps)
        image = _blurred(image, 0.3 + 0.9 * self._uniform(n))
        bias = self._smooth(n, rows, columns, 4)[:, None]
        image *= torch.exp(0.25 * self._uniform(n, 1, 1, 1) * bias)
        image = image.clamp_(min=0).pow_(torch.exp(0.2 * self._normal(n, 1, 1, 1)))
        level = 0.06 * self._uniform(n, 1, 1, 1) ** 2
        real, imaginary = self._normal(2, *image.shape)
        image = torch.hypot(image + level * real, level * imaginary)
        return self._normalised(image.masked_fill_(stripped[:, None], 0))

    def _normalised(self, images: Tensor) -> Tensor:
        """As `napari_unet.learning.preparation` does for a scan, give or take the rest of it."""
        flat = images.flatten(1)
        low = flat.amin(1, keepdim=True)
        bright = flat > flat.mean(1, keepdim=True)
        tissue = (flat * bright).sum(1, keepdim=True) / bright.sum(1, keepdim=True)
        shown = flat > low + 0.25 * (tissue - low)
        count = shown.sum(1, keepdim=True).clamp(min=1)
        mean = (flat * shown).sum(1, keepdim=True) / count
        spread = (((flat - mean) ** 2 * shown).sum(1, keepdim=True) / count).sqrt()
        flat = (flat - mean) / torch.maximum(spread, (mean - low) / 8).clamp(min=1e-3)
        n = len(flat)
        flat = flat * torch.exp(0.15 * self._normal(n, 1)) + 0.15 * self._normal(n, 1)
        return flat.clamp_(-8, 8).view(images.shape)


def _worth_showing(head: NDArray[np.uint8], axis: int) -> NDArray[np.int64]:
    """Slices along an axis that show enough brain; twice those that show deep nuclei."""
    others = tuple(other for other in range(3) if other != axis)
    brain = np.isin(head, BRAIN).sum(axis=others)
    deep = np.isin(head, DEEP).any(axis=others)
    return np.concatenate([np.flatnonzero(brain > 0.05 * brain.max()), np.flatnonzero(deep)])


def _blurred(images: Tensor, sigma: Tensor) -> Tensor:
    """Images (n, 1, h, w) blurred by a Gaussian of `sigma` (n,) pixels each."""
    offsets = torch.arange(-3, 4)
    kernel = torch.exp(-0.5 * (offsets / sigma[:, None]) ** 2)
    kernel = kernel / kernel.sum(1, keepdim=True)
    n = len(images)
    stack = images.movedim(0, 1)  # each image its own channel, with its own kernel
    stack = functional.conv2d(stack, kernel.view(n, 1, 7, 1), padding=(3, 0), groups=n)
    stack = functional.conv2d(stack, kernel.view(n, 1, 1, 7), padding=(0, 3), groups=n)
    return stack.movedim(0, 1)
