"""Have what is drawn on a label layer land on the slice on screen, or nowhere.

napari's tools take the slice from the slider's millimetres, each in its own way: the brush
rounds, the polygon cuts decimals off, and stays on the slice where it was begun. Between
slices (of another scan in the viewer, say) that is another slice than the one shown; and what
is drawn one slice before the first lands on the last one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from napari.layers import Labels
from napari.viewer import Viewer


class Drawing:
    """Stands before the drawing methods of a label layer until it is closed.

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
