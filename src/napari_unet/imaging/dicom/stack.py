"""Putting DICOM images one above another: order, gaps, duplicates, several volumes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_unet.errors import VolumeError
from napari_unet.imaging.dicom.frames import Frame
from napari_unet.imaging.dicom.pixels import pixels_of
from napari_unet.imaging.volume import RAS_TO_LPS

SAME_PLACE_MM = 0.01
"""Images nearer to each other than this, along the normal, are at the same place."""

SAME_DIRECTION = 5e-4
"""Difference of direction cosines that comes from rounding, and 0.1 mm at the skull."""

EVEN = 0.01
"""Relative difference between slice distances that needs no mention."""

MISSING = 1.5
"""Slice distances from this many usual ones on mean that slices are missing."""

OFF_PLACE = 0.25
"""Slice distances by which a slice may be off its place on the regular grid."""

SHEARED = 0.1
"""Pixels by which the last slice may be shifted against the first before it is a tilt."""

Volumes = list[tuple[str, list[Frame]]]
"""Name and frames, in the order of their positions, of each volume."""


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """Images that lie regularly one above another.

    Parameters
    ----------
    volumes : tuple of tuple of Frame
        The slices of each volume, in the order of k.
    names : tuple of str
        Names of the volumes.
    affine : ndarray, shape (4, 4)
        (column, row, slice) to RAS millimetres.
    sheared : bool
        Whether the slices are shifted against each other, as with a tilted gantry.
    notes : tuple of str
        What somebody who works with the volume should know.
    """

    volumes: tuple[tuple[Frame, ...], ...]
    names: tuple[str, ...]
    affine: NDArray[np.float64]
    sheared: bool
    notes: tuple[str, ...]


def parallel(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Group images of the same size, spacing and orientation; the largest group first."""
    groups: list[list[Frame]] = []
    for frame in frames:
        home = next((group for group in groups if _fits(frame, group[0])), None)
        if home is None:
            groups.append([frame])
        else:
            home.append(frame)
    return sorted(groups, key=len, reverse=True)


def _fits(frame: Frame, other: Frame) -> bool:
    return (
        frame.shape == other.shape
        and np.allclose(frame.pixel_mm, other.pixel_mm, rtol=1e-3, atol=0)
        and np.allclose(frame.right, other.right, rtol=0, atol=SAME_DIRECTION)
        and np.allclose(frame.down, other.down, rtol=0, atol=SAME_DIRECTION)
    )


