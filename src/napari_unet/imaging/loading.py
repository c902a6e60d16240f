"""Reading scans and masks, of any format, into display order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_unet.errors import GridMismatchError, VolumeError
from napari_unet.imaging.formats.registry import open_scan
from napari_unet.imaging.odd_voxels import find_odd
from napari_unet.imaging.regridding import (
    SameVoxels,
    check_overlap,
    grid_distance_mm,
    labels_onto,
    resample,
    resampling_note,
    same_grid,
    same_voxels,
)
from napari_unet.imaging.scan_file import LARGEST_LABEL, ScanFile, Voxels, check_memory, too_large
from napari_unet.imaging.volume import Grid, Volume

ROUNDING = 1e-6
"""How far from a whole number resampling or scaling by others may leave a label."""

LARGEST_ROUNDING = 0.1
"""How far from a whole number a scaling may leave a label; more is an image."""


def load_volume(
    paths: str | Path | ScanFile | Sequence[str | Path | ScanFile],
    *,
    name: str | None = None,
    volumes: Sequence[int] | None = None,
    series: str | None = None,
    voxels_anywhere: bool = False,
) -> Volume:
    """Read a scan from one file, or from several sequences of one patient.

    Parameters
    ----------
    paths : str, Path, ScanFile or sequence of these
        One file per channel, or what `open_scan` gave for it. The first one's grid is kept;
        those on another grid are resampled onto it (linear, through their affines), and
        `Volume.notes` says so.
    name : str, optional
        Name for messages and layers; default: the first file's name without suffix.
    volumes : sequence of int, optional
        Which volumes of a file that holds several, counted from 0: one to work on it,
        several to make each a channel. Files with one volume are read as they are.
    series : str, optional
        Which series of a DICOM folder: its UID or its description; not asked of an opened
        scan.
    voxels_anywhere : bool
        Whether a header (.nhdr, .mhd) may name a file outside its own folder for its voxels:
        say so only of files whose origin you trust.

    Returns
    -------
    Volume
        float32 data (c, z, y, x) in display order. NaN and infinity stay as they are.
        Lengths are taken as millimetres, whatever unit the header names. `notes` say
        what about the files a user should know.

    Raises
    ------
    VolumeError
        If a file cannot be read, is not one three-dimensional scan, holds several
        volumes of which none was chosen, or does not fit into memory.
    GridMismatchError
        If a file on another grid shows another place.
    """
    files = [paths] if isinstance(paths, str | Path | ScanFile) else list(paths)
    if not files:
        raise VolumeError("No image was given. Name at least one image file.")
    scans = [
        file
        if isinstance(file, ScanFile)
        else open_scan(file, series=series, voxels_anywhere=voxels_anywhere)
        for file in files
    ]
    grid = scans[0].grid
    places = [same_voxels(scan.grid, grid, scan.name, scans[0].name) for scan in scans]
    elsewhere = [scan for scan, same in zip(scans, places, strict=True) if same is None]
    for scan in elsewhere:
        check_overlap(scan.grid, grid, scan.name, scans[0].name)
    channels = [
        (scan, index, same)
        for scan, same in zip(scans, places, strict=True)
        for index in _chosen(scan, volumes)
    ]
    check_memory(scans[0].path, grid, 4 * len(channels) * math.prod(grid.shape))
    try:
        data = np.empty((len(channels), *grid.shape_zyx), dtype=np.float32)
    except (MemoryError, ValueError) as error:  # ValueError: more than can be addressed
        raise VolumeError(too_large(scans[0].path, grid)) from error
    notes = [_about(scan, note, scans) for scan in scans for note in scan.notes]
    for out, (scan, index, same) in zip(data, channels, strict=True):
        found = _read_into(out, scan, index, same) if same else _read_onto(out, grid, scan, index)
        notes += [_about(scan, note, scans) for note in found]
    notes += [same.note for same in places if same and same.note]
    notes += [resampling_note(scan.grid, grid, scan.name, scans[0].name) for scan in elsewhere]
    volume = Volume(
        data=data,
        grid=grid,
        name=name or scans[0].name,
        source=scans[0].path,
        channel_names=tuple(_channel_name(scan, index) for scan, index, _ in channels),
    )
    notes += [
        volume.about(number, odd.note)
        for number, channel in enumerate(data)
        if (odd := find_odd(channel)) is not None
    ]
    return replace(volume, notes=tuple(notes))


def load_labels(path: str | Path | ScanFile, grid: Grid | None = None) -> tuple[NDArray[Any], Grid]:
    """Read a mask.

    Parameters
    ----------
    path : str, Path or ScanFile
        Image file, opened or not, of whole, non-negative numbers, stored in any number type.
    grid : Grid, optional
        Grid of the scan that the mask belongs to. The mask may store the same
        voxels in another axis order; one on another grid is refused (`load_labels_onto`
        brings it onto this one).

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
    scan = path if isinstance(path, ScanFile) else open_scan(path)
    own = scan.grid
    if grid is not None and not same_grid(own, grid):
        raise _another_grid(own, grid, scan.path, "the scan")
    if len(scan.volumes) > 1:
        raise VolumeError(
            f"{scan.path.name} holds {len(scan.volumes)} volumes: a mask is one. Save the right "
            "one as a file of its own."
        )
    return _class_numbers(scan.read(0), own, scan.path), own


