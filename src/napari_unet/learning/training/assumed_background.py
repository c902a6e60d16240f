"""What nobody annotated, but is most likely background. No torch here.

Strokes are near structures. A network that hears of nothing else sees structures wherever
nobody has painted: with one voxel in a hundred painted, all over the head. So now and then
a pixel of a partial slice far from every painted structure counts as background, unless the
network is sure by then that it is not: a structure may have been left out on purpose, or not
been seen.

Where all that is painted is one object, such as a single tumour, whole slices far beyond its ends
most likely show nothing of it, and are learned as such. Otherwise a network finds the tumour
again elsewhere in the head: after a minute it knows nothing else of what is there. Where there
are several objects, such as metastases, there may be more of them anywhere.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import label

from napari_unet.annotation.states import IGNORE_LABEL, LabelledSlice
from napari_unet.learning.preparation import PreparedScan

ASSUMED_LABEL = 256
"""Label of a pixel that is assumed to be background; beyond what a slice (uint8) can have."""

FAR_MM = 10.0
"""Millimetres from every painted structure, beyond which a pixel is assumed to be background.
(Between 5 and 20 it makes little difference.)"""

CLOSE = 1.5
"""Background that is painted may be so many times as far away as the closest structure: a large
structure may go on beyond its stroke. (A brain with one stroke on each of five slices: Dice .67;
.57 without this rule; .64 with nothing assumed, when a tumour with few dabs was .14 or less.)"""

SHARE = 0.01
"""Share of such pixels that is used, drawn anew for each step. (.03 is as good where all
structures are painted, but of lesions left out on purpose it finds fewer.)"""

SHARE_AT_FIRST = 0.1
"""The same at the first step. (After 130 steps, a tumour with four dabs on each of three slices
was drawn 5 times too large; 25 times with `SHARE` from the start.)"""

SURE = 0.8
"""Probability of a structure that overrules the assumption."""

MOSTLY = 0.5
"""Where more than this share of a slice is annotated, the rest was left open on purpose."""

FAR_SLICE_MM = 30.0
"""Millimetres from all annotated slices, beyond which a slice is far; more if the object is wider.
(Four slices of a tumour, 600 steps, two seeds: Dice .92 and .91; about .85 without. 20 mm made no
difference.)"""

TOGETHER_MM = 5.0
"""Pieces of one object are closer than this on a slice, or on one annotated slice and the next;
those less than twice as far apart may count as one."""

ALIKE = 0.8
"""An object whose painted slices are all larger than this share of the largest may be long, such
as a cord, and go on beyond them. (Evenly spread over a ball, the outer two of three slices show
.75 of it.)"""

SAGITTAL = 2
"""Axis along which bodies are symmetric: the other one of a pair is on slices far away."""


def assumed_share(strength: float) -> float:
    """Share of the pixels assumed to be background that a step uses.

    Parameters
    ----------
    strength : float
        Of the variation of slices, which grows from 0 to 1 over the first steps.
    """
    return SHARE + (SHARE_AT_FIRST - SHARE) * (1 - strength) ** 4


def assumed_background(
    labels: NDArray[np.uint8], spacing_mm: tuple[float, float]
) -> NDArray[np.bool_]:
    """Find the pixels that are most likely background, of those that nobody annotated.

    Parameters
    ----------
    labels : ndarray of uint8, shape (h, w)
        Classes; `IGNORE_LABEL` where nobody annotated.
    spacing_mm : tuple of float
        Size of a pixel (rows, columns).

    Returns
    -------
    ndarray of bool, shape (h, w)
        Those farther than `FAR_MM` from every structure, and, if background is painted, not
        too far from that (`CLOSE`). None where the slice is annotated for the most part.
    """
    unknown: NDArray[np.bool_] = labels == IGNORE_LABEL
    background = labels == 0
    structures = ~unknown & ~background
    if unknown.mean() < 1 - MOSTLY:
        return np.zeros_like(unknown)
    if not structures.any():
        return unknown
    distance = ndimage.distance_transform_edt(~structures, sampling=spacing_mm)
    far: NDArray[np.bool_] = distance > FAR_MM
    if background.any():
        far &= ndimage.distance_transform_edt(~background, sampling=spacing_mm) < CLOSE * distance
    return unknown & far


def assumed_empty(
    scans: Sequence[PreparedScan], annotations: Sequence[LabelledSlice]
) -> list[tuple[int, int]]:
    """Find the slices that are far beyond the one object that each scan shows.

    Parameters
    ----------
    scans : sequence of PreparedScan
        The scans that annotations refer to.
    annotations : sequence of LabelledSlice
        All that is annotated.

    Returns
    -------
    list of tuple of int
        Scan and slice. None at all where any scan shows several objects, where a structure is
        on a partial slice, which says neither how large it is nor whether there are others,
        or where slices are sagittal.
    """
    if any(scan.axis == SAGITTAL for scan in scans):
        return []
    windows: list[dict[int, NDArray[np.uint8]]] = [{} for _ in scans]
    for each in annotations:
        windows[each.scan][each.index] = scans[each.scan].crop(each.labels)
    found: list[tuple[int, int]] = []
    for number, (scan, labels) in enumerate(zip(scans, windows, strict=True)):
        partial = {i for i, each in labels.items() if (each == IGNORE_LABEL).any()}
        structures = {i: (labels[i] > 0) & (labels[i] != IGNORE_LABEL) for i in sorted(labels)}
        if any(structures[i].any() for i in partial):
            return []
        complete = {i: each for i, each in structures.items() if i not in partial}
        if not any(each.any() for each in complete.values()):
            continue
        far_mm = _far_mm(complete, scan.spacing_mm)
        if _count_objects(complete, scan.slice_mm, scan.spacing_mm, far_mm) > 1:
            return []
        for index in _beyond(complete, scan.n_slices):
            if min(abs(index - known) for known in labels) * scan.slice_mm > far_mm:
                found.append((number, index))
    return found


def _count_objects(
    structures: Mapping[int, NDArray[np.bool_]],
    slice_mm: float,
    spacing_mm: tuple[float, float],
    far_mm: float,
) -> int:
    """Count the objects that hang together from each annotated slice to the next.

    Parameters
    ----------
    structures : mapping of int to ndarray of bool, shape (h, w)
        Where any structure is on the annotated slices, in their order.
    slice_mm : float
        Distance of one slice to the next.
    spacing_mm : tuple of float
        Size of a pixel (rows, columns).
    far_mm : float
        Slices farther apart than this do not hang together.
    """
    rows, columns = (math.ceil(TOGETHER_MM / side) for side in spacing_mm)
    planes: list[NDArray[np.bool_]] = []
    before = None
    for index, each in structures.items():
        plane = np.logical_or.reduceat(each, range(0, each.shape[0], rows), axis=0)
        plane = np.logical_or.reduceat(plane, range(0, each.shape[1], columns), axis=1)
        if before is not None and (index - before) * slice_mm > far_mm:
            planes.append(np.zeros_like(plane))
        planes.append(plane)
        before = index
    return int(label(np.stack(planes), return_num=True)[1])


def _far_mm(structures: Mapping[int, NDArray[np.bool_]], spacing_mm: tuple[float, float]) -> float:
    """Millimetres beyond which nothing of an object is expected: a ball is as high as wide."""
    area = max(each.sum() for each in structures.values()) * spacing_mm[0] * spacing_mm[1]
    return max(FAR_SLICE_MM, 2 * math.sqrt(area / math.pi))


def _beyond(structures: Mapping[int, NDArray[np.bool_]], n_slices: int) -> list[int]:
    """Find the slices beyond an object, on those sides where it ends."""
    areas = {index: int(each.sum()) for index, each in structures.items()}
    painted = [index for index, area in areas.items() if area]
    first, last = painted[0], painted[-1]
    if first == last:  # of how many there are, one slice says nothing
        return []
    compact = min(areas[index] for index in painted) <= ALIKE * max(areas.values())
    before = range(first) if compact or min(areas) < first else ()
    after = range(last + 1, n_slices) if compact or max(areas) > last else ()
    return [*before, *after]