def places(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Images at the same position along the normal, in the order of these positions."""
    normal = frames[0].normal
    ordered = sorted(frames, key=lambda f: (float(f.position @ normal), f.number, f.index))
    found: list[list[Frame]] = []
    for frame in ordered:
        if found and abs((frame.position - found[-1][0].position) @ normal) < SAME_PLACE_MM:
            found[-1].append(frame)
        else:
            found.append([frame])
    return found


def stack(frames: Sequence[Frame], name: str) -> Stack:
    """Put parallel images one above another.

    Parameters
    ----------
    frames : sequence of Frame
        Of the same size, spacing and orientation, in any order.
    name : str
        Name of the series, for messages.

    Raises
    ------
    VolumeError
        If they are not at regular distances, or several lie at some positions only.
    """
    notes: list[str] = []
    volumes = _volumes(frames, name, notes)
    slices = volumes[0][1]
    origin, step = slices[0].position, _step(slices, name, notes)
    for label, others in volumes:
        _check_places(others, origin, step, label or name)
    sheared = _is_sheared(slices, step, notes)
    rows_mm, columns_mm = slices[0].pixel_mm
    affine = np.eye(4)
    affine[:3, 0] = slices[0].right * columns_mm
    affine[:3, 1] = slices[0].down * rows_mm
    affine[:3, 2] = step
    affine[:3, 3] = origin
    affine[:3] = RAS_TO_LPS @ affine[:3]
    return Stack(
        volumes=tuple(tuple(chosen) for _, chosen in volumes),
        names=tuple(label for label, _ in volumes),
        affine=affine,
        sheared=sheared,
        notes=tuple(notes),
    )


def _step(slices: list[Frame], name: str, notes: list[str]) -> NDArray[np.float64]:
    """Vector from a slice to the next one (LPS, mm)."""
    first, last = slices[0], slices[-1]
    if len(slices) == 1:
        depth = first.depth_mm or 1.0
        said = "as its header says" if first.depth_mm else "since its header does not say"
        notes.append(f"It is a single slice; its thickness is taken as {depth:g} mm, {said}.")
        return first.normal * depth
    heights = np.array([frame.position @ first.normal for frame in slices])
    gaps = np.diff(heights)
    _check_apart(slices, gaps, name)
    usual = float(np.sort(gaps)[(len(gaps) - 1) // 2])
    absent = [
        f"{heights[k] + n * usual:.1f}"
        for k in np.flatnonzero(gaps >= MISSING * usual)
        for n in range(1, min(round(gaps[k] / usual), 9))
    ]
    if absent:
        listed = ", ".join(absent[:6]) + (" and more" if len(absent) > 6 else "")
        raise VolumeError(
            f"Slices of {name} are missing: there are none at {listed} mm (along the slice "
            f"normal), though its slices lie {usual:.3g} mm apart. Copy the series again, complete."
        )
    step = (last.position - first.position) / (len(slices) - 1)
    if (gaps.max() - gaps.min()) > EVEN * usual:
        off = np.abs(heights - np.linspace(heights[0], heights[-1], len(heights))).max()
        notes.append(
            f"Its slices lie {gaps.min():.3f} to {gaps.max():.3f} mm apart; their mean, "
            f"{step @ first.normal:.3f} mm, is used, so slices are up to {off:.3f} mm off."
        )
    return np.asarray(step)


def _check_apart(slices: list[Frame], gaps: NDArray[np.float64], name: str) -> None:
    """Refuse two scans that lie almost, but not quite, at the same places."""
    wide = float(np.quantile(gaps, 0.75))
    close = np.flatnonzero(gaps < OFF_PLACE * wide)
    if len(close) and (np.diff(close) > 1).all():  # side by side they are thin slices
        k = int(close[0])
        raise VolumeError(
            f"{name} has different images only {gaps[k]:.2g} mm apart: {slices[k].path.name} and "
            f"{slices[k + 1].path.name}; others lie {wide:.3g} mm apart. Two scans or exports are "
            "mixed in it: keep the files of one in the folder."
        )


def _check_places(
    slices: list[Frame], origin: NDArray[np.float64], step: NDArray[np.float64], name: str
) -> None:
    """Refuse slices that one affine cannot describe."""
    first = slices[0]
    height = float(step @ first.normal)
    for k, frame in enumerate(slices):
        off = frame.position - (origin + k * step)
        along, across = abs(off @ first.normal), np.abs([off @ first.right, off @ first.down])
        if along > OFF_PLACE * height or across.max() > OFF_PLACE * min(first.pixel_mm):
            raise VolumeError(
                f"The slices of {name} do not lie on a regular grid: {frame.path.name} is "
                f"{float(np.linalg.norm(off)):.2g} mm off its place. Slices are missing, or "
                "several scans are mixed; export it again, or convert it with dcm2niix."
            )


def _is_sheared(slices: list[Frame], step: NDArray[np.float64], notes: list[str]) -> bool:
    first = slices[0]
    shift = step - (step @ first.normal) * first.normal
    if np.linalg.norm(shift) * (len(slices) - 1) <= SHEARED * min(first.pixel_mm):
        return False
    angle = np.degrees(np.arccos(step @ first.normal / np.linalg.norm(step)))
    notes.append(
        f"Each slice is shifted by {np.linalg.norm(shift):.3g} mm against the one before (a tilt "
        f"of {angle:.2g} degrees, as of a gantry). The affine keeps that exactly; programs that "
        "read only quaternions or directions at right angles cannot."
    )
    return True


def _volumes(frames: Sequence[Frame], name: str, notes: list[str]) -> Volumes:
    """Tell volumes at the same positions apart, and drop duplicates.

    Pixels are read only of images at the same position that look like duplicates.
    """
    if all(len(there) == 1 for there in places(frames)):
        return [("", [there[0] for there in places(frames)])]
    copies = _without_twins(frames, lambda f: (f.instance, f.index) if f.instance else None)
    if found := _by_marks(copies, notes):
        _say_dropped(len(frames) - len(copies), notes)
        return found
    unique = _without_twins(copies, lambda f: repr(sorted(f.marks.items())))
    for kept in (unique, copies):  # slices of air are alike in every volume
        counts = {len(there) for there in places(kept)}
        if len(counts) == 1:
            _say_dropped(len(frames) - len(kept), notes)
            return _by_number(kept, notes)
    crowded = max(places(unique), key=len)
    files = ", ".join(sorted({frame.path.name for frame in crowded})[:4])
    height = crowded[0].position @ crowded[0].normal
    raise VolumeError(
        f"{name} has {len(crowded)} different images at {height:.1f} mm "
        f"({files}) but fewer at other positions, and nothing in their headers tells "
        "volumes apart. Keep the files of one volume in the folder."
    )


def _say_dropped(count: int, notes: list[str]) -> None:
    if count:
        notes.append(f"{count} identical duplicate{'s' * (count > 1)} of its slices left out.")


def _without_twins(frames: Sequence[Frame], key: Callable[[Frame], Hashable]) -> list[Frame]:
    """Leave out images that agree in place, key and every pixel with one before."""
    kept: list[Frame] = []
    for there in places(frames):
        seen: dict[Hashable, list[Frame]] = {}
        for frame in there:
            alike = seen.setdefault(key(frame), [])
            if key(frame) is not None and alike:
                mine = pixels_of(frame)
                if any(np.array_equal(mine, pixels_of(other)) for other in alike):
                    continue
            alike.append(frame)
            kept.append(frame)
    return kept


def _by_marks(frames: Sequence[Frame], notes: list[str]) -> Volumes:
    """Volumes by the first marks that tell exactly one complete set of slices from others."""
    height = len(places(frames))
    names = list(dict.fromkeys(name for frame in frames for name in frame.marks))
    varying = [n for n in names if len({repr(frame.marks.get(n)) for frame in frames}) > 1]
    choices = [c for size in (1, 2, 3) for c in itertools.combinations(varying, size)]
    for choice in choices:
        sets: dict[tuple[object, ...], list[Frame]] = {}
        for frame in frames:
            sets.setdefault(tuple(frame.marks.get(n) for n in choice), []).append(frame)
        stacked = {value: places(chosen) for value, chosen in sets.items()}
        if any(len(there) > 1 for heights in stacked.values() for there in heights):
            continue
        whole = {
            v: [t[0] for t in heights] for v, heights in stacked.items() if len(heights) == height
        }
        if 2 * sum(map(len, whole.values())) < len(frames):
            continue
        if short := len(sets) - len(whole):
            rest = len(frames) - height * len(whole)
            notes.append(f"{short} incomplete volume{'s' * (short > 1)} left out ({rest} slices).")
        return [
            (", ".join(_named(n, v) for n, v in zip(choice, value, strict=True)), whole[value])
            for value in sorted(whole, key=lambda value: [_order(v) for v in value])
        ]
    return []


def _by_number(frames: Sequence[Frame], notes: list[str]) -> Volumes:
    """Volumes by nothing better than the order of instance numbers."""
    columns = [list(volume) for volume in zip(*places(frames), strict=True)]
    if len(columns) == 1:
        return [("", columns[0])]
    notes.append(
        f"It has {len(columns)} images at each position, told apart only by their instance numbers."
    )
    return [(f"volume {n}", volume) for n, volume in enumerate(columns, start=1)]


def _named(name: str, value: object) -> str:
    if isinstance(value, tuple):
        return f"{name} {' '.join(_named('', item).strip() for item in value)}"
    unit = " ms" if "time" in name and name != "time point" else ""
    return f"{name} {value:g}{unit}" if isinstance(value, float) else f"{name} {value or 'none'}"


def _order(value: object) -> tuple[int, float, str]:
    return (0, value, "") if isinstance(value, float) else (1, 0.0, str(value))
