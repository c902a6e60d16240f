"""Which format reads a file, and which one writes it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from napari_unet.errors import SaveError, VolumeError
from napari_unet.imaging.dicom.seg_reader import is_segmentation, open_segmentation
from napari_unet.imaging.dicom.series import is_dicom, open_dicom
from napari_unet.imaging.formats.metaimage import METAIMAGE, open_metaimage
from napari_unet.imaging.formats.mgh import MGH, open_mgh
from napari_unet.imaging.formats.nifti import NIFTI, open_nifti
from napari_unet.imaging.formats.nrrd import NRRD, SEGMENTATION, open_nrrd
from napari_unet.imaging.formats.picture import PNG, TIFF, open_picture
from napari_unet.imaging.formats.writer import Writer
from napari_unet.imaging.scan_file import ScanFile, check_file, file_size

_T = TypeVar("_T")

_READERS: dict[str, Callable[[Path], ScanFile]] = {
    ".nii.gz": open_nifti,
    ".nii": open_nifti,
    ".hdr": open_nifti,
    ".img": open_nifti,
    ".mgz": open_mgh,
    ".mgh": open_mgh,
    ".seg.nrrd": open_nrrd,
    ".nrrd": open_nrrd,
    ".nhdr": open_nrrd,
    ".mha": open_metaimage,
    ".mhd": open_metaimage,
    ".png": open_picture,
    ".jpg": open_picture,
    ".jpeg": open_picture,
    ".bmp": open_picture,
    ".tif": open_picture,
    ".tiff": open_picture,
}
"""Longer suffixes before shorter ones that they end in."""

_OF_DETACHED_VOXELS: dict[Callable[[Path], ScanFile], Callable[[Path], ScanFile]] = {
    reader: partial(reader, voxels_anywhere=True) for reader in (open_nrrd, open_metaimage)
}
"""Readers of formats whose headers name the file of their voxels, told to follow them anywhere."""

READABLE = tuple(_READERS)
"""File names that can be opened; longer suffixes before shorter ones that they end in."""

_CONVERT = "Convert it to NIfTI (.nii.gz), for instance with"

_NOT_READ = {
    ".mnc": f"a MINC file. {_CONVERT} mnc2nii",
    ".par": f"a Philips PAR/REC file. {_CONVERT} dcm2niix",
    ".rec": f"a Philips PAR/REC file. {_CONVERT} dcm2niix",
    ".head": f"an AFNI file. {_CONVERT} 3dAFNItoNIFTI",
    ".brik": f"an AFNI file. {_CONVERT} 3dAFNItoNIFTI",
    ".brik.gz": f"an AFNI file. {_CONVERT} 3dAFNItoNIFTI",
    ".mif": f"an MRtrix file. {_CONVERT} mrconvert",
    ".mif.gz": f"an MRtrix file. {_CONVERT} mrconvert",
    ".gipl": f"a GIPL file. {_CONVERT} ITK-SNAP",
    ".v": f"an ECAT file. {_CONVERT} 3D Slicer",
    ".vtk": f"a VTK file. {_CONVERT} 3D Slicer",
    ".nii.bz2": "compressed with bzip2. Unpack it with bunzip2",
    ".nii.zst": "compressed with Zstandard. Unpack it with unzstd",
    ".trk": "a file of streamlines. Choose the image that they were made from",
    ".tck": "a file of streamlines. Choose the image that they were made from",
    ".dcm": "named like DICOM, but is none, or its beginning is lost. Export it again",
    ".raw": "the voxels of an image whose header is beside it. Open that: its .mhd or .nhdr",
    ".zraw": "the voxels of an image whose header is beside it. Open that: its .mhd",
    ".zip": "an archive. Unpack it first",
    ".tar": "an archive. Unpack it first",
    ".tar.gz": "an archive. Unpack it first",
}
"""Names of files that medical images come in, but that are not read: what they are."""

IMAGE_SUFFIXES = (*READABLE, *_NOT_READ)
"""What the names of image files end in, whether these are read or not."""

MASK_WORDS = frozenset({"mask", "masks", "label", "labels", "seg", "segmentation"})
"""Words in file names of masks by tools that leave the header's intent empty."""


