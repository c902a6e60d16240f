"""NIfTI and Analyze files: what can be worked on, what to say about the rest, and writing NIfTI."""

from __future__ import annotations

import dataclasses
import io
import logging
import math
import os
import re
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.arrayproxy import ArrayProxy
from nibabel.filebasedimages import ImageFileError
from nibabel.freesurfer.mghformat import MGHError
from nibabel.imageclasses import all_image_classes
from nibabel.spatialimages import HeaderDataError, HeaderTypeError
from nibabel.wrapstruct import WrapStructError
from scipy.io.matlab import MatReadError

from napari_unet.errors import VolumeError
from napari_unet.imaging.formats.writer import Contents, ReadBack, Writer
from napari_unet.imaging.nifti_header import grid_of_header, image_on_grid, itk_affine, same_affine
from napari_unet.imaging.scan_file import (
    DEFLATE_LIMIT,
    ScanFile,
    Voxels,
    check_directions,
    check_file,
    check_shape,
    check_size,
    file_size,
    is_gzip,
    no_orientation,
    open_unpacked,
    shear_notes,
    too_large,
    unit_notes,
    unreadable,
    volume_names,
)
from napari_unet.imaging.volume import Grid

PAIR_SUFFIXES = (".hdr", ".img")
"""NIfTI or Analyze as a pair of files: read, never written."""

LONGEST_HEADER = 2**26
"""Bytes of one extension of a header; those of whole DICOM headers are some hundred thousand."""

LABEL_INTENT = 1002
"""NIFTI_INTENT_LABEL: the voxels are class numbers."""

VECTOR_INTENTS = frozenset({1004, 1005, 1006, 1007, 1008, 1009, 1010, 2003, 2004})
"""NIfTI intents of matrices, vectors, points and colours: several values belong together."""

DISAGREEMENT_TOLD = 0.1
"""Fraction of a voxel from which on two transforms of one header are said to disagree."""

_ITK_DIFFERS = (
    " ITK, 3D Slicer and ITK-SNAP place it by the qform; masks from there are taken voxel by voxel."
)

_OTHER_UNITS = {1: "metres", 3: "micrometres"}
"""Spatial part of ``xyzt_units``; 2 is millimetres, 0 unknown."""

_SNIFFED = 1024
"""Bytes by which nibabel tells kinds of images apart."""

UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    OverflowError,
    TypeError,  # from headers whose lengths make no array
    LookupError,
    NotImplementedError,
    zlib.error,
    MatReadError,  # the .mat file that SPM puts beside an Analyze image
    ImageFileError,
    HeaderDataError,
    HeaderTypeError,
    MGHError,
    WrapStructError,
)
"""What nibabel, gzip and numpy raise on files that are damaged or something else."""


def open_nifti(path: Path) -> ScanFile:
    """Open a NIfTI or Analyze file without reading its voxels.

    Raises
    ------
    VolumeError
        If it is damaged, or holds no scans.
    """
    _check_pair(path)
    image, complaints = load_quietly(path, "NIfTI")
    if isinstance(image, nib.Nifti1Pair):  # NIfTI-2 is a subclass
        intent = int(image.header["intent_code"])
        kind = "NIfTI-2" if isinstance(image, nib.Nifti2Pair) else "NIfTI-1"
    elif isinstance(image, nib.AnalyzeImage):
        intent, kind = 0, "Analyze 7.5"
    else:
        raise VolumeError(
            f"{path.name} is a {type(image).__name__}, not a NIfTI volume. "
            "Convert it to .nii.gz first."
        )
    count = _volume_count(image, intent, path)
    with unreadable_as_error(path, "NIfTI"):
        grid = grid_of_header(image) if kind != "Analyze 7.5" else _grid_of_analyze(image)
    if count > 1:
        grid = dataclasses.replace(grid, trailing_ones=0)
    check_directions(path, grid)
    notes = _notes(grid, complaints) if kind != "Analyze 7.5" else _analyze_notes(grid)
    return ScanFile(
        path=path,
        format=kind,
        name=re.sub(r"\.(nii(\.gz)?|hdr|img)$", "", path.name, flags=re.IGNORECASE),
        grid=grid,
        dtype=image.get_data_dtype(),
        read=volume_reader(image, grid, path),
        volumes=volume_names(count),
        notes=(*notes, *shear_notes(grid)),
        is_mask=intent == LABEL_INTENT,
    )


