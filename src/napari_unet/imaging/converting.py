"""From one file format to another, on exactly the same voxels."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from napari_unet.errors import SaveError, VolumeError
from napari_unet.imaging.files import is_mask, open_scan
from napari_unet.imaging.loading import load_labels
from napari_unet.imaging.receipt import GeometryReceipt
from napari_unet.imaging.saving import check_may_write, save_image, save_mask
from napari_unet.imaging.sidecar import structures_beside
from napari_unet.imaging.writers import writer_for


def convert(
    source: Path,
    target: Path,
    *,
    kind: Literal["mask", "image"] | None = None,
    volume: int | None = None,
    series: str | None = None,
    overwrite: bool = False,
) -> GeometryReceipt:
    """Write an image or a mask in the format that the name of `target` asks for.

    The grid, the order of the voxels and every intensity or label stay. From NIfTI to
    NIfTI so do both matrices, codes and units.

    Parameters
    ----------
    source : Path
        Anything that `open_scan` opens.
    target : Path
        File to write.
    kind : {'mask', 'image'}, optional
        What `source` is; default: a mask where its header, its name or the format of
        `target` says so and its values are whole numbers, else an image. A mask is stored
        in the smallest number type and keeps the names in the JSON file beside it.
    volume : int, optional
        Which volume of a series, counted from 0.
    series : str, optional
        Which series of a DICOM folder.
    overwrite : bool
        Whether an existing file may be replaced.

    Raises
    ------
    VolumeError
        If `source` cannot be read, or holds several volumes and none is chosen.
    SaveError
        If `target` cannot be written, or its format cannot hold the intensities.
    """
    if target.exists() and source.exists() and target.samefile(source):
        raise SaveError(f"{target} is the file to convert. Choose another name.")
    writer = writer_for(target)
    check_may_write(target, overwrite=overwrite)
    if kind == "mask" or (kind is None and (writer.masks_only or is_mask(source))):
        if volume is not None or series is not None:
            raise VolumeError("A mask is one volume: choose no volume or series, or say --image.")
        try:
            labels, grid = load_labels(source)
        except VolumeError:
            if kind == "mask" or writer.masks_only:
                raise
        else:
            named = structures_beside(source)
            return save_mask(
                labels, grid, target, structures=named, sources=[source], overwrite=overwrite
            )
    scan = open_scan(source, series=series)
    count = len(scan.volumes)
    if volume is None and count > 1:
        raise VolumeError(f"{scan.name} holds {count} volumes: choose one, from 0 to {count - 1}.")
    if not 0 <= (volume or 0) < count:
        raise VolumeError(f"{scan.name} has no volume {volume}: they count from 0 to {count - 1}.")
    return save_image(scan.read(volume or 0), scan.grid, target, overwrite=overwrite)
