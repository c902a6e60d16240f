"""One DICOM image in space: a single-frame file, or one frame of an enhanced one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

SIEMENS_B_VALUE = 0x0019100C
"""Where Siemens put the b-value before the standard had a place for it."""

SQUARENESS = 0.01
"""How far the two directions of an image may be from unit length and a right angle."""

MARKS = {
    "EchoTime": "echo time",
    "EffectiveEchoTime": "echo time",
    "TemporalPositionIdentifier": "time point",
    "TemporalPositionIndex": "time point",
    "DiffusionBValue": "b-value",
    "DiffusionGradientOrientation": "gradient",
    "InversionTime": "inversion time",
    "InversionTimes": "inversion time",
    "TriggerTime": "trigger time",
    "NominalCardiacTriggerDelayTime": "trigger time",
    "ImageType": "image type",
    "FrameType": "image type",
    "AcquisitionNumber": "acquisition",
    "FrameAcquisitionNumber": "acquisition",
}
"""What tells volumes at the same positions apart, and its name for people."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One image in space.

    Parameters
    ----------
    path : Path
        Its file.
    index : int
        Which frame of the file, from 0.
    instance : str
        SOP instance UID of the file.
    number : int
        Instance number; only to order what nothing else tells apart.
    position, right, down : ndarray, shape (3,)
        Centre of the first pixel (LPS, mm); unit vectors in which the column and the
        row number grow.
    pixel_mm : tuple of float
        Distance between rows, and between columns.
    shape : tuple of int
        Rows, columns.
    depth_mm : float or None
        Distance to the next slice as the header has it; for a slice on its own.
    slope, intercept : float
        Rescaling of the stored values.
    dtype : numpy dtype
        Stored number type.
    syntax : str
        Transfer syntax UID: how the pixels are encoded.
    marks : mapping
        What tells volumes at the same positions apart: name for people to value.
    """

    path: Path
    index: int
    instance: str
    number: int
    position: NDArray[np.float64]
    right: NDArray[np.float64]
    down: NDArray[np.float64]
    pixel_mm: tuple[float, float]
    shape: tuple[int, int]
    depth_mm: float | None
    slope: float
    intercept: float
    dtype: np.dtype[Any]
    syntax: str
    marks: Mapping[str, object]

    @property
    def normal(self) -> NDArray[np.float64]:
        """Unit vector across the slice."""
        return np.cross(self.right, self.down)


def frames_of(header: Any, path: Path, syntax: str) -> tuple[tuple[Frame, ...], str]:
    """Images of a file, or none and why: the sentence goes on after the file's name.

    Raises
    ------
    ValueError and whatever pydicom raises
        If what the header says is damaged.
    """
    count = int((numbers(header, "NumberOfFrames", 1) or (1,))[0])
    groups = header.get("PerFrameFunctionalGroupsSequence")
    if not groups:
        if count > 1:
            return (), (
                f"holds {count} images without a position for each; convert it to NIfTI with "
                "dcm2niix, or export it as an enhanced image or as single slices"
            )
        sources = [[header]]
    else:
        if len(groups) != count:
            raise ValueError(f"it announces {count} frames but describes {len(groups)}")
        shared = _groups((header.get("SharedFunctionalGroupsSequence") or [Dataset()])[0])
        sources = [[*_groups(own), *shared, header] for own in groups]
    frames = [_frame(header, own, path, index, syntax) for index, own in enumerate(sources)]
    usable = tuple(frame for frame in frames if frame is not None)
    if len(usable) < len(frames):
        return (), (
            "does not say where it lies in the patient (no image position, orientation or pixel "
            "spacing); choose the scanner's own images"
        )
    return usable, ""


def _groups(item: Any) -> list[Any]:
    """All functional groups of one frame, with what the groups contain in turn."""
    found: list[Any] = []
    for element in item:
        about_others = element.keyword.startswith(("Referenced", "Derivation", "Source"))
        if element.VR == "SQ" and element.value and not about_others:
            inner = element.value[0]
            found += [inner, *_groups(inner)]
    return found


def _frame(header: Any, sources: list[Any], path: Path, index: int, syntax: str) -> Frame | None:
    """Describe one image by the first of its sources that knows; None without a position."""

    def value(keyword: str, count: int) -> tuple[float, ...] | None:
        return next((v for s in sources if (v := numbers(s, keyword, count)) is not None), None)

    position = value("ImagePositionPatient", 3)
    orientation = value("ImageOrientationPatient", 6)
    pixel = value("PixelSpacing", 2)
    if position is None or orientation is None or pixel is None:
        return None
    if min(pixel) <= 0:
        raise ValueError(f"its pixel spacing is {pixel[0]:g} x {pixel[1]:g} mm")
    right, down = np.array(orientation[:3]), np.array(orientation[3:])
    lengths = [float(np.linalg.norm(right)), float(np.linalg.norm(down))]
    if max(abs(n - 1) for n in lengths) > SQUARENESS or abs(right @ down) > SQUARENESS:
        raise ValueError("its orientation is not two directions at right angles")
    # Scanners mean the gap by either; between centres it is never less than the thickness.
    depths = (value("SpacingBetweenSlices", 1) or (0.0,)) + (value("SliceThickness", 1) or (0.0,))
    return Frame(
        path=path,
        index=index,
        instance=str(header.get("SOPInstanceUID") or ""),
        number=int((numbers(header, "InstanceNumber", 1) or (0,))[0]),
        position=np.array(position),
        right=right / lengths[0],
        down=down / lengths[1],
        pixel_mm=(pixel[0], pixel[1]),
        shape=(int(header.Rows), int(header.Columns)),
        depth_mm=max(depths) if max(depths) > 0 else None,
        slope=(value("RescaleSlope", 1) or (1.0,))[0] or 1.0,
        intercept=(value("RescaleIntercept", 1) or (0.0,))[0],
        dtype=stored_type(header),
        syntax=syntax,
        marks=_marks(sources),
    )


def _marks(sources: list[Any]) -> dict[str, object]:
    """Whatever may tell this image from another one at the same place."""
    marks: dict[str, object] = {}
    for source in sources:
        for keyword, name in MARKS.items():
            if name not in marks and (element := source.get(keyword)) not in (None, ""):
                marks[name] = _plain(element)
        if "b-value" not in marks and SIEMENS_B_VALUE in source:
            raw = source[SIEMENS_B_VALUE].value
            marks["b-value"] = _plain(raw.decode("ascii").strip() if type(raw) is bytes else raw)
    return marks


def _plain(value: Any) -> object:
    """Turn a pydicom value into a number, a text, or a tuple of these."""
    if not isinstance(value, str) and hasattr(value, "__iter__"):
        return tuple(_plain(item) for item in value)
    try:
        return float(value)
    except ValueError:
        return str(value)


def numbers(source: Any, keyword: str, count: int) -> tuple[float, ...] | None:
    """Give an element as finite numbers; None where it is absent or empty.

    Raises
    ------
    ValueError
        If it has another count, or is not finite.
    """
    found = source.get(keyword)
    if found is None or found == "":
        return None
    several = not isinstance(found, str) and hasattr(found, "__iter__")
    values = tuple(float(item) for item in (found if several else [found]))
    if not values:
        return None
    if len(values) != count or not all(math.isfinite(item) for item in values):
        raise ValueError(f"{keyword} is {found}")
    return values


def stored_type(header: Any) -> np.dtype[Any]:
    """Give the number type of the pixels; `ValueError` for one that does not exist."""
    bits = int(header.BitsAllocated)
    if bits == 1:
        return np.dtype(np.uint8)
    if bits not in (8, 16, 32, 64):
        raise ValueError(f"its pixels have {bits} bits")
    sign = header.get("PixelRepresentation")
    if sign is None and bits >= 32:  # only float pixels go without
        return np.dtype(f"f{bits // 8}")
    return np.dtype(f"{'i' if sign else 'u'}{bits // 8}")
