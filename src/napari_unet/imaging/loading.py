"""Reading scans and masks, of any format, into display order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_unet.errors import GridMismatchError, VolumeError
from napari_unet.imaging.files import open_scan
from napari_unet.imaging.nifti import too_large
from napari_unet.imaging.regridding import (
    apart_mm,
    check_overlap,
    labels_onto,
    resample,
    resampling_note,
    same_grid,
)
from napari_unet.imaging.scan_file import ScanFile
from napari_unet.imaging.volume import Grid, Volume

LARGEST_LABEL = 2**32 - 1
"""Larger values cannot be class numbers."""


def load_volume(paths: str | Path | Sequence[str | Path], *, name: str | None = None) -> Volume:
    """Read a scan from one NIfTI file, or from several sequences of one patient.

    Parameters
    ----------
    paths : str, Path or sequence of these
        One file per channel. The first one's grid is kept; those on another grid are
        resampled onto it (linear, through their affines), and `Volume.notes` says so.
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
        If a file on another grid shows another place.
    """
    files = [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]
    if not files:
        raise VolumeError("No image was given. Name at least one NIfTI file.")
    scans = [open_scan(path) for path in files]
    grid = scans[0].grid
    elsewhere = [scan for scan in scans if not same_grid(scan.grid, grid)]
    for scan in elsewhere:
        check_overlap(scan.grid, grid, scan.name, scans[0].name)
    try:
        data = np.empty((len(files), *grid.shape_zyx), dtype=np.float32)
        for channel, scan in zip(data, scans, strict=True):
            if scan in elsewhere:
                own = np.empty(scan.grid.shape_zyx, dtype=np.float32)
                _read_into(own, scan)
                resample(own, scan.grid, grid, nearest=False, out=channel)
            else:
                _read_into(channel, scan)
    except MemoryError as error:
        raise VolumeError(too_large(files[0], grid)) from error
    notes = tuple(resampling_note(scan.grid, grid, scan.name, scans[0].name) for scan in elsewhere)
    name = name or scans[0].name
    return Volume(data=data, grid=grid, name=name, source=files[0], notes=notes)


def _read_into(channel: NDArray[np.float32], scan: ScanFile) -> None:
    """Read the intensities of a file into an array of its own shape (z, y, x)."""
    stored, slope, intercept = scan.read(0)
    upright = scan.grid.to_display(stored)
    # Plane by plane: scaling in float64 without a second copy of the volume.
    with np.errstate(over="ignore", invalid="ignore"):
        for plane, values in zip(channel, upright, strict=True):
            if (slope, intercept) == (1.0, 0.0):
                plane[:] = values
            else:
                plane[:] = values.astype(np.float64) * slope + intercept


def load_labels(
    path: str | Path, grid: Grid | None = None, *, resample: bool = False
) -> tuple[NDArray[Any], Grid]:
    """Read a mask.

    Parameters
    ----------
    path : str or Path
        NIfTI file of whole, non-negative numbers, stored in any number type.
    grid : Grid, optional
        Grid of the scan that the mask belongs to. The mask may store the same
        voxels in another axis order.
    resample : bool
        Whether a mask on another grid is brought onto `grid`, each voxel taking the
        nearest label, instead of being refused.

    Returns
    -------
    labels : ndarray, shape (z, y, x)
        Display order, the smallest unsigned type that holds the values.
    grid : Grid
        The grid of the mask's own file; `same_grid` tells whether it was resampled.

    Raises
    ------
    VolumeError
        If the file cannot be read or is not a mask.
    GridMismatchError
        If the mask is not on `grid`; with `resample`, if none of its labels is.
    """
    path = Path(path)
    scan = open_scan(path)
    own = scan.grid
    if grid is not None and not resample:
        _check_same(own, grid, path, "the scan")
    stored, slope, intercept = scan.read(0)
    values = own.to_display(stored)
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
    labels = np.ascontiguousarray(values, dtype=np.min_scalar_type(int(highest)))
    if grid is None or not resample:
        return labels, own
    return labels_onto(labels, own, grid, path.name), own


def _check_same(found: Grid, wanted: Grid, path: Path, owner: str) -> None:
    """Refuse a file whose voxels, in display order, are not those of `wanted`."""
    if same_grid(found, wanted):
        return
    apart = apart_mm(found, wanted)
    if apart is None:
        raise GridMismatchError(
            f"{path.name} has {found.shape_zyx} voxels (z, y, x) but {owner} has "
            f"{wanted.shape_zyx}. Choose a file on the same grid, or resample it first."
        )
    raise GridMismatchError(
        f"{path.name} lies up to {apart:.2g} mm away from {owner}, though both have the same "
        "number of voxels. Choose a file on the same grid, or resample it first."
    )