def load_labels_onto(
    path: str | Path | ScanFile,
    grid: Grid,
    reference: str = "the scan",
    *,
    resampling: bool = True,
) -> tuple[NDArray[Any], str]:
    """Read a mask, and bring it onto the grid of a scan; see `labels_onto`.

    Parameters
    ----------
    path : str, Path or ScanFile
        As for `load_labels`.
    grid : Grid
        Grid of the scan.
    reference : str
        What messages call the scan.
    resampling : bool
        Whether a mask with other voxels than the scan's is resampled, or refused.

    Returns
    -------
    labels : ndarray, shape (z, y, x) of `grid`
        Display order.
    note : str
        How it was brought there, and what that changed; empty where it lies on the grid.

    Raises
    ------
    VolumeError
        If the file cannot be read or is not a mask.
    GridMismatchError
        If the mask lies elsewhere.
    """
    scan = path if isinstance(path, ScanFile) else open_scan(path)
    labels, own = load_labels(scan)
    if not resampling and same_voxels(own, grid, scan.path.name, reference) is None:
        raise _another_grid(own, grid, scan.path, reference)
    return labels_onto(labels, own, grid, scan.path.name, reference)


def _class_numbers(voxels: Voxels, grid: Grid, path: Path) -> NDArray[Any]:
    """Give the labels of a mask, (z, y, x) in the smallest type; refuse what is none.

    Two passes over the planes, so that no second copy of the volume is needed. The result
    is always a copy: the voxels may be mapped from a file that changes later.
    """
    upright = grid.to_display(voxels.stored)
    highest = max(int(_whole(plane, voxels, path).max()) for plane in upright)
    labels = np.empty(upright.shape, dtype=np.min_scalar_type(highest))
    for out, plane in zip(labels, upright, strict=True):
        out[:] = _whole(plane, voxels, path)
    return labels


def _whole(plane: NDArray[Any], voxels: Voxels, path: Path) -> NDArray[Any]:
    """Give the class numbers in one plane of a mask as stored; refuse other values."""
    values, inexact = plane, 0.0
    if (voxels.slope, voxels.intercept) != (1.0, 0.0):
        # Stored with a scaling, labels are rounded to its steps, and it to float32.
        with np.errstate(over="ignore", invalid="ignore"):
            values = plane.astype(np.float64) * voxels.slope + voxels.intercept
        largest = float(np.abs(values).max())
        inexact = min(LARGEST_ROUNDING, max(0.51 * abs(voxels.slope), 1e-6 * max(1.0, largest)))
    if values.dtype.kind == "f":
        rounded = np.rint(values)
        with np.errstate(invalid="ignore", over="ignore"):
            # Or the last digit of a large one.
            digit = 2 * float(np.spacing(np.float32(np.abs(values).max())))
            inexact = max(inexact, ROUNDING, min(LARGEST_ROUNDING, digit))
            wrong = ~np.isfinite(values) | (np.abs(values - rounded) > inexact)
        if wrong.any():
            raise VolumeError(
                f"{path.name} holds the value {values[wrong].flat[0].item()!r}: a mask has whole "
                "numbers only. Choose the mask, not an image or a probability map."
            )
        values = rounded
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
    return values


