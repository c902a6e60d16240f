"""FreeSurfer's MGH and MGZ files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from napari_unet.errors import VolumeError
from napari_unet.imaging.formats.nifti import load_quietly, unreadable_as_error, volume_reader
from napari_unet.imaging.formats.writer import Contents, ReadBack, Writer
from napari_unet.imaging.scan_file import (
    ScanFile,
    check_directions,
    check_shape,
    no_orientation,
    open_unpacked,
    volume_names,
)
from napari_unet.imaging.volume import Grid


def open_mgh(path: Path) -> ScanFile:
    """Open an MGH or MGZ file without reading its voxels.

    Raises
    ------
    VolumeError
        If it is damaged, or holds no scans.
    """
    image, _ = load_quietly(path, "MGH")
    if not isinstance(image, nib.MGHImage):
        raise VolumeError(f"{path.name} is a {type(image).__name__}. Rename it to what it is.")
    with unreadable_as_error(path, "MGH"):
        shape = tuple(int(length) for length in image.shape)
        affine = np.asarray(image.affine, dtype=np.float64)
        has_orientation = _has_orientation(path)
    grid = Grid(
        check_shape(path, shape),
        affine,
        sform=affine,
        sform_code=1,
        has_orientation=has_orientation,
    )
    check_directions(path, grid)
    notes = () if has_orientation else (no_orientation(grid, "Its header gives no orientation"),)
    return ScanFile(
        path=path,
        format="MGZ" if path.suffix.lower() == ".mgz" else "MGH",
        name=path.name[: -len(path.suffix)],
        grid=grid,
        dtype=image.get_data_dtype(),
        read=volume_reader(image, grid, path),
        volumes=volume_names(shape[3] if len(shape) > 3 else 1),
        notes=notes,
    )


def _has_orientation(path: Path) -> bool:
    """Read the flag that nibabel sets itself where it takes a default orientation."""
    with open_unpacked(path) as file:
        return any(file.read(30)[28:])


def write_mgh(contents: Contents, path: Path) -> None:
    """Write voxels; MGH knows no scaling, so `contents` has none."""
    header = nib.MGHImage.header_class()
    header.set_data_dtype(contents.stored.dtype)
    image: Any = nib.MGHImage(contents.stored, contents.grid.affine, header)
    image.to_filename(path)


def read_back_mgh(path: Path) -> ReadBack:
    """Read a written file with nibabel."""
    image: Any = nib.load(path)
    stored = np.asarray(image.dataobj)
    return ReadBack(stored.shape, stored, np.asarray(image.affine, dtype=np.float64))


# uint16 came to FreeSurfer in version 7 only: kept for images, not chosen for masks.
MGH = Writer(
    "FreeSurfer MGH", ("uint8", "int16", "int32", "float32", "uint16"), write_mgh, read_back_mgh
)
