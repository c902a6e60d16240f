"""``napari-unet convert``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from napari_unet.cli.console import say_receipt
from napari_unet.cli.options import FLAT, NewFile, Overwrite, VoxelsAnywhere, whole_number
from napari_unet.errors import UsageError
from napari_unet.imaging import convert as converting


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertOptions:
    """What ``napari-unet convert`` is told.

    Parameters
    ----------
    volume : int, optional
        Which volume of a series, counted from 0.
    series : str, optional
        Which DICOM series of the folder: its UID or name.
    scan : Path, optional
        For a mask to .dcm: series it was painted on.
    mask : bool
        FILE is a mask (default: found out).
    image : bool
        FILE is an image (default: found out).
    """

    volume: Annotated[int | None, whole_number(0, 10**9)] = None
    series: str | None = None
    scan: Path | None = None
    voxels_anywhere: VoxelsAnywhere = False
    overwrite: Overwrite = False
    mask: bool = False
    image: bool = False


def convert(
    file: Path, out: NewFile, /, *, options: Annotated[ConvertOptions | None, FLAT] = None
) -> None:
    """Write a scan or a mask in another file format.

    The grid, the order of the voxels and every intensity or label stay; NIfTI to
    NIfTI keeps both matrices, codes and units. The suffix of OUT chooses the
    format: .nii.gz, .nii, .nrrd, .seg.nrrd (masks for 3D Slicer), .mgz, .mgh or
    .mha (needs SimpleITK); .dcm is a DICOM segmentation of the series named by
    --scan (needs highdicom). What was written is read again and compared. A mask
    comes with a .json that says what its values mean.

    For example:
      napari-unet convert dicom_folder/ t1.nii.gz
      napari-unet convert mask.nii.gz mask.seg.nrrd
      napari-unet convert mask.nii.gz mask.dcm --scan dicom_folder/

    Parameters
    ----------
    file : Path
        File, or folder of a DICOM series.
    out : Path
        File to write.
    options : ConvertOptions
        The rest.
    """
    options = options or ConvertOptions()
    if options.mask and options.image:
        raise UsageError(f"{file} is either: give --mask or --image, not both.")
    receipt = converting.convert(
        file,
        out,
        kind="mask" if options.mask else "image" if options.image else None,
        volume=options.volume,
        series=options.series,
        scan=options.scan,
        voxels_anywhere=options.voxels_anywhere,
        overwrite=options.overwrite,
    )
    say_receipt(receipt)
