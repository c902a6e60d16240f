"""Which reader a file needs: the one door to every format."""

from __future__ import annotations

import re
from pathlib import Path

from napari_unet.errors import VolumeError
from napari_unet.imaging.nifti import PAIR_SUFFIXES, SUFFIXES, open_nifti
from napari_unet.imaging.scan_file import ScanFile

READABLE = (*SUFFIXES, *PAIR_SUFFIXES)
"""File names that can be opened; longer suffixes before shorter ones that they end in."""

MASK_WORDS = frozenset({"mask", "masks", "label", "labels", "seg", "segmentation"})
"""Words in file names of masks by tools that leave the header's intent empty."""


def open_scan(path: str | Path, *, series: str | None = None) -> ScanFile:
    """Open an image of any format without reading its voxels.

    Parameters
    ----------
    path : str or Path
        The file.
    series : str, optional
        Which series of a DICOM folder: its SeriesInstanceUID or its name.

    Raises
    ------
    VolumeError
        If it is not an image that can be worked on; the sentence says why.
    """
    path = Path(path)
    if not path.exists():
        raise VolumeError(f"There is no file {path}. Check the name.")
    if path.is_dir():
        raise VolumeError(f"{path} is a folder. Choose a NIfTI file (.nii or .nii.gz) in it.")
    if not path.name.lower().endswith(READABLE):
        raise VolumeError(
            f"{path.name} is not named like a NIfTI file (.nii or .nii.gz). Convert it to NIfTI, "
            "for instance with dcm2niix or 3D Slicer."
        )
    if series is not None:
        raise VolumeError(f"{path.name} is one image, not a folder of series: name no series.")
    if path.stat().st_size == 0:
        raise VolumeError(f"{path.name} is empty (0 bytes). Copy or export it again.")
    return open_nifti(path)


def stem(path: Path) -> str:
    """File name without the suffix of its format."""
    for suffix in READABLE:
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return path.stem


def is_mask(path: Path) -> bool:
    """Whether a readable file says that it is a mask: by its header, or by its name."""
    try:
        scan = open_scan(path)
    except VolumeError:
        return False
    words = re.split(r"[^a-z]+", path.name.lower())
    return scan.is_mask or bool(MASK_WORDS & set(words))
