"""The words of annotation: states of slices, origins of labels, structures, what is known."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum

import numpy as np
from numpy.typing import NDArray

IGNORE_LABEL = 255
"""Label value that means "not annotated": such voxels do not count in the loss (but see
`learning.training.assumed_background`)."""

BACKGROUND_BRUSH = 254
"""Label painted to say "not a structure" on a partial slice; saved as background (0)."""

PALETTE = ("#e6550d", "#3182bd", "#31a354", "#c51b8a", "#fdae6b", "#9ecae1", "#a1d99b", "#9e9ac8")
"""Colours of new structures, in order; they stand out from grey and from one another."""


class SliceState(Enum):
    """What is known about one slice."""

    EMPTY = "empty"
    PREDICTED = "predicted"
    PARTIAL = "partial"
    ANNOTATED = "annotated"


TOUCHED = (SliceState.ANNOTATED, SliceState.PARTIAL)
"""States of slices on which a person has said something."""

UNTOUCHED = (SliceState.EMPTY, SliceState.PREDICTED)
"""States of all others."""


class Origin(IntEnum):
    """Who decided the label of a voxel."""

    NONE = 0
    MODEL = 1
    HUMAN = 2
    INTERPOLATED = 3


@dataclass(frozen=True, slots=True)
class Structure:
    """One thing to segment.

    Parameters
    ----------
    name : str
        What the annotator calls it.
    color : str
        Hex colour, such as ``#e6550d``.
    value : int
        Its label value in files.
    """

    name: str
    color: str
    value: int


@dataclass(frozen=True, slots=True, eq=False)
class LabelledSlice:
    """One annotated slice: the human's truth.

    Parameters
    ----------
    scan : int
        Index of the scan in the list given to `train`.
    index : int
        Slice number along the scan's slicing axis (display order).
    labels : ndarray of uint8, shape (h, w)
        Class of each voxel of the whole slice; 0 is background and
        `IGNORE_LABEL` marks voxels that nobody annotated.
    """

    scan: int
    index: int
    labels: NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class SliceSnapshot:
    """What is known of one slice; arrays (h, w)."""

    labels: NDArray[np.uint8]
    origin: NDArray[np.uint8]
    accepted: bool
    partial: bool


@dataclass(frozen=True, slots=True, eq=False)
class Standing:
    """What a person says of one slice, apart from its labels.

    Parameters
    ----------
    accepted, partial : bool
        What was said of it as a whole.
    human : ndarray of bool, shape (h, w), or None
        Voxels that count as painted; None: nothing is said of them.
    """

    accepted: bool
    partial: bool
    human: NDArray[np.bool_] | None = None
