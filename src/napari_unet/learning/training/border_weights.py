"""Pixels between objects that nearly touch weigh more, so that they are kept apart.

Beside the class balance, each background pixel of an annotated slice gets

    w0 exp(-(d1 + d2)^2 / (2 sigma^2)),

where d1 and d2 are its distances to the nearest and to the second nearest
object (Ronneberger et al., 2015, arXiv:1505.04597, equation 2). No torch here.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_unet.annotation.states import IGNORE_LABEL
from napari_unet.learning.config import BorderWeighting

_PAPER = BorderWeighting()

NEGLIGIBLE = 1e-3
"""Weights below this are not computed: they are 0."""


def border_weights(
    labels: NDArray[np.uint8],
    *,
    weight: float = _PAPER.weight,
    sigma: float = _PAPER.sigma,
    spacing: tuple[float, float] = (1.0, 1.0),
) -> NDArray[np.float32]:
    """Weigh the gaps between the objects of a slice.

    An object is a connected part of one class (pixels that share a side). The
    distance to it is that to the centre of its nearest pixel.

    Parameters
    ----------
    labels : ndarray of uint8, shape (h, w)
        Classes; 0 is background, `IGNORE_LABEL` is neither background nor object.
    weight : float
        w0: the weight where two objects all but touch.
    sigma : float
        How fast weights fall off with the width of the gap, in the unit of `spacing`.
    spacing : tuple of float
        Size of a pixel (rows, columns). With the default, `sigma` counts pixels;
        in millimetres, it counts millimetres.

    Returns
    -------
    ndarray of float32, shape (h, w)
        What comes on top of the class weight: 0 on objects, where nobody
        annotated, and everywhere if there are fewer than two objects.
    """
    nearest = np.full(labels.shape, np.inf)
    second = np.full(labels.shape, np.inf)
    reach = sigma * math.sqrt(2 * math.log(max(weight, NEGLIGIBLE) / NEGLIGIBLE))
    margins = [math.ceil(reach / size) for size in spacing]
    for window, inside in _objects(labels, margins):
        # Beyond the window it is too far away to matter.
        distance = ndimage.distance_transform_edt(~inside, sampling=spacing)
        first, other = nearest[window], second[window]
        np.minimum(other, np.maximum(first, distance), out=other)
        np.minimum(first, distance, out=first)
    # Squaring infinity is fine: such pixels have no second object and get 0.
    extra: NDArray[np.float64] = weight * np.exp(-((nearest + second) ** 2) / (2 * sigma**2))
    extra[(labels != 0) | (extra < NEGLIGIBLE)] = 0
    return extra.astype(np.float32)


def _objects(
    labels: NDArray[np.uint8], margins: list[int]
) -> list[tuple[tuple[slice, slice], NDArray[np.bool_]]]:
    """Find each object: a window (rows, columns) with a margin around it, and a mask of that."""
    found = []
    for value in np.unique(labels):
        if value in (0, IGNORE_LABEL):
            continue
        parts: NDArray[Any]
        parts, _ = ndimage.label(labels == value)
        for number, box in enumerate(ndimage.find_objects(parts), 1):
            rows, columns = (
                slice(max(0, side.start - margin), side.stop + margin)
                for side, margin in zip(box, margins, strict=True)
            )
            found.append(((rows, columns), parts[rows, columns] == number))
    return found


class BorderCache:
    """`border_weights` of slices, computed once for each drawing.

    Parameters
    ----------
    spacing_mm : tuple of float
        Size of a pixel (rows, columns).
    weighting : BorderWeighting
        Its sigma counts millimetres, or pixels, of the shorter side where they are not
        square.
    """

    def __init__(self, spacing_mm: tuple[float, float], weighting: BorderWeighting) -> None:
        unit = 1.0 if weighting.unit == "mm" else min(spacing_mm)
        self._spacing = (spacing_mm[0] / unit, spacing_mm[1] / unit)
        self._weighting = weighting
        self._known: dict[tuple[tuple[int, ...], bytes], NDArray[np.float32]] = {}

    def __call__(self, labels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Weigh the gaps (n, h, w) of slices (n, h, w); what is not among them is forgotten."""
        keys = [(each.shape, each.tobytes()) for each in labels]
        known = {key: self._known[key] for key in keys if key in self._known}
        for key, each in zip(keys, labels, strict=True):
            if key not in known:
                known[key] = border_weights(
                    each,
                    weight=self._weighting.weight,
                    sigma=self._weighting.sigma,
                    spacing=self._spacing,
                )
        self._known = known
        return np.stack([known[key] for key in keys])
