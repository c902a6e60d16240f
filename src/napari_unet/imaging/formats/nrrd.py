"""NRRD, alone (``.nrrd``), with voxels beside it (``.nhdr``), and 3D Slicer's segmentations.

The fields of a segmentation (``.seg.nrrd``) are those of
https://slicer.readthedocs.io/en/latest/developer_guide/modules/segmentations.html
"""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import nrrd
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_unet.errors import VolumeError
from napari_unet.imaging.formats.voxel_storage import Storage, file_of_voxels, scan_behind_header
from napari_unet.imaging.formats.writer import Contents, ReadBack, Writer
from napari_unet.imaging.scan_file import (
    ScanFile,
    StructureRow,
    check_shape,
    no_orientation,
    structure_row,
    unit_notes,
    unnamed,
    unreadable,
)
from napari_unet.imaging.volume import RAS_TO_LPS, Grid

LONGEST_HEADER = 2**20
"""Bytes that are searched for the end of a header."""

_TYPES = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": ("longlong", "long long", "long long int", "signed long long", "int64", "int64_t"),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "f4": ("float",),
    "f8": ("double",),
}
_NUMPY_TYPE = {name: code for code, names in _TYPES.items() for name in names}

_TO_RAS = {
    "right-anterior-superior": (1.0, 1.0, 1.0),
    "ras": (1.0, 1.0, 1.0),
    "left-anterior-superior": (-1.0, 1.0, 1.0),
    "las": (-1.0, 1.0, 1.0),
    "left-posterior-superior": (-1.0, -1.0, 1.0),
    "lps": (-1.0, -1.0, 1.0),
}
"""Signs that bring vectors of a `space` to right-anterior-superior."""

_UNNAMED_SPACE = (-1.0, -1.0, 1.0)
"""What ITK and 3D Slicer take where the header names no anatomical space."""

_SERIES_KINDS = frozenset({"list", "time", "domain", "space", "none", "???", ""})
"""Kinds of a further axis whose entries are images of their own."""

_MALFORMED = (
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AssertionError,
    StopIteration,
    OverflowError,
    nrrd.NRRDError,
)
"""What pynrrd raises on headers that are damaged or something else."""


@dataclass(frozen=True, slots=True)
class _Axes:
    """Which of the stored axes are space, and which one counts volumes.

    Parameters
    ----------
    order : tuple of int
        The three spatial axes, then all others, the one that counts volumes last.
    shape : tuple of int
        Lengths of the spatial axes.
    """

    order: tuple[int, ...]
    shape: tuple[int, int, int]


def open_nrrd(path: Path, *, voxels_anywhere: bool = False) -> ScanFile:
    """Open an NRRD file without reading its voxels.

    Parameters
    ----------
    path : Path
        The file.
    voxels_anywhere : bool
        Whether its voxels may be in a file outside its folder.

    Raises
    ------
    VolumeError
        If it is damaged, or holds no scans.
    """
    try:
        header, offset = _header(path)
        storage = _storage(path, header, offset, voxels_anywhere)
        directions = _directions(header)
        axes = _axes(path, header, directions)
        affine, has_orientation, notes = _affine(header, directions, axes)
    except _MALFORMED as error:
        raise VolumeError(unreadable(path, "NRRD", error)) from error
    return scan_behind_header(
        path,
        "NRRD",
        storage,
        Grid(axes.shape, affine, sform=affine, sform_code=1, has_orientation=has_orientation),
        name=re.sub(r"(\.seg)?\.(nrrd|nhdr)$", "", path.name, flags=re.IGNORECASE),
        order=axes.order,
        notes=notes,
        is_mask=_is_segmentation(path, header),
    )


def segments_of(path: Path) -> tuple[StructureRow, ...]:
    """Value, name and colour of the segments in a header of 3D Slicer; none if it is damaged."""
    try:
        header, _ = _header(path)
    except _MALFORMED:
        return ()
    found = (re.fullmatch(r"(Segment\d+)_LabelValue", key) for key in header)
    rows = (_segment(header, match[1]) for match in found if match)
    return tuple(sorted(row for row in rows if row is not None))


