"""Writing masks and images onto exactly the voxels of their scan, and proving it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from nrrd.errors import NRRDError
from numpy.typing import NDArray

from napari_unet.errors import GridMismatchError, SaveError
from napari_unet.imaging.atomic import atomic_path, check_free, check_may_write
from napari_unet.imaging.dicom.seg_writer import (
    check_can_refer,
    is_dicom_seg,
    save_dicom_seg,
)
from napari_unet.imaging.formats.nifti import UNREADABLE
from napari_unet.imaging.formats.registry import writer_for
from napari_unet.imaging.formats.writer import Contents, Writer, compare, displacement_mm
from napari_unet.imaging.receipt import GeometryReceipt
from napari_unet.imaging.regridding import same_grid
from napari_unet.imaging.scan_file import ScanFile, StructureRow, Voxels
from napari_unet.imaging.sidecar import sidecar_of, store_beside
from napari_unet.imaging.volume import Grid

__all__ = ["GeometryReceipt", "check_may_save", "check_may_write", "save_image", "save_mask"]


def check_may_save(path: Path, *, overwrite: bool) -> None:
    """Notice before the work, not after it, that a mask could not be saved.

    Raises
    ------
    SaveError
        As from `save_mask`, as far as the name and its folder are concerned.
    """
    if not is_dicom_seg(path):
        writer_for(path)
    check_may_write(path, overwrite=overwrite)
    check_free(sidecar_of(path), overwrite=True)


def save_mask(
    labels_zyx: NDArray[Any],
    grid: Grid,
    path: str | Path,
    *,
    structures: Sequence[StructureRow] = (),
    sources: Sequence[Path] = (),
    series: ScanFile | None = None,
    overwrite: bool = False,
) -> GeometryReceipt:
    """Write a mask onto exactly the voxels of its scan, then read it back and compare.

    The file appears complete or not at all. It has the scan's shape, voxel order and
    affine, in NIfTI also its matrices, transform codes and units, no intensity scaling,
    and the smallest number type that holds the labels. Beside it lies a JSON file with
    the structures and the receipt, see `napari_unet.imaging.sidecar`.

    Parameters
    ----------
    labels_zyx : ndarray of integer or bool, shape (z, y, x)
        Display order.
    grid : Grid
        Grid of the scan.
    path : str or Path
        File to write, in an existing folder; its suffix chooses the format, see
        `napari_unet.imaging.formats.registry.WRITABLE`; ``.dcm`` is a DICOM segmentation.
    structures : sequence of (int, str, str)
        Value, name and colour (``#rrggbb``) of the structures.
    sources : sequence of Path
        The files of the scan, for the JSON file.
    series : ScanFile, optional
        The opened DICOM series of the scan; only a DICOM segmentation needs it.
    overwrite : bool
        Whether an existing file may be replaced.

    Returns
    -------
    GeometryReceipt
        What the comparison found; all is well, but for one: when a NIfTI header without
        any valid transform (both codes 0) cannot hold the affine, `affine_ok` is false.

    Raises
    ------
    GridMismatchError
        If the mask has not the scan's shape, or `series` is another scan.
    SaveError
        If the file cannot be written, or reads back differently: what was there before is
        untouched. Or if the JSON file cannot after all: then the mask is saved.
    """
    path = Path(path)
    if is_dicom_seg(path):
        series = check_can_refer(series)
        if not same_grid(grid, series.grid):
            raise GridMismatchError(
                f"The mask does not lie on the images of {series.name}. Choose the series that it "
                "was painted on."
            )
        check_may_save(path, overwrite=overwrite)
        receipt = save_dicom_seg(labels_zyx, series, path, structures, overwrite=overwrite)
        return store_beside(receipt, structures, sources)
    writer = writer_for(path)
    check_may_save(path, overwrite=overwrite)
    labels = writer.fit_labels(grid.to_source(labels_zyx))
    contents = Contents(labels, grid, is_mask=True, structures=tuple(structures))
    receipt = _write(contents, writer, path, overwrite=overwrite)
    return store_beside(receipt, structures, sources)


def save_image(
    voxels: Voxels, grid: Grid, path: str | Path, *, overwrite: bool = False
) -> GeometryReceipt:
    """Write an image without changing an intensity, then read it back and compare.

    NIfTI keeps numbers and scaling as they are (slope and intercept in float32). Other
    formats know no scaling: without one the number type is kept, with one the intensities
    are stored in float32 where that is exact, else in float64.

    Parameters
    ----------
    voxels : Voxels
        File order, as a `ScanFile` reads them.
    grid, path, overwrite
        As for `save_mask`.

    Raises
    ------
    SaveError
        If the file cannot be written, or the format cannot hold the intensities.
    """
    path = Path(path)
    if is_dicom_seg(path):
        raise SaveError(f"{path.name}: only masks can be saved as DICOM. Save it as .nii.gz.")
    writer = writer_for(path)
    if writer.masks_only:
        raise SaveError(f"{path.name} would be a segmentation. Save the image as .nrrd.")
    check_may_write(path, overwrite=overwrite)
    stored, slope, intercept = voxels
    if (slope, intercept) != (1.0, 0.0) and not writer.has_nifti_fields:
        with np.errstate(over="ignore", invalid="ignore"):
            stored = stored.astype(np.float64) * slope + intercept
            single = stored.astype(np.float32)
        stored = single if np.array_equal(single, stored, equal_nan=True) else stored
        slope, intercept = 1.0, 0.0
    contents = Contents(writer.fit_intensities(stored), grid, slope, intercept)
    return _write(contents, writer, path, overwrite=overwrite)


def _write(contents: Contents, writer: Writer, path: Path, *, overwrite: bool) -> GeometryReceipt:
    """Write a file, look at it with the library of its format, then put it in its place."""
    writer.check(contents.grid)
    scan, contents = contents.grid, replace(contents, grid=writer.grid_for(contents.grid))
    with atomic_path(path, overwrite=overwrite) as temporary:
        writer.write(contents, temporary)
        try:
            found = writer.read_back(temporary)
        except (*UNREADABLE, NRRDError) as error:
            raise SaveError(f"{path} was written but cannot be read back: {error}") from error
        receipt = compare(found, contents, writer, path)
        # Without a valid transform a NIfTI header cannot hold an affine; that is only told.
        codes = (contents.grid.qform_code, contents.grid.sform_code)
        told = writer.has_nifti_fields and codes == (0, 0)
        if not (receipt.ok or (told and replace(receipt, affine_ok=True).ok)):
            raise SaveError(
                f"{path} did not read back the same and was not kept; this differs: "
                f"{receipt.differences()}. The disk may be failing: save to another one, or in "
                "another format."
            )
    if not same_grid(contents.grid, scan):
        apart = displacement_mm(contents.grid.affine, scan.affine, scan.shape)
        remark = (
            f"It lies where ITK and 3D Slicer place the scan, up to {apart:.2g} mm from where "
            "programs such as FSL do: for those, save as .nii.gz."
        )
        receipt = replace(receipt, remark=f"{remark} {receipt.remark}".rstrip())
    return receipt
