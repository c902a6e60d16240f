"""Writing MetaImage through SimpleITK, which comes with an extra."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from napari_unet.errors import SaveError
from napari_unet.imaging.output import Contents, Found, Writer
from napari_unet.imaging.volume import RAS_TO_LPS


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
        sitk.WriteImage(image, str(path), useCompression=True)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].removeprefix("Reason: ")
        reason = reason.replace(str(path), "the file")  # a temporary name
        raise SaveError(f"Cannot write MetaImage: {reason}. Choose another place.") from error


def look_at_metaimage(path: Path) -> Found:
    """Read a written file with SimpleITK."""
    sitk = _simple_itk()
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise ValueError(str(error).strip().splitlines()[-1]) from error
    stored = sitk.GetArrayFromImage(image).transpose(2, 1, 0)
    affine = np.eye(4)
    directions = np.asarray(image.GetDirection()).reshape(3, 3)
    affine[:3, :3] = RAS_TO_LPS @ directions * np.asarray(image.GetSpacing())
    affine[:3, 3] = RAS_TO_LPS @ np.asarray(image.GetOrigin())
    return Found(stored.shape, stored, affine)


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
    look_at_metaimage,
    placed_by_itk=True,
)