def _segment(header: Mapping[str, Any], segment: str) -> StructureRow | None:
    """Describe one segment, as far as the header does; None without a value."""
    try:
        value = int(header[f"{segment}_LabelValue"])
    except ValueError:
        return None
    try:
        shares = [float(share) for share in header[f"{segment}_Color"].split()]
        red, green, blue = (round(255 * min(max(share, 0.0), 1.0)) for share in shares)
    except (KeyError, ValueError):  # one colour missing costs itself only
        return structure_row(value, header.get(f"{segment}_Name"), None)
    color = f"#{red:02x}{green:02x}{blue:02x}"
    return structure_row(value, header.get(f"{segment}_Name"), color)


def _header(path: Path) -> tuple[Mapping[str, Any], int]:
    """Parse the header; also give where it ends."""
    with path.open("rb") as file:
        start = io.BytesIO(file.read(LONGEST_HEADER))
    lines: list[str] = []
    for line in start:
        if not line.strip():
            break
        lines.append(_text(line))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nrrd.read_header(lines), start.tell()


def _text(line: bytes) -> str:
    """Decode a line of a header: 3D Slicer writes names in UTF-8, of which pynrrd drops a lot."""
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return line.decode("latin-1")


def _is_segmentation(path: Path, header: Mapping[str, Any]) -> bool:
    """Whether this is a segmentation of 3D Slicer."""
    return path.name.lower().endswith(".seg.nrrd") or "Segment0_ID" in header


def _storage(path: Path, header: Mapping[str, Any], offset: int, voxels_anywhere: bool) -> Storage:
    """Say where and how the voxels are kept."""
    sizes = tuple(int(size) for size in header["sizes"])
    if len(sizes) != header["dimension"]:
        raise ValueError(f"it has {len(sizes)} sizes for {header['dimension']} dimensions")
    name = header["type"].lower()
    if name not in _NUMPY_TYPE:
        raise ValueError(f"its numbers are of type {name!r}")
    dtype = np.dtype(_NUMPY_TYPE[name])
    encoding = {"gz": "gzip", "bz2": "bzip2", "txt": "text", "ascii": "text"}.get(
        header["encoding"].lower(), header["encoding"].lower()
    )
    if dtype.itemsize > 1 and encoding != "text":
        dtype = dtype.newbyteorder(_endian(header))
    file, start = path, offset
    detached = header.get("data file", header.get("datafile"))
    if detached is not None:
        file, start = file_of_voxels(path, str(detached), anywhere=voxels_anywhere), 0
    return Storage(
        file=file,
        offset=start,
        shape=sizes,
        dtype=dtype,
        encoding=encoding,
        line_skip=int(header.get("line skip", header.get("lineskip", 0))),
        byte_skip=int(header.get("byte skip", header.get("byteskip", 0))),
    )


def _endian(header: Mapping[str, Any]) -> Literal["<", ">"]:
    """Byte order of numbers of several bytes, which have to name it."""
    order = header["endian"].lower()
    if order not in ("little", "big"):
        raise ValueError(f"its byte order is {order!r}")
    return "<" if order == "little" else ">"


def _directions(header: Mapping[str, Any]) -> NDArray[np.float64] | None:
    """Space directions, one row an axis, NaN rows where an axis is not spatial."""
    rows = header.get("space directions")
    if rows is None:
        return None
    nothing = [np.nan] * 3
    table = np.array([nothing if row is None else list(row) for row in rows], dtype=np.float64)
    if table.shape != (header["dimension"], 3):
        # Two-dimensional spaces, and spaces with time as a fourth direction.
        raise ValueError(f"its space directions have the shape {table.shape}")
    return table


