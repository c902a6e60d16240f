"""What a scan is: values, the grid they sit on, and the way back to the file.

Inside the package every volume is stored in one *display order*: axis 0 runs
from superior to inferior, axis 1 from anterior to posterior, axis 2 from the
patient's right to the left (orientation codes ``I P L``). A viewer that draws
rows downwards and columns to the right then shows all three planes upright,
in radiological convention. `Grid` remembers the order of the file and brings
arrays back to it without resampling: only flips and transposes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from napari_unet.errors import GridMismatchError

DISPLAY_CODES = ("I", "P", "L")
"""Direction in which each display axis (z, y, x) runs."""

PLANES = ("axial", "coronal", "sagittal")
"""Name of the plane that is seen when slicing along display axis 0, 1, 2."""

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0])
"""Turns vectors towards right, anterior, superior into left, posterior, superior, and back."""

FILE_AXES = ("x", "y", "z")
"""Names of the file's first, second and third voxel axis."""


def shape_text(lengths: Iterable[int]) -> str:
    """Write lengths like ``256 x 256 x 20``."""
    return " x ".join(map(str, lengths))


def slices_where(shown: NDArray[Any], axis: int) -> list[int]:
    """Slices along `axis` of an array (z, y, x) that are not zero all over, ascending."""
    others = tuple(other for other in range(3) if other != axis)
    return [int(index) for index in np.flatnonzero(shown.any(axis=others))]