def _chosen(scan: ScanFile, volumes: Sequence[int] | None) -> Sequence[int]:
    """Which volumes of a file become channels."""
    count = len(scan.volumes)
    if count == 1:
        return (0,)
    if not volumes:
        raise VolumeError(
            f"{scan.path.name} holds {count} volumes{_listed(scan)}. Choose one, "
            "or several as channels; they are counted from 0."
        )
    wrong = [index for index in volumes if not 0 <= index < count]
    if wrong:
        raise VolumeError(
            f"{scan.path.name} has no volume {wrong[0]}: its {count} volumes are numbered from 0 "
            f"to {count - 1}."
        )
    return volumes


def _listed(scan: ScanFile) -> str:
    """Name volumes in brackets, the first few, unless the names are mere numbers."""
    if not scan.has_volume_names:
        return ""
    numbered = [f"{index}: {name}" for index, name in enumerate(scan.volumes)]
    return f" ({'; '.join(numbered[:4])}{'; ...' if len(numbered) > 4 else ''})"


def _channel_name(scan: ScanFile, index: int) -> str:
    """Name a channel after its file, and its volume where there are several."""
    own = scan.volumes[index]
    return f"{scan.name} {own}" if own else scan.name


def _about(scan: ScanFile, note: str, scans: Sequence[ScanFile]) -> str:
    """Say which file a note is about, where there are several."""
    return f"{scan.name}: {note}" if len(scans) > 1 else note


def _read_onto(out: NDArray[np.float32], grid: Grid, scan: ScanFile, index: int) -> tuple[str, ...]:
    """Read one volume and resample it onto another grid; see `_read_into`."""
    try:
        own = np.empty(scan.grid.shape_zyx, dtype=np.float32)
    except (MemoryError, ValueError) as error:
        raise VolumeError(too_large(scan.path, scan.grid)) from error
    notes = _read_into(own, scan, index)
    resample(own, scan.grid, grid, nearest=False, out=out)
    return notes


def _read_into(
    out: NDArray[np.float32], scan: ScanFile, index: int, same: SameVoxels | None = None
) -> tuple[str, ...]:
    """Read intensities of one volume into (z, y, x), and say if some are no numbers."""
    stored, slope, intercept = scan.read(index)
    upright = scan.grid.to_display(stored)
    if same is not None:
        upright = same.bring(upright)
    # Plane by plane: scaling in float64 without a second copy of the volume.
    with np.errstate(over="ignore", invalid="ignore"):
        for plane, values in zip(out, upright, strict=True):
            if (slope, intercept) == (1.0, 0.0):
                plane[:] = values
            else:
                plane[:] = values.astype(np.float64) * slope + intercept
        bad = 0
        if not np.isfinite(out.sum(dtype=np.float64)):
            bad = sum(plane.size - int(np.count_nonzero(np.isfinite(plane))) for plane in out)
    if not bad:
        return ()
    are = "voxel is" if bad == 1 else "voxels are"
    return (f"{bad:,} {are} NaN or infinite. Replace them (with 0, for instance) to train.",)


def _another_grid(found: Grid, wanted: Grid, path: Path, owner: str) -> GridMismatchError:
    """Say how the voxels of a file, in display order, are not those of `wanted`."""
    apart = grid_distance_mm(found, wanted)
    if apart is None:
        return GridMismatchError(
            f"{path.name} has {found.shape_zyx} voxels (z, y, x) but {owner} has "
            f"{wanted.shape_zyx}. Choose a file on the same grid, or resample it first."
        )
    return GridMismatchError(
        f"{path.name} lies up to {apart:.2g} mm away from {owner}, though both have the same "
        "number of voxels. Choose a file on the same grid, or resample it first."
    )
