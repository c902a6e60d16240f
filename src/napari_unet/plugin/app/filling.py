"""The labels interpolated between the annotated slices of one scan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_unet.annotation.states import SliceState
from napari_unet.imaging.interpolation import labels_between
from napari_unet.plugin.layers.segmentation_layer import LayerBridge


@dataclass(frozen=True, slots=True)
class _Made:
    """What the latest filling was made from (slice and revision), and where it shows."""

    annotated: list[tuple[int, int]]
    slices: list[int]


class Filling:
    """What lies between the annotated slices, shown or taken back.

    Parameters
    ----------
    bridge : LayerBridge
        The Segmentation layer and its record.
    """

    def __init__(self, bridge: LayerBridge) -> None:
        self._bridge = bridge
        self._made: _Made | None = None

    def interpolate(
        self, spacing_mm: tuple[float, float, float]
    ) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Interpolate between the annotated slices; see `labels_between`.

        Parameters
        ----------
        spacing_mm : tuple of float
            Voxel size (z, y, x).
        """
        record = self._bridge.record
        truth = {i: record.truth(i) for i in record.slices_in(SliceState.ANNOTATED)}
        rows, columns = (mm for a, mm in enumerate(spacing_mm) if a != record.axis)
        slices = labels_between(truth, (rows, columns))
        self._made = _Made(self._annotated(), [])
        return slices

    def show(self, slices: Mapping[int, NDArray[np.uint8]]) -> int:
        """Put interpolated slices on screen, wherever no person has decided; return how many."""
        record = self._bridge.record
        written = record.write_interpolation(slices)
        if self._made is not None:
            self._made = _Made(self._made.annotated, record.filled_slices())
        self._bridge.refresh()
        return len(written)

    def remove(self) -> None:
        """Show again what lay beneath the interpolated labels."""
        self._bridge.record.remove_interpolation()
        self._bridge.refresh()

    @property
    def is_current(self) -> bool:
        """Whether filling once more would change nothing."""
        return (
            self._made is not None
            and bool(self._made.slices)
            and self._made == _Made(self._annotated(), self._bridge.record.filled_slices())
        )

    def _annotated(self) -> list[tuple[int, int]]:
        record = self._bridge.record
        done = record.slices_in(SliceState.ANNOTATED)
        return [(index, record.revision(index)) for index in done]
