"""Which DICOM images make one volume: parts of a series, or series that were one."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import chain, pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_unet.errors import VolumeError
from napari_unet.imaging.dicom.frames import Frame
from napari_unet.imaging.dicom.pixels import pixels_of
from napari_unet.imaging.dicom.stack import OFF_PLACE, places

ROUNDED_MM = 0.9
"""How far rounding to whole millimetres moves an image at most: half of one along each axis."""

SAME_SPACING = 0.05
"""Relative difference between slice distances that are meant to be the same."""

FEWEST_GAPS = 3
"""So many equal slice distances in a row are a spacing; fewer may be slices that are missing."""

MOST_LOOKED_AT = 20_000
"""Files and folders that are looked at below a folder."""


def is_even(frames: Sequence[Frame]) -> bool:
    """Whether parallel images lie at regular distances."""
    heights = _heights(places(frames))
    if len(heights) < 3:
        return True
    regular = np.linspace(heights[0], heights[-1], len(heights))
    height = (heights[-1] - heights[0]) / (len(heights) - 1)
    return bool(np.abs(heights - regular).max() <= OFF_PLACE * height)


def without_rounded_copies(frames: Sequence[Frame]) -> list[Frame]:
    """Leave out images that are another one's copy at a position that rounding has moved.

    Of each pair the one whose position has more digits stays. Pixels are read only where the
    distances are irregular, of images next to each other.

    Returns
    -------
    list of Frame
        All, where leaving out makes no sense of their distances.
    """
    there = places(frames)
    if is_even(frames) or max(map(len, there)) > 2:  # a series of many volumes: not of copies
        return list(frames)
    kept: list[Frame] = []
    for frame in chain.from_iterable(there):
        twin = next((n for n in _near(frame, kept) if _are_copies(frame, kept[n])), None)
        if twin is None:
            kept.append(frame)
        elif _digits(frame) > _digits(kept[twin]):
            kept[twin] = frame
    all_are_double = 2 * len(kept) == len(frames)
    return kept if all_are_double or is_even(kept) else list(frames)


def _near(frame: Frame, kept: Sequence[Frame]) -> Iterator[int]:
    """Numbers of the images that lie at most `ROUNDED_MM` below one, the last one first."""
    for n in reversed(range(len(kept))):
        if (frame.position - kept[n].position) @ frame.normal > ROUNDED_MM:
            return
        yield n


def _are_copies(one: Frame, other: Frame) -> bool:
    """Whether two images are the same, at nearly the same place."""
    if np.linalg.norm(one.position - other.position) > ROUNDED_MM:
        return False
    if (one.marks, one.slope, one.intercept) != (other.marks, other.slope, other.intercept):
        return False
    try:
        return np.array_equal(pixels_of(one), pixels_of(other))
    except VolumeError:  # that is told when the series is read
        return False


def _digits(frame: Frame) -> int:
    return sum(len(repr(float(coordinate))) for coordinate in frame.position)


def by_spacing(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Split parallel images where the distance between slices changes for good.

    Head CTs are made with thin slices at the skull base and thick ones above. A slice that is
    missing, or two, is no change of spacing.

    Returns
    -------
    list of list of Frame
        In the order of their positions; one list where there is one spacing.
    """
    slices = places(frames)
    if is_even(frames):
        return [list(frames)]
    runs = _spacings(np.diff(_heights(slices)))
    cuts = [0, *_borders(runs), len(slices)]
    return [[f for there in slices[start:end] for f in there] for start, end in pairwise(cuts)]


def _spacings(gaps: NDArray[np.float64]) -> list[tuple[int, int, float]]:
    """Begin, end and length of the distances that are repeated, in order."""
    found: list[tuple[int, int, float]] = []
    start = 0
    for n in range(1, len(gaps) + 1):
        if n == len(gaps) or not _same(gaps[n], gaps[start]):
            if n - start >= FEWEST_GAPS:
                found.append((start, n, float(np.median(gaps[start:n]))))
            start = n
    return found


def _borders(runs: Sequence[tuple[int, int, float]]) -> list[int]:
    """Slices at which another spacing begins; the slice between two belongs to the thinner ones."""
    return [
        second[0] + 1 if first[2] < second[2] and first[1] == second[0] else second[0]
        for first, second in pairwise(runs)
        if not _same(first[2], second[2])
    ]


def _same(one: float, other: float) -> bool:
    return abs(one - other) <= SAME_SPACING * max(one, other)


def spacing_text(frames: Sequence[Frame]) -> str:
    """Say how far slices lie from each other, as in ``2.5 mm``."""
    return f"{float(np.median(np.diff(_heights(places(frames))))):.3g} mm"


def range_text(frames: Sequence[Frame]) -> str:
    """Say from where to where slices lie along their normal, as in ``-20.0 to 35.0 mm``."""
    heights = _heights(places(frames))
    return f"{heights[0]:.1f} to {heights[-1]:.1f} mm"


def _heights(slices: Sequence[Sequence[Frame]]) -> NDArray[np.float64]:
    """Places of slices along their normal, in mm."""
    normal = slices[0][0].normal
    return np.array([there[0].position @ normal for there in slices])


def files_below(folder: Path) -> Iterator[Path]:
    """Files in the folders of a folder, nearer ones first.

    Each folder is looked at once, by whatever links it is reached.

    Raises
    ------
    VolumeError
        If there are more than `MOST_LOOKED_AT`.
    """
    seen, waiting, n_entries = {_identity(folder)}, deque([folder]), 0
    while waiting:
        here = waiting.popleft()
        try:
            names = sorted(os.listdir(here))
        except OSError:  # one that may not be entered costs itself only
            continue
        n_entries += len(names)
        if n_entries > MOST_LOOKED_AT:
            raise VolumeError(
                f"{folder} has more than {MOST_LOOKED_AT:,} files in its folders. Choose one of "
                "these folders."
            )
        for entry in (here / name for name in names):
            if os.path.isdir(entry):
                if (identity := _identity(entry)) not in seen:
                    seen.add(identity)
                    waiting.append(entry)
            elif here != folder and os.path.isfile(entry):
                yield entry


def _identity(folder: Path) -> tuple[int, int]:
    found = os.stat(folder)
    return found.st_dev, found.st_ino
