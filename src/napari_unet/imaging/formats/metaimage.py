"""MetaImage files, alone (``.mha``) or with their voxels beside them (``.mhd``).

Writing goes through SimpleITK, which comes with an extra.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_unet.errors import SaveError, VolumeError
from napari_unet.imaging.atomic import path_in_utf8
from napari_unet.imaging.formats.voxel_storage import Storage, file_of_voxels, scan_behind_header
from napari_unet.imaging.formats.writer import Contents, ReadBack, Writer
from napari_unet.imaging.scan_file import ScanFile, check_shape, unreadable
from napari_unet.imaging.volume import RAS_TO_LPS, Grid

LONGEST_HEADER = 2**20
"""Bytes that are searched for the end of a header."""

_NUMPY_TYPE = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}


def open_metaimage(path: Path, *, voxels_anywhere: bool = False) -> ScanFile:
    """Open a MetaImage file without reading its voxels.

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
        header, end = _header(path)
        storage = _storage(path, header, end, voxels_anywhere)
        affine, has_orientation = _affine(header, len(storage.shape))
    except (OSError, ValueError, KeyError, OverflowError) as error:
        raise VolumeError(unreadable(path, "MetaImage", error)) from error
    shape = check_shape(path, storage.shape)
    if any(length > 1 for length in storage.shape[4:]):
        raise VolumeError(
            f"{path.name} has {len(storage.shape)} axes. Save the volume to work on as an image "
            "of its own."
        )
    return scan_behind_header(
        path,
        "MetaImage",
        storage,
        Grid(shape, affine, sform=affine, sform_code=1),
        name=path.name[: -len(path.suffix)],
        order=range(len(storage.shape)),
        notes=() if has_orientation else ("Its header gives no voxel size; 1 mm is taken.",),
    )


def _header(path: Path) -> tuple[Mapping[str, str], int]:
    """Parse the lines up to the one that names the voxels; also give where they end."""
    header: dict[str, str] = {}
    with path.open("rb") as file:
        while file.tell() < LONGEST_HEADER:
            line = file.readline(LONGEST_HEADER).decode("latin-1")
            key, equals, value = line.partition("=")
            if not equals:
                break
            header[key.strip()] = value.strip()
            if key.strip() == "ElementDataFile":
                return header, file.tell()
    raise ValueError("it has no line 'ElementDataFile ='")


def _storage(path: Path, header: Mapping[str, str], end: int, voxels_anywhere: bool) -> Storage:
    """Say where and how the voxels are kept."""
    if header.get("ObjectType", "Image") != "Image":
        raise ValueError(f"it is of the type {header['ObjectType']!r}")
    shape = tuple(int(length) for length in header["DimSize"].split())
    if len(shape) != int(header["NDims"]):
        raise ValueError(f"it has {len(shape)} lengths for {header['NDims']} dimensions")
    channels = int(header.get("ElementNumberOfChannels", "1"))
    if channels != 1 or header["ElementType"].endswith("_ARRAY"):
        raise VolumeError(
            f"{path.name} holds {channels} values per voxel that belong together, such as "
            "vectors or colours. Save one of them, or the grey-scale image, as an image of its "
            "own."
        )
    if header["ElementType"] not in _NUMPY_TYPE:
        raise ValueError(f"its numbers are of type {header['ElementType']!r}")
    dtype = np.dtype(_NUMPY_TYPE[header["ElementType"]])
    big = _flag(header, "BinaryDataByteOrderMSB") or _flag(header, "ElementByteOrderMSB")
    binary = _flag(header, "BinaryData", default="True")
    storage = Storage(
        file=path,
        offset=end,
        shape=shape,
        dtype=dtype.newbyteorder(">" if big else "<") if binary else dtype,
        encoding="text" if not binary else "zlib" if _flag(header, "CompressedData") else "raw",
        byte_skip=int(header.get("HeaderSize", "0")),
    )
    if header["ElementDataFile"].upper() == "LOCAL":
        # What stands in front of voxels in a file of their own is this header here.
        return dataclasses.replace(storage, byte_skip=0)
    file = file_of_voxels(path, header["ElementDataFile"], anywhere=voxels_anywhere)
    return dataclasses.replace(storage, file=file, offset=0)


