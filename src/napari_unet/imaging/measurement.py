"""How large the segmented structures are, and how well two masks agree."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import label


@dataclass(frozen=True, slots=True)
class StructureMeasure:
    """Size of one structure in a segmentation.

    Parameters
    ----------
    value : int
        Its label value.
    name : str
        Its class name.
    volume_ml : float
        Volume of all its voxels, in millilitres.
    n_components : int
        Separate pieces, counted with 26-connectivity.
    largest_ml : float
        Volume of the largest piece, in millilitres.
    """

    value: int
    name: str
    volume_ml: float
    n_components: int
    largest_ml: float


def measure(
    labels_zyx: NDArray[Any],
    spacing_mm: tuple[float, float, float],
    class_names: Sequence[str],
) -> list[StructureMeasure]:
    """Measure every class of a segmentation, also those that are absent.

    Parameters
    ----------
    labels_zyx : ndarray of integer, shape (z, y, x)
        0 is background; 1..K are the classes.
    spacing_mm : tuple of float
        Voxel size in millimetres, (z, y, x).
    class_names : sequence of str
        Names of labels 1..K.

    Returns
    -------
    list of StructureMeasure
        One entry per class, in the order of `class_names`.
    """
    voxel_ml = math.prod(spacing_mm) / 1000.0
    boxes = ndimage.find_objects(labels_zyx, max_label=len(class_names))
    measures = []
    for value, (name, box) in enumerate(zip(class_names, boxes, strict=True), start=1):
        sizes = np.zeros(0, dtype=np.int64)
        if box is not None:
            pieces = label(labels_zyx[box] == value)
            sizes = np.bincount(pieces.ravel())[1:]
        measures.append(
            StructureMeasure(
                value=value,
                name=name,
                volume_ml=float(sizes.sum() * voxel_ml),
                n_components=len(sizes),
                largest_ml=float(sizes.max(initial=0) * voxel_ml),
            )
        )
    return measures


def dice(a: NDArray[Any], b: NDArray[Any], value: int) -> float:
    """Overlap of one class in two masks of the same shape.

    Parameters
    ----------
    a, b : ndarray of integer
        Two masks.
    value : int
        Label value to compare.

    Returns
    -------
    float
        0 (no overlap) to 1 (identical); NaN when neither mask holds the class.
    """
    in_a, in_b = a == value, b == value
    total = int(np.count_nonzero(in_a)) + int(np.count_nonzero(in_b))
    if total == 0:
        return math.nan
    return 2.0 * int(np.count_nonzero(in_a & in_b)) / total
