"""An image file that is open but not read: what its header must satisfy, what it says of labels."""

from __future__ import annotations

import errno
import gzip
import io
import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import psutil
from numpy.typing import NDArray

from napari_unet.errors import NapariUnetError, VolumeError
from napari_unet.imaging.volume import Grid, shape_text
from napari_unet.text import printable


class Voxels(NamedTuple):
    """The voxels of one volume as they are stored.

    Parameters
    ----------
    stored : ndarray, shape (i, j, k)
        File order and type; a memory map where the file allows it.
    slope, intercept : float
        ``stored * slope + intercept`` is the intensity.
    """

    stored: NDArray[Any]
    slope: float = 1.0
    intercept: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class ScanFile:
    """One image, its grid known and its voxels still on disk.

    Parameters
    ----------
    path : Path
        The file that was named, or the folder of a DICOM series.
    format : str
        What it is, for people: ``NIfTI-1``, ``NRRD``, ``DICOM``.
    name : str
        Short name for layers, messages and model files; what cannot be printed, here and in the
        next ones, becomes escapes.
    grid : Grid
        Grid of each of its volumes.
    dtype : numpy dtype
        Number type as stored.
    read : callable
        Gives the `Voxels` of the volume with this number; `VolumeError` if it cannot.
    volumes : tuple of str
        Names of the volumes that it holds on the same grid; one, but for a series.
    notes : tuple of str
        Sentences that somebody who works with the image should know: which of two
        disagreeing transforms is used, a gap between slices.
    is_mask : bool
        Whether the file itself says that its values are class numbers.
    files : tuple of Path
        All files that it consists of, where there are more than `path`.
    """

    path: Path
    format: str
    name: str
    grid: Grid
    dtype: np.dtype[Any]
    read: Callable[[int], Voxels]
    volumes: tuple[str, ...] = ("",)
    notes: tuple[str, ...] = ()
    is_mask: bool = False
    files: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        # Bytes that are no text would break whatever they are written into.
        object.__setattr__(self, "name", printable(self.name))
        for field in ("volumes", "notes"):
            object.__setattr__(self, field, tuple(map(printable, getattr(self, field))))

    @property
    def has_volume_names(self) -> bool:
        """Whether its volumes have names of their own, not just numbers."""
        return self.volumes != volume_names(len(self.volumes))


FLATTEST_VOXEL = 1e-3
"""Volume of a voxel over that of a rectangular one below which its axes lie in one plane."""

SHEAR_TOLD = 0.5
"""Degrees off the right angle from which on sheared voxels are spoken of."""

MALFORMED = frozenset({errno.EINVAL, errno.EOVERFLOW, errno.EFBIG})
"""Errors of the operating system that come from impossible places in a file: it is damaged."""

DEFLATE_LIMIT = 1032
"""Deflate (gzip, zlib) cannot shrink anything by more than this factor."""


GZIP = b"\x1f\x8b\x08"
"""First bytes of what gzip has compressed."""


def is_gzip(path: Path) -> bool:
    """Whether a file is compressed, whatever its name says."""
    try:
        with path.open("rb") as file:
            return file.read(len(GZIP)) == GZIP
    except OSError:
        return False


def open_unpacked(path: Path) -> io.BufferedIOBase:
    """Open a file for reading; what is compressed is unpacked, whatever its name says."""
    return gzip.open(path) if is_gzip(path) else path.open("rb")


def check_file(path: Path, error: type[NapariUnetError] = VolumeError) -> None:
    """Refuse what cannot be opened, or is no file, before a library judges or waits for it.

    Whatever this package reads comes by here: a pipe would never end, and libraries take
    what they may not read for damaged or of another kind.

    Parameters
    ----------
    path : Path
        The file; a link is followed.
    error : type
        What to raise.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            kind = "a folder" if os.path.isdir(path) else "a pipe or a device"
            raise error(f"{path.name or path} is {kind}, not a file. Choose a file.")
        with path.open("rb") as file:
            file.read(1)
    except (OSError, ValueError) as reason:  # ValueError: a null byte
        raise error(not_opened(path, reason)) from reason


def not_opened(path: Path, error: Exception) -> str:
    """Say why a file cannot be opened, and what to do."""
    if isinstance(error, FileNotFoundError | NotADirectoryError | ValueError):
        return f"There is no file {path}. Check the name."
    name = path.name[:60]
    if isinstance(error, PermissionError):
        return f"{name} may not be read: no permission. Ask its owner, or copy it."
    reason = getattr(error, "strerror", None) or type(error).__name__
    return (
        f"{name} cannot be reached: {reason}. Check its name, that its disk is connected, and that "
        "you may read its folder."
    )


def check_shape(path: Path, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Give the three spatial lengths of an image; refuse what is no volume.

    Parameters
    ----------
    path : Path
        The file, for the message.
    shape : tuple of int
        Its axes as stored; those after the third are for the caller to judge.
    """
    size = shape_text(shape)
    if len(shape) < 3:
        raise VolumeError(
            f"{path.name} is two-dimensional ({size}). Choose a 3D scan, or stack its slices "
            "into one file."
        )
    if min(shape) < 1:
        raise VolumeError(f"{path.name} has no voxels ({size}). Export it again.")
    i, j, k = shape[:3]
    if (i > 1) + (j > 1) + (k > 1) < 2:
        raise VolumeError(f"{path.name} is not a volume: its shape is {size}. Choose a 3D scan.")
    return (i, j, k)


