"""Where a slice lies in the patient, in letters and millimetres."""

from __future__ import annotations

import numpy as np

from napari_unet.imaging.volume import DISPLAY_CODES, Grid

OPPOSITE = {"R": "L", "L": "R", "A": "P", "P": "A", "S": "I", "I": "S"}
"""Each direction's other end."""

OBLIQUE_DEGREES = 0.5
"""Angle between a voxel axis and the nearest patient axis from which a scan is oblique."""


def tilt_degrees(grid: Grid) -> float:
    """Largest angle between a display axis and the patient axis it is named after."""
    directions = grid.affine_zyx[:3, :3] / np.linalg.norm(grid.affine_zyx[:3, :3], axis=0)
    # Display axes (z, y, x) run along patient axes (S, A, R), or against them.
    along = np.abs([directions[2, 0], directions[1, 1], directions[0, 2]])
    return float(np.degrees(np.arccos(np.clip(along, 0, 1))).max())


def is_oblique(grid: Grid) -> bool:
    """Whether letters are only the nearest ones, and a slice has no single position."""
    return tilt_degrees(grid) > OBLIQUE_DEGREES


def slice_position(grid: Grid, axis: int, index: int) -> str:
    """Position of a slice's centre along its patient axis, such as ``S 23.5 mm``.

    Parameters
    ----------
    grid : Grid
        Grid of the scan.
    axis, index : int
        Slicing axis and slice number, display order.
    """
    centre = [(n - 1) / 2 for n in grid.shape_zyx]
    centre[axis] = index
    ras = (grid.affine_zyx @ [*centre, 1.0])[:3]
    distance = round(float(ras[2 - axis]), 1)
    letter = OPPOSITE[DISPLAY_CODES[axis]] if axis < 2 else "R"
    if distance < 0:
        letter = OPPOSITE[letter]
    return f"{letter} {abs(distance):.1f} mm"


def edge_letters(down: int, right: int, *, flip_down: bool, flip_right: bool) -> tuple[str, ...]:
    """Letters at the top, bottom, left and right edge of a picture of display axes.

    Parameters
    ----------
    down, right : int
        The display axes that run down and to the right.
    flip_down, flip_right : bool
        Whether the picture shows them running up, or to the left, instead.
    """
    bottom, end = DISPLAY_CODES[down], DISPLAY_CODES[right]
    if flip_down:
        bottom = OPPOSITE[bottom]
    if flip_right:
        end = OPPOSITE[end]
    return (OPPOSITE[bottom], bottom, OPPOSITE[end], end)