def _affine(header: Mapping[str, str], n_axes: int) -> tuple[NDArray[np.float64], bool]:
    """Voxel to RAS millimetres, and whether the header gives the voxel size."""

    def numbers(names: tuple[str, ...], default: NDArray[np.float64]) -> NDArray[np.float64]:
        name = next((name for name in names if name in header), None)
        if name is None:
            return default
        found = np.array([float(word) for word in header[name].split()])
        if found.size != default.size:
            raise ValueError(f"{name} has {found.size} numbers for {n_axes} axes")
        return found

    names = ("ElementSpacing", "ElementSize")
    spacing = numbers(names, np.ones(n_axes))
    offset = numbers(("Offset", "Position", "Origin"), np.zeros(n_axes))
    # One row an axis.
    turn = numbers(("TransformMatrix", "Rotation", "Orientation"), np.eye(n_axes).ravel())
    directions = turn.reshape(n_axes, n_axes)[:3, :3] * spacing[:3, None]
    affine = np.eye(4)
    if n_axes >= 3:
        affine[:3, :3], affine[:3, 3] = directions.T, offset[:3]
    affine[:2] *= -1.0  # it counts towards left and posterior
    return affine, any(name in header for name in names)


def _flag(header: Mapping[str, str], name: str, default: str = "False") -> bool:
    """Read a yes or no."""
    return header.get(name, default).lower() in ("true", "1", "yes", "t", "y")


def write_metaimage(contents: Contents, path: Path) -> None:
    """Write voxels in LPS millimetres; MetaImage knows no scaling, so `contents` has none.

    Raises
    ------
    SaveError
        If SimpleITK is missing, or cannot write.
    """
    sitk = _simple_itk()
    lps = RAS_TO_LPS @ contents.grid.affine[:3]
    spacing = np.linalg.norm(lps[:, :3], axis=0)
    image = sitk.GetImageFromArray(contents.stored.transpose(2, 1, 0))
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(lps[:, 3].tolist())
    image.SetDirection((lps[:, :3] / spacing).ravel().tolist())
    try:
        with path_in_utf8(path, read=False) as writable:
            sitk.WriteImage(image, str(writable), useCompression=True)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].removeprefix("Reason: ")
        reason = reason.replace(str(path), "the file")  # a temporary name
        raise SaveError(f"Cannot write MetaImage: {reason}. Choose another place.") from error


def read_back_metaimage(path: Path) -> ReadBack:
    """Read a written file with SimpleITK."""
    sitk = _simple_itk()
    try:
        with path_in_utf8(path, read=True) as readable:
            image = sitk.ReadImage(str(readable))
    except RuntimeError as error:
        raise ValueError(str(error).strip().splitlines()[-1]) from error
    stored = sitk.GetArrayFromImage(image).transpose(2, 1, 0)
    affine = np.eye(4)
    directions = np.asarray(image.GetDirection()).reshape(3, 3)
    affine[:3, :3] = RAS_TO_LPS @ directions * np.asarray(image.GetSpacing())
    affine[:3, 3] = RAS_TO_LPS @ np.asarray(image.GetOrigin())
    return ReadBack(stored.shape, stored, affine)


def _simple_itk() -> Any:
    try:
        import SimpleITK
    except ImportError as error:
        raise SaveError(
            "MetaImage files need SimpleITK. Run: pip install 'napari-unet-mri[metaimage]', "
            "or save as .nii.gz."
        ) from error
    return SimpleITK


METAIMAGE = Writer(
    "MetaImage",
    (
        *("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"),
        *("float32", "float64"),
    ),
    write_metaimage,
    read_back_metaimage,
    placed_by_itk=True,
)
