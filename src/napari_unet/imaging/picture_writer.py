"""Writing masks and images as TIFF stacks and PNG pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from napari_unet.errors import SaveError
from napari_unet.imaging.output import Contents, Found, Writer
from napari_unet.imaging.picture import grid_of_pages


def write_tiff(contents: Contents, path: Path) -> None:
    """Write a stack; a TIFF has no place in space but that of a picture."""
    tifffile.imwrite(path, _pages(contents), photometric="minisblack", compression="zlib")


def write_png(contents: Contents, path: Path) -> None:
    """Write one page."""
    pages = _pages(contents)
    if len(pages) > 1:
        raise SaveError(
            f"A PNG is one picture, but this is a stack of {len(pages)}. Save as .tif or .nii.gz."
        )
    Image.fromarray(pages[0]).save(path, format="PNG")


def look_at_tiff(path: Path) -> Found:
    """Read a written file with tifffile."""
    pages = np.asarray(tifffile.imread(path))
    return _found(pages if pages.ndim == 3 else pages[None])


def look_at_png(path: Path) -> Found:
    """Read a written file with Pillow."""
    with Image.open(path) as image:
        return _found(np.asarray(image)[None])


def _pages(contents: Contents) -> NDArray[Any]:
    pages = np.ascontiguousarray(contents.stored.T)
    if not np.allclose(contents.grid.affine, grid_of_pages(pages).affine):
        raise SaveError("A picture would lose the place of this scan in space. Save as .nii.gz.")
    return pages


def _found(pages: NDArray[Any]) -> Found:
    grid = grid_of_pages(pages)
    return Found(grid.shape, pages.T, grid.affine)


TIFF = Writer("TIFF", ("uint8", "uint16", "uint32", "float32"), write_tiff, look_at_tiff)

PNG = Writer("PNG", ("uint8", "uint16"), write_png, look_at_png)
