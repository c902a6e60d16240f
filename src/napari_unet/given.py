"""What callers of the Python door may give: an object, or the file that holds it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from napari_unet.errors import GridMismatchError, VolumeError
from napari_unet.imaging.loading import load_labels_onto, load_volume
from napari_unet.imaging.volume import Grid, Volume

if TYPE_CHECKING:
    from napari_unet.learning.checkpoint import Checkpoint


class LabelsMoved(UserWarning):
    """The labels lay on another grid, and were brought onto that of the scan."""


FilePath: TypeAlias = str | Path
Image: TypeAlias = Volume | FilePath | Sequence[FilePath]
"""A scan: a `Volume`, its file, or its files (one per sequence)."""


def as_volume(image: Image) -> Volume:
    """Read a scan unless it is one already."""
    return image if isinstance(image, Volume) else load_volume(image)


def as_checkpoint(model: Checkpoint | FilePath) -> Checkpoint:
    """Read a model unless it is one already."""
    if isinstance(model, str | Path):
        from napari_unet.learning.checkpoint import Checkpoint

        return Checkpoint.load(model)
    return model


def labels_on(
    labels: NDArray[Any] | FilePath, grid: Grid, reference: str = "the scan"
) -> NDArray[Any]:
    """Annotation (z, y, x) on `grid`; a file on another one is brought there, with a warning."""
    if isinstance(labels, str | Path):
        found, note = load_labels_onto(labels, grid, reference)
        if note:
            warnings.warn(note, LabelsMoved, stacklevel=3)
        return found
    if not isinstance(labels, np.ndarray):
        raise VolumeError(
            f"The labels are a {type(labels).__name__}, not a mask file or an array (z, y, x). "
            "Convert them with numpy.asarray first."
        )
    if labels.dtype.kind not in "bui":
        raise VolumeError(
            f"The labels are {labels.dtype}, not whole numbers. Convert them to integers first."
        )
    if labels.shape != grid.shape_zyx:
        raise GridMismatchError(
            f"The labels have shape {labels.shape} but the scan has {grid.shape_zyx} (z, y, x). "
            "Use labels that were painted on this scan."
        )
    return labels
