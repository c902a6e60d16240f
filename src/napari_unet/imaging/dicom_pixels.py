"""Decoding the pixels of DICOM images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from napari_unet.errors import VolumeError
from napari_unet.imaging.dicom_frames import Frame
from napari_unet.imaging.dicom_headers import reading


def check_decoders(frames: Sequence[Frame], name: str) -> None:
    """Refuse a compression that nothing installed can decode."""
    for syntax in {frame.syntax for frame in frames}:
        _check_decoder(syntax, name)


def _check_decoder(syntax: str, name: str) -> None:
    kind = UID(syntax).name
    try:
        available = get_decoder(UID(syntax)).is_available
    except NotImplementedError as error:
        raise VolumeError(
            f"{name} is stored as {kind}, which cannot be decoded. Convert it with dcm2niix."
        ) from error
    if not available:
        raise VolumeError(
            f"{name} is compressed ({kind}); decoding that needs a package that is not installed. "
            "Install it: pip install 'napari-unet-mri[dicom]'"
        )


def read_frames(frames: Sequence[Frame], put: Callable[[int, NDArray[Any]], None]) -> None:
    """Decode images, each file opened once, and hand them on one by one.

    Parameters
    ----------
    frames : sequence of Frame
        What to read.
    put : callable
        Takes the number in `frames`, and the stored values (rows, columns).

    Raises
    ------
    VolumeError
        If a file is damaged, or holds other pixels than its header announces.
    """
    by_file: dict[Path, list[int]] = {}
    for k, frame in enumerate(frames):
        by_file.setdefault(frame.path, []).append(k)
    for path, ks in by_file.items():
        syntax = frames[ks[0]].syntax
        indices = [frames[k].index for k in ks]
        with reading(path):
            if UID(syntax) == DeflatedExplicitVRLittleEndian:
                # pydicom inflates only what it reads as a whole
                images = iter_pixels(dcmread(path, force=True), indices=indices, raw=True)
            else:
                images = iter_pixels(path, indices=indices, raw=True, transfer_syntax_uid=syntax)
            for k, image in zip(ks, images, strict=True):
                fits = np.can_cast(image.dtype, frames[k].dtype, "same_kind")
                if image.shape != frames[k].shape or not fits:
                    raise VolumeError(
                        f"The pixels of {path.name} are not what its header announces: it is "
                        "damaged. Copy or export it again."
                    )
                put(k, image)


def pixels_of(frame: Frame) -> NDArray[Any]:
    """Stored values (rows, columns) of one image."""
    images: list[NDArray[Any]] = []
    read_frames([frame], lambda _, image: images.append(image))
    return images[0]
