"""Opening DICOM series: a folder, or any file of it."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_unet.errors import VolumeError
from napari_unet.imaging.dicom.frames import Frame
from napari_unet.imaging.dicom.grouping import (
    by_spacing,
    files_below,
    is_even,
    range_text,
    spacing_text,
    without_rounded_copies,
)
from napari_unet.imaging.dicom.headers import (
    DISC_INDEX,
    Header,
    is_dicom,
    read_header,
    reading,
)
from napari_unet.imaging.dicom.pixels import check_decoders, read_frames
from napari_unet.imaging.dicom.stack import Stack, parallel, places, stack
from napari_unet.imaging.scan_file import ScanFile, Voxels
from napari_unet.imaging.volume import PLANES, Grid

DAMAGED = "is damaged or incomplete"
"""Why a file is left out that could not be read."""

FEWEST_JOINED = 3
"""Series of one slice each that may be one scan."""

MOST_LISTED = 12
"""Series that a message lists."""

__all__ = ["Series", "is_dicom", "open_dicom", "series_in", "stack_of"]


@dataclass(frozen=True, slots=True)
class Series:
    """Parallel images of one DICOM series, or of several that were one.

    Parameters
    ----------
    uid : str
        Series instance UID; with ``:2`` and so on for further stacks of one series,
        such as the three planes of a localizer, or ``:joined`` for several series.
    name : str
        Its description, unique in its folder.
    files : tuple of Path
        All its files, by name.
    shape : tuple of int
        Columns, rows, slices.
    note : str
        Why it is not just one of the series that the files name; mostly empty.
    """

    uid: str
    name: str
    files: tuple[Path, ...]
    shape: tuple[int, int, int]
    note: str = ""


@dataclass(frozen=True, slots=True)
class _Found:
    """A series with what its headers say, and what else was in the folder."""

    series: Series
    frames: list[Frame]
    notes: tuple[str, ...]


def series_in(path: Path) -> tuple[Series, ...]:
    """Series that are scans: of a folder, or those that a file belongs to.

    Of a folder without any, those in its folders.

    Raises
    ------
    VolumeError
        If there is none.
    """
    path = _without_index(Path(path))
    found = [item.series for item in _look(path)]
    return tuple(series for series in found if path.is_dir() or path in series.files)


def open_dicom(path: Path, series: str | None = None) -> ScanFile:
    """Open a DICOM series without reading its pixels.

    Parameters
    ----------
    path : Path
        A folder (or the DICOMDIR in it); or a file, for the series of that file.
    series : str, optional
        Which series of the folder: (the beginning of) its UID, or its name.

    Raises
    ------
    VolumeError
        If there is no scan, more than one to choose from, or the images are damaged or
        do not lie regularly one above another.
    """
    path = _without_index(Path(path))
    found = _choose(_look(path), path, series)
    check_decoders(found.frames, found.series.name)
    try:
        stacked = stack(found.frames, found.series.name)
    except VolumeError as error:  # the file that is missing may be the one left out
        raise VolumeError(" ".join([str(error), *found.notes])) from error
    frames = [frame for volume in stacked.volumes for frame in volume]
    scalings = {(frame.slope, frame.intercept) for frame in frames}
    notes = [found.series.note, *found.notes, *stacked.notes]
    if len(scalings) > 1:
        notes.append("Its slices are scaled each in its own way; that is applied on reading.")
    columns, rows = stacked.volumes[0][0].shape[::-1]
    return ScanFile(
        path=path,
        format="DICOM",
        name=re.sub(r"[^\w.+-]+", "_", found.series.name).strip("_") or "scan",
        grid=Grid(
            shape=(columns, rows, len(stacked.volumes[0])),
            affine=stacked.affine,
            qform=stacked.affine,
            sform=stacked.affine,
            # A quaternion cannot hold a shear: leave it unused rather than wrong.
            qform_code=0 if stacked.sheared else 1,
            sform_code=1,
        ),
        dtype=_common_type(frames, scalings),
        read=lambda number: _voxels(stacked, number, found.series.name),
        volumes=stacked.names,
        notes=tuple(dict.fromkeys(filter(None, notes))),
        files=found.series.files,
    )


def stack_of(scan: ScanFile) -> Stack:
    """Slices of an opened DICOM series, read from its headers again."""
    frames = [frame for header in map(read_header, scan.files) for frame in header.frames]
    groups = map(without_rounded_copies, parallel(frames))
    for part in (part for group in groups for part in by_spacing(group)):
        stacked = stack(part, scan.name)
        if np.allclose(stacked.affine, scan.grid.affine):
            return stacked
    raise VolumeError(f"The files of {scan.name} have changed since it was opened. Open it again.")


def why_no_reference(headers: Iterable[Header]) -> str:
    """Why a DICOM segmentation cannot refer to the images of a scan; empty where it can."""
    headers = list(headers)
    if missing := next((header.missing for header in headers if header.missing), ()):
        return f"its images have no {' and no '.join(missing)}"
    if len({(h.study_uid, h.series_uid, h.frame_of_reference) for h in headers}) > 1:
        return "its images are of several series or studies"
    return ""


def _without_index(path: Path) -> Path:
    """Give the folder of a disc for its index."""
    return path.parent if path.name.upper() == "DICOMDIR" and path.is_file() else path


def _look(path: Path) -> list[_Found]:
    """All scans among the files of a folder, and in their notes what is none."""
    folder = path if path.is_dir() else path.parent
    own = None if path.is_dir() else path
    if own is not None and not is_dicom(own):
        raise VolumeError(f"{own.name} is not a DICOM file. Choose a file of the series.")
    with reading(folder):
        files = sorted(file for file in folder.iterdir() if file.is_file() and is_dicom(file))
    headers, left_out = _headers(files, own)
    if not headers and own is None:  # as on discs
        headers, deeper = _headers([file for file in files_below(folder) if is_dicom(file)], None)
        left_out |= deeper
    if own is not None:  # whoever names a file asks for its series only
        left_out = {file: why for file, why in left_out.items() if why == DAMAGED}
    if headers:
        left_out = {file: why for file, why in left_out.items() if why != DISC_INDEX}
    notes = tuple(_left_out(left_out))
    groups = _by_series(headers)
    found = [*_joined(groups), *(item for group in groups.values() for item in _of_series(group))]
    if found:
        return [replace(f, notes=(*f.notes, *notes)) for f in _named(found)]
    if notes:
        raise VolumeError(f"{folder} holds no DICOM scan. {' '.join(notes)}")
    raise VolumeError(
        f"There are no DICOM files in {folder}, or in its folders. Choose another one."
    )


def _headers(files: Sequence[Path], own: Path | None) -> tuple[list[Header], dict[Path, str]]:
    """Headers of images, and why other files are left out; `own` has to be an image."""
    headers: list[Header] = []
    left_out: dict[Path, str] = {}
    for file in files:
        try:
            header = read_header(file)
        except VolumeError:
            if file == own:
                raise
            left_out[file] = DAMAGED
            continue
        if header.unusable and file == own:
            raise VolumeError(f"{file.name} {header.unusable}.")
        if header.unusable:
            left_out[file] = header.unusable
        else:
            headers.append(header)
    return headers, left_out


def _left_out(reasons: dict[Path, str]) -> Iterator[str]:
    """One sentence a reason for files that are no scans."""
    for reason, count in Counter(reasons.values()).items():
        first = next(file.name for file, why in reasons.items() if why == reason)
        others = f" and {count - 1} more" if count > 1 else ""
        yield f"Left out: {first}{others}, which {reason}."


def _by_series(headers: Iterable[Header]) -> dict[str, list[Header]]:
    groups: dict[str, list[Header]] = {}
    for header in headers:
        groups.setdefault(header.series_uid, []).append(header)
    return groups


def _joined(groups: Mapping[str, list[Header]]) -> Iterator[_Found]:
    """Scans of which every slice is a series of its own, as some programs export them."""
    alone = [group[0] for group in groups.values() if len(group) == len(group[0].frames) == 1]
    alike: defaultdict[tuple[str, ...], list[Header]] = defaultdict(list)
    for header in alone:
        alike[header.study_uid, header.frame_of_reference, header.description].append(header)
    for headers in alike.values():
        for frames in parallel([header.frames[0] for header in headers]):
            if len(frames) < FEWEST_JOINED or len(places(frames)) < len(frames):
                continue
            if not is_even(frames):
                continue
            name = f"{_name(headers[0])} ({len(frames)} series joined)"
            note = (
                f"{len(frames)} series of one slice each lie one above another like one scan; "
                f"“{name}” joins them."
            )
            files = tuple(sorted(frame.path for frame in frames))
            lowest = next(h for h in headers if h.frames[0].path == frames[0].path)
            uid = f"{lowest.series_uid}:joined"
            series = Series(uid, name, files, _shape(frames), note)
            yield _Found(series, frames, _notes(headers, files))


def _of_series(headers: list[Header]) -> list[_Found]:
    """Volumes among the images of one series."""
    groups = parallel([frame for header in headers for frame in header.frames])
    several = [group for group in groups if len(group) > 1]
    said: list[str] = []
    if several and len(several) < len(groups):
        alone = [group[0].path.name for group in groups if len(group) == 1]
        said.append(
            f"Left out: {', '.join(alone[:3])}{' and more' * (len(alone) > 3)}, of another size or "
            "orientation than the rest of the series, like a localizer."
        )
        groups = several
    found: list[_Found] = []
    for group in groups:
        name = _name(headers[0])
        if len(groups) > 1:
            name += f" ({PLANES[2 - int(np.abs(group[0].normal).argmax())]})"
        kept = without_rounded_copies(group)
        copies = [_copies(len(group) - len(kept))] if len(kept) < len(group) else []
        for series, frames in _parts(group, kept, name, headers[0].series_uid, len(found)):
            notes = [*_notes(headers, series.files), *said, *copies]
            found.append(_Found(series, frames, tuple(notes)))
    return found


def _copies(count: int) -> str:
    are = "image is" if count == 1 else "images are"
    return (
        f"{count} of its {are} there twice, at positions that differ by rounding; the positions "
        "with more digits are used."
    )


def _parts(
    group: Sequence[Frame], kept: Sequence[Frame], name: str, uid: str, n_before: int
) -> Iterator[tuple[Series, list[Frame]]]:
    """Parts with one slice spacing each of parallel images, of which those `kept` are used."""
    parts = by_spacing(kept)
    note = ""
    if len(parts) > 1:
        ranges = ", ".join(f"{spacing_text(part)} apart from {range_text(part)}" for part in parts)
        note = (
            f"The slices of {name} lie {ranges} (along the slice normal), and a volume has one "
            "spacing: each part is a series of its own here; dcm2niix makes one volume of all."
        )
    for n, part in enumerate(parts, start=n_before + 1):
        others = {frame.path for other in parts if other is not part for frame in other}
        files = {frame.path for frame in group} - others | {frame.path for frame in part}
        series = Series(
            uid=f"{uid}:{n}" if n > 1 else uid,
            name=f"{name} ({spacing_text(part)} apart)" if note else name,
            files=tuple(sorted(files)),
            shape=_shape(part),
            note=note,
        )
        yield series, part


def _notes(headers: Iterable[Header], files: Collection[Path]) -> tuple[str, ...]:
    """What somebody who works with the images in some files should know."""
    own = [header for header in headers if header.path in files]
    notes = [note for header in own for note in header.notes]
    if why := why_no_reference(own):
        notes.append(f"A mask of it cannot be saved as DICOM (.dcm): {why}.")
    return tuple(dict.fromkeys(notes))


def _shape(frames: Sequence[Frame]) -> tuple[int, int, int]:
    rows, columns = frames[0].shape
    return columns, rows, len(places(frames))


def _name(header: Header) -> str:
    return header.description or f"series {header.series_number}"


def _named(found: list[_Found]) -> list[_Found]:
    """Give every series of a folder its own name."""
    seen: Counter[str] = Counter()
    named = []
    for item in found:
        seen[item.series.name] += 1
        if (again := seen[item.series.name]) > 1:
            series = replace(item.series, name=f"{item.series.name} #{again}")
            named.append(replace(item, series=series))
        else:
            named.append(item)
    return named


def _choose(found: list[_Found], path: Path, wanted: str | None) -> _Found:
    """Pick the one series that is meant, or list them."""
    if wanted is None:
        matching = [f for f in found if path.is_dir() or path in f.series.files]
    else:
        text = wanted.casefold()
        exact = [f for f in found if text in (f.series.uid, f.series.name.casefold())]
        matching = exact or [
            f for f in found if f.series.uid.startswith(wanted) or text in f.series.name.casefold()
        ]
    if len(matching) == 1:
        return matching[0]
    several = matching or found
    listed = "; ".join(
        f"{f.series.name!r} ({' x '.join(map(str, f.series.shape))}, UID {f.series.uid})"
        for f in several[:MOST_LISTED]
    )
    more = f"; and {len(several) - MOST_LISTED} more" if len(several) > MOST_LISTED else ""
    problem = f"no DICOM series {wanted!r}" if not matching else f"{len(matching)} DICOM series"
    why = dict.fromkeys(f"{f.series.note} " for f in several if f.series.note)
    raise VolumeError(
        f"{path.name} has {problem}. {''.join(why)}Choose one by its name, or by the beginning of "
        f"its UID: {listed}{more}."
    )


def _common_type(frames: Sequence[Frame], scalings: set[tuple[float, float]]) -> np.dtype[Any]:
    if len(scalings) > 1:
        return np.dtype(np.float32)
    return np.result_type(*{frame.dtype for frame in frames})


def _voxels(stacked: Stack, number: int, name: str) -> Voxels:
    """Read the pixels of one volume, file by file, straight into its array."""
    if not 0 <= number < len(stacked.volumes):
        raise VolumeError(f"{name} has {len(stacked.volumes)} volumes; there is no {number + 1}.")
    slices = stacked.volumes[number]
    frames = [frame for volume in stacked.volumes for frame in volume]
    scalings = {(frame.slope, frame.intercept) for frame in frames}
    with reading(slices[0].path):
        volume = np.empty((len(slices), *slices[0].shape), dtype=_common_type(frames, scalings))

    def put(k: int, image: NDArray[Any]) -> None:
        if len(scalings) > 1:
            image = image * np.float64(slices[k].slope) + slices[k].intercept
        volume[k] = image

    read_frames(slices, put)
    slope, intercept = (1.0, 0.0) if len(scalings) > 1 else next(iter(scalings))
    return Voxels(volume.transpose(2, 1, 0), slope, intercept)
