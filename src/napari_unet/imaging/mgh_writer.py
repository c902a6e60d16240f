"""Writing MGH and MGZ, the volumes of FreeSurfer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from napari_unet.imaging.output import Contents, Found, Writer


def write_mgh(contents: Contents, path: Path) -> None:
    """Write voxels; MGH knows no scaling, so `contents` has none."""
    header = nib.MGHImage.header_class()
    header.set_data_dtype(contents.stored.dtype)
    image: Any = nib.MGHImage(contents.stored, contents.grid.affine, header)
    image.to_filename(path)


def look_at_mgh(path: Path) -> Found:
    """Read a written file with nibabel."""
    image: Any = nib.load(path)
    stored = np.asarray(image.dataobj)
    return Found(stored.shape, stored, np.asarray(image.affine, dtype=np.float64))


# uint16 came to FreeSurfer in version 7 only: kept for images, not chosen for masks.
MGH = Writer("MGH", ("uint8", "int16", "int32", "float32", "uint16"), write_mgh, look_at_mgh)