def _axes(path: Path, header: Mapping[str, Any], directions: NDArray[np.float64] | None) -> _Axes:
    """Tell spatial axes from the others; refuse what is no scan or series of scans."""
    sizes = tuple(int(size) for size in header["sizes"])
    kinds = [str(kind).lower() for kind in header.get("kinds", [""] * len(sizes))]
    if len(kinds) != len(sizes):
        raise ValueError(f"it has {len(kinds)} kinds for {len(sizes)} dimensions")
    if directions is not None:
        spatial = [axis for axis, row in enumerate(directions) if np.isfinite(row).all()]
    else:
        spatial = [axis for axis, kind in enumerate(kinds) if kind in ("domain", "space")]
        if len(spatial) < 3:
            spatial = [axis for axis, kind in enumerate(kinds) if kind in _SERIES_KINDS]
        spatial = spatial[:3]
    others = [axis for axis in range(len(sizes)) if axis not in spatial]
    many = [axis for axis in others if sizes[axis] > 1]
    check_shape(path, tuple(sizes[axis] for axis in spatial))
    if len(spatial) > 3:
        raise ValueError(f"it has {len(spatial)} spatial axes")
    if any(kinds[axis] not in _SERIES_KINDS for axis in many):
        found = ", ".join(kinds[axis] for axis in many if kinds[axis] not in _SERIES_KINDS)
        raise VolumeError(
            f"{path.name} holds {math.prod(sizes[axis] for axis in many)} values per voxel that "
            f"belong together ({found}). Save one component, or the grey-scale image, as an "
            "image of its own."
        )
    if many and _is_segmentation(path, header):
        raise VolumeError(
            f"{path.name} is a segmentation in {sizes[many[0]]} layers, whose structures may "
            "overlap; a mask has one label per voxel. In 3D Slicer, export it to a labelmap and "
            "save that."
        )
    if len(many) > 1:
        raise ValueError(f"it has {len(sizes)} axes longer than one")
    single = [axis for axis in others if axis not in many]
    i, j, k = (sizes[axis] for axis in spatial)
    return _Axes(order=(*spatial, *single, *many), shape=(i, j, k))


def _affine(
    header: Mapping[str, Any], directions: NDArray[np.float64] | None, axes: _Axes
) -> tuple[NDArray[np.float64], bool, tuple[str, ...]]:
    """Voxel to RAS millimetres, whether it names the patient's sides, and what was assumed."""
    space = str(header.get("space", "")).lower()
    signs = _TO_RAS.get(space)
    affine = np.eye(4)
    spatial = list(axes.order[:3])
    notes: list[str] = []
    if directions is not None:
        affine[:3, :3] = directions[spatial].T
        affine[:3, 3] = header.get("space origin", np.zeros(3))
    else:
        spacings = np.asarray(header.get("spacings", np.ones(len(header["sizes"]))), dtype=float)
        affine[:3, :3] = np.diag(spacings[spatial])
        starts = np.asarray(header.get("axis mins", header.get("axismins", [])), dtype=float)
        if len(starts) == len(header["sizes"]) and np.isfinite(starts[spatial]).all():
            affine[:3, 3] = starts[spatial]
        if "spacings" not in header:
            notes.append("Its header gives no voxel size; 1 mm is taken.")
    affine[:3] *= np.array(signs or _UNNAMED_SPACE)[:, None]
    has_orientation = directions is not None and signs is not None
    if not has_orientation:
        guess = Grid(axes.shape, affine)
        notes.append(no_orientation(guess, "Its header does not name the sides of the patient"))
    for unit in {str(unit) for unit in header.get("space units", [])} - {"", "mm", "???"}:
        notes.extend(unit_notes(unit))
    return affine, has_orientation, tuple(notes)


SPACE = "left-posterior-superior"

COMPRESSION = 4
"""Level 9, the default of pynrrd, takes ten times as long for a few percent."""

REPRESENTATION = "Binary labelmap"

TYPES = (
    *("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"),
    *("float32", "float64"),
)


def write_nrrd(contents: Contents, path: Path) -> None:
    """Write voxels in LPS millimetres; NRRD knows no scaling, so `contents` has none."""
    _write(contents, path, {})


def write_segmentation(contents: Contents, path: Path) -> None:
    """Write a mask with what 3D Slicer wants to know of its segments."""
    _write(contents, path, _segmentation_fields(contents))


