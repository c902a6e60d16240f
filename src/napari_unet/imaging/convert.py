"""From one file format to another, on exactly the same voxels."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Literal

from napari_unet.errors import SaveError, VolumeError
from napari_unet.imaging.dicom.seg_writer import check_can_refer, is_dicom_seg
from napari_unet.imaging.formats.registry import is_mask, open_scan, writer_for
from napari_unet.imaging.loading import load_labels, load_labels_onto
from napari_unet.imaging.receipt import GeometryReceipt
from napari_unet.imaging.saving import check_may_write, save_image, save_mask
from napari_unet.imaging.sidecar import structures_beside


def convert(
    source: Path,
    target: Path,
    *,
    kind: Literal["mask", "image"] | None = None,
    volume: int | None = None,
    series: str | None = None,
    scan: Path | None = None,
    voxels_anywhere: bool = False,
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
        Which series of a DICOM folder: of `scan`, else of `source`.
    scan : Path, optional
        DICOM series that a mask was painted on, for a DICOM segmentation to refer to.
    voxels_anywhere : bool
        See `open_scan`; of `source`.
    overwrite : bool
        Whether an existing file may be replaced.

    Raises
    ------
    VolumeError
        If `source` or `scan` cannot be read, or `source` holds several volumes and none is chosen.
    SaveError
        If `target` cannot be written, or its format cannot hold the intensities.
    """
    if os.path.exists(target) and os.path.exists(source) and os.path.samefile(target, source):
        raise SaveError(f"{target} is the file to convert. Choose another name.")
    check_may_write(target, overwrite=overwrite)
    if is_dicom_seg(target):
        if volume is not None:
            raise VolumeError("A mask is one volume: leave volume out.")
        return _refer(source, target, kind, scan, series, overwrite)
    if scan is not None:
        raise SaveError(f"{target.name} is no DICOM segmentation (.dcm): leave scan out.")
    writer = writer_for(target)
    image = open_scan(source, series=series, voxels_anywhere=voxels_anywhere)
    says_mask = writer.masks_only or (series is None and is_mask(image))
    if kind == "mask" or (kind is None and says_mask):
        if volume is not None or series is not None:
            raise VolumeError(
                "A mask is one volume: leave volume and series out, or say that it is an image."
            )
        try:
            labels, grid = load_labels(image)
        except VolumeError:
            if kind == "mask" or writer.masks_only:
                raise
        else:
            named = structures_beside(source)
            return save_mask(
                labels, grid, target, structures=named, sources=[source], overwrite=overwrite
            )
    count = len(image.volumes)
    if volume is None and count > 1:
        raise VolumeError(f"{image.name} holds {count} volumes: choose one, from 0 to {count - 1}.")
    if not 0 <= (volume or 0) < count:
        raise VolumeError(f"{image.name} has no volume {volume}: they count from 0 to {count - 1}.")
    return save_image(image.read(volume or 0), image.grid, target, overwrite=overwrite)


def _refer(
    source: Path,
    target: Path,
    kind: str | None,
    scan: Path | None,
    series: str | None,
    overwrite: bool,
) -> GeometryReceipt:
    """Write a mask as a DICOM segmentation of the series it was painted on."""
    if kind == "image":
        raise SaveError("Only masks can be saved as DICOM. Give OUT another suffix, like .nii.gz.")
    if scan is None:
        raise SaveError(
            f"{target.name} would be a DICOM segmentation, which refers to the series that the "
            "mask was painted on. Give the folder of that series as scan."
        )
    opened = check_can_refer(open_scan(scan, series=series))
    labels, note = load_labels_onto(source, opened.grid, opened.name, resampling=False)
    receipt = save_mask(
        labels,
        opened.grid,
        target,
        structures=structures_beside(source),
        sources=[source, scan],
        series=opened,
        overwrite=overwrite,
    )
    return replace(receipt, remark=f"{note} {receipt.remark}".strip())
