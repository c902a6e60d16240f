"""Letters at the edges of the picture, and which side of it the patient's right is on."""

from __future__ import annotations

import contextlib
from typing import Any

from napari.components.overlays import TextOverlay
from napari.layers import Layer
from napari.viewer import Viewer
from qtpy.QtCore import QSettings

from napari_unet.imaging.orientation import edge_letters
from napari_unet.plugin.layers.metadata import LayerInfo, LayerRole

EDGES = ("top_center", "bottom_center", "middle_left", "middle_right")
"""Where napari draws the letters, in the order of `edge_letters`."""

LETTER_POINTS = 13.0
_RIGHT_LEFT = 2  # display axis


class OrientationMarks:
    """Letters at the edges of a viewer's canvas, and a picture the chosen way round.

    They follow what is on screen, a mirrored picture of a slice too. Only the camera is
    turned: data, grids and what is saved stay as they are.

    Parameters
    ----------
    viewer : Viewer
        Its 2D pictures get letters, as long as it shows a scan whose place in the
        patient is known.
    """

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer
        self._known = False
        self._settings = QSettings(
            QSettings.Format.IniFormat, QSettings.Scope.UserScope, "napari-unet-mri", "display"
        )
        self.neurological = self._settings.value("neurological", "false") == "true"
        self._as_found = viewer.scene.camera.orientation2d
        self._marks = {
            f"napari_unet_{edge}": TextOverlay(position=edge, font_size=LETTER_POINTS, box=True)
            for edge in EDGES
        }
        viewer.canvas.overlays.update(self._marks)
        dims = viewer.dims.events
        self._turned = (dims.order, dims.ndisplay, dims.ndim)
        for event in self._turned:
            event.connect(self._turn)
        viewer.scene.camera.events.orientation.connect(self._label)
        dims.current_step.connect(self._label)
        viewer.layers.events.inserted.connect(self._on_inserted)
        viewer.layers.events.removed.connect(self._on_removed)
        for layer in viewer.layers:
            self._watch(layer)

    def close(self) -> None:
        """Take the letters away and turn the camera back."""
        for event in self._turned:
            event.disconnect(self._turn)
        layers = self._viewer.layers
        self._viewer.dims.events.current_step.disconnect(self._label)
        layers.events.inserted.disconnect(self._on_inserted)
        layers.events.removed.disconnect(self._on_removed)
        for layer in layers:
            self._forget(layer)
        camera = self._viewer.scene.camera
        camera.events.orientation.disconnect(self._label)
        camera.orientation2d = self._as_found
        for key in self._marks:
            with contextlib.suppress(KeyError):  # a second annotator in this viewer
                del self._viewer.canvas.overlays[key]

    def show(self, known: bool) -> None:
        """Show letters for a scan whose place in the patient is known; none otherwise."""
        if known != self._known:
            self._known = known
            self._turn()

    def set_neurological(self, neurological: bool) -> None:
        """Show the patient's right on the right, or (radiological) on the left; remember it."""
        self.neurological = neurological
        self._settings.setValue("neurological", "true" if neurological else "false")
        self._turn()

    @property
    def letters(self) -> tuple[str, ...]:
        """What is shown at the top, bottom, left and right; empty strings for nothing."""
        return tuple(mark.text if mark.visible else "" for mark in self._marks.values())

    def _displayed(self) -> tuple[int, int] | None:
        """Display axes of the scan that run down and to the right; None in 3D."""
        dims = self._viewer.dims
        axes = tuple(axis - (dims.ndim - 3) for axis in dims.displayed)
        return (axes[0], axes[1]) if len(axes) == 2 and min(axes) >= 0 else None

    # -- pictures that show a slice mirrored -----------------------------------

    def _on_inserted(self, event: Any) -> None:
        self._watch(event.value)
        self._label()

    def _on_removed(self, event: Any) -> None:
        self._forget(event.value)
        self._label()

    def _watch(self, layer: Layer) -> None:
        """Follow what is done to a picture of a slice."""
        if LayerInfo.of(layer).role is LayerRole.INSPECTION:
            layer.events.visible.connect(self._label)
            layer.events.metadata.connect(self._label)

    def _forget(self, layer: Layer) -> None:
        layer.events.visible.disconnect(self._label)
        layer.events.metadata.disconnect(self._label)

    def _mirrored(self) -> set[int]:
        """Display axes along which what is on screen is mirrored."""
        return {
            axis
            for layer in self._viewer.layers
            if layer.visible and (mirrored := LayerInfo.of(layer).mirrored) and self._in_view(layer)
            for axis in mirrored
        }

    def _in_view(self, layer: Layer) -> bool:
        """Whether the slice that a picture is of is the one on screen."""
        dims = self._viewer.dims
        at = layer.world_to_data(dims.point[-layer.ndim :])
        before = dims.ndim - layer.ndim
        hidden = [axis - before for axis in dims.not_displayed if axis >= before]
        return all(layer.data.shape[axis] == 1 and round(at[axis]) == 0 for axis in hidden)

    # -- what is drawn ---------------------------------------------------------

    def _turn(self, _event: Any = None) -> None:
        """Turn the camera the chosen way for the plane on screen."""
        axes = self._displayed()
        orientation = self._as_found
        if self._known and axes is not None:
            down, right = (self.neurological and axis == _RIGHT_LEFT for axis in axes)
            orientation = ("up" if down else "down", "left" if right else "right")
        self._viewer.scene.camera.orientation2d = orientation
        self._label()

    def _label(self, _event: Any = None) -> None:
        """Write the letters of the picture as the camera shows it, whoever turned it."""
        axes = self._displayed()
        shown = self._known and axes is not None
        if axes is not None and shown:
            vertical, horizontal = (str(way) for way in self._viewer.scene.camera.orientation2d)
            mirrored = self._mirrored()
            letters = edge_letters(
                *axes,
                flip_down=(vertical == "up") != (axes[0] in mirrored),
                flip_right=(horizontal == "left") != (axes[1] in mirrored),
            )
            for mark, letter in zip(self._marks.values(), letters, strict=True):
                mark.text = letter
        for mark in self._marks.values():
            mark.visible = shown
