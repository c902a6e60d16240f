"""Opening DICOM segmentations as masks, with pydicom alone.

A file keeps one image for each segment and slice where that is found (binary), or one for
each slice whose values are segment numbers (label map). Its frames say where they lie; slices
without any are known by the references to the images of the series.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.pixels.utils import iter_pixels

from napari_unet.errors import VolumeError
from napari_unet.imaging.dicom.frames import Frame, frames_of, numbers
from napari_unet.imaging.dicom.headers import reading
from napari_unet.imaging.dicom.stack import parallel
from napari_unet.imaging.scan_file import (
    PROGRAM,
    ScanFile,
    StructureRow,
    Voxels,
    structure_row,
    too_large,
)
from napari_unet.imaging.volume import RAS_TO_LPS, Grid

MODALITY = "SEG"

PRIVATE_GROUP = 0x0063
"""Where the value of a structure is kept in its segment, whose own number has to count from 1."""

OFF_PLACE = 0.05
"""Slice distances by which a frame may lie off the regular grid of the others."""

_WHITE = (0.95047, 1.0, 1.08883)
_TO_RGB = np.array(
    [[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]]
)


@dataclass(frozen=True, slots=True, eq=False)
class _Image:
    """One frame: where it lies, of which segment it is, and of which image of the series.

    Parameters
    ----------
    frame : Frame
        Its place.
    segment : int or None
        Segment number; None where its pixels are segment numbers.
    source : str
        SOP instance UID of the image that it was painted on; empty where it does not say so.
    """

    frame: Frame
    segment: int | None
    source: str


def is_segmentation(path: Path) -> bool:
    """Whether a DICOM file is a segmentation."""
    try:
        with reading(path):
            header = dcmread(path, force=True, stop_before_pixels=True, specific_tags=["Modality"])
            return str(header.get("Modality") or "") == MODALITY
    except VolumeError:
        return False


def keep_value(segment: Any, value: int) -> None:
    """Keep the value of a structure in the description of its segment."""
    block = segment.private_block(PRIVATE_GROUP, PROGRAM, create=True)
    block.add_new(1, "UL", value)


def segments_of(path: Path) -> tuple[StructureRow, ...]:
    """Value, name and colour of the segments of a file; none if it is another or damaged."""
    try:
        return tuple(sorted(_rows(_header(path)))) if is_segmentation(path) else ()
    except VolumeError:
        return ()


def open_segmentation(path: Path) -> ScanFile:
    """Open a DICOM segmentation without reading its pixels.

    Raises
    ------
    VolumeError
        If it is damaged, does not say where it lies, or is no mask.
    """
    header = _header(path)
    kind = str(header.get("SegmentationType") or "BINARY")
    if kind not in ("BINARY", "LABELMAP"):
        raise VolumeError(
            f"{path.name} is a DICOM segmentation with shares of voxels ({kind.lower()}); a mask "
            "has one label per voxel. Export it as a binary one."
        )
    with reading(path):
        images = _images(header, path, kind == "LABELMAP")
        values = _values(header)
        affine, places, count, sheared = _grid(header, images, path)
    first = images[0].frame
    grid = Grid(
        shape=(first.shape[1], first.shape[0], count),
        affine=affine,
        qform=affine,
        sform=affine,
        qform_code=0 if sheared else 1,  # as of the series
        sform_code=1,
    )
    highest = max(values.values(), default=1)
    dtype = np.min_scalar_type(highest)
    return ScanFile(
        path=path,
        format="DICOM segmentation",
        name=re.sub(r"\.dcm$", "", path.name, flags=re.IGNORECASE),
        grid=grid,
        dtype=dtype,
        read=lambda _: Voxels(_read(path, images, places, values, grid, dtype)),
        is_mask=True,
    )


def _header(path: Path) -> Any:
    with reading(path):
        return dcmread(path, force=True, stop_before_pixels=True)


def _rows(header: Any) -> list[StructureRow]:
    with reading(Path(str(header.filename))):
        values = _values(header)
        return [
            structure_row(
                values[int(segment.SegmentNumber)],
                str(segment.get("SegmentLabel") or ""),
                _color(segment),
            )
            for segment in header.SegmentSequence
            if int(segment.SegmentNumber) in values
        ]


def _values(header: Any) -> dict[int, int]:
    """Label value of each segment number: as we kept it, else the number."""
    own, kept = {}, {}
    for segment in header.SegmentSequence:
        number = int(segment.SegmentNumber)
        own[number] = number
        try:
            kept[number] = int(segment.private_block(PRIVATE_GROUP, PROGRAM)[1].value)
        except KeyError:
            continue
    usable = len(kept) == len(own) == len(set(kept.values())) and min(kept.values()) > 0
    found = kept if usable else own
    found.pop(0, None)  # background, which label maps may describe
    return found


def _color(segment: Any) -> str | None:
    """Colour of a segment as #rrggbb, from its CIELab value (white D65, as highdicom has it)."""
    lab = segment.get("RecommendedDisplayCIELabValue")
    if lab is None or len(lab) != 3:
        return None
    lightness, a, b = (int(part) / 65535 for part in lab)
    y = (100 * lightness + 16) / 116
    x, z = y + (255 * a - 128) / 500, y - (255 * b - 128) / 200
    xyz = [
        white * (c**3 if c**3 > 0.008856 else (c - 16 / 116) / 7.787)
        for white, c in zip(_WHITE, (x, y, z), strict=True)
    ]
    linear = np.clip(_TO_RGB @ xyz, 0, 1)
    rgb = np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear)
    red, green, blue = (int(part) for part in np.rint(255 * rgb))
    return f"#{red:02x}{green:02x}{blue:02x}"