def load_quietly(path: Path, kind: str) -> tuple[Any, list[str]]:
    """Open a file with nibabel; give the image and what nibabel says of its header."""
    complaints: list[str] = []

    def note_down(record: logging.LogRecord) -> bool:
        complaints.append(record.getMessage())
        return False

    nibabel_log = nib.imageglobals.logger
    nibabel_log.addFilter(note_down)
    try:
        with _types_as_error(path), unreadable_as_error(path, kind), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _load(path), complaints
    finally:
        nibabel_log.removeFilter(note_down)


def _load(path: Path) -> Any:
    """Load an image as `nib.load` does, but know compressed files by their bytes."""
    suffix = Path(re.sub(r"\.gz$", "", path.name.lower())).suffix
    for kind in all_image_classes:
        if suffix not in kind.valid_exts:
            continue
        try:
            files = kind.filespec_to_file_map(str(path))
        except ImageFileError:  # it is never compressed
            continue
        with ExitStack() as opened:
            for file in files.values():
                if os.path.exists(name := file.filename or ""):  # SPM's .mat mostly is not there
                    opener: Any = _HeaderFile(opened.enter_context(open_unpacked(Path(name))))
                    file.fileobj = opener
            with files.get("header", files["image"]).get_prepare_fileobj("rb") as header:
                start = header.read(_SNIFFED)
            recognises = getattr(kind.header_class, "may_contain_header", lambda _: True)
            if recognises(start):
                return kind.from_file_map(files)
    raise ImageFileError("its header is of another kind")


class _HeaderFile:
    """A file as nibabel reads headers from it: a few bytes may announce gigabytes of extensions."""

    def __init__(self, file: io.BufferedIOBase) -> None:
        self._file = file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def read(self, size: int = -1) -> bytes:
        piece = self._file.read(size if 0 <= size <= LONGEST_HEADER else LONGEST_HEADER + 1)
        if len(piece) > LONGEST_HEADER:
            raise ValueError(f"its header goes on for more than {LONGEST_HEADER:,} bytes")
        return piece


@contextmanager
def _types_as_error(path: Path) -> Iterator[None]:
    """Say so when a file is fine, but its numbers have no type on this computer."""
    try:
        yield
    except VolumeError as error:
        if "data code" in str(error.__cause__):  # nibabel's words
            raise VolumeError(_no_type(path)) from error
        raise


def _no_type(path: Path) -> str:
    return (
        f"{path.name} stores its numbers in a type that is not read here, such as 128-bit "
        "floats or single bits. Save it as float32 first."
    )


@contextmanager
def unreadable_as_error(path: Path, kind: str) -> Iterator[None]:
    """Turn whatever reading a damaged file raises into a `VolumeError`."""
    try:
        yield
    except UNREADABLE as error:
        raise VolumeError(unreadable(path, kind, error)) from error


def volume_reader(image: Any, grid: Grid, path: Path) -> Callable[[int], Voxels]:
    """Make the function that reads one volume of a nibabel image.

    Uncompressed files are mapped into memory; of a compressed series only the volume
    that is asked for is kept.

    Raises
    ------
    VolumeError
        If the header announces more voxels than the file can hold.
    """
    proxy = image.dataobj
    data_file = Path(image.file_map["image"].filename)
    bytes_each = math.prod(grid.shape) * proxy.dtype.itemsize
    check_size(
        path,
        int(proxy.offset) + math.prod(map(int, image.shape)) * proxy.dtype.itemsize,
        file_size(data_file),
        factor=DEFLATE_LIMIT if is_gzip(data_file) else 1,
    )

    def read(index: int) -> Voxels:
        kind = "MGH" if path.suffix.lower() in (".mgh", ".mgz") else "NIfTI"
        offset = int(proxy.offset) + index * bytes_each
        try:
            with unreadable_as_error(path, kind), open_unpacked(data_file) as file:
                one = ArrayProxy(file, (grid.shape, proxy.dtype, offset))
                stored = np.asarray(one.get_unscaled())
        except MemoryError as error:
            raise VolumeError(too_large(path, grid)) from error
        return Voxels(stored, float(proxy.slope), float(proxy.inter))

    return read


def _check_pair(path: Path) -> None:
    """Refuse one half of a pair whose other half is missing, or cannot be opened."""
    suffix = path.suffix.lower()
    if suffix in PAIR_SUFFIXES:
        other = PAIR_SUFFIXES[suffix == PAIR_SUFFIXES[0]]
        parts = [path.with_suffix(each) for each in (other, other.upper(), ".mat", ".MAT")]
        found = [part for part in parts if os.path.exists(part)]
        for part in found:
            check_file(part)
        if not {*found} & {*parts[:2]}:
            raise VolumeError(
                f"{path.name} is half of a pair, and {path.with_suffix(other).name} is not beside "
                "it. Copy both files into one folder."
            )


