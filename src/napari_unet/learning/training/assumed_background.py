"""What a partial slice leaves open, far from its structures: most likely background. No torch here.

Strokes are near structures. A network that hears of nothing else sees structures wherever
nobody has painted: with one voxel in a hundred painted, all over the head. So now and then
a pixel far from every painted structure counts as background, unless the network is sure by
then that it is not: a structure may have been left out on purpose, or not been seen.
(Whole slices far from all annotated ones: `learning.assumed_empty`.)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_unet.annotation.states import IGNORE_LABEL

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
