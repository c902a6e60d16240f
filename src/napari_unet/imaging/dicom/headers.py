"""What a DICOM file says about itself: image planes in space, or why it holds none."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
)

from napari_unet.errors import NapariUnetError, VolumeError
from napari_unet.imaging.dicom.frames import SIEMENS_B_VALUE, Frame, frames_of, numbers
from napari_unet.imaging.scan_file import unreadable

# fmt: off
TAGS = (
    "TransferSyntaxUID", "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID",
    "StudyInstanceUID", "FrameOfReferenceUID",
    "SeriesDescription", "ProtocolName", "SeriesNumber", "InstanceNumber", "Modality",
    "ImageType", "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel",
    "PhotometricInterpretation", "BitsAllocated", "BitsStored", "PixelRepresentation",
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness",
    "SpacingBetweenSlices", "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence",
    "LossyImageCompression", "EchoTime", "InversionTime", "TemporalPositionIdentifier",
    "DiffusionBValue", "DiffusionGradientOrientation", "TriggerTime", "AcquisitionNumber",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
)
"""All that is read of a header; private and patient data are passed over."""
# fmt: on

IDENTIFIERS = {
    "StudyInstanceUID": "study identifier",
    "SeriesInstanceUID": "series identifier",
    "FrameOfReferenceUID": "frame of reference",
    "SOPClassUID": "kind of image",
    "SOPInstanceUID": "image identifier",
}
"""What a DICOM segmentation needs of the images that it refers to, and its name for people."""

DISC_INDEX = "is the index of a disc; open the folder that it lies in"
"""Why a DICOMDIR is no scan."""

OTHER_OBJECTS = {
    "RTSTRUCT": "is a set of radiotherapy contours",
    "RTDOSE": "is a radiotherapy dose",
    "RTPLAN": "is a radiotherapy plan",
    "SEG": "is a DICOM segmentation",
    "SR": "is a report",
    "PR": "is a presentation state",
    "KO": "is a selection of key images",
    "REG": "is a registration",
    "ECG": "is a waveform",
}
"""Modality codes of objects that are no scans."""

LARGEST_RATIO = 5000
"""Bytes of decoded pixels per byte of file beyond which a header is not believed.

A constant 2 MB image takes about a kilobyte in JPEG 2000, header included.
"""

USEFUL_WARNING = re.compile(r"implicit VR|transfer syntax|end of file", re.IGNORECASE)
"""What somebody with damaged or odd files should know of pydicom's warnings."""

VR = re.compile(rb"[A-Z]{2}")


@dataclass(frozen=True, slots=True)
class Header:
    """One DICOM file.

    Parameters
    ----------
    path : Path
        The file.
    series_uid, description : str
        Series that it belongs to, and its name for people.
    study_uid, frame_of_reference : str
        Study that it belongs to, and the system of its coordinates.
    series_number : int
        Number that the scanner gave the series.
    frames : tuple of Frame
        Its images; none when `unusable` says why.
    notes : tuple of str
        What somebody who works with these images should know.
    missing : tuple of str
        Names for people of the `IDENTIFIERS` that it lacks.
    unusable : str
        Continues a sentence that begins with the file's name.
    """

    path: Path
    series_uid: str
    study_uid: str
    frame_of_reference: str
    description: str
    series_number: int
    frames: tuple[Frame, ...]
    notes: tuple[str, ...]
    missing: tuple[str, ...]
    unusable: str = ""


def is_dicom(path: Path) -> bool:
    """Whether a file looks like DICOM, by its first bytes and whatever its name."""
    if not path.is_file():  # a pipe would never end
        return False
    try:
        with path.open("rb") as file:
            start = file.read(132)
    except OSError:
        return False
    if start[128:] == b"DICM":
        return True
    # Without preamble: a data set that begins with group 2 or 8, as old ones do.
    for order in ("little", "big"):
        group = int.from_bytes(start[0:2], order)
        element = int.from_bytes(start[2:4], order)
        if group in (2, 8) and element <= 0x18 and len(start) == 132:
            length = int.from_bytes(start[4:8], order)
            return VR.fullmatch(start[4:6]) is not None or length <= 64
    return False


@contextmanager
def reading(path: Path) -> Iterator[list[str]]:
    """Turn whatever pydicom and its decoders raise on a file into `VolumeError`.

    Yields a list that afterwards holds their warnings; none reaches the console.
    """
    said: list[str] = []
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield said
        said += [str(warning.message) for warning in caught]
    except NapariUnetError:
        raise
    except MemoryError as error:
        raise VolumeError(
            f"{path.name} does not fit into memory. Close other programs, or crop the scan."
        ) from error
    # Every kind that there is: damage shows as KeyError, struct.error, AttributeError,
    # RecursionError, zlib.error ... and each decoder adds its own.
    except Exception as error:
        raise VolumeError(unreadable(path, "DICOM", error)) from error


