"""The layers of "Look inside": laid over the scan, updated in place, removed without a trace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels, Layer, Shapes
from napari.utils.colormaps import AVAILABLE_COLORMAPS, Colormap
from napari.viewer import Viewer
from qtpy.QtCore import QObject, QTimer, Signal

from napari_unet.plugin.inspection.tasks import Outline, Picture
from napari_unet.plugin.layers.metadata import LayerInfo, LayerRole

if TYPE_CHECKING:
    from napari_unet.plugin.app.session import ScanSession

FOR_AND_AGAINST = Colormap(
    [[0.2, 0.5, 1, 0.95], [0.2, 0.5, 1, 0], [1, 0.55, 0, 0], [1, 0.55, 0, 0.95]],
    controls=[0, 0.48, 0.52, 1],
    name="for and against",
)
"""Blue against the decision, orange for it; nothing where it does not matter."""

OPAQUE_FROM = 0.3
"""Where a fading colormap begins to hide the scan, from 0 (its dark end) to 1."""


def _fading(name: str) -> Colormap:
    """Make a colormap transparent towards its dark end: the scan shows where nothing is found."""
    colors = AVAILABLE_COLORMAPS[name].colors.copy()
    colors[:, 3] = np.linspace(0, 1 / OPAQUE_FROM, len(colors)).clip(max=1)
    return Colormap(colors, name=f"{name}, fading")


_VIRIDIS = AVAILABLE_COLORMAPS["viridis"]
FEATURES = Colormap(_VIRIDIS.colors, controls=_VIRIDIS.controls, name="features", nan_color="black")
"""viridis; black between the channels of a grid."""

STYLES: dict[str, dict[str, Any]] = {
    "network_input": {"colormap": "gray"},
    "variation": {"colormap": "gray"},
    "probabilities": {"colormap": _fading("viridis")},  # no colour of a structure
    "uncertainty": {"colormap": _fading("inferno")},
    "level": {"colormap": FEATURES},
    "explanation": {"colormap": FOR_AND_AGAINST},
}
"""How each kind of picture looks."""

MASK_OUTLINE = 2
"""Pixels: width of the outlines that the annotation is reduced to while there are pictures."""

OUTLINE = {"edge_color": "#f5d547", "face_color": "transparent", "edge_width": 0.7}

Key = tuple[str, int]


class PictureLayers(QObject):
    """What is shown of a session's scan.

    A new layer takes napari a tenth of a second, so that each has a turn of the event loop for
    itself, and the window moves in between.

    Signals
    -------
    removed : str
        The user has deleted a layer of this kind.
    """

    removed = Signal(str)

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self._layers: dict[Key, Layer] = {}
        self._outlined: tuple[Labels, int] | None = None  # the annotation, and what it had before
        self._waiting: dict[Key, tuple[Picture | Outline, ScanSession]] = {}  # in order
        self._turn = QTimer(self)
        self._turn.setInterval(0)
        self._turn.timeout.connect(self._show_next)
        viewer.layers.events.removed.connect(self._on_removed)

    @property
    def kinds(self) -> set[str]:
        """Kinds of pictures that are shown, or wait for their turn."""
        return {kind for kind, _ in (*self._layers, *self._waiting)}

    @property
    def complete(self) -> bool:
        """Whether all that was to be shown is."""
        return not self._waiting

    def show(self, picture: Picture | Outline, session: ScanSession) -> None:
        """Show a picture soon, in the layer that shows its kind already if there is one."""
        self._waiting[picture.kind, picture.number] = picture, session
        self._turn.start()

    def drop_waiting(self, *kinds: str) -> None:
        """Show none of some kinds that wait for their turn."""
        self._waiting = {key: each for key, each in self._waiting.items() if key[0] not in kinds}

    def remove(self, *kinds: str) -> None:
        """Remove all layers of some kinds, and show none that wait for their turn."""
        self.drop_waiting(*kinds)
        own = [key for key in self._layers if key[0] in kinds]
        gone = [layer for key in own if (layer := self._layers.pop(key)) in self._viewer.layers]
        if not gone:
            return
        with self._viewer.layers.batched_update():  # drawn once
            for layer in gone:
                self._viewer.layers.remove(layer)
        self._fill_again()

    def clear(self) -> None:
        """Remove all layers."""
        self.remove(*self.kinds)

    def close(self) -> None:
        """Remove all layers and let go of the viewer."""
        self.clear()
        self._viewer.layers.events.removed.disconnect(self._on_removed)

    def _on_removed(self, event: Any) -> None:
        for key, layer in list(self._layers.items()):
            if layer == event.value:
                del self._layers[key]
                self._fill_again()
                self.removed.emit(key[0])

    def _show_next(self) -> None:
        if not self._waiting:
            self._turn.stop()
            return
        picture, session = self._waiting.pop(next(iter(self._waiting)))
        if isinstance(picture, Outline):
            self._show_outline(picture, session)
        else:
            self._show_picture(picture, session)

    def _show_picture(self, picture: Picture, session: ScanSession) -> None:
        axis, labels = session.axis, session.labels
        thickness = labels.scale[axis]
        corner = np.insert(picture.place.translate_mm, axis, picture.index * thickness)
        data = np.expand_dims(picture.values, axis)
        attributes: dict[str, Any] = {
            "metadata": _info(tuple(np.delete(range(3), axis)[[*picture.mirrored]].tolist())),
            "name": picture.name,
            "scale": np.insert(picture.place.scale_mm, axis, thickness),
            "translate": corner + labels.translate,
            "contrast_limits": picture.limits,
        }
        layer = self._layers.get((picture.kind, picture.number))
        if layer is None:
            layer = Image(data, **attributes, **STYLES[picture.kind], **_like_the_scan(session))
            # The same bar for all structures is enough.
            layer.colorbar.visible = picture.kind != "probabilities" or picture.number == 1
            self._add(picture, layer, session)
        else:
            layer.data = data
            attributes = {"contrast_limits_range": picture.limits, **attributes}
            for name, value in attributes.items():
                if not np.array_equal(getattr(layer, name), value):  # each draws the layer anew
                    setattr(layer, name, value)
        # On top of, or beneath, what is painted.
        layers = self._viewer.layers
        own, painted = layers.index(layer), layers.index(labels)
        if picture.covers and own < painted:
            layers.move(own, len(layers))
        elif own > painted and not picture.covers:
            layers.move(own, painted)

    def _show_outline(self, outline: Outline, session: ScanSession) -> None:
        """Draw the outer edges of boxes of pixels, which are centred at whole numbers."""
        boxes = [
            np.insert(
                [
                    (rows.start - 0.5, columns.start - 0.5),
                    (rows.start - 0.5, columns.stop - 0.5),
                    (rows.stop - 0.5, columns.stop - 0.5),
                    (rows.stop - 0.5, columns.start - 0.5),
                ],
                session.axis,
                outline.index,
                axis=1,
            )
            for rows, columns in outline.boxes
        ]
        layer = self._layers.get((outline.kind, outline.number))
        if layer is None:
            layer = Shapes(
                boxes,
                shape_type="rectangle",
                name="What it can see",
                scale=session.labels.scale,
                translate=session.labels.translate,
                metadata=_info(),
                **OUTLINE,
                **_like_the_scan(session),
            )
            self._add(outline, layer, session)
        elif not np.array_equal(layer.data, boxes):
            layer.data = boxes

    def _add(self, picture: Picture | Outline, layer: Layer, session: ScanSession) -> None:
        """Add a layer; what was selected stays so, and what is painted is outlined."""
        layers, labels = self._viewer.layers, session.labels
        if self._outlined is None:
            self._outlined = labels, labels.contour
            labels.contour = MASK_OUTLINE
        active = layers.selection.active
        self._layers[picture.kind, picture.number] = layer
        layers.append(layer)
        layers.selection.active = active

    def _fill_again(self) -> None:
        """Show the annotation as it was before the first picture, once there is none any more."""
        if self._layers or self._outlined is None:
            return
        labels, contour = self._outlined
        self._outlined = None
        if labels.contour == MASK_OUTLINE:  # as it was left, not as the user has changed it
            labels.contour = contour


def _like_the_scan(session: ScanSession) -> dict[str, Any]:
    """Arguments that all layers here share with the scan."""
    image = session.images[0]
    return {"units": image.units, "axis_labels": image.axis_labels}


def _info(mirrored: tuple[int, ...] = ()) -> dict[str, Any]:
    """Metadata by which a layer is known as one of these."""
    return LayerInfo(LayerRole.INSPECTION, mirrored=mirrored).as_metadata()
