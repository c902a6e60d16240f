"""The scan at hand on screen: alone, with its mask where strokes are seen."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.layers import Image, Labels, Layer
from napari.viewer import Viewer
from qtpy.QtCore import QObject, Signal

from napari_unet.annotation.states import TOUCHED
from napari_unet.imaging.volume import middle_slice
from napari_unet.plugin.app.session import ScanSession
from napari_unet.plugin.layers.label_layers import MASK_OPACITY
from napari_unet.plugin.layers.metadata import LayerInfo, LayerRole
from napari_unet.plugin.layers.scan_layers import stored_grid

COVERS = 0.8
"""Opacity from which an image hides what lies beneath; below it is an overlay."""

SEEN = 0.05
"""Opacity below which a mask is not seen."""

_OVERLAID = ("additive", "minimum", "multiplicative")
"""Blending of images that let through what lies beneath."""

_WATCHED = ("inserted", "removed", "reordered", "visible", "opacity", "blending", "colormap")
"""Events of the layer list, and of its layers, that change what is seen."""

_DRAWING = ("paint", "fill", "erase", "polygon")


@dataclass(frozen=True, slots=True)
class Hindrance:
    """Why strokes would not be seen where they go.

    Parameters
    ----------
    found : str
        A sentence: what is in the way.
    remedy : str
        What mends it, for a button.
    mended : str
        A sentence for when it is mended.
    mend : callable
        Mends it.
    covering : Image, optional
        The image that lies over the scan.
    """

    found: str
    remedy: str
    mended: str
    mend: Callable[[], None]
    covering: Image | None = None


class ScanOnScreen(QObject):
    """Show one scan and its mask alone, and hold the brush while strokes would not be seen.

    Layers are compared with ``==``: napari hands plugins proxies of them.

    Signals
    -------
    changed : ()
        There is another `hindrance` than before, or other layers are `hidden`.
    refused : str
        Why there is no brush now, in a sentence.
    """

    changed = Signal()
    refused = Signal(str)

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self.hindrance: Hindrance | None = None
        self._viewer = viewer
        self._session: ScanSession | None = None
        self._fresh = True  # no scan was shown yet
        self._title = viewer.title
        self._held = ""  # the mode that comes back with the brush
        self._hidden: list[tuple[Layer, Image]] = []  # and the scan they were seen with
        self._same_patient: set[frozenset[Any]] = set()  # pairs of layers, by their ids
        viewer.layers.events.connect(self._on_layers)
        for event in (viewer.dims.events.current_step, viewer.dims.events.order):
            event.connect(self._check)
        viewer.dims.events.ndisplay.connect(self._check)
        viewer.canvas.grid.events.enabled.connect(self._check)

    def close(self) -> None:
        """Let go of viewer and layers; the brush is given back, what is hidden stays so."""
        with contextlib.suppress(RuntimeError, AttributeError):  # its window may have gone first
            self.attend(None)
        self._viewer.layers.events.disconnect(self._on_layers)
        dims = self._viewer.dims.events
        for event in (dims.current_step, dims.order, dims.ndisplay):
            event.disconnect(self._check)
        self._viewer.canvas.grid.events.enabled.disconnect(self._check)

    # -- one scan alone --------------------------------------------------------

    @property
    def hidden(self) -> list[Layer]:
        """Layers of other scans that were hidden here, and still are."""
        layers = self._viewer.layers
        return [layer for layer, _ in self._hidden if layer in layers and not layer.visible]

    def attend(self, session: ScanSession | None) -> None:
        """Watch over another scan, or none, from now on."""
        if self._session is not None and self._session is not session:
            self._session.labels.events.mode.disconnect(self._on_mode)
            self._give_brush_back()
        if session is not None and self._session is not session:
            # Last: whoever shows the mode must be told of the one it is set back to.
            session.labels.events.mode.connect(self._on_mode, position="last")
        self._session = session
        self._entitle()
        self._check()

    def _entitle(self) -> None:
        """Let the title of the window say the scan."""
        scan = None if self._session is None else self._session.images[0].name
        title = self._title if scan is None else f"{scan} - {self._title}"
        if self._viewer.title != title:
            self._viewer.title = title

    def show_alone(self, session: ScanSession, others: Sequence[ScanSession]) -> None:
        """Show a scan and its mask, hide those of others, and go to a slice of interest.

        Parameters
        ----------
        session : ScanSession
            The scan to show.
        others : sequence of ScanSession
            All that are, or were, annotated. What was hidden when another scan was shown
            comes back with the scan that it was seen with.
        """
        before, self._session = self._session, None  # nothing is held meanwhile
        image = session.images[0]
        back = [
            layer
            for layer, seen_with in self._hidden
            if layer in session.images
            or (seen_with == image and not _is_scan_or_mask(layer, others))
        ]
        self._hidden = [each for each in self._hidden if each[0] not in back]
        for layer in (image, *back):
            _show(layer)
        left = image if before is None else before.images[0]
        stay, self._fresh = self._fresh, False
        for layer in list(self._viewer.layers):
            other = layer not in back and self._is_other(layer, session, others, left != image)
            if layer.visible and other:
                layer.visible = False
                self._hidden.append((layer, left))
        self._go_to_first_slice(session, stay=stay)
        self._session = before
        self.attend(session)
        self.make_seen()
        self.changed.emit()

    def show_hidden(self) -> None:
        """Show the layers again that were hidden here."""
        again, self._hidden = self.hidden, []
        for layer in again:
            _show(layer)
        self.changed.emit()

    def make_seen(self) -> str:
        """Remove what hinders strokes from being seen; say what was done, if anything."""
        said = []
        while self.hindrance is not None:
            hindrance = self.hindrance
            hindrance.mend()
            said.append(hindrance.mended)
            self._check()
            if self.hindrance == hindrance:
                break
        return " ".join(said)

    def allow(self) -> None:
        """Take the image that lies over the scan for one of the same patient, from now on."""
        if self.hindrance is not None and self.hindrance.covering is not None and self._session:
            pair = frozenset(
                each.unique_id for each in (self._session.images[0], self.hindrance.covering)
            )
            self._same_patient.add(pair)
            self._check()
            self.make_seen()

    def _is_other(
        self, layer: Layer, session: ScanSession, others: Sequence[ScanSession], came: bool
    ) -> bool:
        """Whether a layer is of another scan than that of a session.

        Parameters
        ----------
        layer, session, others
            See `show_alone`.
        came : bool
            Whether another scan was shown before: label layers that say nothing of their
            scan belong to that one.
        """
        if layer == session.labels:
            return False
        if isinstance(layer, Labels):
            is_segmentation = LayerInfo.of(layer).is_segmentation
            return is_segmentation or (came and stored_grid(layer) is not None)
        if (
            not isinstance(layer, Image)
            or _is_inside(layer)
            or self.is_same_patient(layer, session)
        ):
            return False
        return _is_scan_or_mask(layer, others) or self._covers(layer, session)

    def _go_to_first_slice(self, session: ScanSession, *, stay: bool) -> None:
        """Go to the slice looked at last; else an annotated one; else the middle of the head."""
        segmentation, image = session.segmentation, session.images[0]
        self._viewer.dims.ndisplay = 2
        here, in_view = segmentation.visible_index, segmentation.in_view
        segmentation.face_axis()
        index = segmentation.last_viewed
        annotated = session.record.slices_in(*TOUCHED)
        if index is None and annotated:
            near = here if in_view else annotated[len(annotated) // 2]
            index = min(annotated, key=lambda each: abs(each - near))
        if index is None and not (stay and in_view):
            index = middle_slice(image.data, session.axis)
        if index is not None:
            segmentation.go_to(index)
        shown = list(self._viewer.dims.displayed)
        low, high = image.extent.world[:, [axis - self._viewer.dims.ndim for axis in shown]]
        center = np.asarray(self._viewer.scene.camera.center)[-len(shown) :]
        if not ((low <= center) & (center <= high)).all():  # a scan of another place
            self._viewer.reset_view(layers=[image])

    # -- what hinders ----------------------------------------------------------

    def _on_layers(self, event: Any) -> None:
        if event.type in _WATCHED:
            self._check()
        elif event.type == "renamed":
            self._entitle()

    def _check(self, _event: Any = None) -> None:
        """Note what hinders strokes now; hold the brush, or give it back."""
        before, session = self.hindrance, self._session
        self.hindrance = None
        if session is not None and session.present:
            self.hindrance = next(self._hindrances(session), None)
            if self.hindrance is None:
                self._give_brush_back()
            elif session.labels.mode in _DRAWING:
                self._hold_brush(session)
        if before != self.hindrance:
            self.changed.emit()
        elif self._hidden and len(self.hidden) < len(self._hidden):
            self._hidden = [each for each in self._hidden if each[0] in self.hidden]
            self.changed.emit()

    def _hindrances(self, session: ScanSession) -> Iterator[Hindrance]:
        """Find what hinders strokes from being seen, the first thing to mend first."""
        labels, image = session.labels, session.images[0]
        dims, layers = self._viewer.dims, self._viewer.layers
        if dims.ndisplay == 3:
            yield Hindrance(
                "The view is 3D.",
                "Back to slices",
                "The view was 3D.",
                self._face_slices,
            )
        if not labels.visible:
            yield Hindrance(
                "The mask is hidden.", "Show it", "The mask was hidden.", self._show_mask
            )
        if labels.opacity < SEEN:
            yield Hindrance(
                "The mask is transparent.", "Show it", "The mask was transparent.", self._show_mask
            )
        if not self._seen_scans(session):
            yield Hindrance(
                f"The scan “{image.name}” is hidden.",
                "Show it",
                f"The scan “{image.name}” was hidden.",
                self._show_scan,
            )
        if self._viewer.canvas.grid.enabled:
            return  # side by side
        own = filter(_is_opaque, self._seen_scans(session))
        if any(layers.index(each) > layers.index(labels) for each in own):
            yield Hindrance(
                "The scan lies over its mask.",
                "Mask on top",
                "The mask lay beneath the scan.",
                self._raise_mask,
            )
        for layer in reversed(layers):
            if isinstance(layer, Image) and self._covers(layer, session):
                yield Hindrance(
                    f"“{layer.name}” lies over “{image.name}”, the scan that is annotated.",
                    "Show the scan",
                    f"“{layer.name}” lay over “{image.name}”.",
                    self._uncover,
                    layer,
                )

    def _covers(self, layer: Image, session: ScanSession) -> bool:
        """Whether an image hides the slice of the scan on screen, and is no sequence of it."""
        image, layers, dims = session.images[0], self._viewer.layers, self._viewer.dims
        if not layer.visible or not _is_opaque(layer) or _is_inside(layer):
            return False
        seen = self._seen_scans(session)
        top = max((layers.index(each) for each in seen), default=-1)
        if self.is_same_patient(layer, session) or layers.index(layer) < top:
            return False
        (low, high), (first, last) = layer.extent.world, image.extent.world
        n = min(3, layer.ndim)
        overlap = (low[-n:] < last[-n:]) & (first[-n:] < high[-n:])
        point = np.asarray(dims.point)[-n:]
        for axis in dims.not_displayed:
            if axis >= dims.ndim - n:
                at = axis - dims.ndim
                overlap[at] = low[at] <= point[at] <= high[at]
        return bool(overlap.all())

    def is_same_patient(self, layer: Image, session: ScanSession) -> bool:
        """Whether an image is a sequence of a scan, or was said to be of the same patient."""
        pair = frozenset(each.unique_id for each in (session.images[0], layer))
        return layer in session.images or pair in self._same_patient

    def _seen_scans(self, session: ScanSession) -> list[Image]:
        """Images of the patient that are visible; of these the opaque ones, if there are any."""
        images = (layer for layer in self._viewer.layers if isinstance(layer, Image))
        seen = [each for each in images if each.visible and self.is_same_patient(each, session)]
        return [each for each in seen if _is_opaque(each)] or seen

    def _face_slices(self) -> None:
        if self._session is not None:
            self._viewer.dims.ndisplay = 2
            self._session.segmentation.face_axis()

    def _show_mask(self) -> None:
        if self._session is not None:
            labels = self._session.labels
            if labels.opacity < SEEN:
                labels.opacity = MASK_OPACITY
            _show(labels)

    def _show_scan(self) -> None:
        if self._session is not None:
            _show(self._session.images[0])

    def _raise_mask(self) -> None:
        if self._session is not None:
            layers = self._viewer.layers
            layers.move(layers.index(self._session.labels), len(layers))

    def _uncover(self) -> None:
        """Hide all images that lie over the scan."""
        session = self._session
        if session is None:
            return
        for layer in list(self._viewer.layers):
            if isinstance(layer, Image) and self._covers(layer, session):
                # Noted before it is hidden: that is checked at once.
                self._hidden.append((layer, session.images[0]))
                layer.visible = False

    # -- the brush -------------------------------------------------------------

    def _hold_brush(self, session: ScanSession) -> None:
        self._held = session.labels.mode
        session.labels.mode = "pan_zoom"

    def _give_brush_back(self) -> None:
        held, self._held = self._held, ""
        if held and self._session is not None and self._session.labels.mode == "pan_zoom":
            self._session.labels.mode = held

    def _on_mode(self, _event: Any = None) -> None:
        session, hindrance = self._session, self.hindrance
        if session is None or session.labels.mode not in _DRAWING or hindrance is None:
            return
        self._hold_brush(session)
        self.refused.emit(f"{hindrance.found} Press “{hindrance.remedy}” to paint.")


def _show(layer: Layer) -> None:
    if not layer.visible:  # napari takes the brush away from a layer that is visible already
        layer.visible = True


def _is_scan_or_mask(layer: Layer, sessions: Sequence[ScanSession]) -> bool:
    """Whether a layer is a scan by itself, or its Segmentation layer."""
    if isinstance(layer, Labels):
        return LayerInfo.of(layer).is_segmentation
    annotated = any(layer in session.images for session in sessions)
    return isinstance(layer, Image) and (annotated or stored_grid(layer) is not None)


def _is_inside(layer: Layer) -> bool:
    """Whether a layer shows what the model sees."""
    return LayerInfo.of(layer).role is LayerRole.INSPECTION


def _is_opaque(layer: Image) -> bool:
    """Whether nothing is seen through an image."""
    colors = np.asarray(getattr(layer.colormap, "colors", 1.0))
    clear = not layer.rgb and colors.ndim == 2 and (colors[:, 3] < COVERS).any()
    return layer.opacity >= COVERS and layer.blending not in _OVERLAID and not clear