def read_header(path: Path) -> Header:
    """Read what a file says about its images, without their pixels.

    Raises
    ------
    VolumeError
        If it is damaged.
    """
    with reading(path) as said:
        header: Any = dcmread(
            path,
            force=True,
            stop_before_pixels=True,
            specific_tags=[*TAGS, f"{SIEMENS_B_VALUE:08X}"],
        )
        frames, unusable = _usable_frames(header, path, _syntax(header))
        description = str(header.get("SeriesDescription") or header.get("ProtocolName") or "")
        number = numbers(header, "SeriesNumber", 1)
        found = Header(
            path=path,
            series_uid=str(header.get("SeriesInstanceUID") or "series without UID"),
            study_uid=str(header.get("StudyInstanceUID") or ""),
            frame_of_reference=str(header.get("FrameOfReferenceUID") or ""),
            missing=tuple(name for tag, name in IDENTIFIERS.items() if not header.get(tag)),
            description=" ".join(description.split()),
            series_number=int(number[0]) if number else 0,
            frames=frames,
            notes=_notes(header) if frames else (),
            unusable=unusable,
        )
    odd = [text.rstrip(".") + "." for text in said if USEFUL_WARNING.search(text)]
    return replace(found, notes=(*found.notes, *odd))


def study_and_number(path: Path) -> tuple[str, str]:
    """Study and series number of an image as its header has them; empty where it does not.

    The study is known by its description, else by its number, else by its date.
    """
    names = ("StudyDescription", "StudyID", "StudyDate")
    try:
        with reading(path):
            tags = [*names, "SeriesNumber"]
            header = dcmread(path, force=True, stop_before_pixels=True, specific_tags=tags)
            found = [str(header.get(name) or "").strip() for name in tags]
    except VolumeError:
        return "", ""
    return next(filter(None, found[:-1]), ""), found[-1]


def _syntax(header: Any) -> str:
    """Transfer syntax, also of a file that has lost its meta information."""
    named = header.file_meta.get("TransferSyntaxUID") if hasattr(header, "file_meta") else None
    if named:
        return str(named)
    implicit, little = header.original_encoding
    if implicit:
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if little else ExplicitVRBigEndian


def _usable_frames(header: Any, path: Path, syntax: str) -> tuple[tuple[Frame, ...], str]:
    """Images of a file, or none and the reason."""
    modality = str(header.get("Modality") or "")
    if modality in OTHER_OBJECTS:
        return (), f"{OTHER_OBJECTS[modality]}, not a scan"
    if not header.get("Rows") or not header.get("Columns"):
        meta = getattr(header, "file_meta", None) or {}
        if meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
            return (), DISC_INDEX
        return (), "holds no image"
    kinds = str(header.get("PhotometricInterpretation") or "MONOCHROME2")
    if int(header.get("SamplesPerPixel") or 1) != 1 or not kinds.startswith("MONOCHROME"):
        return (), f"is a colour image ({kinds}), not a scan with one intensity per voxel"
    if "MOSAIC" in str(header.get("ImageType") or ""):
        return (), (
            "is a Siemens mosaic, which tiles all slices into one picture; convert it to NIfTI "
            "with dcm2niix"
        )
    _check_size(header, path, syntax)
    return frames_of(header, path, syntax)


def _check_size(header: Any, path: Path, syntax: str) -> None:
    """Refuse a header that claims more pixels than its file can hold, before any is made."""
    count = numbers(header, "NumberOfFrames", 1) or (1.0,)
    bits = int(header.BitsAllocated)
    claimed = int(header.Rows) * int(header.Columns) * max(1, int(count[0])) * bits // 8
    uid = UID(syntax)
    packed = uid == DeflatedExplicitVRLittleEndian or uid.is_private or uid.is_encapsulated
    size = path.stat().st_size
    if claimed > size * (LARGEST_RATIO if packed else 1):
        raise VolumeError(
            f"{path.name} is incomplete: its header announces {claimed} bytes of pixels, but the "
            f"file has {size}. Copy or export it again."
        )


def _notes(header: Dataset) -> tuple[str, ...]:
    notes = []
    if header.get("PhotometricInterpretation") == "MONOCHROME1":
        notes.append(
            "Meant to be shown inverted (MONOCHROME1: low values are bright); the values are "
            "kept as stored."
        )
    if header.get("LossyImageCompression") == "01":
        notes.append("The pixels were compressed with loss before they came here.")
    if header.get("ModalityLUTSequence"):
        notes.append("Its table of intensities (modality LUT) is not applied.")
    if numbers(header, "RescaleSlope", 1) == (0.0,):
        notes.append("Its rescale slope is zero, which cannot be; one is used instead.")
    return tuple(notes)
