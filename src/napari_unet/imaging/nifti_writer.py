"""Writing NIfTI, with all that a NIfTI header says of its grid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from napari_unet.imaging.nifti_header import grid_of_header, image_on_grid
from napari_unet.imaging.output import Contents, Found, Writer


def write_nifti(contents: Contents, path: Path) -> None:
    """Write the voxels unscaled, with the scaling that readers shall apply."""
    grid = contents.grid
    voxels = contents.stored.reshape(NIFTI.shape_of(grid))
    image = image_on_grid(voxels, grid, intent="label" if contents.is_mask else "none")
    # Given explicitly, nibabel stores it and leaves the numbers alone.
    image.header.set_slope_inter(contents.slope, contents.intercept)
    image.to_filename(path)


def look_at_nifti(path: Path) -> Found:
    """Read a written file with nibabel."""
    image: Any = nib.load(path)
    grid = grid_of_header(image)
    proxy = image.dataobj
    return Found(
        shape=tuple(int(length) for length in image.shape),
        stored=np.asarray(proxy.get_unscaled()).reshape(grid.shape),
        affine=grid.affine,
        slope=float(proxy.slope),
        intercept=float(proxy.inter),
        codes=(grid.qform_code, grid.sform_code, grid.units_code),
        qform=grid.qform,
        sform=grid.sform,
    )


NIFTI = Writer(
    "NIfTI",
    (
        *("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"),
        *("float32", "float64", np.dtype(np.longdouble).name),
    ),
    write_nifti,
    look_at_nifti,
    has_nifti_fields=True,
)
