"""Writing MetaImage through SimpleITK, which comes with an extra."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
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
        with _path_in_utf8(path) as writable:
            sitk.WriteImage(image, str(writable), useCompression=True)
            if writable != path:
                shutil.copyfile(writable, path)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].removeprefix("Reason: ")
        reason = reason.replace(str(path), "the file")  # a temporary name
        raise SaveError(f"Cannot write MetaImage: {reason}. Choose another place.") from error


def look_at_metaimage(path: Path) -> Found:
    """Read a written file with SimpleITK."""
    sitk = _simple_itk()
    try:
        with _path_in_utf8(path) as readable:
            if readable != path:
                shutil.copyfile(path, readable)
            image = sitk.ReadImage(str(readable))
    except RuntimeError as error:
        raise ValueError(str(error).strip().splitlines()[-1]) from error
    stored = sitk.GetArrayFromImage(image).transpose(2, 1, 0)
    affine = np.eye(4)
    directions = np.asarray(image.GetDirection()).reshape(3, 3)
    affine[:3, :3] = RAS_TO_LPS @ directions * np.asarray(image.GetSpacing())
    affine[:3, 3] = RAS_TO_LPS @ np.asarray(image.GetOrigin())
    return Found(stored.shape, stored, affine)


@contextmanager
def _path_in_utf8(path: Path) -> Iterator[Path]:
    """Give a path elsewhere instead of one that is not UTF-8: SimpleITK ends the process at such.

    Whoever writes there copies the file to its place; whoever reads copies it from there.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        with tempfile.TemporaryDirectory(prefix="napari-unet-") as folder:
            yield Path(folder, f"image{path.suffix}")
    else:
        yield path


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
