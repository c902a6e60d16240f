"""What nobody annotated, far from all structures: most likely background. No torch here.

On partial slices, strokes are near structures. A network that hears of nothing else sees
structures wherever nobody has painted: with one voxel in a hundred painted, all over the head.
So now and then a pixel far from every painted structure counts as background, unless the network
is sure by then that it is not: a structure may have been left out on purpose, or not been seen.

On slices far from all annotated ones it is the same, if all that is painted is one object: an
organ, or a single tumour. Where there are several, as with metastases, there may be more of them
anywhere, and nothing is presumed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_unet.learning.config import IGNORE_LABEL

PRESUMED_LABEL = 256
"""Label of a pixel that is presumed to be background; beyond what a slice (uint8) can have."""

FAR_MM = 10.0
"""Millimetres from every painted structure, beyond which a pixel is presumed to be background.
(Between 5 and 20 it makes little difference.)"""

CLOSE = 1.5
"""Background that is painted may be so many times as far away as the closest structure: a large
structure may go on beyond its stroke. (A brain with one stroke on each of five slices: Dice .67;
.57 without this rule; .64 with nothing presumed, when a tumour with few dabs was .14 or less.)"""

SHARE = 0.01
"""Share of such pixels that is used, drawn anew for each step. (.03 is as good where all
structures are painted, but of lesions left out on purpose it finds fewer.)"""

SHARE_AT_FIRST = 0.1
"""The same at the first step. (After 130 steps, a tumour with four dabs on each of three slices
was drawn 5 times too large; 25 times with `SHARE` from the start.)"""

SURE = 0.8
"""Probability of a structure that overrules the presumption."""

MOSTLY = 0.5
"""Where more than this share of a slice is annotated, the rest was left open on purpose."""

FAR_SLICES_MM = 30.0
"""Millimetres beyond all annotated slices, from which on slices are presumed not to show the
object; more if it is larger than that across. (Four slices of a tumour, 300 steps, two seeds: Dice
.92 and .93; .84 and .85 with nothing presumed. The same at 20 mm.)"""

REACH_MM = 5.0
"""Pieces of one object, on one slice or the next that is annotated, are less than twice as far
apart as this."""


def presumed_share(strength: float) -> float:
    """Share of the pixels presumed to be background that a step uses.

    Parameters
    ----------
    strength : float
        Of the variation of slices, which grows from 0 to 1 over the first steps.
    """
    return SHARE + (SHARE_AT_FIRST - SHARE) * (1 - strength) ** 4


def presumed_background(
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


def slices_far_away(
    annotated: Mapping[int, NDArray[np.uint8]],
    n_slices: int,
    slice_mm: float,
    spacing_mm: tuple[float, float],
) -> list[int]:
    """Find the slices of a scan that most likely show nothing of what is annotated on others.

    Parameters
    ----------
    annotated : mapping of int to ndarray of uint8, shape (h, w)
        Classes on annotated slices; `IGNORE_LABEL` where nobody annotated.
    n_slices : int
        Slices of the scan.
    slice_mm : float
        Distance of one slice to the next.
    spacing_mm : tuple of float
        Size of a pixel (rows, columns).

    Returns
    -------
    list of int
        Those beyond the painted ones and farther from all annotated ones than the object is
        wide, and than `FAR_SLICES_MM`, if what is painted is one object that at least two
        slices show; otherwise none.
    """
    structures = {i: (each > 0) & (each != IGNORE_LABEL) for i, each in sorted(annotated.items())}
    painted = {index: each for index, each in structures.items() if each.any()}
    if len(painted) < 2:
        return []
    area = max(each.sum() for each in painted.values()) * spacing_mm[0] * spacing_mm[1]
    least = max(FAR_SLICES_MM, 2 * math.sqrt(area / math.pi))  # a ball is as high as wide
    beyond = [i for i in range(n_slices) if not min(painted) <= i <= max(painted)]
    far = [i for i in beyond if min(abs(i - at) for at in annotated) * slice_mm > least]
    if not far:
        return []
    near = [ndimage.distance_transform_edt(~each, spacing_mm) for each in painted.values()]
    return far if ndimage.label(np.stack(near) < REACH_MM)[1] == 1 else []