def read_back_nrrd(path: Path) -> ReadBack:
    """Read a written file with pynrrd."""
    stored, header = nrrd.read(str(path))
    if header.get("space") != SPACE:
        raise ValueError(f"space {header.get('space')!r}")
    affine = np.eye(4)
    affine[:3, :3] = RAS_TO_LPS @ np.asarray(header["space directions"], dtype=np.float64).T
    affine[:3, 3] = RAS_TO_LPS @ np.asarray(header["space origin"], dtype=np.float64)
    return ReadBack(stored.shape, stored, affine)


def _write(contents: Contents, path: Path, fields: dict[str, str]) -> None:
    affine = contents.grid.affine
    header: dict[str, Any] = {
        "space": SPACE,
        "space directions": (RAS_TO_LPS @ affine[:3, :3]).T + 0.0,  # one row an axis, no -0
        "space origin": RAS_TO_LPS @ affine[:3, 3] + 0.0,
        "space units": ["mm"] * 3,
        "kinds": ["domain"] * 3,
        "encoding": "gzip",
        **fields,
    }
    # pynrrd writes nothing but ASCII; 3D Slicer reads names in UTF-8.
    foreign = {key: text for key, text in fields.items() if not text.isascii()}
    marks = {key: f"@{number}@" for number, key in enumerate(foreign)}
    nrrd.write(str(path), contents.stored, header | marks, compression_level=COMPRESSION)
    if foreign:
        start, blank, voxels = path.read_bytes().partition(b"\n\n")
        for key, text in foreign.items():
            start = start.replace(f"{key}:={marks[key]}".encode(), f"{key}:={text}".encode())
        path.write_bytes(start + blank + voxels)


def _segmentation_fields(contents: Contents) -> dict[str, str]:
    """Describe every segment: the structures, and values in the mask that have no name."""
    extents = _extents(contents.stored)
    rows = list(contents.structures)
    named = {value for value, _, _ in rows}
    rows += [unnamed(value) for value in extents if value not in named]
    fields = {
        "Segmentation_MasterRepresentation": REPRESENTATION,  # what Slicer up to 5.0 reads
        "Segmentation_SourceRepresentation": REPRESENTATION,
        "Segmentation_ContainedRepresentationNames": f"{REPRESENTATION}|",
        "Segmentation_ConversionParameters": "",
        "Segmentation_ReferenceImageExtentOffset": "0 0 0",
    }
    for number, row in enumerate(sorted(rows)):
        fields |= _segment_fields(number, row, extents.get(row[0], "0 -1 0 -1 0 -1"))
    return fields


def _segment_fields(number: int, row: StructureRow, extent: str) -> dict[str, str]:
    value, name, color = structure_row(*row)
    red, green, blue = (int(color[at : at + 2], 16) / 255 for at in (1, 3, 5))
    fields = {
        "ID": f"Segment_{value}",
        "Name": name,
        "NameAutoGenerated": "0",
        "Color": f"{red:.6g} {green:.6g} {blue:.6g}",
        "ColorAutoGenerated": "0",
        "Extent": extent,
        "LabelValue": str(value),
        "Layer": "0",
        "Tags": "|",
    }
    return {f"Segment{number}_{key}": text for key, text in fields.items()}


def _extents(labels: NDArray[Any]) -> dict[int, str]:
    """First and last index along each axis, for every value above 0."""
    if labels.dtype.itemsize <= 2:
        boxes = ndimage.find_objects(labels)
        values = np.arange(1, len(boxes) + 1)
    else:  # a label of four billion must not make a list as long
        values = np.unique(labels)
        values = values[values > 0]
        boxes = ndimage.find_objects(np.searchsorted(values, labels, side="right"))
    return {
        int(value): " ".join(f"{side.start} {side.stop - 1}" for side in box)
        for value, box in zip(values, boxes, strict=True)
        if box is not None
    }


NRRD = Writer("NRRD", TYPES, write_nrrd, read_back_nrrd, placed_by_itk=True)
SEGMENTATION = Writer(
    "3D Slicer segmentation",
    TYPES,
    write_segmentation,
    read_back_nrrd,
    masks_only=True,
    placed_by_itk=True,
)
