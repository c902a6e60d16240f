"""The words of annotation: what state a slice is in, where a voxel's label comes from."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum

NOT_ANNOTATED = 255
"""Value of voxels without truth in `AnnotationRecord.truth`."""

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
