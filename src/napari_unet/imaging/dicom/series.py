"""Opening DICOM series: a folder, or any file of it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_unet.errors import VolumeError
from napari_unet.imaging.dicom.frames import Frame
from napari_unet.imaging.dicom.headers import Header, is_dicom, read_header, reading
from napari_unet.imaging.dicom.pixels import check_decoders, read_frames
from napari_unet.imaging.dicom.stack import Stack, parallel, places, stack
from napari_unet.imaging.scan_file import ScanFile, Voxels
from napari_unet.imaging.volume import PLANES, Grid

DAMAGED = "is damaged or incomplete"
"""Why a file is left out that could not be read."""

__all__ = ["Series", "is_dicom", "open_dicom", "series_in", "stack_of"]


@dataclass(frozen=True, slots=True)
class Series:
    """Parallel images of one DICOM series.

    Parameters
    ----------
    uid : str
        Series instance UID; with ``:2`` and so on for further stacks of one series,
        such as the three planes of a localizer.
    name : str
        Its description, unique in its folder.
    files : tuple of Path
        All its files, by name.
    shape : tuple of int
        Columns, rows, slices.
    """

    uid: str
    name: str
    files: tuple[Path, ...]
    shape: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class _Found:
    """A series with what its headers say, and what else was in the folder."""

    series: Series
    frames: list[Frame]
    notes: tuple[str, ...]


def series_in(path: Path) -> tuple[Series, ...]:
    """Series of a folder, or of the folder of a file, that are scans.

    Raises
    ------
    VolumeError
        If there is none.
    """
    return tuple(found.series for found in _look(path))


def open_dicom(path: Path, series: str | None = None) -> ScanFile:
    """Open a DICOM series without reading its pixels.

    Parameters
    ----------
    path : Path
        A folder; or a file, for the series of that file.
    series : str, optional
        Which series of the folder: (the beginning of) its UID, or its name.

    Raises
    ------
    VolumeError
        If there is no scan, more than one to choose from, or the images are damaged or
        do not lie regularly one above another.
    """
    path = Path(path)
    found = _choose(_look(path), path, series)
    check_decoders(found.frames, found.series.name)
    try:
        stacked = stack(found.frames, found.series.name)
    except VolumeError as error:  # the file that is missing may be the one left out
        raise VolumeError(" ".join([str(error), *found.notes])) from error
    frames = [frame for volume in stacked.volumes for frame in volume]
    scalings = {(frame.slope, frame.intercept) for frame in frames}
    notes = [*found.notes, *stacked.notes]
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
        notes=tuple(dict.fromkeys(notes)),
        files=tuple(dict.fromkeys(frame.path for frame in frames)),
    )


def stack_of(scan: ScanFile) -> Stack:
    """Slices of an opened DICOM series, read from its headers again."""
    found = [_of_series(headers) for headers in _by_series(map(read_header, scan.files)).values()]
    for candidate in (item for group in found for item in group):
        stacked = stack(candidate.frames, scan.name)
        if np.allclose(stacked.affine, scan.grid.affine):
            return stacked
    raise VolumeError(f"The files of {scan.name} have changed since it was opened. Open it again.")


def _look(path: Path) -> list[_Found]:
    """All scans among the files of a folder, and in their notes what is none."""
    folder = path if path.is_dir() else path.parent
    own = None if path.is_dir() else path
    if own is not None and not is_dicom(own):
        raise VolumeError(f"{own.name} is not a DICOM file. Choose a file of the series.")
    headers: list[Header] = []
    left_out: dict[Path, str] = {}
    with reading(folder):
        files = sorted(file for file in folder.iterdir() if file.is_file() and is_dicom(file))
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
    if own is not None:  # whoever names a file asks for its series only
        left_out = {file: why for file, why in left_out.items() if why == DAMAGED}
    notes = tuple(_left_out(left_out))
    found = [item for group in _by_series(headers).values() for item in _of_series(group)]
    if found:
        return [replace(f, notes=(*f.notes, *notes)) for f in _named(found)]
    if notes:
        raise VolumeError(f"{folder} holds no DICOM scan. {' '.join(notes)}")
    deeper = [
        f.name for f in sorted(folder.iterdir()) if f.is_dir() and any(map(is_dicom, f.glob("*")))
    ]
    raise VolumeError(
        f"There are no DICOM files in {folder}. "
        + (f"Choose a folder in it: {', '.join(deeper[:5])}." if deeper else "Choose another one.")
    )


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


def _of_series(headers: list[Header]) -> list[_Found]:
    """Stacks of parallel images in the files of one series."""
    groups = parallel([frame for header in headers for frame in header.frames])
    several = [group for group in groups if len(group) > 1]
    notes = list(dict.fromkeys(note for header in headers for note in header.notes))
    if several and len(several) < len(groups):
        alone = [group[0].path.name for group in groups if len(group) == 1]
        notes.append(
            f"Left out: {', '.join(alone[:3])}{' and more' * (len(alone) > 3)}, of another size or "
            "orientation than the rest of the series, like a localizer."
        )
        groups = several
    found = []
    for n, group in enumerate(groups, start=1):
        uid = headers[0].series_uid + (f":{n}" if n > 1 else "")
        rows, columns = group[0].shape
        files = tuple(sorted({frame.path for frame in group}))
        name = headers[0].description or f"series {headers[0].series_number}"
        if len(groups) > 1:
            name += f" ({PLANES[2 - int(np.abs(group[0].normal).argmax())]})"
        series = Series(uid, name, files, (columns, rows, len(places(group))))
        found.append(_Found(series, group, tuple(notes)))
    return found


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
    listed = "; ".join(
        f"{f.series.name!r} ({' x '.join(map(str, f.series.shape))}, UID {f.series.uid})"
        for f in matching or found
    )
    problem = f"no DICOM series {wanted!r}" if not matching else f"{len(matching)} DICOM series"
    raise VolumeError(
        f"{path.name} has {problem}. Choose one by its name, or by the beginning of its UID: "
        f"{listed}."
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
