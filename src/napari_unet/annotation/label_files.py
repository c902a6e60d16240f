"""Reading a mask as a partial annotation: which slices count, and what each value means."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from napari_unet.annotation.states import IGNORE_LABEL
from napari_unet.errors import AnnotationError, CheckpointError, IgnoreLabelNeededError
from napari_unet.imaging.volume import FILE_AXES, PLANES, Grid

MOST_CLASSES = IGNORE_LABEL - 1
"""Labels are bytes while the network learns, and one value is taken."""

FOUND_OUT: Literal["auto"] = "auto"
"""Ask the labels themselves which value marks voxels that nobody annotated."""

IgnoreLabel: TypeAlias = int | Literal["auto"] | None
"""Value of voxels that nobody annotated; None where every value above 0 is a structure."""

BESIDE_255 = frozenset({127, 251, 252, 253, 254})
"""Values that stand beside 255 where that is a structure: FreeSurfer's white matter is 127 and
255, its parts of the corpus callosum are 251 to 255."""


def ignored_value(
    labels: NDArray[Any], wanted: IgnoreLabel = FOUND_OUT, structures: Collection[int] | None = None
) -> int | None:
    """Which value of labels marks voxels that nobody annotated; None if none does.

    Parameters
    ----------
    labels : ndarray of integer
        The labels.
    wanted : int, None or 'auto'
        What the user says. Otherwise 255, unless that is a structure.
    structures : collection of int, optional
        Values of structures, from a model or from the file beside the labels.

    Raises
    ------
    IgnoreLabelNeededError
        If 255 may be a structure, and nobody says so.
    """
    if wanted != FOUND_OUT:
        return wanted
    if not (labels == IGNORE_LABEL).any():
        return IGNORE_LABEL
    if structures is not None:
        return None if IGNORE_LABEL in structures else IGNORE_LABEL
    others = {int(value) for value in np.unique(labels)} - {0, IGNORE_LABEL}
    if (others and not others & BESIDE_255) or len(others) > MOST_CLASSES:  # an image is no mask
        return IGNORE_LABEL
    beside = f"beside {', '.join(map(str, sorted(others & BESIDE_255)))}" if others else "alone"
    raise IgnoreLabelNeededError(
        f"The labels hold the value {IGNORE_LABEL} {beside}: is it a structure, or does it mark "
        "voxels that nobody annotated?",
        IGNORE_LABEL,
    )


def axis_title(grid: Grid, axis: int) -> str:
    """How a display axis is called: its plane and the file's axis, such as ``axial (z)``."""
    (letter,) = (name for name in FILE_AXES if grid.axis_named(name) == axis)
    return f"{PLANES[axis]} ({letter})"


def choose_slices(
    labels_zyx: NDArray[Any],
    grid: Grid,
    axis: int,
    wanted: Sequence[int] | None = None,
    *,
    ignore: int | None = IGNORE_LABEL,
) -> list[int]:
    """Annotated slices, as ascending numbers along display `axis`.

    Parameters
    ----------
    labels_zyx : ndarray of integer, shape (z, y, x)
        The annotation.
    grid : Grid
        Its grid.
    axis : int
        Display axis.
    wanted : sequence of int, optional
        Slice numbers as stored in the file; default: all that show a structure.
    ignore : int, optional
        Value of voxels that nobody annotated, see `ignored_value`.

    Raises
    ------
    AnnotationError
        If there is none, or a slice does not exist or has no annotated voxel.
    """
    planes = np.moveaxis(labels_zyx, axis, 0)
    if wanted is None:
        shows = (planes != 0).any(axis=(1, 2))
        if ignore is not None:
            shows = ((planes != 0) & (planes != ignore)).any(axis=(1, 2))
        if not shows.any():
            raise AnnotationError(
                "No slice of the labels shows a structure. "
                "Paint at least one, or choose the right label file."
            )
        return [int(index) for index in np.flatnonzero(shows)]
    for number in wanted:
        if not 0 <= number < len(planes):
            raise AnnotationError(
                f"There is no slice {number} along {axis_title(grid, axis)}: "
                f"slices count from 0 to {len(planes) - 1}."
            )
        if ignore is not None and (planes[grid.flip_index(axis, number)] == ignore).all():
            raise AnnotationError(
                f"Slice {number} along {axis_title(grid, axis)} is marked as not annotated "
                f"(all {ignore}). Leave it out, or paint it."
            )
    if not wanted:
        raise AnnotationError("No slice was chosen. Name at least one annotated slice.")
    return sorted({grid.flip_index(axis, number) for number in wanted})


def structures(
    stack: NDArray[Any],
    *,
    names: Sequence[str] | None = None,
    known: Mapping[int, str] | None = None,
    ignore: int | None = IGNORE_LABEL,
) -> tuple[list[int], tuple[str, ...]]:
    """Label values and names of the structures to learn.

    Parameters
    ----------
    stack : ndarray of integer, shape (n, h, w)
        The annotated slices.
    names : sequence of str, optional
        Names in ascending order of the values, or new ones in the order of `known`;
        default: `known`, else ``label 1``, ...
    known : mapping of int to str, optional
        Values and names of the model to start from.
    ignore : int, optional
        Value of voxels that nobody annotated, see `ignored_value`.

    Raises
    ------
    AnnotationError
        If there is nothing to learn, or the names do not match.
    CheckpointError
        If the slices show something the model to start from does not know.
    """
    present = [int(v) for v in np.unique(stack) if v not in (0, ignore)]
    if known is not None:
        values, own = list(known), tuple(known.values())
        if strange := sorted(set(present) - set(values)):
            raise CheckpointError(
                f"The labels hold the value {strange[0]}, but the model knows only "
                f"{', '.join(map(str, values))} ({', '.join(own)}). "
                "Choose another model, or labels with its numbers."
            )
    elif not present:
        raise AnnotationError(
            "None of the chosen slices shows a structure. Add one that does: "
            "there is nothing to learn from empty slices alone."
        )
    elif len(present) > MOST_CLASSES:
        raise AnnotationError(
            f"The labels hold {len(present)} different values; at most {MOST_CLASSES} structures "
            "can be learned. Choose the mask, not an image."
        )
    else:
        values, own = present, tuple(f"label {value}" for value in present)
    if names is not None and len(names) != len(values):
        raise AnnotationError(
            f"{len(names)} class names were given for {len(values)} structures "
            f"(label values {', '.join(map(str, values))}). Give one name for each."
        )
    return values, tuple(own if names is None else names)


def to_classes(
    plane: NDArray[Any], values: Sequence[int], ignore: int | None = IGNORE_LABEL
) -> NDArray[np.uint8]:
    """Number the label `values` as classes 1..K (uint8); what is not annotated stays so."""
    classes = np.zeros(plane.shape, dtype=np.uint8)
    for number, value in enumerate(values, start=1):
        classes[plane == value] = number
    if ignore is not None:
        classes[plane == ignore] = IGNORE_LABEL
    return classes
