"""Reading voxels that lie behind a text header (NRRD, MetaImage), once, in bounded memory.

The libraries of these formats hold a compressed file three times (pynrrd), and give what
was in memory before where it is damaged (SimpleITK); neither maps an uncompressed one.
"""

from __future__ import annotations

import bz2
import dataclasses
import gzip
import io
import math
import os
import warnings
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from napari_unet.errors import VolumeError
from napari_unet.imaging.scan_file import (
    DEFLATE_LIMIT,
    GZIP,
    ScanFile,
    Voxels,
    check_directions,
    check_file,
    check_memory,
    check_size,
    file_size,
    shear_notes,
    too_large,
    unreadable,
    volume_names,
)
from napari_unet.imaging.volume import Grid, shape_text

_CHUNK = 2**18

_LEAST_HELD = {"raw": 1, "gzip": DEFLATE_LIMIT, "zlib": DEFLATE_LIMIT}
"""By how much an encoding can shrink voxels; bzip2 shrinks zeros a million times."""


_ZLIB = tuple(bytes([0x78, flags]) for flags in (0x01, 0x5E, 0x9C, 0xDA))

_FIRST_BYTES = {GZIP: "gzip", b"BZh": "bzip2"} | dict.fromkeys(_ZLIB, "zlib")
"""What compressed voxels begin with."""


MOST_SKIPPED = 2**28
"""Bytes of unpacked content that may be skipped before the voxels: a header may be there."""


@dataclass(frozen=True, slots=True)
class Storage:
    """Where and how the voxels of an image are kept.

    Parameters
    ----------
    file : Path
        The file that holds them.
    offset : int
        Where in it they, or the lines to skip, begin.
    shape : tuple of int
        Axes, the fastest first.
    dtype : numpy dtype
        Number type with its byte order.
    encoding : str
        ``raw``, ``gzip``, ``zlib``, ``bzip2`` or ``text``.
    line_skip, byte_skip : int
        Lines to skip before decompression, and bytes after it; -1 bytes: the
        voxels are the end of the file.
    """

    file: Path
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    encoding: str
    line_skip: int = 0
    byte_skip: int = 0

    @property
    def count(self) -> int:
        """Number of values."""
        return math.prod(self.shape)


def file_of_voxels(path: Path, name: str, *, anywhere: bool) -> Path:
    """Give the file that holds the voxels of a header.

    Parameters
    ----------
    path : Path
        The header.
    name : str
        What it names: a file, as seen from its own folder.
    anywhere : bool
        Whether that may be outside its folder. A header from somewhere else could show any
        file of this computer as an image, and so have it sent back.

    Raises
    ------
    VolumeError
        If that is a list of files, outside the folder, or cannot be read.
    """
    if name.split()[:1] == ["LIST"] or "%" in name:
        raise VolumeError(
            f"{path.name} keeps its slices in many files. Open and save it with 3D Slicer: "
            "that makes one file."
        )
    own = os.path.abspath(path.parent)
    if not anywhere and not os.path.abspath(path.parent / name).startswith(os.path.join(own, "")):
        raise VolumeError(
            f"{path.name} names a file outside its folder for its voxels: {name}. Copy that file "
            "beside it and write its bare name into the header; or, if you trust the header, "
            "follow it: --voxels-anywhere on the command line, voxels_anywhere=True in Python."
        )
    file = path.parent / name
    try:
        check_file(file)
    except VolumeError as error:
        if os.path.exists(file):
            raise
        raise VolumeError(
            f"The voxels of {path.name} should be in {name}, which is not there. Copy that file "
            "beside it."
        ) from error
    return file


def scan_behind_header(
    path: Path,
    kind: str,
    storage: Storage,
    grid: Grid,
    *,
    name: str,
    order: Sequence[int],
    notes: Sequence[str] = (),
    is_mask: bool = False,
) -> ScanFile:
    """Give the scan that a text header tells of, its voxels unread.

    Parameters
    ----------
    path : Path
        The file with the header.
    kind : str
        Its format.
    storage : Storage
        Where the voxels are.
    grid : Grid
        Where the header puts them.
    order : sequence of int
        Axes of `storage`: those of the grid, then all others, of which one at most is longer
        than one and counts volumes.
    name, notes, is_mask
        See `ScanFile`.

    Raises
    ------
    VolumeError
        If there is less than the header announces, or it makes no sense.
    """
    storage = _as_stored(storage)
    check_storage(path, kind, storage)
    check_directions(path, grid)
    count = storage.count // math.prod(grid.shape)

    def read(index: int) -> Voxels:
        if storage.encoding != "raw":
            check_memory(path, grid, storage.count * storage.dtype.itemsize)
        try:
            stored = read_voxels(path, kind, storage).transpose(order)
        except MemoryError as error:
            raise VolumeError(too_large(path, grid)) from error
        return Voxels(stored.reshape((*grid.shape, count))[..., index])

    return ScanFile(
        path=path,
        format=kind,
        name=name,
        grid=grid,
        dtype=storage.dtype,
        read=read,
        volumes=volume_names(count),
        notes=(*notes, *shear_notes(grid)),
        is_mask=is_mask,
        files=() if storage.file == path else (path, storage.file),
    )