def middle_slice(data: NDArray[Any], axis: int) -> int:
    """Middle, along `axis`, of what stands out of the background of an array (z, y, x).

    Half of the voxels brighter than the mean lie on either side; a sample of them is
    looked at.
    """
    steps = [1 if other == axis else max(1, n // 64) for other, n in enumerate(data.shape)]
    sample = np.asarray(data[tuple(slice(None, None, step) for step in steps)], np.float32)
    bright = sample > np.mean(sample, where=np.isfinite(sample))
    area = bright.sum(axis=tuple(other for other in range(3) if other != axis))
    return int(np.searchsorted(np.cumsum(area), area.sum() / 2))


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """The voxel grid of a file, and how display arrays map to it.

    Parameters
    ----------
    shape : tuple of int
        Voxels along the file's axes (i, j, k).
    affine : ndarray, shape (4, 4)
        File voxel (i, j, k) to RAS millimetres: the matrix that is used.
    qform, sform : ndarray, shape (4, 4), or None
        Both matrices as stored; None where the file has none.
    qform_code, sform_code : int
        NIfTI transform codes (0 unknown, 1 scanner, 2 aligned, 3 Talairach, 4 MNI).
    units_code : int
        NIfTI ``xyzt_units``; 2 is millimetres, 10 millimetres and seconds.
    trailing_ones : int
        How many axes of length one follow the three spatial ones in the file.
    has_orientation : bool
        Whether the file says how its axes lie in the patient; else left and right are a guess.
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]
    qform: NDArray[np.float64] | None = None
    sform: NDArray[np.float64] | None = None
    qform_code: int = 0
    sform_code: int = 2
    units_code: int = 2
    trailing_ones: int = 0
    has_orientation: bool = True

    @classmethod
    def from_spacing(
        cls,
        shape_zyx: tuple[int, int, int],
        spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0),
        origin_mm: tuple[float, float, float] = (0.0, 0.0, 0.0),
    ) -> Grid:
        """Grid of an array that is already in display order (I, P, L).

        Parameters
        ----------
        shape_zyx, spacing_mm : tuple
            Shape and voxel size in millimetres, display order (z, y, x).
        origin_mm : tuple
            Display-frame millimetres (towards I, P, L) of voxel (0, 0, 0).
        """
        # Stored like a usual NIfTI: file axes (x, y, z) are display (x, y, z),
        # running towards L, P, I.
        affine = np.diag([-spacing_mm[2], -spacing_mm[1], -spacing_mm[0], 1.0])
        affine[:3, 3] = [-origin_mm[2], -origin_mm[1], -origin_mm[0]]
        return cls(shape=(shape_zyx[2], shape_zyx[1], shape_zyx[0]), affine=affine, sform=affine)

    @property
    def _to_display(self) -> NDArray[Any]:
        """Orientation transform (nibabel) from file axes to (x->L, y->P, z->I)."""
        stored = nib.orientations.io_orientation(self.affine)
        wanted = nib.orientations.axcodes2ornt(DISPLAY_CODES[::-1])
        return np.asarray(nib.orientations.ornt_transform(stored, wanted))

    @property
    def shape_zyx(self) -> tuple[int, int, int]:
        """Shape in display order (z, y, x)."""
        order = [int(axis) for axis in np.argsort(self._to_display[:, 0])]
        x, y, z = (self.shape[axis] for axis in order)
        return (z, y, x)

    @property
    def affine_zyx(self) -> NDArray[np.float64]:
        """Display voxel (z, y, x) to RAS millimetres, shape (4, 4)."""
        xyz = self.affine @ nib.orientations.inv_ornt_aff(self._to_display, self.shape)
        swap = np.eye(4)[[2, 1, 0, 3]]
        return np.asarray(xyz @ swap, dtype=np.float64)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size in millimetres, display order (z, y, x)."""
        z, y, x = np.sqrt((self.affine_zyx[:3, :3] ** 2).sum(axis=0))
        return (float(z), float(y), float(x))

    @property
    def origin_mm(self) -> tuple[float, float, float]:
        """Display-frame position (towards I, P, L) of voxel (0, 0, 0), in mm."""
        r, a, s = self.affine_zyx[:3, 3]
        return (-float(s), -float(a), -float(r))

    @property
    def orientation(self) -> str:
        """Orientation letters of the file's axes, such as ``LPS``."""
        return "".join(nib.orientations.aff2axcodes(self.affine))

    def to_display(self, array: NDArray[Any]) -> NDArray[Any]:
        """Bring a file-order array (i, j, k) to display order (z, y, x).

        A view where numpy allows; no resampling.
        """
        if array.shape != self.shape:
            raise GridMismatchError(
                f"An array of shape {array.shape} does not fit a grid of shape {self.shape}."
            )
        xyz = nib.orientations.apply_orientation(array, self._to_display)
        return np.transpose(xyz, (2, 1, 0))

    def to_source(self, array_zyx: NDArray[Any]) -> NDArray[Any]:
        """Bring a display-order array (z, y, x) back to file order (i, j, k)."""
        if array_zyx.shape != self.shape_zyx:
            raise GridMismatchError(
                f"The mask has shape {array_zyx.shape} (z, y, x) but its scan has "
                f"{self.shape_zyx}. Choose the scan that this mask was painted on."
            )
        stored = nib.orientations.io_orientation(self.affine)
        wanted = nib.orientations.axcodes2ornt(DISPLAY_CODES[::-1])
        back = nib.orientations.ornt_transform(wanted, stored)
        return np.asarray(
            nib.orientations.apply_orientation(np.transpose(array_zyx, (2, 1, 0)), back)
        )

    def default_axis(self) -> int:
        """Display axis to slice along: the thickest spacing, else axial (0)."""
        spacing = np.asarray(self.spacing_mm)
        thickest = int(np.argmax(spacing))
        return thickest if spacing[thickest] > 1.01 * np.sort(spacing)[-2] else 0

    def axis_named(self, name: str) -> int:
        """Display axis of a plane (``axial``, ...) or of file axis ``x``, ``y`` or ``z``."""
        if name in PLANES:
            return PLANES.index(name)
        if name in FILE_AXES:
            # column 0 of the transform: output (x, y, z) axis of each file axis
            return 2 - int(self._to_display[FILE_AXES.index(name), 0])
        raise ValueError(f"Unknown axis {name!r}: use one of {', '.join(PLANES + FILE_AXES)}.")

    def _file_axis(self, axis: int) -> int:
        """Return the file's axis that runs along display axis `axis`."""
        return int(np.argwhere(self._to_display[:, 0] == 2 - axis)[0, 0])

    def file_slice(self, axis: int, index: int) -> tuple[str, int]:
        """Return file axis (``x``, ``y``, ``z``) and slice number of a display slice."""
        return FILE_AXES[self._file_axis(axis)], self.flip_index(axis, index)

    def flip_index(self, axis: int, index: int) -> int:
        """Convert a slice number along display `axis` between file and display order.

        The conversion is its own inverse.
        """
        file_axis = self._file_axis(axis)
        if self._to_display[file_axis, 1] < 0:
            return self.shape[file_axis] - 1 - index
        return index


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """One scan, ready to look at and to learn from.

    Parameters
    ----------
    data : ndarray of float32, shape (c, z, y, x)
        Intensities as stored (scaled), one entry of the first axis per sequence.
    grid : Grid
        The grid of the file, for the way back.
    name : str
        Short name for messages and layers.
    source : Path or None
        File of the first channel.
    channel_names : tuple of str
        Names of the channels, after their files; may be empty.
    notes : tuple of str
        Sentences about how it was read that somebody who works with it should know.
    """

    data: NDArray[np.float32]
    grid: Grid
    name: str = "scan"
    source: Path | None = None
    channel_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size in millimetres, (z, y, x)."""
        return self.grid.spacing_mm

    @property
    def shape_zyx(self) -> tuple[int, int, int]:
        """Shape of one channel, (z, y, x)."""
        return (self.data.shape[1], self.data.shape[2], self.data.shape[3])

    def about(self, number: int, note: str) -> str:
        """Say which channel a note is about, where there are several."""
        if len(self.data) == 1:
            return note
        named = number < len(self.channel_names)
        return f"{self.channel_names[number] if named else f'channel {number + 1}'}: {note}"
