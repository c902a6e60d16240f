"""Which files on the command line make a scan, and what its mask is called."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from napari_unet.cli.options import MODEL_SUFFIX, names_folder
from napari_unet.errors import UsageError
from napari_unet.imaging.dicom.seg_writer import is_dicom_seg
from napari_unet.imaging.formats.registry import IMAGE_SUFFIXES, WRITABLE, stem
from napari_unet.text import counted

if TYPE_CHECKING:
    from napari_unet.learning.network.checkpoint import Checkpoint

NO_MASK = (*IMAGE_SUFFIXES, MODEL_SUFFIX, ".json")
"""What the names of files end in that are ours, but no masks that are written."""


def group_images(
    images: Sequence[Path],
    channels: int | None,
    model: Checkpoint,
    volumes: Sequence[int] | None = None,
) -> list[list[Path]]:
    """Split the images of the command line into scans of `channels` sequences each.

    Several `volumes` are channels too: then every image is a scan, unless `channels`
    says otherwise.
    """
    needed = model.card.model.in_channels
    if volumes and len(volumes) > 1:
        if channels is None and len(volumes) != needed:
            raise UsageError(
                f"--volume chooses {len(volumes)} volumes a scan: this model needs "
                f"{counted(needed, 'sequence')}."
            )
        needed = channels or 1
    if channels is None and needed > 1:
        names = ", ".join(model.card.channel_names)
        raise UsageError(
            f"This model needs {needed} sequences a scan{f' ({names})' if names else ''}: "
            f"add --channels {needed} and name the images of each scan in that order."
        )
    channels = channels or 1
    if channels != needed:
        raise UsageError(
            f"--channels {channels}: this model needs {counted(needed, 'sequence')} a scan."
        )
    if len(images) % channels:
        raise UsageError(
            f"{len(images)} images do not make whole scans of {channels} sequences each."
        )
    return [list(images[i : i + channels]) for i in range(0, len(images), channels)]


def output_paths(where: str, scans: Sequence[Sequence[Path]]) -> list[Path]:
    """Name the mask of every scan, which is called after its first image.

    Parameters
    ----------
    where : str
        A mask file (for one scan), or a folder, which need not exist: a name that ends in a
        slash, or in the suffix of no format, is one.
    scans : sequence of sequence of Path
        Image files of each scan.
    """
    out, is_folder = Path(where), names_folder(where)
    if not is_folder and (out.name.lower().endswith(WRITABLE) or is_dicom_seg(out)):
        if len(scans) > 1:
            raise UsageError(
                f"--out {out} is one file, but there are {len(scans)} scans: name a folder."
            )
        outputs = [out]
    elif os.path.isfile(out) or (not is_folder and out.name.lower().endswith(NO_MASK)):
        raise UsageError(f"--out {out}: name a folder, or a mask file ending in .nii.gz.")
    else:
        names = _names_of([files[0] for files in scans])
        for name in names:
            if names.count(name) > 1:
                raise UsageError(
                    f"Several scans would be saved as {name}_seg.nii.gz: run them apart."
                )
        outputs = [out / f"{name}_seg.nii.gz" for name in names]
    inputs = {os.path.realpath(path) for files in scans for path in files}
    for path in outputs:
        if os.path.realpath(path) in inputs:
            raise UsageError(f"{path} is one of the images: choose another --out.")
    return outputs


def _names_of(images: Sequence[Path]) -> list[str]:
    """Name scans after their images; with the folders that differ, where these are alike."""
    paths = [Path(os.path.abspath(image)) for image in images]  # "." has no name of its own
    names = [stem(path) for path in paths]
    if len(set(names)) == len(names):
        return names
    # Of sub-01/mri/T1.mgz and sub-02/mri/T1.mgz: sub-01 and sub-02.
    folders = _without_common_start([path.parent.relative_to(path.anchor).parts for path in paths])
    folders = [each[::-1] for each in _without_common_start([each[::-1] for each in folders])]
    return ["_".join([*each, name]) for each, name in zip(folders, names, strict=True)]


def _without_common_start(rows: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    differing = (n for n, parts in enumerate(zip(*rows, strict=False)) if len(set(parts)) > 1)
    n_common = next(differing, min(map(len, rows)))
    return [row[n_common:] for row in rows]
