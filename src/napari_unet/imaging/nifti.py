"""Reading scans and masks from NIfTI files; writing masks back onto the same voxels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from napari_unet.errors import GridMismatchError, SaveError, VolumeError
from napari_unet.imaging.atomic import atomic_path
from napari_unet.imaging.nifti_header import grid_of_header, image_on_grid, same_affine
from napari_unet.imaging.nifti_source import (
    SUFFIXES,
    UNREADABLE,
    grid_of_scan,
    open_image,
    stem,
    stored_voxels,
    too_large,
)
from napari_unet.imaging.volume import Grid, Volume

LARGEST_LABEL = 2**32 - 1
"""Larger values cannot be class numbers."""

GRID_TOLERANCE = 0.05
"""Fraction of a voxel by which two grids may differ and still be the same.

Programs store the matrix in float32, or only as a quaternion; that moves far
corners by some micrometres.
"""


@dataclass(frozen=True, slots=True)
class GeometryReceipt:
    """What was found when a saved mask was opened again.

    Parameters
    ----------
    path : Path
        The file.
    shape : tuple of int
        Its shape as stored, trailing axes of length one included.
    shape_ok, affine_ok, codes_ok, voxels_ok : bool
        Whether shape, matrix (to float32 precision), sform/qform codes with units,
        and every voxel are what they should be.
    """

    path: Path
    shape: tuple[int, ...]
    shape_ok: bool
    affine_ok: bool
    codes_ok: bool
    voxels_ok: bool

    @property
    def ok(self) -> bool:
        """Whether the mask lies exactly on the grid of its scan."""
        return self.shape_ok and self.affine_ok and self.codes_ok and self.voxels_ok

    def summary(self) -> str:
        """Say in one sentence what was verified, or what differs."""
        size = " x ".join(str(length) for length in self.shape)
        if self.ok:
            return f"Saved {self.path.name} ({size}); re-read and identical to the scan's grid."
        checks = {
            "shape": self.shape_ok,
            "position in space (affine)": self.affine_ok,
            "transform codes": self.codes_ok,
            "voxel values": self.voxels_ok,
        }
        different = ", ".join(name for name, fine in checks.items() if not fine)
        return f"Saved {self.path.name} ({size}), but on re-reading this differs: {different}."


def load_volume(paths: str | Path | Sequence[str | Path], *, name: str | None = None) -> Volume:
    """Read a scan from one NIfTI file, or from several sequences on the same grid.

    Parameters
    ----------
    paths : str, Path or sequence of these
        One file per channel. All must show the same voxels; the first one's grid is kept.
    name : str, optional
        Name for messages and layers; default: the first file's name without suffix.

    Returns
    -------
    Volume
        float32 data (c, z, y, x) in display order. NaN and infinity stay as they are.
        Lengths are taken as millimetres, whatever unit the header names.

    Raises
    ------
    VolumeError
        If a file cannot be read, is not one three-dimensional scan or does not fit
        into memory.
    GridMismatchError
        If the files do not share one grid.
    """
    files = [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]
    if not files:
        raise VolumeError("No image was given. Name at least one NIfTI file.")
    images = [open_image(path) for path in files]
    grids = [grid_of_scan(image, path) for image, path in zip(images, files, strict=True)]
    for path, grid in zip(files[1:], grids[1:], strict=True):
        _check_same(grid, grids[0], path, f"{files[0].name}")
    try:
        data = np.empty((len(files), *grids[0].shape_zyx), dtype=np.float32)
    except MemoryError as error:
        raise VolumeError(too_large(files[0], grids[0])) from error
    for channel, image, grid, path in zip(data, images, grids, files, strict=True):
        stored, slope, intercept = stored_voxels(image, grid, path)
        # Plane by plane: scaling in float64 without a second copy of the volume.
        with np.errstate(over="ignore", invalid="ignore"):
            for plane, values in zip(channel, stored, strict=True):
                if (slope, intercept) == (1.0, 0.0):
                    plane[:] = values
                else:
                    plane[:] = values.astype(np.float64) * slope + intercept
    return Volume(data=data, grid=grids[0], name=name or stem(files[0]), source=files[0])


def load_labels(path: str | Path, grid: Grid | None = None) -> tuple[NDArray[Any], Grid]:
    """Read a mask.

    Parameters
    ----------
    path : str or Path
        NIfTI file of whole, non-negative numbers, stored in any number type.
    grid : Grid, optional
        Grid of the scan that the mask belongs to. The mask may store the same
        voxels in another axis order.

    Returns
    -------
    labels : ndarray, shape (z, y, x)
        Display order, the smallest unsigned type that holds the values.
    grid : Grid
        The grid of the mask's own file.

    Raises
    ------
    VolumeError
        If the file cannot be read or is not a mask.
    GridMismatchError
        If the mask is not on `grid`.
    """
    path = Path(path)
    image = open_image(path)
    own = grid_of_scan(image, path)
    if grid is not None:
        _check_same(own, grid, path, "the scan")
    values, slope, intercept = stored_voxels(image, own, path)
    if (slope, intercept) != (1.0, 0.0):
        values = values * slope + intercept
    if values.dtype.kind == "f":
        whole = np.isfinite(values) & (values == np.rint(values))
        if not whole.all():
            odd = values[~whole].flat[0]
            raise VolumeError(
                f"{path.name} holds the value {odd:g}: a mask has whole numbers only. "
                "Choose the mask, not an image or a probability map."
            )
    lowest, highest = values.min(), values.max()
    if lowest < 0:
        raise VolumeError(
            f"{path.name} holds the negative value {int(lowest)}: in a mask, 0 is background "
            "and classes count from 1. Choose another file."
        )
    if highest > LARGEST_LABEL:
        raise VolumeError(
            f"{path.name} holds the value {highest:g}, too large for a class number. "
            "Choose the mask, not an image."
        )
    return np.ascontiguousarray(values, dtype=np.min_scalar_type(int(highest))), own


def save_mask(
    labels_zyx: NDArray[Any], grid: Grid, path: str | Path, *, overwrite: bool = True
) -> GeometryReceipt:
    """Write a mask onto exactly the voxels of its scan, then read it back and compare.

    The file appears complete or not at all. It has the scan's shape, matrices,
    transform codes and units, no intensity scaling, and the smallest unsigned
    number type that holds the labels.

    Parameters
    ----------
    labels_zyx : ndarray of integer or bool, shape (z, y, x)
        Display order.
    grid : Grid
        Grid of the scan.
    path : str or Path
        File to write, ``.nii`` or ``.nii.gz``, in an existing folder.
    overwrite : bool
        Whether an existing file may be replaced.

    Returns
    -------
    GeometryReceipt
        What the comparison found. When a header without any valid transform
        (both codes 0) cannot hold the affine, `affine_ok` is false.

    Raises
    ------
    GridMismatchError
        If the mask has not the scan's shape.
    SaveError
        If the file cannot be written, or reads back with other voxels; what was
        there before is untouched.
    """
    path = Path(path)
    if not path.name.lower().endswith(SUFFIXES):
        raise SaveError(f"Cannot save as {path.name}: give the file a name ending in .nii.gz.")
    if not overwrite and path.exists():
        raise SaveError(f"{path} exists already. Choose another name, or allow overwriting.")
    labels = _smallest_unsigned(grid.to_source(labels_zyx))
    labels = labels.reshape(labels.shape + (1,) * grid.trailing_ones)
    image = image_on_grid(labels, grid)
    with atomic_path(path) as temporary:
        image.to_filename(temporary)
        receipt = _compare(temporary, path, labels, grid)
        if not (receipt.shape_ok and receipt.voxels_ok):
            raise SaveError(
                f"{path} was written but did not read back the same. The disk may be failing: "
                "save to another one."
            )
    return receipt


def _check_same(found: Grid, wanted: Grid, path: Path, owner: str) -> None:
    """Refuse a file whose voxels, in display order, are not those of `wanted`."""
    if found.shape_zyx != wanted.shape_zyx:
        raise GridMismatchError(
            f"{path.name} has {found.shape_zyx} voxels (z, y, x) but {owner} has "
            f"{wanted.shape_zyx}. Choose a file on the same grid, or resample it first."
        )
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in wanted.shape_zyx])).reshape(3, -1)
    offset = (found.affine_zyx - wanted.affine_zyx) @ np.vstack([corners, np.ones(8)])
    apart = float(np.sqrt((offset[:3] ** 2).sum(axis=0)).max())
    if apart > GRID_TOLERANCE * min(wanted.spacing_mm):
        raise GridMismatchError(
            f"{path.name} lies up to {apart:.2g} mm away from {owner}, though both have the same "
            "number of voxels. Choose a file on the same grid, or resample it first."
        )


def _smallest_unsigned(labels: NDArray[Any]) -> NDArray[Any]:
    """Convert labels to the smallest unsigned type that holds them."""
    if labels.dtype.kind not in "bui":
        raise SaveError(
            f"A mask needs whole numbers, but this one holds {labels.dtype}. "
            "Round it to class numbers first."
        )
    if labels.size and int(labels.min()) < 0:
        raise SaveError(
            f"The mask holds the negative label {int(labels.min())}. Classes count from 1."
        )
    return labels.astype(np.min_scalar_type(int(labels.max(initial=0))))


def _compare(written: Path, path: Path, labels: NDArray[Any], grid: Grid) -> GeometryReceipt:
    """Open a written mask and compare it with what it should be."""
    try:
        image: Any = nib.load(written)
        voxels = np.asarray(image.dataobj)
    except UNREADABLE as error:
        raise SaveError(f"{path} was written but cannot be read back: {error}") from error
    found = grid_of_header(image)
    same_codes = (found.qform_code, found.sform_code, found.units_code) == (
        grid.qform_code,
        grid.sform_code,
        grid.units_code,
    )
    return GeometryReceipt(
        path=path,
        shape=voxels.shape,
        shape_ok=voxels.shape == labels.shape,
        affine_ok=same_affine(found.affine, grid.affine),
        codes_ok=same_codes,
        voxels_ok=bool(np.array_equal(voxels, labels)),
    )
