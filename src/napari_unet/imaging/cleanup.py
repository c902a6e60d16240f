"""Three-dimensional clean-up of a finished segmentation, class by class."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import label


@dataclass(frozen=True, slots=True)
class CleanUp:
    """What to tidy in one class.

    Parameters
    ----------
    min_volume_mm3 : float
        Pieces (26-connected) smaller than this become background; 0 keeps all.
    fill_holes : bool
        Whether background enclosed on all sides by the class joins it.
    """

    min_volume_mm3: float = 0.0
    fill_holes: bool = False


def clean_up(
    labels_zyx: NDArray[Any],
    spacing_mm: tuple[float, float, float],
    per_class: Mapping[int, CleanUp],
) -> NDArray[Any]:
    """Fill holes, then remove small pieces; each class by its own settings.

    Holes are filled first, so that a thin shell counts with what it encloses.
    Voxels of another class are never overwritten.

    Parameters
    ----------
    labels_zyx : ndarray of integer, shape (z, y, x)
        Left unchanged.
    spacing_mm : tuple of float
        Voxel size in millimetres, (z, y, x).
    per_class : mapping of int to CleanUp
        Settings by label value; other classes stay as they are.

    Returns
    -------
    ndarray, shape (z, y, x)
        A new array of the same type.
    """
    result = labels_zyx.copy()
    voxel_mm3 = math.prod(spacing_mm)
    for value, settings in per_class.items():
        box = _box(result == value)
        if box is None:
            continue
        part = result[box]  # a view: writing to it writes to the result
        if settings.fill_holes:
            # Default structure: a hole is closed when no face-connected path leads out of it.
            filled = ndimage.binary_fill_holes(part == value)
            part[filled & (part == 0)] = value
        if settings.min_volume_mm3 > 0:
            pieces = label(part == value)
            too_small = np.bincount(pieces.ravel()) * voxel_mm3 < settings.min_volume_mm3
            too_small[0] = False
            part[too_small[pieces]] = 0
    return result


def _box(mask: NDArray[np.bool_]) -> tuple[slice, ...] | None:
    """Smallest box around the true voxels, or None when there is none."""
    box: tuple[slice, ...] | None = ndimage.find_objects(mask.view(np.uint8), max_label=1)[0]
    return box
