"""Slices on which no structure is to be expected, although nobody annotated them. No torch here.

Where all that is painted is one object, such as a single tumour, the slices far beyond its ends
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

from napari_unet.learning.config import IGNORE_LABEL
from napari_unet.learning.events import LabelledSlice
from napari_unet.learning.preparation import PreparedScan

FAR_MM = 30.0
"""Millimetres from all annotated slices, beyond which a slice is far; more if the object is wider.
(Four slices of a tumour, 300 steps, three seeds: Dice .92, .91, .93; .84, .85, .87 without. The
same with 20 mm.)"""

TOGETHER_MM = 5.0
"""Pieces of one object are closer than this on a slice, or on one annotated slice and the next;
those less than twice as far apart may count as one."""

ENDING = 0.8
"""An object ends where the outermost slice shows at most this share of its largest area. (Evenly
spread over a ball, the outermost of three slices shows .75 of it, of five .57.)"""

SAGITTAL = 2
"""Axis along which bodies are symmetric: the other one of a pair is on slices far away."""


def far_slices(
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
    if scans[0].axis == SAGITTAL:
        return []
    windows: list[dict[int, NDArray[np.uint8]]] = [{} for _ in scans]
    for each in annotations:
        windows[each.scan][each.index] = scans[each.scan].crop(each.labels)
    found: list[tuple[int, int]] = []
    for number, (scan, labels) in enumerate(zip(scans, windows, strict=True)):
        known = {i: each != IGNORE_LABEL for i, each in labels.items()}
        structures = {i: (labels[i] > 0) & known[i] for i in sorted(labels)}
        painted = [i for i, each in structures.items() if each.any()]
        if not painted:
            continue
        if not all(known[i].all() for i in painted):
            return []
        if count_objects(structures, scan.slice_mm, scan.spacing_mm) > 1:
            return []
        beyond = _beyond(structures, scan.n_slices, scan.slice_mm, scan.spacing_mm)
        found.extend((number, index) for index in beyond)
    return found


def count_objects(
    structures: Mapping[int, NDArray[np.bool_]], slice_mm: float, spacing_mm: tuple[float, float]
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
    """
    rows, columns = (max(1, round(TOGETHER_MM / side)) for side in spacing_mm)
    reach = _far_mm(structures, spacing_mm)
    planes: list[NDArray[np.bool_]] = []
    before = None
    for index, each in structures.items():
        plane = np.logical_or.reduceat(each, range(0, each.shape[0], rows), axis=0)
        plane = np.logical_or.reduceat(plane, range(0, each.shape[1], columns), axis=1)
        if before is not None and (index - before) * slice_mm > reach:
            planes.append(np.zeros_like(plane))  # too far to hang together
        planes.append(plane)
        before = index
    return int(ndimage.label(np.stack(planes), structure=np.ones((3, 3, 3)))[1])


def _far_mm(structures: Mapping[int, NDArray[np.bool_]], spacing_mm: tuple[float, float]) -> float:
    """Millimetres beyond which nothing of an object is expected: a ball is as high as wide."""
    area = max(each.sum() for each in structures.values()) * spacing_mm[0] * spacing_mm[1]
    return max(FAR_MM, 2 * math.sqrt(area / math.pi))


def _beyond(
    structures: Mapping[int, NDArray[np.bool_]],
    n_slices: int,
    slice_mm: float,
    spacing_mm: tuple[float, float],
) -> list[int]:
    """Find the slices far beyond those ends of an object that are known to be near."""
    areas = {index: int(each.sum()) for index, each in structures.items()}
    painted = [index for index, area in areas.items() if area]
    first, last = painted[0], painted[-1]
    if first == last:  # of how many there are, one slice says nothing
        return []
    largest = max(areas.values())
    ends_before = areas[first] <= ENDING * largest or min(areas) < first
    ends_after = areas[last] <= ENDING * largest or max(areas) > last
    candidates = [*range(first if ends_before else 0)]
    candidates += range(last + 1, n_slices if ends_after else 0)
    far_mm = _far_mm(structures, spacing_mm)
    return [i for i in candidates if min(abs(i - at) for at in areas) * slice_mm > far_mm]