def open_scan(
    path: str | Path, *, series: str | None = None, voxels_anywhere: bool = False
) -> ScanFile:
    """Open an image of any format without reading its voxels.

    Parameters
    ----------
    path : str or Path
        The image; of a pair of files any one, of a DICOM series its folder or any file.
    series : str, optional
        Which DICOM series of the folder: its UID or its description.
    voxels_anywhere : bool
        Whether a header (.nhdr, .mhd) may name a file outside its own folder for its voxels:
        say so only of files whose origin you trust.

    Raises
    ------
    VolumeError
        If it is not an image that can be worked on; the sentence says why.
    """
    path = Path(path)
    if os.path.isdir(path):
        return open_dicom(path, series)
    check_file(path)
    if file_size(path) == 0:
        raise VolumeError(f"{path.name} is empty (0 bytes). Copy or export it again.")
    reader = _of_suffix(path, _READERS)
    if reader is None and is_dicom(path):
        if series is None and is_segmentation(path):
            return open_segmentation(path)
        return open_dicom(path, series)
    if reader is None:
        raise VolumeError(_not_read(path))
    if series is not None:
        raise VolumeError(
            f"{path.name} holds no DICOM series, so {series!r} cannot be chosen in it. Leave the "
            "series out."
        )
    return (_OF_DETACHED_VOXELS.get(reader, reader) if voxels_anywhere else reader)(path)


def stem(path: Path) -> str:
    """File name without the suffix of its format."""
    for suffix in READABLE:
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    # Folders of DICOM series and files without suffix are called 1.2.840.10008 and such.
    return path.stem if path.suffix.lower() in (".dcm", ".ima") else path.name


def is_mask(scan: ScanFile) -> bool:
    """Whether an opened file says that it is a mask: by its header, or by its name."""
    words = re.split(r"[^a-z]+", scan.path.name.lower())
    return scan.is_mask or bool(MASK_WORDS & set(words))


def _of_suffix(path: Path, table: dict[str, _T]) -> _T | None:
    """Look a file name up by its longest suffix."""
    name = path.name.lower()
    return next((table[suffix] for suffix in table if name.endswith(suffix)), None)


def _not_read(path: Path) -> str:
    """Say why a file of another format is not opened, and what to do."""
    what = _of_suffix(path, _NOT_READ)
    if what is not None:
        return f"{path.name} is {what}."
    return (
        f"{path.name} is not named like an image that can be read ({', '.join(READABLE)}). "
        f"{_CONVERT} 3D Slicer."
    )


WRITERS: dict[str, Writer] = {
    ".nii.gz": NIFTI,
    ".nii": NIFTI,
    ".seg.nrrd": SEGMENTATION,
    ".nrrd": NRRD,
    ".mgz": MGH,
    ".mgh": MGH,
    ".mha": METAIMAGE,
    ".tif": TIFF,
    ".tiff": TIFF,
    ".png": PNG,
}
"""Writer of each suffix; longer suffixes before shorter ones that they end in."""

WRITABLE = tuple(WRITERS)
"""File names that can be written."""


def suffixes_of_writers() -> dict[Writer, tuple[str, ...]]:
    """Suffixes of each writer, in their order: the usual format first."""
    return {
        writer: tuple(suffix for suffix, each in WRITERS.items() if each is writer)
        for writer in WRITERS.values()
    }


def suffix_of(path: Path) -> str | None:
    """Suffix of `WRITABLE` that a file name ends in, whatever its case."""
    name = path.name.lower()
    return next((suffix for suffix in WRITABLE if name.endswith(suffix)), None)


def writer_for(path: Path) -> Writer:
    """Choose the writer by the file name.

    Raises
    ------
    SaveError
        If no format has that suffix.
    """
    suffix = suffix_of(path)
    if suffix is None:
        others = ", ".join(WRITABLE[1:])
        raise SaveError(
            f"Cannot save as {path.name}: give the file a name ending in .nii.gz (or {others})."
        )
    return WRITERS[suffix]
