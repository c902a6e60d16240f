"""Pictures (PNG, JPEG, BMP) and TIFF stacks: pixels count as millimetres."""

from __future__ import annotations

import dataclasses
import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from napari_unet.errors import SaveError, VolumeError
from napari_unet.imaging.formats.writer import Contents, ReadBack, Writer
from napari_unet.imaging.scan_file import (
    DEFLATE_LIMIT,
    ScanFile,
    Voxels,
    check_shape,
    check_size,
    unreadable,
)
from napari_unet.imaging.volume import Grid

PAGE_MM = 10.0
"""Distance between the pages of a stack, for a pixel of one millimetre: too far for a page to
say anything about its neighbours."""

NOTE = (
    "A picture has no millimetres: a pixel counts as 1 x 1 mm, and left in the picture as the "
    "patient's right."
)


def grid_of_pages(pages: NDArray[Any]) -> Grid:
    """Grid of pictures (n, rows, columns), upright as they are drawn."""
    n, rows, columns = pages.shape
    grid = Grid.from_spacing((n, rows, columns), (PAGE_MM, 1.0, 1.0))
    return dataclasses.replace(grid, has_orientation=False)


def open_picture(path: Path) -> ScanFile:
    """Open a greyscale picture or a stack of them.

    Raises
    ------
    VolumeError
        If it cannot be decoded, or is in colour.
    """
    is_tiff = path.suffix.lower() in (".tif", ".tiff")
    try:
        with _quietly():
            pages = _tiff_pages(path) if is_tiff else _picture(path)
        grid = grid_of_pages(pages)
    except VolumeError:
        raise
    except MemoryError as error:
        raise VolumeError(
            f"{path.name} does not fit into memory. Close other programs, or use a smaller picture."
        ) from error
    except Exception as error:  # decoders of damaged files raise whatever comes up
        raise VolumeError(unreadable(path, "a picture", error)) from error
    check_shape(path, grid.shape)
    return ScanFile(
        path=path,
        format="TIFF" if is_tiff else "picture",
        name=path.stem,
        grid=grid,
        dtype=pages.dtype,
        read=lambda _: Voxels(pages.T),
        notes=(NOTE,),
    )


@contextmanager
def _quietly() -> Iterator[None]:
    """Print nothing of what decoders find in damaged files: it is told in one sentence."""
    log = logging.getLogger("tifffile")
    before, log.disabled = log.disabled, True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.disabled = before


def _tiff_pages(path: Path) -> NDArray[Any]:
    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        shape = tuple(int(length) for length in series.shape)
        if series.axes.endswith("S") or len(shape) > 3:
            raise VolumeError(
                f"{path.name} holds colours, channels or time ({series.axes}: {shape}). Save one "
                "greyscale stack of it."
            )
        if series.dtype.kind not in "buif":
            raise VolumeError(
                f"{path.name} holds {series.dtype} numbers. Save it as float32 first."
            )
        claimed = math.prod(shape) * series.dtype.itemsize
        check_size(path, claimed, path.stat().st_size, factor=DEFLATE_LIMIT)
        pages = np.asarray(series.asarray())
    return pages if pages.ndim == 3 else pages[None]


def _picture(path: Path) -> NDArray[Any]:
    with Image.open(path) as image:
        if image.mode not in ("1", "L", "I", "I;16", "F"):
            raise VolumeError(
                f"{path.name} is a colour picture ({image.mode}). Save it in greyscale."
            )
        fewest = image.width * image.height // 8  # a bit a pixel
        check_size(path, fewest, path.stat().st_size, factor=DEFLATE_LIMIT)
        page = np.asarray(image.convert("L") if image.mode == "1" else image)
    return page[None]


def write_tiff(contents: Contents, path: Path) -> None:
    """Write a stack; a TIFF has no place in space but that of a picture."""
    tifffile.imwrite(path, _pages(contents), photometric="minisblack", compression="zlib")


def write_png(contents: Contents, path: Path) -> None:
    """Write one page."""
    Image.fromarray(_pages(contents)[0]).save(path, format="PNG")


def read_back_tiff(path: Path) -> ReadBack:
    """Read a written file with tifffile."""
    pages = np.asarray(tifffile.imread(path))
    return _found(pages if pages.ndim == 3 else pages[None])


def read_back_png(path: Path) -> ReadBack:
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


def _found(pages: NDArray[Any]) -> ReadBack:
    grid = grid_of_pages(pages)
    return ReadBack(grid.shape, pages.T, grid.affine)


TIFF = Writer(
    "TIFF",
    ("uint8", "uint16", "uint32", "float32"),
    write_tiff,
    read_back_tiff,
    check=_check_place,
    in_space=False,
)

PNG = Writer(
    "PNG", ("uint8", "uint16"), write_png, read_back_png, check=_check_one_page, in_space=False
)