def check_directions(path: Path, grid: Grid) -> None:
    """Refuse an affine that is not finite, or whose voxel axes do not span space."""
    if not spans_space(grid.affine):
        raise VolumeError(
            f"The header of {path.name} gives its voxels no volume or no position (its affine "
            "is singular or not a number). Export it again, or repair its orientation."
        )


def spans_space(affine: NDArray[np.float64]) -> bool:
    """Whether an affine (4, 4) is finite and gives voxels a volume."""
    directions = affine[:3, :3]
    with np.errstate(over="ignore", invalid="ignore"):
        lengths = np.linalg.norm(directions, axis=0)
    # Lengths that overflow or vanish when squared would fail in every later use.
    usable = np.isfinite(affine).all() and np.isfinite(lengths).all() and (lengths > 0).all()
    return bool(usable and abs(np.linalg.det(directions / lengths)) > FLATTEST_VOXEL)


def check_size(path: Path, claimed: int, held: int, *, factor: int = 1) -> None:
    """Refuse a header that claims more bytes than its file can hold, before any is reserved.

    Parameters
    ----------
    path : Path
        The file, for the message.
    claimed : int
        Bytes of voxels according to the header.
    held : int
        Bytes of voxels in the file, as they are stored.
    factor : int
        How many times smaller its compression can make them; 1 without compression.
    """
    if claimed > held * factor:
        raise VolumeError(
            f"{path.name} cannot be read: its header announces {claimed:,} bytes of voxels, but "
            f"the file holds {'at most ' if factor > 1 else ''}{max(0, held * factor):,}. It is "
            "damaged or incomplete. Copy or export it again."
        )


def check_memory(path: Path, grid: Grid, needed: int) -> None:
    """Refuse what is larger than all memory before any is taken: systems lend more than they have.

    Parameters
    ----------
    path : Path
        The file, for the message.
    grid : Grid
        Its grid, for the message.
    needed : int
        Bytes.
    """
    if needed > psutil.virtual_memory().total:
        raise VolumeError(too_large(path, grid))


def shear_notes(grid: Grid) -> tuple[str, ...]:
    """Say that voxels are not rectangular, where they are not."""
    directions = grid.affine[:3, :3] / np.linalg.norm(grid.affine[:3, :3], axis=0)
    cosines = np.abs(directions.T @ directions)[np.triu_indices(3, 1)]
    off = float(np.degrees(np.arcsin(min(1.0, float(cosines.max())))))
    if off < SHEAR_TOLD:
        return ()
    return (
        f"Its voxels are sheared (edges {off:.1f} degrees off a right angle): the view draws "
        "them as boxes, masks are saved with the shear.",
    )


def no_orientation(grid: Grid, why: str) -> str:
    """Say that left and right are a guess, and which one."""
    return (
        f"{why}: its axes are taken to run towards {', '.join(grid.orientation)}. "
        "Left and right may be swapped; check them."
    )


def unit_notes(unit: str) -> tuple[str, ...]:
    """Say that a header names another unit of length than millimetres."""
    return (f"Its header gives lengths in {unit}; they are taken as millimetres.",)


def volume_names(count: int) -> tuple[str, ...]:
    """Names of the volumes of a series whose header has none, counted from 0 as slices are."""
    return tuple(f"volume {index}" for index in range(count)) if count > 1 else ("",)


def file_size(path: Path) -> int:
    """Bytes of a file; 0 if it cannot be told."""
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def too_large(path: Path, grid: Grid) -> str:
    """Say that a scan does not fit into memory."""
    return (
        f"{path.name} ({shape_text(grid.shape)} voxels) does not fit into memory. "
        "Close other programs, or crop the scan."
    )


def unreadable(path: Path, kind: str, error: BaseException | str) -> str:
    """Put a reader's complaint into one line."""
    if isinstance(error, OSError) and error.errno not in (None, *MALFORMED):
        return not_opened(path, error)
    reason = " ".join(str(error).split())[:120].rstrip(". ") or type(error).__name__
    return (
        f"{path.name} cannot be read as {kind}: it is damaged, incomplete or of another kind "
        f"({reason}). Copy or export it again."
    )


LARGEST_LABEL = 2**32 - 1
"""Larger values cannot be class numbers."""

StructureRow: TypeAlias = tuple[int, str, str]
"""Value, name and colour (``#rrggbb``) of a structure."""

PROGRAM = "napari-unet-mri"
"""What files name as their maker."""


def unnamed(value: int) -> StructureRow:
    """Name and colour of a value that nobody named."""
    return (value, f"Structure {value}", "#ffd700")


def structure_row(value: int, name: object, color: object) -> StructureRow:
    """Name and colour of a value as some file has them; what is missing is as nobody named it."""
    _, any_name, any_color = unnamed(value)
    text = " ".join(name.split()) if isinstance(name, str) else ""
    is_color = isinstance(color, str) and re.fullmatch("#[0-9a-fA-F]{6}", color)
    return value, printable(text) or any_name, str(color) if is_color else any_color
