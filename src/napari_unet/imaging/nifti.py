"""Opening NIfTI files: what can be worked on, and what to say about the rest."""

from __future__ import annotations

import math
import re
import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError, HeaderTypeError
from nibabel.wrapstruct import WrapStructError

from napari_unet.errors import VolumeError
from napari_unet.imaging.nifti_header import grid_of_header
from napari_unet.imaging.scan_file import ScanFile, Voxels
from napari_unet.imaging.volume import Grid

SUFFIXES = (".nii.gz", ".nii")
"""File names that this package reads and writes."""

PAIR_SUFFIXES = (".hdr", ".img")
"""NIfTI as a pair of files: read, never written."""

LABEL_INTENT = 1002
"""NIFTI_INTENT_LABEL: the voxels are class numbers."""

FLATTEST_VOXEL = 1e-3
"""Volume of a voxel over that of a rectangular one below which its axes lie in one plane."""

UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    OverflowError,
    zlib.error,
    ImageFileError,
    HeaderDataError,
    HeaderTypeError,
    WrapStructError,
)
"""What nibabel, gzip and numpy raise on files that are damaged or something else."""


def open_nifti(path: Path) -> ScanFile:
    """Open a NIfTI file without reading its voxels.

    Raises
    ------
    VolumeError
        If it is damaged, or not one three-dimensional scan.
    """
    try:
        image = nib.load(path)
    except UNREADABLE as error:
        raise VolumeError(_unreadable(path, error)) from error
    if not isinstance(image, nib.Nifti1Pair):  # NIfTI-2 is a subclass
        raise VolumeError(
            f"{path.name} is a {type(image).__name__}, not a NIfTI volume. "
            "Convert it to .nii.gz first."
        )
    grid = _grid_of_scan(image, path)
    return ScanFile(
        path=path,
        format="NIfTI-2" if isinstance(image, nib.Nifti2Pair) else "NIfTI-1",
        name=re.sub(r"\.(nii(\.gz)?|hdr|img)$", "", path.name, flags=re.IGNORECASE),
        grid=grid,
        dtype=image.get_data_dtype(),
        read=lambda _: _stored_voxels(image, grid, path),
        is_mask=int(image.header["intent_code"]) == LABEL_INTENT,
    )


def _grid_of_scan(image: nib.Nifti1Pair, path: Path) -> Grid:
    """Grid of one three-dimensional scan; anything else is refused by name."""
    shape = tuple(int(length) for length in image.shape)
    size = " x ".join(str(length) for length in shape)
    dtype = image.get_data_dtype()
    if dtype.fields is not None:
        raise VolumeError(
            f"{path.name} is a colour image ({''.join(dtype.fields)}), not a scan with one "
            "intensity per voxel. Export the grey-scale image instead."
        )
    if dtype.kind == "c":
        raise VolumeError(
            f"{path.name} holds complex numbers. Save its magnitude as a real image first."
        )
    if len(shape) < 3:
        raise VolumeError(
            f"{path.name} is two-dimensional ({size}). Choose a 3D scan, or stack its slices "
            "into one NIfTI file."
        )
    if any(length > 1 for length in shape[3:]):
        raise VolumeError(
            f"{path.name} holds {math.prod(shape[3:])} values per voxel ({size}): a series, or "
            "vectors. Save the one volume to work on as a file of its own."
        )
    if min(shape) < 1:
        raise VolumeError(f"{path.name} has no voxels ({size}). Export it again.")
    if sum(length > 1 for length in shape[:3]) < 2:
        raise VolumeError(f"{path.name} is not a volume: its shape is {size}. Choose a 3D scan.")
    grid = grid_of_header(image)
    if not _has_three_directions(grid):
        raise VolumeError(
            f"The header of {path.name} gives its voxels no volume or no position (its affine "
            "is singular or not a number). Export it again, or repair its orientation."
        )
    return grid


def _has_three_directions(grid: Grid) -> bool:
    """Whether the affine is finite and its voxel axes have a length and span space."""
    directions = grid.affine[:3, :3]
    lengths = np.linalg.norm(directions, axis=0)
    if not np.isfinite(grid.affine).all() or not (lengths > 0).all():
        return False
    return bool(abs(np.linalg.det(directions / lengths)) > FLATTEST_VOXEL)


def _stored_voxels(image: nib.Nifti1Pair, grid: Grid, path: Path) -> Voxels:
    """Give the voxels as stored, with slope and intercept."""
    proxy: Any = image.dataobj
    try:
        stored = np.asarray(proxy.get_unscaled()).reshape(grid.shape)
    except UNREADABLE as error:
        raise VolumeError(_unreadable(path, error)) from error
    except MemoryError as error:
        raise VolumeError(too_large(path, grid)) from error
    return Voxels(stored, float(proxy.slope), float(proxy.inter))


def too_large(path: Path, grid: Grid) -> str:
    """Say that a scan does not fit into memory."""
    size = " x ".join(str(length) for length in grid.shape)
    return (
        f"{path.name} ({size} voxels) does not fit into memory. Close other programs, or crop "
        "the scan."
    )


def _unreadable(path: Path, error: BaseException) -> str:
    """Put a reader's complaint into one line."""
    if isinstance(error, PermissionError):
        return f"{path.name} may not be read: no permission. Ask its owner, or copy it."
    reason = " ".join(str(error).split())[:120].rstrip(". ") or type(error).__name__
    return (
        f"{path.name} cannot be read as NIfTI: it is damaged, incomplete or of another kind "
        f"({reason}). Copy or export it again."
    )
