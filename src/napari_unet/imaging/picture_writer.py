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
from napari_unet.imaging.picture import PAGE_MM, grid_of_pages
from napari_unet.imaging.volume import Grid


def write_tiff(contents: Contents, path: Path) -> None:
    """Write a stack; a TIFF has no place in space but that of a picture."""
    tifffile.imwrite(path, _pages(contents), photometric="minisblack", compression="zlib")


def write_png(contents: Contents, path: Path) -> None:
    """Write one page."""
    Image.fromarray(_pages(contents)[0]).save(path, format="PNG")


def look_at_tiff(path: Path) -> Found:
    """Read a written file with tifffile."""
    pages = np.asarray(tifffile.imread(path))
    return _found(pages if pages.ndim == 3 else pages[None])


def look_at_png(path: Path) -> Found:
    """Read a written file with Pillow."""
    with Image.open(path) as image:
        return _found(np.asarray(image)[None])


def _check_place(grid: Grid) -> None:
    if not np.allclose(grid.affine, Grid.from_spacing(grid.shape_zyx, (PAGE_MM, 1.0, 1.0)).affine):
        raise SaveError("A picture would lose the place of this scan in space. Save as .nii.gz.")


def _check_one_page(grid: Grid) -> None:
    _check_place(grid)
    pages = grid.shape_zyx[0]
    if pages > 1:
        raise SaveError(
            f"A PNG is one picture, but this is a stack of {pages}. Save as .tif or .nii.gz."
        )


def _pages(contents: Contents) -> NDArray[Any]:
    return np.ascontiguousarray(contents.stored.T)


def _found(pages: NDArray[Any]) -> Found:
    grid = grid_of_pages(pages)
    return Found(grid.shape, pages.T, grid.affine)


TIFF = Writer(
    "TIFF",
    ("uint8", "uint16", "uint32", "float32"),
    write_tiff,
    look_at_tiff,
    check=_check_place,
    in_space=False,
)

PNG = Writer(
    "PNG", ("uint8", "uint16"), write_png, look_at_png, check=_check_one_page, in_space=False
)