def _as_stored(storage: Storage) -> Storage:
    """Correct a header that says whether its voxels are compressed, and is wrong."""
    if storage.encoding not in ("raw", *_FIRST_BYTES.values()):
        return storage
    try:
        with storage.file.open("rb") as file:
            _go_to_voxels(storage, file)
            start = file.read(4)
    except (OSError, EOFError, ValueError, OverflowError):  # that is told on reading
        return storage
    packed = next((name for first, name in _FIRST_BYTES.items() if start.startswith(first)), None)
    n_bytes = storage.count * storage.dtype.itemsize + max(0, storage.byte_skip)
    held = file_size(storage.file) - storage.offset
    if storage.encoding == "raw":  # whose voxels may begin with any bytes
        wrong = packed is not None and held < n_bytes
    else:
        wrong = packed not in (None, storage.encoding) or (packed is None and held == n_bytes)
    return dataclasses.replace(storage, encoding=packed or "raw") if wrong else storage


def _go_to_voxels(storage: Storage, file: IO[bytes]) -> None:
    """Skip what lies before the voxels, or before what they are compressed to."""
    file.seek(storage.offset)
    for _ in range(storage.line_skip):
        if not file.readline(_CHUNK):
            raise EOFError("it has fewer lines than its header says to skip")


def check_storage(path: Path, kind: str, storage: Storage) -> None:
    """Refuse what is not supported, and headers that announce more than there is."""
    if storage.encoding not in (*_LEAST_HELD, "bzip2", "text"):
        raise VolumeError(
            f"{path.name} is stored with the encoding {storage.encoding!r}, which is not read. "
            "Save it again with 3D Slicer."
        )
    if min(storage.shape, default=0) < 1:
        size = shape_text(storage.shape)
        raise VolumeError(f"{path.name} has no voxels ({size}). Export it again.")
    wrong = storage.line_skip < 0 or storage.byte_skip < -1
    if wrong or (storage.byte_skip == -1 and storage.encoding != "raw"):
        raise VolumeError(unreadable(path, kind, "its header says to skip a negative length"))
    if storage.encoding not in ("raw", "text") and storage.byte_skip > MOST_SKIPPED:
        reason = f"its header says to unpack {storage.byte_skip:,} bytes that are not used"
        raise VolumeError(unreadable(path, kind, reason))
    held = file_size(storage.file) - storage.offset
    if storage.encoding == "text":  # a digit and a space for each value
        check_size(path, 2 * storage.count - 1, held)
    elif storage.encoding in _LEAST_HELD:
        announced = storage.count * storage.dtype.itemsize + max(0, storage.byte_skip)
        check_size(path, announced, held, factor=_LEAST_HELD[storage.encoding])


def read_voxels(path: Path, kind: str, storage: Storage) -> NDArray[Any]:
    """Read all values, in the shape of `storage`; raw ones are mapped into memory.

    Raises
    ------
    VolumeError
        If they are fewer than announced, or cannot be decompressed.
    """
    try:
        with storage.file.open("rb") as file:
            _go_to_voxels(storage, file)
            if storage.encoding == "raw":
                return _mapped(storage, file.tell())
            if storage.encoding == "text":
                return _parsed(storage, file)
            with _unpacker(storage.encoding, file) as packed:
                return _unpacked(storage, packed)
    except (OSError, EOFError, ValueError, OverflowError, zlib.error) as error:
        raise VolumeError(unreadable(path, kind, error)) from error


def _mapped(storage: Storage, start: int) -> NDArray[Any]:
    """Map uncompressed values into memory."""
    n_bytes = storage.count * storage.dtype.itemsize
    at = start + storage.byte_skip
    if storage.byte_skip == -1:
        at = file_size(storage.file) - n_bytes
    if not 0 <= at <= file_size(storage.file) - n_bytes:
        raise EOFError("it is shorter than its header says")
    return np.memmap(storage.file, storage.dtype, "c", at, storage.shape, "F")


def _parsed(storage: Storage, file: IO[bytes]) -> NDArray[Any]:
    """Parse values written as text."""
    file.seek(storage.byte_skip, io.SEEK_CUR)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # numpy only warns of text that is no number
        try:
            # Without a count: where there are fewer numbers, numpy makes up the rest.
            values = np.fromstring(file.read().decode("ascii"), storage.dtype, sep=" ")
        except DeprecationWarning as error:
            raise ValueError(str(error)) from error
    if values.size != storage.count:
        raise EOFError(f"it holds {values.size} of {storage.count} values")
    return values.reshape(storage.shape, order="F")


def _unpacker(encoding: str, file: IO[bytes]) -> io.BufferedIOBase:
    """Open a compressed stream."""
    if encoding == "gzip":
        return gzip.GzipFile(fileobj=file)
    if encoding == "bzip2":
        return bz2.BZ2File(file)
    return io.BufferedReader(_Inflated(file), _CHUNK)


class _Inflated(io.RawIOBase):
    """The contents of a zlib stream."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._engine = zlib.decompressobj()

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        while not self._engine.eof:
            packed = self._engine.unconsumed_tail or self._file.read(_CHUNK)
            piece = self._engine.decompress(packed, len(target))
            if piece or not packed:
                target[: len(piece)] = piece
                return len(piece)
        return 0


def _unpacked(storage: Storage, packed: io.BufferedIOBase) -> NDArray[Any]:
    """Decompress values straight into their array."""
    skip = storage.byte_skip
    while skip > 0 and (skipped := packed.read(min(_CHUNK, skip))):
        skip -= len(skipped)
    values = np.empty(storage.shape, storage.dtype, order="F")
    target = values.reshape(-1, order="F").view(np.uint8)
    done = 0
    while done < len(target):
        piece = packed.read(min(_CHUNK, len(target) - done))
        if not piece:
            raise EOFError(f"it holds {done:,} of {len(target):,} bytes")
        target[done : done + len(piece)] = np.frombuffer(piece, np.uint8)
        done += len(piece)
    return values
