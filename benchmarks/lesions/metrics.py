"""How well lesions are found and outlined: each lesion by itself, in millimetres.

The rules, all of them here:

* A **lesion** is a piece of the truth, a **piece** one of the prediction; voxels that touch
  by a face, an edge or a corner belong together.
* A lesion is **found** if at least a tenth of its voxels are predicted. A piece is a **false
  alarm** if less than a tenth of its voxels lie in lesions. So one piece may find two
  lesions, and two pieces one; a flood finds everything and is a false alarm.
* For the outline of a lesion, voxels of all pieces that share a voxel with some lesion are
  given to the lesion that is nearest.
* A **diameter** is that of the ball of the same volume.
* **Boundary errors** are taken between surface voxels (those with a neighbour outside, by a
  face), each of which counts the same: mean of all distances from either surface to the other
  (ASSD), the larger 95th percentile of the two directions (HD95), and the share of both
  surfaces within `TOLERANCE_MM` of the other (surface Dice). Only of lesions that are found.
* **Circularity** is 4 pi A / P^2 of an outline in a slice: 1 for a circle, less for anything
  else; P by the Crofton formula (four directions), holes filled, the largest part of the
  slice's lesion against the largest part of its prediction, both of `OUTLINE_FROM_MM2` or more.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import label, perimeter_crofton

from napari_unet.imaging.measurement import dice

Mask = NDArray[np.bool_]
Spacing = tuple[float, float, float]

SHARE = 0.1
"""Share of its voxels that makes a lesion found, and saves a piece from being a false alarm."""

TOLERANCE_MM = 1.0
"""Surfaces closer than this agree: about a voxel of a good scan."""

OUTLINE_FROM_MM2 = 28.0
"""Area of a disc of 6 mm; the outline of anything smaller is made of voxels, not of shape."""

SIZES_MM = (0.0, 3.0, 5.0, 10.0, 20.0)
"""Where the bins of diameters begin; see `size_bin`."""


@dataclass(frozen=True, slots=True)
class Outline:
    """Circularity of one lesion on one slice.

    Parameters
    ----------
    lesion, index : int
        Number of the lesion (from 1), and of the slice along axis 0.
    area_mm2 : float
        Its true area.
    true, predicted : float
        Circularities.
    """

    lesion: int
    index: int
    area_mm2: float
    true: float
    predicted: float


@dataclass(frozen=True, slots=True)
class LesionScore:
    """What became of one lesion.

    Parameters
    ----------
    number : int
        From 1.
    diameter_mm : float
        True diameter.
    found : bool
        By the rule of this module.
    dice : float
        Of the lesion and the prediction that is given to it; 0 if there is none.
    volume_ratio : float
        Predicted over true volume; 0 if nothing was predicted.
    assd_mm, hd95_mm, surface_dice : float
        Boundary errors; NaN if it was not found.
    """

    number: int
    diameter_mm: float
    found: bool
    dice: float
    volume_ratio: float
    assd_mm: float
    hd95_mm: float
    surface_dice: float


@dataclass(frozen=True, slots=True)
class Findings:
    """Everything about the lesions of one scan.

    Parameters
    ----------
    lesions : tuple of LesionScore
        One for each true lesion.
    outlines : tuple of Outline
        One for each slice of a lesion that both masks show large enough.
    n_pieces, false_alarms : int
        Pieces of the prediction, and those of them that are no lesion.
    """

    lesions: tuple[LesionScore, ...]
    outlines: tuple[Outline, ...]
    n_pieces: int
    false_alarms: int

    @property
    def sensitivity(self) -> float:
        """Share of the lesions that is found; NaN if there are none."""
        return _share(sum(each.found for each in self.lesions), len(self.lesions))

    @property
    def precision(self) -> float:
        """Share of the pieces that is no false alarm; NaN if there are none."""
        return _share(self.n_pieces - self.false_alarms, self.n_pieces)

    @property
    def f1(self) -> float:
        """Harmonic mean of the two; 0 if nothing is found, NaN if there is nothing at all."""
        if not self.lesions and not self.n_pieces:
            return math.nan
        if not self.lesions or not self.n_pieces or self.sensitivity + self.precision == 0:
            return 0.0
        return 2 * self.sensitivity * self.precision / (self.sensitivity + self.precision)


def size_bin(diameter_mm: float) -> str:
    """Name of the bin that a diameter belongs to: ``0-3 mm``, ..., ``over 20 mm``."""
    for low, high in itertools.pairwise(SIZES_MM):
        if diameter_mm < high:
            return f"{low:g}-{high:g} mm"
    return f"over {SIZES_MM[-1]:g} mm"


def compare_lesions(
    truth: NDArray[np.uint8], predicted: NDArray[np.uint8], spacing_mm: Spacing
) -> Findings:
    """Compare two masks lesion by lesion.

    Parameters
    ----------
    truth, predicted : ndarray of uint8, shape (z, y, x)
        Anything but 0 is lesion.
    spacing_mm : tuple of float
        Voxel size (z, y, x).
    """
    lesions, n_lesions = label(truth > 0, return_num=True)
    pieces, n_pieces = label(predicted > 0, return_num=True)
    inside = np.bincount(pieces[lesions > 0], minlength=n_pieces + 1)[1:]
    sizes = np.bincount(pieces.ravel(), minlength=n_pieces + 1)[1:]
    given = _given(lesions, np.isin(pieces, np.flatnonzero(inside) + 1), spacing_mm)
    scores, outlines = [], []
    for number in range(1, n_lesions + 1):
        box = _box((lesions == number) | (given == number))
        true, own = lesions[box] == number, given[box] == number
        scores.append(_score(number, true, own, spacing_mm))
        outlines += list(_outlines(number, box[0].start, true, own, spacing_mm))
    return Findings(
        lesions=tuple(scores),
        outlines=tuple(outlines),
        n_pieces=n_pieces,
        false_alarms=int(np.count_nonzero(inside < SHARE * sizes)),
    )


def boundary_errors(a: Mask, b: Mask, spacing_mm: Spacing) -> tuple[float, float, float]:
    """ASSD and HD95 in millimetres, and surface Dice, of two masks (z, y, x), neither empty."""
    a, b = np.pad(a, 1), np.pad(b, 1)
    edge_a, edge_b = a & ~ndimage.binary_erosion(a), b & ~ndimage.binary_erosion(b)
    to_b = ndimage.distance_transform_edt(~edge_b, sampling=spacing_mm)[edge_a]
    to_a = ndimage.distance_transform_edt(~edge_a, sampling=spacing_mm)[edge_b]
    both = np.concatenate([to_b, to_a])
    return (
        float(both.mean()),
        max(float(np.percentile(to_b, 95)), float(np.percentile(to_a, 95))),
        float((both <= TOLERANCE_MM).mean()),
    )


def circularity(mask: Mask, spacing_mm: tuple[float, float]) -> float:
    """4 pi A / P^2 of a mask (h, w) in one piece, pixels of any shape; NaN if it is empty."""
    if not mask.any():
        return math.nan
    mask, coarse = np.pad(mask, 2), max(spacing_mm)
    if coarse > 1.01 * min(spacing_mm):  # the Crofton formula is for square pixels
        zoom = [mm / coarse for mm in spacing_mm]  # finer ones would only have longer steps
        grey = ndimage.zoom(mask.astype(float), zoom, order=1, grid_mode=True, mode="nearest")
        mask = grey >= 0.5
    return float(4 * math.pi * np.count_nonzero(mask) / perimeter_crofton(mask, 4) ** 2)


def _given(lesions: NDArray[np.int32], touching: Mask, spacing_mm: Spacing) -> NDArray[np.int32]:
    """Number of the nearest lesion, on the voxels of `touching`; 0 elsewhere."""
    given = np.zeros_like(lesions)
    if touching.any():
        box = _box(touching | (lesions > 0))
        nearest = ndimage.distance_transform_edt(
            lesions[box] == 0, spacing_mm, return_distances=False, return_indices=True
        )
        given[box] = np.where(touching[box], lesions[box][tuple(nearest)], 0)
    return given


def _score(number: int, true: Mask, predicted: Mask, spacing_mm: Spacing) -> LesionScore:
    volume = np.count_nonzero(true) * math.prod(spacing_mm)
    found = bool(np.count_nonzero(true & predicted) >= SHARE * np.count_nonzero(true))
    errors = boundary_errors(true, predicted, spacing_mm) if found else (math.nan,) * 3
    return LesionScore(
        number=number,
        diameter_mm=float(6 * volume / math.pi) ** (1 / 3),
        found=found,
        dice=dice(true, predicted, True),
        volume_ratio=int(np.count_nonzero(predicted)) / int(np.count_nonzero(true)),
        assd_mm=errors[0],
        hd95_mm=errors[1],
        surface_dice=errors[2],
    )


def _outlines(
    number: int, first: int, true: Mask, predicted: Mask, spacing_mm: Spacing
) -> Iterator[Outline]:
    """Pair the outlines, slice by slice; `first` is the number of the first slice."""
    pixel = spacing_mm[1] * spacing_mm[2]
    for index, (a, b) in enumerate(zip(true, predicted, strict=True), start=first):
        a, b = _largest_part(a), _largest_part(b)
        if min(np.count_nonzero(a), np.count_nonzero(b)) * pixel >= OUTLINE_FROM_MM2:
            yield Outline(
                lesion=number,
                index=index,
                area_mm2=float(np.count_nonzero(a) * pixel),
                true=circularity(a, spacing_mm[1:]),
                predicted=circularity(b, spacing_mm[1:]),
            )


def _largest_part(mask: Mask) -> Mask:
    """Keep the largest part (8-connected) of a mask (h, w), without its holes."""
    parts, n = label(ndimage.binary_fill_holes(mask), return_num=True)
    if n == 0:
        return mask
    return np.asarray(parts == np.argmax(np.bincount(parts.ravel())[1:]) + 1)


def _box(mask: Mask) -> tuple[slice, ...]:
    """Smallest box around everything in a mask that is not empty."""
    box: tuple[slice, ...] = ndimage.find_objects(mask.astype(np.uint8))[0]
    return box


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan
