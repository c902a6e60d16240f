"""How much of a mask somebody vouches for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_unet.annotation.record import AnnotationRecord
from napari_unet.annotation.states import Origin


def human_share(record: AnnotationRecord) -> float:
    """Share of the labelled voxels that a person painted or accepted, 0 to 1."""
    return _share(record, record.human_voxels())


def interpolated_share(record: AnnotationRecord) -> float:
    """Share of the labelled voxels that were interpolated and not accepted since, 0 to 1."""
    return _share(record, record.origin() == Origin.INTERPOLATED)


def _share(record: AnnotationRecord, voxels: NDArray[np.bool_]) -> float:
    """Share of the labelled voxels that are among `voxels` (z, y, x), 0 to 1."""
    labelled = record.mask() > 0
    total = int(np.count_nonzero(labelled))
    return float(np.count_nonzero(labelled & voxels) / total) if total else 0.0
