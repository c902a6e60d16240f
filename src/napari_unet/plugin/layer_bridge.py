"""One Segmentation layer and its record, kept in step.

napari tells of strokes once they are finished (`events.paint`, which may come just
before the labels change), and of undo and redo not at all; both redraw the slice
(`events.set_data`), so the visible slice is compared with the record then.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from napari.layers import Labels
from napari.viewer import Viewer
from numpy.typing import NDArray
from qtpy.QtCore import QObject, Signal

from napari_unet.annotation.record import AnnotationRecord
from napari_unet.errors import AnnotationError


class LayerBridge(QObject):
    """Turn layer events into slice edits, and predictions into pixels.

    Signals
    -------
    edited : list of int
        Slices that a person has just changed.
    stroking : bool
        The mouse button went down on the layer (True) or up (False).
    failed : str
        A sentence: the layer was changed into something that cannot be used.
    """

    edited = Signal(list)
    stroking = Signal(bool)
    failed = Signal(str)

    def __init__(self, viewer: Viewer, layer: Labels, record: AnnotationRecord) -> None:
        super().__init__()
        self.layer = layer
        self.record = record
        self._viewer = viewer
        layer.events.paint.connect(self._on_paint)
        layer.events.set_data.connect(self._on_redraw)
        layer.events.data.connect(self._on_data)
        layer.mouse_drag_callbacks.append(self._on_drag)

    def disconnect_layer(self) -> None:
        """Let go of the layer."""
        self.layer.events.paint.disconnect(self._on_paint)
        self.layer.events.set_data.disconnect(self._on_redraw)
        self.layer.events.data.disconnect(self._on_data)
        if self._on_drag in self.layer.mouse_drag_callbacks:
            self.layer.mouse_drag_callbacks.remove(self._on_drag)

    # -- where the viewer is ---------------------------------------------------

    @property
    def visible_index(self) -> int:
        """The slice on screen, along the record's axis."""
        point = self._viewer.dims.point[-3:]
        index = round(float(self.layer.world_to_data(point)[self.record.axis]))
        return int(np.clip(index, 0, self.record.n_slices - 1))

    def go_to(self, index: int) -> None:
        """Show a slice."""
        at = [0.0, 0.0, 0.0]
        at[self.record.axis] = float(np.clip(index, 0, self.record.n_slices - 1))
        world = self.layer.data_to_world(at)
        axis = self._viewer.dims.ndim - 3 + self.record.axis
        self._viewer.dims.set_point(axis, float(world[self.record.axis]))

    def face_axis(self) -> None:
        """Turn the viewer so that its slider runs along the record's axis."""
        offset = self._viewer.dims.ndim - 3
        axis = self.record.axis
        order = [axis, *(a for a in range(3) if a != axis)]
        self._viewer.dims.order = (*range(offset), *(offset + a for a in order))

    # -- predictions -----------------------------------------------------------

    def write_prediction(
        self, index: int, labels: NDArray[np.uint8], *, held_out: bool | None = None
    ) -> bool:
        """Show the model's opinion on a slice, unless a person has decided there."""
        written = self.record.write_prediction(index, labels, held_out=held_out)
        if written and index == self.visible_index:
            self.refresh()
        return written

    def refresh(self) -> None:
        """Redraw the visible slice."""
        self.layer.refresh(extent=False, thumbnail=False)

    # -- events ----------------------------------------------------------------

    def _on_paint(self, event: Any) -> None:
        touched: set[int] = set()
        for atom in event.value:
            if hasattr(atom, "slice_key"):
                touched.update(self.record.painted(atom.slice_key, atom.mask, atom.new_value))
            else:
                indices, _old, new = atom
                touched.update(self.record.painted(tuple(indices), None, new))
        self._edited(sorted(touched))

    def _on_redraw(self, _event: Any = None) -> None:
        # Also called while another array is being set: then `_on_data` answers.
        if self.layer.data is self.record.labels:
            self._edited(self.record.sync(self.visible_index))

    def _on_data(self, _event: Any = None) -> None:
        if self.layer.data is self.record.labels:
            self._edited(self.record.sync())
            return
        try:
            self._edited(self.record.rebind(self.layer.data))
        except AnnotationError as error:
            self.failed.emit(str(error))

    def _edited(self, indices: list[int]) -> None:
        if indices:
            self.edited.emit(indices)

    def _on_drag(self, _layer: Labels, event: Any) -> Iterator[None]:
        self.stroking.emit(True)
        yield
        while event.type == "mouse_move":
            yield
        self.stroking.emit(False)
