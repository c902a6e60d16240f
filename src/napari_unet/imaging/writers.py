"""Which writer a file name asks for."""

from __future__ import annotations

from pathlib import Path

from napari_unet.errors import SaveError
from napari_unet.imaging.metaimage_writer import METAIMAGE
from napari_unet.imaging.mgh_writer import MGH
from napari_unet.imaging.nifti_writer import NIFTI
from napari_unet.imaging.nrrd_writer import NRRD, SEGMENTATION
from napari_unet.imaging.output import Writer
from napari_unet.imaging.picture_writer import PNG, TIFF

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
