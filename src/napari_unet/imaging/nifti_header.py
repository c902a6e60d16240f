"""The spatial part of a NIfTI header: to a `Grid` and back without loss."""

from __future__ import annotations

import itertools
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from napari_unet.imaging.volume import RAS_TO_LPS, Grid

LONGEST_NIFTI1_AXIS = 32767
"""NIfTI-1 stores its axis lengths as signed 16-bit integers."""

SCANNER = 1
"""Transform code of the scanner's own millimetres."""

ITK_SQUARENESS = 1e-4
"""Cosine between two axes of an sform from which on ITK does not use it (found by trial)."""


def grid_of_header(image: nib.Nifti1Pair) -> Grid:
    """Read the grid of a three-dimensional image, with both matrices and their codes.

    Parameters
    ----------
    image : nibabel NIfTI image
        At least three axes; further ones have length one.

    Returns
    -------
    Grid
        Its affine is the one nibabel uses: sform, else qform, else voxel sizes.
    """
    header = image.header
    try:
        qform = np.asarray(header.get_qform(), dtype=np.float64)
    except (HeaderDataError, ValueError):  # not a rotation; then only its code is kept
        qform = None
    sform = np.asarray(header.get_sform(), dtype=np.float64)
    shape = tuple(int(length) for length in image.shape)
    return Grid(
        shape=(shape[0], shape[1], shape[2]),
        affine=np.asarray(image.affine, dtype=np.float64),
        qform=qform,
        sform=sform if sform[:3].any() else None,
        qform_code=int(header["qform_code"]),
        sform_code=int(header["sform_code"]),
        units_code=int(header["xyzt_units"]),
        trailing_ones=len(shape) - 3,
        has_orientation=int(header["sform_code"]) > 0 or int(header["qform_code"]) > 0,
    )


def image_on_grid(voxels: NDArray[Any], grid: Grid, *, intent: str) -> Any:
    """Make a NIfTI image that puts `voxels` exactly onto `grid`.

    Parameters
    ----------
    voxels : ndarray
        File axes (i, j, k) and trailing ones; the file gets its number type.
    grid : Grid
        Where the voxels are.
    intent : str
        NIfTI intent: ``label`` for masks, ``none`` for images.

    Returns
    -------
    Nifti1Image or Nifti2Image
        NIfTI-2 only when an axis is too long for NIfTI-1.
    """
    long = max(voxels.shape) > LONGEST_NIFTI1_AXIS
    image_class: Any = nib.Nifti2Image if long else nib.Nifti1Image
    header = image_class.header_class()
    header.set_data_dtype(voxels.dtype)
    header.set_data_shape(voxels.shape)
    qform = grid.qform if grid.qform is not None else grid.affine
    # Also sets the voxel sizes; those are all that is left when both codes are 0.
    header.set_qform(qform, code=0, strip_shears=True)
    _round_quaternion_well(header, qform)
    if grid.sform is not None:
        header.set_sform(grid.sform, code=0)
    # Set as numbers: nibabel's setters refuse codes that it has no name for.
    header["qform_code"] = grid.qform_code
    header["sform_code"] = grid.sform_code
    header["xyzt_units"] = grid.units_code
    header.set_intent(intent)
    if grid.sform is None and not same_affine(header.get_best_affine(), grid.affine):
        # No header field says it yet. With both codes 0 readers may still ignore it.
        header.set_sform(grid.affine, code=0)
        header["sform_code"] = grid.sform_code
    # No affine beside the header: nibabel would write its own idea of the codes.
    return image_class(voxels, None, header)


def itk_affine(grid: Grid) -> NDArray[np.float64]:
    """Voxel (i, j, k) to RAS millimetres as ITK, 3D Slicer and ITK-SNAP place a NIfTI file.

    They take the sform where its code is 1 or the qform has none, else the qform; always the
    voxel sizes of the header; and without any code the voxel axes for left, posterior and
    superior, from zero. Tried with SimpleITK 2.5 for all pairs of codes.

    Parameters
    ----------
    grid : Grid
        Grids of other formats have one place, which is given.
    """
    qform, sform = grid.qform, grid.sform
    if qform is None or not np.isfinite(qform).all():
        return grid.affine
    zooms = np.linalg.norm(qform[:3, :3], axis=0)
    affine = np.eye(4)
    if grid.qform_code == grid.sform_code == 0:
        affine[:3, :3] = RAS_TO_LPS @ np.diag(zooms)
        return affine
    preferred = grid.sform_code == SCANNER or grid.qform_code == 0
    if sform is not None and grid.sform_code > 0 and preferred:
        lengths = np.linalg.norm(sform[:3, :3], axis=0)
        if (lengths > 0).all():
            directions = sform[:3, :3] / lengths
            cosines = directions.T @ directions - np.eye(3)
            if np.abs(cosines).max() <= ITK_SQUARENESS:
                affine[:3, :3], affine[:3, 3] = directions * zooms, sform[:3, 3]
                return affine
    return qform if grid.qform_code > 0 else grid.affine


def same_affine(found: NDArray[np.float64], wanted: NDArray[np.float64]) -> bool:
    """Whether two matrices agree as well as float32 storage allows."""
    # Scaled by the matrix' own size: entries near zero carry the error of the others.
    tolerance = 4 * float(np.finfo(np.float32).eps)
    sizes = np.abs(wanted[:3]).max(axis=0)
    sizes[:3] = sizes[:3].max()
    sizes[3] = max(sizes[3], sizes[0])
    return bool((np.abs(found - wanted)[:3] <= tolerance * sizes).all())


def _round_quaternion_well(header: nib.Nifti1Header, wanted: NDArray[np.float64]) -> None:
    """Choose the float32 quaternion whose matrix is nearest to `wanted`.

    A header stores b, c and d; a reader computes a = sqrt(1 - b² - c² - d²). Where a is
    zero, as in tilted LPS scans, a last digit rounded the other way makes it 3e-4 in
    readers that allow no tolerance: hundredths of a millimetre at the edge of the head.
    One of the neighbouring float32 values is the one that the scan had.
    """
    names = ("quatern_b", "quatern_c", "quatern_d")
    nearest = [np.asarray(header[name]).copy() for name in names]
    steps = [
        (value, np.nextafter(value, value.dtype.type(-2)), np.nextafter(value, value.dtype.type(2)))
        for value in nearest
    ]
    best, best_error = tuple(nearest), np.inf
    for candidate in itertools.product(*steps):
        for name, value in zip(names, candidate, strict=True):
            header[name] = value
        try:
            error = float(np.abs(header.get_qform() - wanted).max())
        except ValueError:  # b² + c² + d² too far above one
            continue
        if error < best_error:
            best, best_error = candidate, error
    for name, value in zip(names, best, strict=True):
        header[name] = value
