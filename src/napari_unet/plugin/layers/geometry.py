"""Where the voxels of a layer lie in the viewer, and where they should lie.

napari places an array by scale, rotate, shear and translate, then by an affine. Its
world axes are taken for those of the display order (towards I, P, L), in millimetres.
A 2D layer is a scan of one slice.

napari goes from slices to millimetres and back in floating point. With slices of 2.4 mm
slice 8 comes back as 7.9999999: drawn and painted with the brush as slice 8, with the polygon,
which cuts decimals off, as slice 7. And the slider, which counts whole steps between the first
slice and the last, may end one before it. At an `exact_place` every slice is found again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pint
from napari.layers import Layer
from napari.utils.transforms import Affine, CompositeAffine
from numpy.typing import NDArray

from napari_unet.imaging.formats.picture import PAGE_MM
from napari_unet.imaging.volume import Grid

ALIGNED = 1e-4
"""Share of a voxel's length by which its axis may leave the viewer's; 0.05 voxels in 500."""

SIGNIFICANT_BITS = (26, 20)
"""Of a scale, the finer first: within 1e-8 or 1e-6 of the voxel size, times a few tries."""

_DOUBLE_BITS = 52
_FEWEST_SHIFT_BITS = 9
_TRIES = 40
"""Every second scale or so will do: 1 / scale is rounded, too, but to the right side."""


_REVERSED = np.eye(4)[[2, 1, 0, 3]]
_TO_RAS = np.diag([-1.0, -1.0, -1.0, 1.0])


def world_matrix(placed: Mapping[str, Any]) -> NDArray[np.float64]:
    """Voxel to millimetres in the viewer, shape (4, 4).

    Parameters
    ----------
    placed : mapping
        Spatial attributes of a 2D or 3D layer by their napari names; missing ones are neutral.
    """
    scale = placed.get("scale", (1.0, 1.0, 1.0))
    ndim = len(scale)
    local = CompositeAffine(
        scale=scale,
        translate=placed.get("translate", (0.0,) * ndim),
        rotate=placed.get("rotate"),
        shear=placed.get("shear"),
        ndim=ndim,
    ).affine_matrix
    affine = placed.get("affine")
    if affine is None:
        affine = np.eye(ndim + 1)
    affine = np.asarray(getattr(affine, "affine_matrix", affine))
    units = placed.get("units") or ("mm",) * ndim
    matrix = np.diag([*map(_millimetres, units), 1.0]) @ affine @ local
    if ndim == 2:
        page = np.diag([PAGE_MM * np.linalg.norm(matrix[:2, 0]), 1.0, 1.0, 1.0])
        page[1:, 1:] = matrix
        matrix = page
    return np.asarray(matrix, dtype=np.float64)


def shape_of(layer: Layer) -> tuple[int, ...]:
    """Slices, rows and columns of a 2D or 3D layer."""
    shape = tuple(layer.data.shape)
    return (1, *shape) if layer.ndim == 2 else shape


def matrix_of(layer: Layer) -> NDArray[np.float64]:
    """Voxel to millimetres in the viewer of a layer, shape (4, 4)."""
    names = ("scale", "translate", "rotate", "shear", "affine", "units")
    return world_matrix({name: getattr(layer, name) for name in names})


def is_aligned(matrix: NDArray[np.float64]) -> bool:
    """Whether each voxel axis runs along one axis of the viewer, in either direction."""
    lengths = np.linalg.norm(matrix[:3, :3], axis=0)
    if not np.isfinite(matrix).all() or not (lengths > 0).all():
        return False
    along = np.abs(matrix[:3, :3] / lengths) > ALIGNED
    return bool((along.sum(axis=0) == 1).all() and (along.sum(axis=1) == 1).all())


def in_display_order(layer: Layer) -> bool:
    """Whether an array is a volume in display order as it is: only scaled and moved."""
    if layer.ndim != 3:
        return False
    identity = np.allclose(layer.affine.affine_matrix, np.eye(layer.ndim + 1))
    turned = not np.allclose(layer.rotate, np.eye(3)) or np.any(layer.shear)
    return bool(identity and not turned and np.all(np.asarray(layer.scale) > 0))


def world_grid(shape: tuple[int, ...], matrix: NDArray[np.float64]) -> Grid:
    """Grid of a layer's array, stored as a file would: its last axis first."""
    affine = _TO_RAS @ _REVERSED @ matrix @ _REVERSED
    first, second, third = shape
    return Grid(shape=(third, second, first), affine=affine, sform=affine)


def to_display(array: NDArray[Any], grid: Grid) -> NDArray[Any]:
    """Bring a layer's array into the display order of its `world_grid`; a view."""
    return grid.to_display(np.transpose(array, (2, 1, 0)))


def _millimetres(unit: Any) -> float:
    """How long a unit is; a pixel, or what is no length, counts as a millimetre."""
    try:
        return float(pint.get_application_registry().Quantity(1.0, str(unit)).to("mm").magnitude)
    except pint.PintError:
        return 1.0


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
