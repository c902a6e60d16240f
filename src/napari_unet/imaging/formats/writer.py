"""How a format is written: what a file shall hold, its writer, and what is read back from it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_unet.errors import SaveError
from napari_unet.imaging.nifti_header import itk_affine, same_affine
from napari_unet.imaging.receipt import GeometryReceipt
from napari_unet.imaging.scan_file import StructureRow
from napari_unet.imaging.volume import Grid

NEGLIGIBLE = 1e-3
"""Fraction of a voxel by which corners may lie elsewhere: float32 matrices do that."""

UNPLACED = (
    "Its scan does not say how it lies in the patient: left and right may be swapped; check them."
)


@dataclass(frozen=True, slots=True, eq=False)
class Contents:
    """What a file shall hold.

    Parameters
    ----------
    stored : ndarray, shape (i, j, k)
        File order and type.
    grid : Grid
        Where these voxels are.
    slope, intercept : float
        ``stored * slope + intercept`` is the intensity.
    is_mask : bool
        Whether the values are class numbers.
    structures : tuple of StructureRow
        What the values of a mask mean, as far as known.
    """

    stored: NDArray[Any]
    grid: Grid
    slope: float = 1.0
    intercept: float = 0.0
    is_mask: bool = False
    structures: tuple[StructureRow, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class ReadBack:
    """What the library of a format finds in a file.

    Parameters
    ----------
    shape : tuple of int
        As stored, trailing axes of length one included.
    stored : ndarray, shape (i, j, k)
        Voxels as stored.
    affine : ndarray, shape (4, 4)
        Voxel (i, j, k) to RAS millimetres.
    slope, intercept : float
        Scaling that a reader shall apply.
    codes : tuple of int, or None
        qform code, sform code and units of a NIfTI; other formats have none.
    qform, sform : ndarray, shape (4, 4), or None
        Both matrices of a NIfTI.
    """

    shape: tuple[int, ...]
    stored: NDArray[Any]
    affine: NDArray[np.float64]
    slope: float = 1.0
    intercept: float = 0.0
    codes: tuple[int, int, int] | None = None
    qform: NDArray[np.float64] | None = None
    sform: NDArray[np.float64] | None = None


@dataclass(frozen=True, slots=True)
class Writer:
    """How files of one format are written, and looked at again.

    Parameters
    ----------
    format : str
        Its name, for people.
    types : tuple of str
        Number types that it can hold, those for masks first and smaller ones before larger.
    write : callable
        Writes `Contents` into an existing empty file.
    read_back : callable
        Reads a file with the library of the format.
    has_nifti_fields : bool
        Whether it keeps what only NIfTI has: trailing axes, transform codes, scaling.
    masks_only : bool
        Whether readers take all its values for class numbers.
    in_space : bool
        Whether readers take from it where the voxels lie in the patient.
    placed_by_itk : bool
        Whether its readers are those that place a NIfTI scan as ITK does, see `itk_affine`.
    check : callable
        Raises a `SaveError` for grids that the format cannot hold.
    """

    format: str
    types: tuple[str, ...]
    write: Callable[[Contents, Path], None]
    read_back: Callable[[Path], ReadBack]
    has_nifti_fields: bool = False
    masks_only: bool = False
    in_space: bool = True
    placed_by_itk: bool = False
    check: Callable[[Grid], None] = lambda _: None

    def grid_for(self, grid: Grid) -> Grid:
        """Where the voxels lie for those who read this format beside the scan."""
        if not self.placed_by_itk:
            return grid
        return replace(grid, affine=itk_affine(grid))

    def shape_of(self, grid: Grid) -> tuple[int, ...]:
        """Shape of a file on `grid`."""
        return (*grid.shape, *(1,) * grid.trailing_ones) if self.has_nifti_fields else grid.shape

    def fit_labels(self, labels: NDArray[Any]) -> NDArray[Any]:
        """Convert class numbers to the smallest number type that holds them here.

        Raises
        ------
        SaveError
            If they are no class numbers, or too large for the format.
        """
        if labels.dtype.kind not in "bui":
            raise SaveError(
                f"A mask needs whole numbers, but this one holds {labels.dtype}. "
                "Round it to class numbers first."
            )
        lowest, highest = int(labels.min(initial=0)), int(labels.max(initial=0))
        if lowest < 0:
            raise SaveError(f"The mask holds the negative label {lowest}. Classes count from 1.")
        for name in self.types:
            if np.dtype(name).kind in "ui" and highest <= np.iinfo(name).max:
                return labels.astype(name)
        raise SaveError(
            f"{self.format} cannot hold the label {highest}. Save as .nii.gz, or count from 1."
        )

    def fit_intensities(self, values: NDArray[Any]) -> NDArray[Any]:
        """Keep the number type, or take the smallest one here that holds all values exactly.

        Raises
        ------
        SaveError
            If the format has none.
        """
        native = values.dtype.newbyteorder("=")
        if native.name in self.types:
            return values.astype(native, copy=False)
        for name in sorted(self.types, key=lambda name: np.dtype(name).itemsize):
            if values.dtype.kind == "f" and np.dtype(name).kind != "f":
                continue
            with np.errstate(over="ignore", invalid="ignore"):
                fitted = values.astype(name)
            if np.array_equal(fitted, values, equal_nan=values.dtype.kind == "f"):
                return fitted
        raise SaveError(
            f"{self.format} cannot hold these intensities ({values.dtype}) without rounding "
            "them. Save as .nii.gz or .nrrd."
        )


def compare(found: ReadBack, wanted: Contents, writer: Writer, path: Path) -> GeometryReceipt:
    """Compare what is in a file with what should be."""
    grid = wanted.grid
    pairs = list(_matrices(found, grid))
    moved = max(displacement_mm(*pair, grid.shape) for pair in pairs)
    codes = (grid.qform_code, grid.sform_code, grid.units_code)
    same_scaling = np.allclose(
        (found.slope, found.intercept), (wanted.slope, wanted.intercept), rtol=1e-6, atol=0
    )
    inexact = wanted.stored.dtype.kind == "f"
    return GeometryReceipt(
        path=path,
        shape=found.shape,
        shape_ok=found.shape == writer.shape_of(grid),
        affine_ok=all(same_affine(*pair) for pair in pairs)
        or moved <= NEGLIGIBLE * min(grid.spacing_mm),
        codes_ok=found.codes in (None, codes),
        voxels_ok=same_scaling and np.array_equal(found.stored, wanted.stored, equal_nan=inexact),
        format=writer.format,
        displacement_mm=moved,
        remark=UNPLACED if writer.in_space and not grid.has_orientation else "",
    )


def _matrices(
    found: ReadBack, grid: Grid
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Pair every matrix that readers may use, as it was found, with what it should be."""
    yield found.affine, grid.affine
    if found.codes is None:
        return
    for code, own, wanted in (
        (grid.qform_code, found.qform, grid.qform),
        (grid.sform_code, found.sform, grid.sform),
    ):
        if code and wanted is not None:
            yield np.zeros((4, 4)) if own is None else own, wanted


def displacement_mm(
    found: NDArray[np.float64], wanted: NDArray[np.float64], shape: tuple[int, int, int]
) -> float:
    """Largest distance between the corners of one volume under two affines."""
    corners = np.array([(*c, 1) for c in itertools.product(*((0, n - 1) for n in shape))])
    return float(np.linalg.norm(((found - wanted) @ corners.T)[:3], axis=0).max())
