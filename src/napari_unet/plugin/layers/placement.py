"""Places in the viewer at which every slice is found again exactly.

napari goes from slices to millimetres and back in floating point. With slices of 2.4 mm
slice 8 comes back as 7.9999999: drawn and painted with the brush as slice 8, with the polygon,
which cuts decimals off, as slice 7. And the slider, which counts whole steps between the first
slice and the last, may end one before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from napari.utils.transforms import Affine

SIGNIFICANT_BITS = (26, 20)
"""Of a scale, the finer first: within 1e-8 or 1e-6 of the voxel size, times a few tries."""

_DOUBLE_BITS = 52
_FEWEST_SHIFT_BITS = 9
_TRIES = 40
"""Every second scale or so will do: 1 / scale is rounded, too, but to the right side."""


def exact_place(
    shape: Sequence[int], scale: Sequence[float], translate: Sequence[float]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Find scale and translate next to given ones where slices and millimetres agree exactly.

    On every axis, napari's way from each slice to millimetres and back ends at the very same
    whole number, and its slider reaches the last slice. What does so already stays as it is.

    Parameters
    ----------
    shape : sequence of int
        Slices along each axis of the layer.
    scale, translate : sequence of float
        Where the layer is to lie; `scale` is positive.

    Returns
    -------
    scale, translate : tuple of float
        Off by less than a thousandth of a voxel at any slice (in a scan of the usual size,
        by less than a micrometre). As given where there is nothing as near: 2 ** 22 voxels
        away from zero, say.
    """
    axes = (_exact_axis(*axis) for axis in zip(shape, scale, translate, strict=True))
    scales, shifts = zip(*axes, strict=True)
    return scales, shifts


def _exact_axis(n: int, scale: float, translate: float) -> tuple[float, float]:
    scale, translate = float(scale), float(translate)
    if _is_exact(n, scale, translate):
        return scale, translate
    for near, shift in _nearby(n, scale, translate):
        if _is_exact(n, near, shift):
            return near, shift
    return scale, translate


def _is_exact(n: int, scale: float, translate: float) -> bool:
    slices = np.zeros((n, 2))  # napari has no affine of one axis
    slices[:, 0] = np.arange(n)
    place = Affine(scale=(scale, 1.0), translate=(translate, 0.0))
    shown = place(slices)
    slider = translate + slices[:, 0] * scale  # as napari's `Dims` counts
    reached = int((slider[-1] - slider[0]) / scale) == n - 1
    there_and_back = np.array_equal(place.inverse(shown), slices)
    return bool(there_and_back and np.array_equal(slider, shown[:, 0]) and reached)


def _nearby(n: int, scale: float, translate: float) -> Iterator[tuple[float, float]]:
    """Yield places whose millimetres need no rounding: few enough digits are multiplied."""
    mantissa, exponent = np.frexp(scale)
    farthest = int(np.ceil(np.log2(abs(translate / scale) + n + 1)))
    for bits in SIGNIFICANT_BITS:
        shift_bits = _DOUBLE_BITS - bits - farthest
        if shift_bits < _FEWEST_SHIFT_BITS:
            continue
        nearest = np.round(np.ldexp(mantissa, bits))
        for turn in range(_TRIES):
            step = (turn + 1) // 2 * (-1) ** turn
            near = float(np.ldexp(nearest + step, int(exponent) - bits))
            shift = np.ldexp(np.round(np.ldexp(translate / near, shift_bits)), -shift_bits)
            yield near, float(shift * near)
