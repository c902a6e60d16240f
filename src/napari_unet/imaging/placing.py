"""The grid of an array that a viewer, not a file of ours, has placed in space."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_unet.errors import GridMismatchError
from napari_unet.imaging.volume import Grid

SQUARE = 1e-4
"""Sine of the angle by which an axis may lean and still count as along an axis of space."""

DISPLAY_TO_RAS = np.array(
    [[0.0, 0, -1, 0], [0, -1, 0, 0], [-1, 0, 0, 0], [0, 0, 0, 1]],
)
"""Display millimetres (z, y, x), which run towards I, P, L, to RAS millimetres."""


def grid_of_array(shape: tuple[int, ...], to_world: NDArray[Any]) -> Grid:
    """Grid of an array whose axes run along those of the display, in any order and direction.

    Parameters
    ----------
    shape : tuple of int
        Shape of the array, three axes.
    to_world : ndarray, shape (4, 4)
        Array index to display millimetres (z, y, x).

    Returns
    -------
    Grid
        Its file order is that of the array with its axes reversed, so that
        ``grid.to_display(array.T)`` is the array upright: flips and transposes only.

    Raises
    ------
    GridMismatchError
        If the array is not three-dimensional, or is turned, sheared or flat.
    """
    if len(shape) != 3:
        raise GridMismatchError(f"Only 3D layers have a place in space; this one is {len(shape)}D.")
    steps = np.asarray(to_world, dtype=np.float64)[:3, :3]
    lengths = np.linalg.norm(steps, axis=0)
    if not np.isfinite(to_world).all() or not (lengths > 0).all():
        raise GridMismatchError("The layer has no extent in space: its scale is zero or undefined.")
    along = np.abs(steps / lengths) > SQUARE
    if along.sum() != 3 or not (along.any(axis=0).all() and along.any(axis=1).all()):
        raise GridMismatchError(
            "The layer is rotated or sheared in the viewer. Open its file with napari-unet-mri, "
            "or undo the rotation."
        )
    reversed_axes = np.eye(4)[[2, 1, 0, 3]]
    affine = DISPLAY_TO_RAS @ to_world @ reversed_axes + 0.0
    affine[:3, :3][~along[::-1, ::-1]] = 0.0
    return Grid(shape=(shape[2], shape[1], shape[0]), affine=affine, sform=affine)
