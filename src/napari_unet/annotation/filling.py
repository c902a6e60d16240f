"""Labels interpolated between the annotated slices of a record, and whether they are current."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_unet.annotation.record import AnnotationRecord
from napari_unet.annotation.states import SliceState
from napari_unet.imaging.interpolation import labels_between


@dataclass(frozen=True, slots=True)
class _Filled:
    """What the latest filling was made from (slice and revision), and the slices it shows on."""

    annotated: list[tuple[int, int]]
    slices: list[int]


class Filling:
    """Labels interpolated between the annotated slices of one record, shown or taken back.

    Parameters
    ----------
    record : AnnotationRecord
        Who labelled what.
    """

    def __init__(self, record: AnnotationRecord) -> None:
        self._record = record
        self._latest: _Filled | None = None

    def interpolate(
        self, spacing_mm: tuple[float, float, float]
    ) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Interpolate between the annotated slices; see `labels_between`.

        Parameters
        ----------
        spacing_mm : tuple of float
            Voxel size (z, y, x).
        """
        record = self._record
        truth = {i: record.truth(i) for i in record.slices_in(SliceState.ANNOTATED)}
        rows, columns = (mm for a, mm in enumerate(spacing_mm) if a != record.axis)
        slices = labels_between(truth, (rows, columns))
        self._latest = _Filled(self._annotated(), [])
        return slices

    def show(self, slices: Mapping[int, NDArray[np.uint8]]) -> int:
        """Write interpolated slices, wherever no person has decided; return how many."""
        written = self._record.write_interpolation(slices)
        if self._latest is not None:
            self._latest = _Filled(self._latest.annotated, self._record.filled_slices())
        return len(written)

    @property
    def is_current(self) -> bool:
        """Whether filling once more would change nothing."""
        now = _Filled(self._annotated(), self._record.filled_slices())
        return bool(now.slices) and self._latest == now

    def _annotated(self) -> list[tuple[int, int]]:
        done = self._record.slices_in(SliceState.ANNOTATED)
        return [(index, self._record.revision(index)) for index in done]
