"""Letters at the edges of the picture, and which side of it the patient's right is on."""

from __future__ import annotations

import contextlib
from typing import Any

from napari.components.overlays import TextOverlay
from napari.viewer import Viewer
from qtpy.QtCore import QSettings

from napari_unet.imaging.orientation import edge_letters

EDGES = ("top_center", "bottom_center", "middle_left", "middle_right")
"""Where napari draws the letters, in the order of `edge_letters`."""

LETTER_POINTS = 13.0
_RIGHT_LEFT = 2  # display axis


class OrientationMarks:
    """Letters at the edges of a viewer's canvas, and a picture the chosen way round.

    Only the camera is turned: data, grids and what is saved stay as they are.

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

    def close(self) -> None:
        """Take the letters away and turn the camera back."""
        for event in self._turned:
            event.disconnect(self._turn)
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
            letters = edge_letters(
                *axes, flip_down=vertical == "up", flip_right=horizontal == "left"
            )
            for mark, letter in zip(self._marks.values(), letters, strict=True):
                mark.text = letter
        for mark in self._marks.values():
            mark.visible = shown
