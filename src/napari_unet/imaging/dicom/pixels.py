"""Decoding the pixels of DICOM images."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.encaps import get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import (
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    JPEGLSTransferSyntaxes,
)

from napari_unet.errors import VolumeError
from napari_unet.imaging.dicom.frames import Frame
from napari_unet.imaging.dicom.gdcm_process import Decode, gdcm_process
from napari_unet.imaging.dicom.headers import reading

DECODERS = {
    JPEGBaseline8Bit: ("pillow", "gdcm", "pylibjpeg"),
    JPEGExtended12Bit: ("gdcm", "pylibjpeg"),
    JPEGLossless: ("gdcm", "pylibjpeg"),
    JPEGLosslessSV1: ("gdcm", "pylibjpeg"),
    JPEGLSLossless: ("pyjpegls", "pylibjpeg"),
    JPEGLSNearLossless: ("pyjpegls", "pylibjpeg"),
    JPEG2000Lossless: ("pylibjpeg", "pillow"),
    JPEG2000: ("pylibjpeg", "pillow"),
}
"""Which of pydicom's plugins decodes what, the preferred one first.

Left to itself pydicom tries all that are installed, and gdcm takes the whole process down
(C++ terminate) on some damaged files. Where nothing else of a free licence decodes, it
works in a process of its own.
"""


JPEG_LS_FRAME = b"\xff\xf7"
"""Marker before length (2 bytes), bits (1), height (2) and width (2) of an image."""


def check_decoders(frames: Sequence[Frame], name: str) -> None:
    """Refuse a compression that nothing installed can decode."""
    for syntax in {frame.syntax for frame in frames}:
        with reading(frames[0].path):
            _decoder(UID(syntax), name)


def _decoder(syntax: UID, name: str) -> str:
    """Give the plugin that decodes a transfer syntax; empty where pydicom may choose."""
    try:
        installed = get_decoder(syntax)
    except NotImplementedError as error:
        raise VolumeError(
            f"{name} is stored as {syntax.name}, which cannot be decoded. Convert it with dcm2niix."
        ) from error
    usable = DECODERS.get(syntax)
    if usable is None and installed.is_available:
        return ""
    for plugin in usable or ():
        if plugin in installed.available_plugins:
            return plugin
    raise VolumeError(
        f"{name} is compressed ({syntax.name}); decoding that needs a package that is not "
        "installed. Install it: pip install 'napari-unet-mri[dicom]'"
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
    with ExitStack() as children:
        apart: Decode | None = None
        for path, ks in by_file.items():
            with reading(path):
                chosen = [frames[k] for k in ks]
                if _decoder(UID(chosen[0].syntax), path.name) == "gdcm":
                    apart = apart or children.enter_context(gdcm_process())
                    images: Iterator[NDArray[Any]] = (
                        apart(path, frame.index, frame.syntax) for frame in chosen
                    )
                else:
                    images = _decoded(path, chosen)
                for k, frame, image in zip(ks, chosen, images, strict=True):
                    fits = np.can_cast(image.dtype, frame.dtype, "same_kind")
                    if image.shape != frame.shape or not fits:
                        raise VolumeError(_not_as_announced(path))
                    put(k, image)


def _decoded(path: Path, frames: Sequence[Frame]) -> Iterator[NDArray[Any]]:
    """Decode frames of one file in this process."""
    syntax = UID(frames[0].syntax)
    source: Dataset | Path = path
    # pydicom inflates only what it reads as a whole.
    if syntax == DeflatedExplicitVRLittleEndian or syntax in JPEGLSTransferSyntaxes:
        source = dcmread(path, force=True)
    if isinstance(source, Dataset) and syntax in JPEGLSTransferSyntaxes:
        _check_jpeg_ls(source, frames)
    return iter_pixels(
        source,
        indices=[frame.index for frame in frames],
        raw=True,
        decoding_plugin=_decoder(syntax, path.name),
        transfer_syntax_uid=syntax,
    )


def _check_jpeg_ls(header: Any, frames: Sequence[Frame]) -> None:
    """Refuse streams of another size: the decoder spends minutes on what is not there."""
    count = int(header.get("NumberOfFrames") or 1)
    for frame in frames:
        stream = get_frame(header.PixelData, frame.index, number_of_frames=count)
        start = stream.find(JPEG_LS_FRAME)
        if struct.unpack_from(">HH", stream, start + 5) != frame.shape:
            raise VolumeError(_not_as_announced(frame.path))


def _not_as_announced(path: Path) -> str:
    return (
        f"The pixels of {path.name} are not what its header announces: it is damaged. Copy or "
        "export it again."
    )


def pixels_of(frame: Frame) -> NDArray[Any]:
    """Stored values (rows, columns) of one image."""
    images: list[NDArray[Any]] = []
    read_frames([frame], lambda _, image: images.append(image))
    return images[0]