def _images(header: Any, path: Path, is_labelmap: bool) -> list[_Image]:
    """All frames of a file with what they are of."""
    syntax = str(header.file_meta.TransferSyntaxUID)
    frames, unusable = frames_of(header, path, syntax)
    if not frames:
        raise VolumeError(f"{path.name} {unusable or 'holds no image'}.")
    if len(parallel(frames)) > 1:
        raise VolumeError(
            f"{path.name} has slices in several directions; a mask is one block. Export its "
            "directions apart."
        )
    shared = (header.get("SharedFunctionalGroupsSequence") or [{}])[0]
    found = []
    for frame, own in zip(frames, header.PerFrameFunctionalGroupsSequence, strict=True):
        segment = None
        if not is_labelmap:
            group = own.get("SegmentIdentificationSequence") or shared.get(
                "SegmentIdentificationSequence"
            )
            segment = int(group[0].ReferencedSegmentNumber)
        found.append(_Image(frame, segment, _source(own)))
    return found


def _source(groups: Any) -> str:
    """Image that a frame was painted on; empty where it does not say so, or names several."""
    derivations = groups.get("DerivationImageSequence") or ()
    sources = [each for item in derivations for each in item.get("SourceImageSequence") or ()]
    return str(sources[0].get("ReferencedSOPInstanceUID") or "") if len(sources) == 1 else ""


def _grid(
    header: Any, images: Sequence[_Image], path: Path
) -> tuple[NDArray[np.float64], list[int], int, bool]:
    """Affine to RAS, slice of each frame, number of slices, and whether they are sheared."""
    first = images[0].frame
    heights = np.array([image.frame.position @ first.normal for image in images])
    lowest, highest = int(heights.argmin()), int(heights.argmax())
    apart = np.diff(np.unique(heights.round(3)))
    shared = header.SharedFunctionalGroupsSequence[0].get("PixelMeasuresSequence")
    named = numbers(shared[0], "SpacingBetweenSlices", 1) if shared else None
    spacing = (named or (0.0,))[0] or (float(apart.min()) if len(apart) else first.depth_mm or 1.0)
    exact = (heights - heights[lowest]) / spacing
    places = [int(place) for place in np.rint(exact)]
    step = first.normal * spacing
    origin = images[lowest].frame.position
    if places[highest]:
        step = (images[highest].frame.position - origin) / places[highest]
    off = [
        np.linalg.norm(image.frame.position - origin - place * step)
        for image, place in zip(images, places, strict=True)
    ]
    if max(off) > OFF_PLACE * spacing:
        raise VolumeError(
            f"The slices of {path.name} are not at regular distances (up to {max(off):.3g} mm "
            "off). Export it again, complete."
        )
    below, count = _whole_series(header, images, places)
    places = [place + below for place in places]
    affine = np.eye(4)
    affine[:3, 0] = first.right * first.pixel_mm[1]
    affine[:3, 1] = first.down * first.pixel_mm[0]
    affine[:3, 2] = step
    affine[:3, 3] = origin - below * step
    affine[:3] = RAS_TO_LPS @ affine[:3]
    across = step - (step @ first.normal) * first.normal
    sheared = bool(np.linalg.norm(across) * (count - 1) > 0.1 * min(first.pixel_mm))
    return affine, places, count, sheared


def _whole_series(header: Any, images: Sequence[_Image], places: Sequence[int]) -> tuple[int, int]:
    """Slices of the series below the first frame, and in all.

    Slices without a segment have no frame. Where the series consists of single images and
    those that are referred to are listed from the lowest to the highest (as this package
    does), or the other way round, the list tells how many there are.
    """
    seen = max(places) + 1
    listed = [
        str(item.ReferencedSOPInstanceUID)
        for series in header.get("ReferencedSeriesSequence") or ()
        for item in series.get("ReferencedInstanceSequence") or ()
    ]
    index = {uid: number for number, uid in enumerate(listed)}
    if len(index) < len(listed) or any(image.source not in index for image in images):
        return 0, seen
    at = [index[image.source] for image in images]
    ours = str(header.get("Manufacturer") or "") == PROGRAM
    for numbered, several in ((at, False), ([len(listed) - 1 - n for n in at], True)):
        below = {number - place for number, place in zip(numbered, places, strict=True)}
        if len(below) == 1 and (seen > 1 or (ours and not several)):
            return below.pop(), len(listed)
    return 0, seen


def _read(
    path: Path,
    images: Sequence[_Image],
    places: Sequence[int],
    values: dict[int, int],
    grid: Grid,
    dtype: np.dtype[Any],
) -> NDArray[Any]:
    """Put the frames of all segments into one array (i, j, k) of label values."""
    columns, rows, slices = grid.shape
    try:
        labels = np.zeros((slices, rows, columns), dtype)
    except (MemoryError, ValueError) as error:
        raise VolumeError(too_large(path, grid)) from error
    table = np.zeros(max(values, default=0) + 1, dtype)
    table[list(values)] = list(values.values())
    doubled = 0
    with reading(path):
        for image, place, pixels in zip(images, places, iter_pixels(path, raw=True), strict=True):
            if image.segment is None:
                if pixels.max(initial=0) >= len(table):
                    raise VolumeError(
                        f"{path.name} holds the segment {pixels.max()}, which it does not "
                        "describe. Export it again."
                    )
                labels[place] = table[pixels]
                continue
            shown = pixels > 0
            value = values[image.segment]
            doubled += int(np.count_nonzero(shown & (labels[place] > 0) & (labels[place] != value)))
            labels[place][shown] = value
    if doubled:
        raise VolumeError(
            f"{path.name} has structures that overlap, in {doubled:,} voxels; a mask has one label "
            "per voxel. Export them apart, or without overlap."
        )
    return labels.transpose(2, 1, 0)