def _volume_count(image: Any, intent: int, path: Path) -> int:
    """Check number type and axes; give the number of volumes."""
    dtype = image.get_data_dtype()
    if dtype.fields is not None:
        raise VolumeError(
            f"{path.name} is a colour image ({''.join(dtype.fields)}), not a scan with one "
            "intensity per voxel. Export the grey-scale image instead."
        )
    if dtype.kind == "c":
        raise VolumeError(
            f"{path.name} holds complex numbers. Save its magnitude as a real image first."
        )
    if dtype.kind not in "iuf":
        raise VolumeError(_no_type(path))
    shape = tuple(int(length) for length in image.shape)
    check_shape(path, shape)
    further = shape[3:]
    if any(n > 1 for n in further[1:]) or (intent in VECTOR_INTENTS and math.prod(further) > 1):
        raise VolumeError(
            f"{path.name} holds {math.prod(further)} values per voxel that belong together "
            f"({' x '.join(map(str, shape))}), such as vectors. Save one component, or their "
            "length, as an image of its own."
        )
    return further[0] if further else 1


def _notes(grid: Grid, complaints: list[str]) -> tuple[str, ...]:
    """Say what a user should know about the spatial part of a NIfTI header."""
    notes: list[str] = []
    if any("pixdim[1,2,3]" in each for each in complaints):
        notes.append(
            "Its header holds voxel sizes of zero or less; "
            + (
                "they are not used, its sform says how large voxels are."
                if grid.sform_code > 0
                else "zero was taken as 1 mm, a negative size as positive."
            )
        )
    if not grid.has_orientation:
        notes.append(no_orientation(grid, "Its header gives no orientation (both codes are 0)"))
    elif grid.sform_code > 0 and grid.qform_code > 0:
        apart = _disagreement(grid)
        if apart is None or apart > DISAGREEMENT_TOLD * min(grid.spacing_mm):
            by = "its qform is no rotation" if apart is None else f"by up to {apart:.3g} mm"
            itk = "" if same_affine(itk_affine(grid), grid.affine) else _ITK_DIFFERS
            notes.append(f"Its two transforms disagree ({by}); the sform is used.{itk}")
    unit = _OTHER_UNITS.get(grid.units_code & 7)
    return (*notes, *(unit_notes(unit) if unit else ()))


def _disagreement(grid: Grid) -> float | None:
    """Largest distance (mm) between where qform and sform put a corner; None: no usable qform."""
    if grid.qform is None or grid.sform is None or not np.abs(grid.qform).max() < np.inf:
        return None
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in grid.shape])).reshape(3, -1)
    offset = (grid.sform - grid.qform) @ np.vstack([corners, np.ones(8)])
    return float(np.sqrt((offset[:3] ** 2).sum(axis=0)).max())


def _grid_of_analyze(image: Any) -> Grid:
    """Give the grid of an Analyze image: what nibabel takes, written as an sform."""
    shape = tuple(int(length) for length in image.shape)
    affine = np.asarray(image.affine, dtype=np.float64)
    return Grid(
        shape=(shape[0], shape[1], shape[2]),
        affine=affine,
        sform=affine,
        trailing_ones=len(shape) - 3,
        has_orientation=_has_mat(image),
    )


def _has_mat(image: Any) -> bool:
    """Whether SPM's file with the orientation, for which Analyze has no place, is there."""
    mat = image.file_map.get("mat")
    return mat is not None and bool(mat.filename) and Path(mat.filename).exists()


def _analyze_notes(grid: Grid) -> tuple[str, ...]:
    if grid.has_orientation:
        return ()
    return (no_orientation(grid, "Analyze 7.5 headers give no orientation"),)


def write_nifti(contents: Contents, path: Path) -> None:
    """Write the voxels unscaled, with the scaling that readers shall apply."""
    grid = contents.grid
    voxels = contents.stored.reshape(NIFTI.shape_of(grid))
    image = image_on_grid(voxels, grid, intent="label" if contents.is_mask else "none")
    # Given explicitly, nibabel stores it and leaves the numbers alone.
    image.header.set_slope_inter(contents.slope, contents.intercept)
    image.to_filename(path)


def read_back_nifti(path: Path) -> ReadBack:
    """Read a written file with nibabel."""
    image: Any = nib.load(path)
    grid = grid_of_header(image)
    proxy = image.dataobj
    return ReadBack(
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
    read_back_nifti,
    has_nifti_fields=True,
)
