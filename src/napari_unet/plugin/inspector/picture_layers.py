"""The layers of a look inside: laid over the scan, updated in place, removed without a trace."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Layer, Shapes
from napari.utils.colormaps import AVAILABLE_COLORMAPS, Colormap
from napari.viewer import Viewer
from numpy.typing import NDArray
from qtpy.QtCore import QObject, QTimer, Signal

from napari_unet.plugin.inspector.tasks import Picture
from napari_unet.plugin.layers.metadata import LayerInfo, LayerRole

if TYPE_CHECKING:
    from napari_unet.learning.inspection.explanation import Explanation
    from napari_unet.learning.inspection.levels import Place
    from napari_unet.plugin.app.session import ScanSession

FOR_AND_AGAINST = Colormap(
    [[0.2, 0.5, 1, 0.95], [0.2, 0.5, 1, 0], [1, 0.55, 0, 0], [1, 0.55, 0, 0.95]],
    controls=[0, 0.48, 0.52, 1],
    name="for and against",
)
"""Blue against the decision, orange for it; nothing where it does not matter."""

_VIRIDIS = AVAILABLE_COLORMAPS["viridis"]
FEATURES = Colormap(_VIRIDIS.colors, controls=_VIRIDIS.controls, name="features", nan_color="black")
"""viridis; black between the channels of a grid."""

BOX_COLOR = "#f5d547"

_STRONG = 0.999
"""Share of the pixels of an explanation that its colours must not hide."""

Key = tuple[str, int]


class InsideLayers(QObject):
    """What is shown of a session's scan.

    A new layer takes napari a tenth of a second, so that each has a turn of the event loop for
    itself, and the window moves in between.

    Signals
    -------
    removed : str
        The user has deleted a layer of this key.
    """

    removed = Signal(str)

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self._layers: dict[Key, Layer] = {}
        self._waiting: dict[Key, Callable[[], None]] = {}  # in the order of their turns
        self._turn = QTimer(self)
        self._turn.setInterval(0)
        self._turn.timeout.connect(self._show_next)
        viewer.layers.events.removed.connect(self._on_removed)

    @property
    def keys(self) -> set[str]:
        """Kinds of pictures that are shown, or wait for their turn."""
        return {key for key, _ in (*self._layers, *self._waiting)}

    @property
    def complete(self) -> bool:
        """Whether all that was to be shown is."""
        return not self._waiting

    def show(self, picture: Picture, session: ScanSession) -> None:
        """Show a picture soon, in the layer that shows its kind already if there is one."""
        self._later((picture.key, picture.number), partial(self._show_picture, picture, session))

    def explain(self, found: Explanation, pixel: tuple[int, int], session: ScanSession) -> None:
        """Show an explanation, the voxel it is about, and a box around what counts, soon."""
        self._later(("explanation", 0), partial(self._show_explanation, found, session))
        self._later(("box", 0), partial(self._show_box, found, pixel, session))

    def _later(self, key: Key, show: Callable[[], None]) -> None:
        self._waiting[key] = show  # in the place of an older one of its kind
        self._turn.start()

    def _show_next(self) -> None:
        if self._waiting:
            self._waiting.pop(next(iter(self._waiting)))()
        else:
            self._turn.stop()

    def drop_waiting(self, *keys: str) -> None:
        """Show none of some kinds that wait for their turn."""
        self._waiting = {key: show for key, show in self._waiting.items() if key[0] not in keys}

    def _show_picture(self, picture: Picture, session: ScanSession) -> None:
        style: dict[str, Any] = {"colormap": "gray"}
        if picture.key == "features":
            style = {"colormap": FEATURES}
        elif picture.key == "uncertainty":
            style = {"colormap": "inferno", "blending": "additive"}
        elif picture.key == "probability":
            known = session.structures[picture.number - 1 : picture.number]
            color = known[0].color if known else "#ffffff"
            style = {"colormap": Colormap(["#000000", color], name=color), "blending": "additive"}
        self._show_image(
            (picture.key, picture.number),
            picture.name,
            picture.values,
            picture.place,
            picture.limits,
            picture.index,
            session,
            style,
        )
        self._arrange(self._layers[picture.key, picture.number], session, picture.covers)

    def _show_explanation(self, found: Explanation, session: ScanSession) -> None:
        strongest = float(np.quantile(np.abs(found.values), _STRONG)) or 1.0
        self._show_image(
            ("explanation", 0),
            f"Why here: {found.method}",
            found.values,
            found.place,
            (-strongest, strongest),
            found.index,
            session,
            {"colormap": FOR_AND_AGAINST},
        )

    def _show_box(self, found: Explanation, pixel: tuple[int, int], session: ScanSession) -> None:
        """Draw what the network sees from a voxel, and the voxel."""
        rows, columns = found.seen
        corners = [
            _corners(rows.start, rows.stop, columns.start, columns.stop),
            _corners(pixel[0], pixel[0] + 1, pixel[1], pixel[1] + 1),
        ]
        boxes = [np.insert(each, session.axis, found.index, axis=1) for each in corners]
        layer = self._layers.get(("box", 0))
        if isinstance(layer, Shapes):
            if not np.array_equal(layer.data, boxes):
                layer.data = boxes
            return
        self._add(
            ("box", 0),
            Shapes(
                boxes,
                shape_type="rectangle",
                name="What it can see",
                edge_color=BOX_COLOR,
                face_color="transparent",
                edge_width=0.7,
                scale=session.labels.scale,
                translate=session.labels.translate,
                **_manners(session),
            ),
        )

    def remove(self, *keys: str) -> None:
        """Remove all layers of some kinds, and show none that wait for their turn."""
        self.drop_waiting(*keys)
        own = [key for key in self._layers if key[0] in keys]
        gone = [layer for key in own if (layer := self._layers.pop(key)) in self._viewer.layers]
        if not gone:
            return
        with self._viewer.layers.batched_update():  # drawn once
            for layer in gone:
                self._viewer.layers.remove(layer)

    def clear(self) -> None:
        """Remove all layers."""
        self.remove(*self.keys)

    def close(self) -> None:
        """Remove all layers and let go of the viewer."""
        self.clear()
        self._viewer.layers.events.removed.disconnect(self._on_removed)

    def _show_image(
        self,
        key: Key,
        name: str,
        values: NDArray[np.float32],
        place: Place,
        limits: tuple[float, float],
        index: int,
        session: ScanSession,
        style: dict[str, Any],
    ) -> None:
        axis, labels = session.axis, session.labels
        data = np.expand_dims(values, axis)
        scale = np.insert(np.array(place.scale_mm), axis, labels.scale[axis])
        corner = np.insert(np.array(place.translate_mm), axis, index * labels.scale[axis])
        translate = corner + labels.translate
        layer = self._layers.get(key)
        if not isinstance(layer, Image):
            new = Image(
                data,
                name=name,
                scale=scale,
                translate=translate,
                contrast_limits=limits,
                **_manners(session),
                **style,
            )
            self._add(key, new)
            return
        layer.data = data
        for what, value in (
            ("scale", scale),
            ("translate", translate),
            ("contrast_limits_range", limits),
            ("contrast_limits", limits),
            ("name", name),
        ):
            if not np.array_equal(getattr(layer, what), value):  # each draws the layer anew
                setattr(layer, what, value)

    def _add(self, key: Key, layer: Layer) -> None:
        """Add a layer; what was selected stays so."""
        layers = self._viewer.layers
        active = layers.selection.active
        self._layers[key] = layer
        layers.append(layer)
        layers.selection.active = active

    def _arrange(self, layer: Layer, session: ScanSession, covers: bool) -> None:
        """Put a layer on top of, or beneath, what is painted."""
        layers = self._viewer.layers
        own, painted = layers.index(layer), layers.index(session.labels)
        if covers and own < painted:
            layers.move(own, len(layers))
        elif not covers and own > painted:
            layers.move(own, painted)

    def _on_removed(self, event: Any) -> None:
        for key, layer in list(self._layers.items()):
            if layer == event.value:
                del self._layers[key]
                self.removed.emit(key[0])


def _manners(session: ScanSession) -> dict[str, Any]:
    """Arguments that all layers here share with the scan, and by which they are known."""
    image = session.images[0]
    return {
        "units": image.units,
        "axis_labels": image.axis_labels,
        "metadata": LayerInfo(LayerRole.INSPECTION).as_metadata(),
    }


def _corners(top: float, bottom: float, left: float, right: float) -> NDArray[np.float64]:
    """Corners of a box of pixels, outer edges; pixels are centred at whole numbers."""
    corners = [(top, left), (top, right), (bottom, right), (bottom, left)]
    return np.array(corners, dtype=np.float64) - 0.5
