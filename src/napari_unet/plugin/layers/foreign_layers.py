"""Layers that napari or another plugin made: where their voxels lie, and how to turn them upright.

napari places an array by scale, rotate, shear and translate, then by an affine. Its
world axes are taken for those of the display order (towards I, P, L), in millimetres.
A 2D layer is a scan of one slice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pint
from napari.layers import Layer
from napari.utils.transforms import CompositeAffine
from numpy.typing import NDArray

from napari_unet.imaging.formats.picture import PAGE_MM
from napari_unet.imaging.volume import Grid

ALIGNED = 1e-4
"""Share of a voxel's length by which its axis may leave the viewer's; 0.05 voxels in 500."""

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


def is_upright(layer: Layer) -> bool:
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
