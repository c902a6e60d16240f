"""One Segmentation layer and its record, which agree after every edit.

napari tells of strokes once they are finished (`events.paint`, which may come just
before the labels change), and of undo and redo not at all: they go through `History`.
Edits that nobody tells of redraw the slice (`events.set_data`), so the visible slice is
compared with the record then.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from napari.layers import Labels
from napari.viewer import Viewer
from numpy.typing import NDArray
from qtpy.QtCore import QObject, QTimer, Signal

from napari_unet.annotation.error_estimate import ErrorEstimate
from napari_unet.annotation.record import AnnotationRecord
from napari_unet.annotation.states import SliceSnapshot
from napari_unet.errors import AnnotationError
from napari_unet.plugin.layers.undo_history import Box, History, Step, box_of

CHECK_ALL_MS = 300
"""All slices are compared this long after the last redraw (40 ms at 512x512x400)."""


class SegmentationLayer(QObject):
    """A label layer of napari with its record: events become edits, predictions pixels.

    Signals
    -------
    edited : list of int
        Slices that a person has just changed.
    stroking : bool
        The mouse button went down on the layer (True) or up (False).
    label_picked : int
        Another label is painted from now on.
    unchanged : ()
        A stroke has changed nothing: all of it was like that already.
    outside : ()
        A stroke was not drawn: no slice of the layer is on screen.
    failed : str
        A sentence: the layer was changed into something that cannot be used.
    """

    edited = Signal(list)
    stroking = Signal(bool)
    label_picked = Signal(int)
    unchanged = Signal()
    outside = Signal()
    failed = Signal(str)

    def __init__(self, viewer: Viewer, layer: Labels, record: AnnotationRecord) -> None:
        super().__init__()
        self.layer = layer
        self.record = record
        self._viewer = viewer
        layer.events.paint.connect(self._on_paint)
        layer.events.set_data.connect(self._on_redraw)
        layer.events.data.connect(self._on_data)
        layer.events.selected_label.connect(self._on_label)
        layer.mouse_drag_callbacks.append(self._on_drag)
        self._history = History(layer, self._on_replayed)
        self._step: list[Any] | None = None  # atoms of strokes while a step is being made
        self._tools = _DrawingTools(viewer, layer, self._on_refused)
        self._contour = 0  # that was set here
        self.drawing = False
        self._painted = False
        self._refused = False
        self._waiting: dict[int, tuple[NDArray[np.uint8], ErrorEstimate | None]] = {}
        self._stale = False
        self._focus = 0
        self.last_viewed: int | None = None
        # Undo may have changed a slice that is not on screen.
        self._check_all_timer = QTimer()
        self._check_all_timer.setSingleShot(True)
        self._check_all_timer.setInterval(CHECK_ALL_MS)
        self._check_all_timer.timeout.connect(self._sync_all)

    def disconnect_layer(self) -> None:
        """Let go of the layer."""
        self._tools.close()
        self._history.close()
        self.layer.events.paint.disconnect(self._on_paint)
        self.layer.events.set_data.disconnect(self._on_redraw)
        self.layer.events.data.disconnect(self._on_data)
        self.layer.events.selected_label.disconnect(self._on_label)
        with contextlib.suppress(RuntimeError):  # at exit Qt may have gone first
            self._check_all_timer.stop()
        if self.drawing:
            self.drawing = False
            self.stroking.emit(False)
        if self._on_drag in self.layer.mouse_drag_callbacks:
            self.layer.mouse_drag_callbacks.remove(self._on_drag)
        self.outline(False)

    @property
    def label(self) -> int:
        """Label that is painted."""
        return int(self.layer.selected_label)

    def outline(self, outlined: bool) -> None:
        """Show the slice as an outline: what is predicted looks different from what is painted.

        Not any more once somebody has chosen another contour.
        """
        if self.layer.contour == self._contour and outlined != bool(self._contour):
            self._contour = self.layer.contour = int(outlined)

    # -- where the viewer is ---------------------------------------------------

    @property
    def visible_index(self) -> int:
        """The slice on screen, along the record's axis; the nearest one if outside."""
        return int(np.clip(self._position, 0, self.record.n_slices - 1))

    @property
    def in_view(self) -> bool:
        """Whether the viewer shows exactly one slice along the record's axis."""
        dims = self._viewer.dims
        sliced = dims.ndim - 3 + self.record.axis in dims.not_displayed
        return sliced and 0 <= self._position < self.record.n_slices

    @property
    def _position(self) -> int:
        point = self._viewer.dims.point[-3:]
        return round(float(self.layer.world_to_data(point)[self.record.axis]))

    def go_to(self, index: int) -> None:
        """Show a slice."""
        self._go_to(self.record.axis, int(np.clip(index, 0, self.record.n_slices - 1)))

    def _go_to(self, axis: int, index: int) -> None:
        at = [0.0, 0.0, 0.0]
        at[axis] = float(index)
        world = self.layer.data_to_world(at)
        self._viewer.dims.set_point(self._viewer.dims.ndim - 3 + axis, float(world[axis]))

    def face_axis(self) -> None:
        """Turn the viewer so that its slider runs along the record's axis."""
        offset = self._viewer.dims.ndim - 3
        axis = self.record.axis
        order = [axis, *(a for a in range(3) if a != axis)]
        self._viewer.dims.order = (*range(offset), *(offset + a for a in order))

    def note_focus(self) -> None:
        """Remember the slice on screen for `focus`; if it is one of the scan, as `last_viewed`."""
        self._focus = self.visible_index
        if self.in_view:
            self.last_viewed = self._focus

    def focus(self) -> tuple[int, int]:
        """Return scan 0 and the slice last noted; safe to call from a worker thread."""
        return (0, self._focus)

    def _show_step(self, where: Box) -> None:
        """Go where a step shows, unless it is on screen."""
        dims = self._viewer.dims
        shown = np.round(self.layer.world_to_data(dims.point))
        for axis, ends in enumerate(where):
            across = dims.ndim - 3 + axis in dims.not_displayed
            if across and ends is not None and not ends[0] <= shown[axis] <= ends[1]:
                self._go_to(axis, sum(ends) // 2)

    # -- steps -----------------------------------------------------------------

    @contextlib.contextmanager
    def step(self, indices: Sequence[int], reset: SliceSnapshot | None = None) -> Iterator[None]:
        """Make what is said of slices meanwhile, strokes included, one step of undo.

        Parameters
        ----------
        indices : sequence of int
            The slices.
        reset : SliceSnapshot, optional
            The only slice as it is, if it is to be given back to the model.
        """
        record = self.record
        before = {index: record.standing(index, voxels=True) for index in indices}
        self._step = []
        try:
            yield
        finally:
            atoms, self._step = self._step, None
            after = {index: record.standing(index, voxels=True) for index in indices}
            if indices:
                where: list[Any] = [None, None, None]
                where[record.axis] = (min(indices), max(indices))
                self._history.add(Step(before, after, tuple(where), bool(atoms), reset))

    def forget_steps(self) -> None:
        """Forget what was said of slices so far."""
        self._history.clear()

    def _on_replayed(self, step: Step | None, back: bool) -> list[int]:
        record = self.record
        if step is None:
            changed = record.sync()
        else:
            changed = step.take_back(record) if back else step.repeat(record)
        if changed and self.layer in self._viewer.layers:
            where: list[Any] = [None, None, None]
            where[record.axis] = (changed[0], changed[0])
            self._show_step(tuple(where) if step is None else step.where)
            self.refresh()
        self._edited(changed)
        self._check_all_timer.start()  # a redraw that napari caused was not checked
        return changed

    # -- predictions -----------------------------------------------------------

    def write_prediction(
        self, index: int, labels: NDArray[np.uint8], error_estimate: ErrorEstimate | None = None
    ) -> None:
        """Show the model's prediction on a slice, unless a person has decided there.

        While a stroke is being drawn it waits: half a stroke must not be taken for an edit.
        """
        if self.drawing:
            self._waiting[index] = (labels, error_estimate)
            return
        if not self.record.write_prediction(index, labels, error_estimate):
            return
        if index == self.visible_index and self.in_view:
            self.refresh()
        else:
            self._stale = True

    def refresh(self) -> None:
        """Redraw the visible slice."""
        self._stale = False
        self.layer.refresh(extent=False, thumbnail=False)

    def refresh_if_stale(self) -> None:
        """Redraw if predictions came for slices that are seen from the side, or in 3D."""
        if self._stale and not self.in_view:
            self.refresh()

    # -- events ----------------------------------------------------------------

    def _on_paint(self, event: Any) -> None:
        self._painted = True
        record, touched = self.record, set()
        slices = sorted({index for atom in event.value for index in record.slices_of(atom[0])})
        before = {index: record.standing(index) for index in slices}
        for atom in event.value:
            if hasattr(atom, "slice_key"):
                touched.update(self.record.painted(atom.slice_key, atom.mask, atom.new_value))
            else:
                indices, _old, new = atom
                touched.update(self.record.painted(tuple(indices), None, new))
        if self._step is not None:
            self._step += event.value
        else:
            after = {index: record.standing(index) for index in slices}
            self._history.add(Step(before, after, box_of(event.value), stroke=True))
        self._edited(sorted(touched))

    def _on_redraw(self, _event: Any = None) -> None:
        # Also called while another array is being set: then `_on_data` answers.
        busy = self.drawing or self._history.replaying
        if self.layer.data is self.record.labels and not busy:
            changed = self.record.sync(self.visible_index)
            if changed:  # an undone slice shows the model's prediction now
                self.refresh()
            self._edited(changed)
            self._check_all_timer.start()

    def _sync_all(self) -> None:
        if self.drawing:
            self._check_all_timer.start()
        elif self.layer.data is self.record.labels:
            self._edited(self.record.sync())

    def _on_data(self, _event: Any = None) -> None:
        """Answer to `layer.data = x`, or to a change of the layer's type."""
        data = self.layer.data
        try:
            if data is not self.record.labels and data.dtype != np.uint8:
                self._as_uint8(data)
                return  # setting it came here again
            self._edited(
                self.record.sync() if data is self.record.labels else self.record.rebind(data)
            )
        except AnnotationError as error:
            self.layer.data = self.record.labels
            self.failed.emit(str(error))

    def _as_uint8(self, data: Any) -> None:
        values = np.asarray(data)
        if values.shape != self.record.labels.shape or not 0 <= values.min() <= values.max() <= 254:
            raise AnnotationError(
                f"The new labels have shape {values.shape} and values {values.min()} to "
                f"{values.max()}; this scan needs shape {self.record.labels.shape} and values 0 to "
                "253. The annotation so far is kept."
            )
        self.layer.data = values.astype(np.uint8)

    def _on_refused(self) -> None:
        self._refused = True
        if not self.drawing:  # a brush asks many times a stroke
            self.outside.emit()

    def _on_label(self, _event: Any = None) -> None:
        # napari's picker takes a numpy byte from the labels: one less than 0 of them is 255, and
        # Qt refuses them. napari sets no label that is equal to the one before.
        self.layer._selected_label = self.label
        self.label_picked.emit(self.label)

    def _edited(self, indices: list[int]) -> None:
        if indices:
            self.edited.emit(indices)

    def _on_drag(self, _layer: Labels, event: Any) -> Iterator[None]:
        self.drawing = self._history.paused = True
        self._painted = self._refused = False
        self.stroking.emit(True)
        try:
            yield
            while event.type == "mouse_move":
                yield
        finally:
            self._history.paused = False
            # Later: napari tells of the stroke when its own part of this event is over.
            QTimer.singleShot(0, self._stroke_over)

    def _stroke_over(self) -> None:
        self.drawing = False
        self.stroking.emit(False)
        if self._refused:
            self.outside.emit()
        elif not self._painted and self.layer.mode in ("paint", "fill", "erase") and self.in_view:
            self.unchanged.emit()
        waiting, self._waiting = self._waiting, {}
        for index, (labels, error_estimate) in waiting.items():
            self.write_prediction(index, labels, error_estimate)


class _DrawingTools:
    """Stands before the drawing methods of a label layer until it is closed.

    What is drawn lands on the slice on screen, or nowhere. napari's tools take the slice from
    the slider's millimetres, each in its own way: the brush rounds, the polygon cuts decimals
    off, and stays on the slice where it was begun. Between slices (of another scan in the
    viewer, say) that is another slice than the one shown; and what is drawn one slice before
    the first lands on the last one.

    Parameters
    ----------
    viewer : Viewer
        Shows the layer.
    layer : Labels
        A 3D layer.
    refused : callable
        Called where nothing is drawn because the slice on screen lies outside the layer.
    """

    def __init__(self, viewer: Viewer, layer: Labels, refused: Callable[[], None]) -> None:
        self._viewer = viewer
        self._layer = layer
        self._refused = refused
        self._napari = {name: getattr(layer, name) for name in ("paint", "fill", "paint_polygon")}
        for name in self._napari:
            setattr(layer, name, getattr(self, f"_{name}"))

    def close(self) -> None:
        """Give the methods back."""
        for name in self._napari:
            delattr(self._layer, name)

    def _paint(self, coord: Sequence[float], new_label: int, refresh: bool = True) -> None:
        if self._lies_inside(coord):
            self._napari["paint"](coord, new_label, refresh)

    def _fill(self, coord: Sequence[float], new_label: int, refresh: bool = True) -> None:
        if self._lies_inside(coord):
            self._napari["fill"](coord, new_label, refresh)

    def _paint_polygon(self, points: Any, new_label: int) -> None:
        corners = np.array(points, dtype=float)
        begun = corners[0]
        shown = self._layer.world_to_data(self._viewer.dims.point)
        # Who goes to another slice before the last corner sees the polygon there. (Around
        # what a brush has encircled a polygon is painted, too, but it stays with its stroke.)
        at = shown if self._layer.mode == "polygon" else begun
        for axis in self._across():
            corners[:, axis] = np.round(at[axis])
        if self._lies_inside(corners[0]):
            self._napari["paint_polygon"](corners, new_label)

    def _across(self) -> list[int]:
        """Axes of the layer along which one slice is drawn on."""
        dims = self._viewer.dims
        order = [axis - (dims.ndim - 3) for axis in dims.order]
        return [axis for axis in order if axis >= 0][: 3 - self._layer.n_edit_dimensions]

    def _lies_inside(self, coord: Sequence[float]) -> bool:
        shape = self._layer.data.shape
        inside = all(0 <= np.round(coord[axis]) < shape[axis] for axis in self._across())
        if not inside:
            self._refused()
        return inside
