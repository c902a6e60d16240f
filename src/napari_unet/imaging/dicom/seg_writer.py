"""Saving a mask as a DICOM segmentation that refers to the images of its series."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread

from napari_unet import __version__
from napari_unet.errors import SaveError, VolumeError
from napari_unet.imaging.atomic import atomic_path, check_may_write
from napari_unet.imaging.dicom.frames import Frame
from napari_unet.imaging.dicom.headers import read_header, reading
from napari_unet.imaging.dicom.seg_reader import keep_value
from napari_unet.imaging.dicom.series import stack_of, why_no_reference
from napari_unet.imaging.receipt import GeometryReceipt
from napari_unet.imaging.scan_file import PROGRAM, ScanFile, unnamed

SUFFIX = ".dcm"
"""File name of a DICOM segmentation."""

INSTALL = (
    "Saving as DICOM needs highdicom, which is not installed. "
    "Install it: pip install 'napari-unet-mri[dicom]'"
)

MOVED_MM = 1e-3
"""Positions that are written must come back this well."""

BLANK = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
)
"""What the standard demands to be there, but allows to be empty; anonymizers remove it."""


def is_dicom_seg(path: Path) -> bool:
    """Whether a file name asks for a DICOM segmentation."""
    return path.suffix.lower() == SUFFIX


def check_can_refer(series: ScanFile | None) -> ScanFile:
    """Notice before a mask is made, not after, that it cannot be saved as DICOM.

    Returns
    -------
    ScanFile
        The same series.

    Raises
    ------
    SaveError
        If there is no DICOM series to refer to, its images lack identifiers, or highdicom is
        not installed.
    """
    if series is None or series.format != "DICOM":
        found = "none is known for this mask" if series is None else f"{series.name} is none"
        raise SaveError(
            "A DICOM segmentation (.dcm) refers to the images of a DICOM series, but "
            f"{found}. Save as .nii.gz."
        )
    try:
        import highdicom  # noqa: F401
    except ImportError as error:
        raise SaveError(INSTALL) from error
    if why := why_no_reference(map(read_header, series.files)):
        raise SaveError(
            f"A DICOM segmentation (.dcm) refers to the images of {series.name}, but {why}. Save "
            "the mask as .nii.gz."
        )
    return series


def save_dicom_seg(
    labels_zyx: NDArray[Any],
    series: ScanFile,
    path: str | Path,
    structures: Sequence[tuple[int, str, str]] = (),
    *,
    overwrite: bool = False,
) -> GeometryReceipt:
    """Write a mask as a binary DICOM segmentation, then read it back and compare.

    Every structure becomes a segment with its name and colour, numbered from 1 as the
    standard demands (its value is kept in a private element). Each of its frames refers to
    the image that it was painted on. Where a series of single images has several volumes,
    that is the image of the first one.

    Parameters
    ----------
    labels_zyx : ndarray of integer, shape (z, y, x)
        Display order.
    series : ScanFile
        The opened DICOM series.
    path : str or Path
        File to write, ``.dcm``, in an existing folder.
    structures : sequence of (value, name, colour)
        Colour as ``#rrggbb``. Values in the mask that are not named here are called
        ``Structure 3``.
    overwrite : bool
        Whether an existing file may be replaced.

    Returns
    -------
    GeometryReceipt
        `codes_ok` tells whether the file refers to every image of the series, and names
        every structure.

    Raises
    ------
    GridMismatchError
        If the mask has not the scan's shape.
    SaveError
        If highdicom is not installed or refuses the series, the file cannot be written,
        or reads back differently; what was there before is untouched.
    """
    path = Path(path)
    if not is_dicom_seg(path):
        raise SaveError(f"Cannot save as {path.name}: give the file a name ending in {SUFFIX}.")
    check_may_write(path, overwrite=overwrite)
    check_can_refer(series)
    if path.resolve() in [file.resolve() for file in series.files]:
        raise SaveError(f"{path.name} is an image of the series itself. Choose another name.")
    labels = series.grid.to_source(labels_zyx).transpose(2, 1, 0)  # (slice, row, column)
    named = _all_structures(labels, structures)
    values = np.array([value for value, _, _ in named])
    segments = np.zeros(labels.shape, dtype=np.min_scalar_type(len(named)))
    for number, value in enumerate(values, start=1):
        segments[labels == value] = number
    slices = stack_of(series).volumes[0]
    with atomic_path(path, overwrite=overwrite) as temporary:
        try:
            with reading(path):
                _segmentation(segments, slices, named, series.name).save_as(temporary)
            receipt = _compare(temporary, path, segments, slices, named)
        except VolumeError as error:
            raise SaveError(
                f"{path.name} could not be made as a DICOM segmentation: "
                f"{error.__cause__ or error}. Save the mask as .nii.gz."
            ) from error
        if not receipt.ok:
            raise SaveError(f"{receipt.summary()} Nothing was kept; save the mask as .nii.gz.")
    return receipt


def _all_structures(
    labels: NDArray[Any], structures: Sequence[tuple[int, str, str]]
) -> list[tuple[int, str, str]]:
    """Structures by value, with those that only the mask knows."""
    known = {int(value): (name, colour) for value, name, colour in structures if value > 0}
    for value in np.unique(labels):
        if value > 0:
            known.setdefault(int(value), unnamed(int(value))[1:])
    if not known:
        raise SaveError(
            "The mask is empty and no structure is named: a DICOM segmentation needs one. "
            "Paint something first, or save it as .nii.gz."
        )
    return [(value, *known[value]) for value in sorted(known)]


def _segmentation(
    segments: NDArray[Any],
    slices: Sequence[Frame],
    structures: list[tuple[int, str, str]],
    name: str,
) -> Any:
    """Build the DICOM object with highdicom."""
    import highdicom as hd
    from pydicom.sr.codedict import codes

    sources = [dcmread(file, stop_before_pixels=True) for file in _files(slices)]
    for source in sources:
        source.decode()  # names are written as UTF-8, whatever the source has them in
        for keyword in BLANK:
            if keyword not in source:
                setattr(source, keyword, "")
    positions, one_file_each = None, True  # those of the sources
    if "PerFrameFunctionalGroupsSequence" in sources[0]:
        if len(sources) > 1:
            raise SaveError(
                f"The slices of {name} are spread over {len(sources)} multi-frame files, and a "
                "DICOM segmentation can refer to one only. Save the mask as .nii.gz."
            )
        one_file_each = False
        # highdicom finds the frames there; without, it expects those of the file, in order.
        positions = [
            hd.PlanePositionSequence("PATIENT", frame.position.tolist()) for frame in slices
        ]
    algorithm = hd.AlgorithmIdentificationSequence(
        PROGRAM, codes.DCM.ArtificialIntelligence, __version__
    )
    found = hd.seg.Segmentation(
        source_images=sources,
        pixel_array=segments,
        plane_positions=positions,
        segmentation_type="BINARY",
        segment_descriptions=[
            hd.seg.SegmentDescription(
                segment_number=number,
                segment_label=_label(label),
                segmented_property_category=codes.SCT.Tissue,
                segmented_property_type=codes.SCT.Tissue,
                algorithm_type="SEMIAUTOMATIC",
                algorithm_identification=algorithm,
                display_color=hd.color.CIELabColor.from_string(colour),
            )
            for number, (_, label, colour) in enumerate(structures, start=1)
        ],
        series_instance_uid=hd.UID(),
        series_number=1000 + int(sources[0].get("SeriesNumber") or 0),
        series_description=f"Segmentation of {name}"[:64],
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer=PROGRAM,
        manufacturer_model_name=PROGRAM,
        software_versions=__version__,
        device_serial_number="0",
        content_label="SEGMENTATION",
        specific_character_set="ISO_IR 192",
        # Single images are counted by the references to them; of frames only those that are
        # there tell how many slices the scan has.
        omit_empty_frames=one_file_each,
    )
    for segment, (value, _, _) in zip(found.SegmentSequence, structures, strict=True):
        keep_value(segment, value)
    return found


def _label(name: str) -> str:
    """Name of a structure as DICOM can hold it: 64 characters, and no backslash."""
    return name.replace("\\", "/").strip()[:64].strip() or "label"


def _files(slices: Sequence[Frame]) -> list[Path]:
    return list(dict.fromkeys(frame.path for frame in slices))


def _compare(
    written: Path,
    path: Path,
    segments: NDArray[Any],
    slices: Sequence[Frame],
    structures: list[tuple[int, str, str]],
) -> GeometryReceipt:
    """Open a segmentation with pydicom alone and put its frames back to their places."""
    first = slices[0]
    with reading(path):
        found: Any = dcmread(written)
        size = (int(found.Rows), int(found.Columns))
        frames = np.asarray(found.pixel_array).reshape(-1, *size)
        shared = found.SharedFunctionalGroupsSequence[0]
        positions = np.array([frame.position for frame in slices])
        rebuilt = np.zeros_like(segments)
        in_place = size == first.shape
        for groups, frame in zip(found.PerFrameFunctionalGroupsSequence, frames, strict=True):
            number = int(
                _of("SegmentIdentificationSequence", groups, shared).ReferencedSegmentNumber
            )
            position = np.array(
                _of("PlanePositionSequence", groups, shared).ImagePositionPatient, float
            )
            directions = np.array(
                _of("PlaneOrientationSequence", groups, shared).ImageOrientationPatient, float
            )
            pixel = np.array(_of("PixelMeasuresSequence", groups, shared).PixelSpacing, float)
            apart = np.linalg.norm(positions - position, axis=1)
            in_place &= bool(
                apart.min() < MOVED_MM
                and np.allclose(directions, [*first.right, *first.down], atol=1e-4)
                and np.allclose(pixel, first.pixel_mm, rtol=1e-5)
            )
            if size == first.shape:
                rebuilt[apart.argmin()][frame > 0] = number
        names = [str(segment.SegmentLabel) for segment in found.SegmentSequence]
        referred = {
            str(item.ReferencedSOPInstanceUID)
            for series in found.ReferencedSeriesSequence
            for item in series.ReferencedInstanceSequence
        }
    return GeometryReceipt(
        path=path,
        shape=(*first.shape[::-1], len(slices)),
        shape_ok=size == first.shape,
        affine_ok=in_place,
        codes_ok=names == [_label(name) for _, name, _ in structures]
        and referred >= {frame.instance for frame in slices},
        voxels_ok=bool(np.array_equal(rebuilt, segments)),
        format="DICOM segmentation",
    )


def _of(name: str, own: Any, shared: Any) -> Any:
    """Functional group of one frame, or of all."""
    return (own.get(name) or shared.get(name))[0]
