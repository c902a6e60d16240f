"""The scans of one viewer that are, or were, being annotated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from napari.layers import Image, Labels
from napari.viewer import Viewer
from numpy.typing import NDArray

from napari_unet.annotation.record import AnnotationRecord
from napari_unet.annotation.states import IGNORE_LABEL
from napari_unet.errors import AnnotationError
from napari_unet.imaging.volume import slices_where
from napari_unet.plugin.app.session import ScanSession, along
from napari_unet.plugin.layers.label_layers import adopt_segmentation, new_segmentation
from napari_unet.plugin.layers.metadata import LayerInfo, Owner
from napari_unet.plugin.layers.scan_layers import (
    check_scan,
    grid_of,
    identity_of,
    same_grid,
)


class SessionRegistry:
    """One `ScanSession` for each Segmentation layer, found again when its scan is chosen.

    Layers are compared with ``==``: napari hands plugins proxies of them.
    """

    def __init__(self, viewer: Viewer, owner: Owner) -> None:
        self._viewer = viewer
        self._owner = owner
        self._sessions: list[ScanSession] = []
        self._left: list[ScanSession] = []
        for layer in viewer.layers:
            self._part(layer)
        viewer.layers.events.inserted.connect(self._on_inserted)

    @property
    def all(self) -> tuple[ScanSession, ...]:
        """Every scan that is, or was, annotated here and still can be."""
        return tuple(self._sessions)

    def open(
        self,
        images: Sequence[Image],
        axis: int | None,
        labels: Labels | None,
        *,
        fresh: bool,
        complete: bool,
    ) -> tuple[ScanSession, bool]:
        """Go on with the session of these images, or begin one; whether it is new.

        Parameters are those of `Annotator.choose`.

        Raises
        ------
        NapariUnetError
            If a layer cannot be used; nothing has changed then.
        """
        check_scan(images)
        session = None if fresh else self._go_on(images, axis, labels)
        if session is not None:
            return session, False
        layer = labels if labels is not None or fresh else self._left_over(images[0])
        return self._begin(images, axis, layer, complete), True

    def _go_on(
        self, images: Sequence[Image], axis: int | None, labels: Labels | None
    ) -> ScanSession | None:
        """Go on with a session of these images; None if there is none."""
        found = [
            session
            for session in self._sessions
            if (session.images[0] == images[0] if labels is None else session.labels == labels)
        ]
        if not found:
            return None
        scan = found[0].images[0]
        if labels is not None and images[0] not in found[0].images and scan in self._viewer.layers:
            raise AnnotationError(
                f"“{labels.name}” is the mask of “{scan.name}”. Choose that as the scan; to start "
                "from its mask on this one, save it and press “Load…”."
            )
        # A label layer that was deleted comes back with its strokes.
        session = next((s for s in found if s.labels in self._viewer.layers), found[-1])
        adopt_segmentation(session.labels, images[0])
        if session.labels not in self._viewer.layers:
            self._viewer.add_layer(session.labels)
        session.use(images, session.axis if axis is None else axis)
        return session

    def _begin(
        self, images: Sequence[Image], axis: int | None, layer: Labels | None, complete: bool
    ) -> ScanSession:
        """Begin a session on a label layer, or on a new one."""
        if layer is None:
            layer = new_segmentation(images[0], grid_of(images[0]).default_axis())
        else:
            self._part(layer)
        known = LayerInfo.of(layer).annotation
        owner = None if known is None else known.owner
        if owner is not None and owner.open and owner is not self._owner:
            raise AnnotationError(
                f"“{layer.name}” is being annotated in another U-Net annotator. Go on there, or "
                "close that one first."
            )
        adopt_segmentation(layer, images[0])
        if axis is None:
            axis = LayerInfo.of(layer).axis
        if axis is None:
            axis = grid_of(images[0]).default_axis()
        record = _record_of(layer, axis, complete)
        session = ScanSession(self._viewer, images, layer, record, self._owner)
        if layer not in self._viewer.layers:
            self._viewer.add_layer(layer)
        self._sessions.append(session)
        return session

    def end(self, session: ScanSession) -> None:
        """Let go of a session; its layer can be taken up again."""
        self._sessions.remove(session)
        session.close()
        if session.saved.unsaved() or session.models.unsaved:
            self._left.append(session)

    @property
    def left(self) -> tuple[ScanSession, ...]:
        """Scans let go of with unsaved work, while their layers are there and nobody goes on."""
        self._left = [session for session in self._left if self._is_left(session)]
        return tuple(self._left)

    def _is_left(self, session: ScanSession) -> bool:
        known = LayerInfo.of(session.labels).annotation
        free = known is not None and known.owner is None and known.record is session.record
        return free and session.labels in self._viewer.layers

    def end_lost(self, but: ScanSession | None) -> None:
        """Let go of the sessions whose scan is gone, all but one."""
        for session in list(self._sessions):
            if session is not but and session.images[0] not in self._viewer.layers:
                self.end(session)
        self._left = list(self.left)

    def close(self) -> None:
        """Let go of all sessions."""
        self._viewer.layers.events.inserted.disconnect(self._on_inserted)
        for session in list(self._sessions):
            self.end(session)

    def _on_inserted(self, event: Any) -> None:
        self._part(event.value)

    def _part(self, layer: Any) -> None:
        """Let a copy of a Segmentation layer go its own way.

        napari copies metadata as they are, and with them what is another layer's. A copy
        knows of its slices what was known when it was made; anything else made from such
        a layer is a mask from elsewhere.
        """
        info = LayerInfo.of(layer)
        known = info.annotation
        if known is None or known.layer_id == layer.unique_id:
            return
        twin = known.record.copied(np.asarray(layer.data)) if isinstance(layer, Labels) else None
        if twin is None:
            info = LayerInfo(
                grid=info.grid,
                in_viewer=info.in_viewer,
                file_grid=info.file_grid,
                structures=info.structures,
            )
        else:
            layer.data = twin.labels
            own = replace(
                known,
                layer_id=layer.unique_id,
                record=twin,
                models=known.models.copied(),
                owner=None,
            )
            info = replace(info, annotation=own)
        info.put(layer)

    def _left_over(self, image: Image) -> Labels | None:
        """Find a Segmentation layer over a scan that nobody works on."""
        owned = [session.labels for session in self._sessions]
        for layer in self._viewer.layers:
            info = LayerInfo.of(layer)
            # Scans of one study share their grid: only the scan itself will do.
            same_scan = info.annotation is None or info.annotation.scan_id == identity_of(image)
            is_free = info.is_segmentation and same_scan and layer not in owned
            if is_free and isinstance(layer, Labels) and same_grid(image, layer):
                return layer
        return None

    def of(self, layer: Any) -> ScanSession | None:
        """Find the session of a label layer."""
        return next((s for s in self._sessions if s.labels == layer), None)


def _record_of(layer: Labels, axis: int, complete: bool) -> AnnotationRecord:
    """Find who labelled what in a layer, as far as it says so itself.

    Raises
    ------
    AnnotationError
        If slices are annotated along another axis.
    """
    info = LayerInfo.of(layer)
    data = np.asarray(layer.data)
    if info.annotation is not None:
        record = info.annotation.record
    elif info.annotated is not None:
        record = AnnotationRecord(data, axis if info.axis is None else info.axis, info.annotated)
    else:
        return _record_of_mask(data, axis, complete)
    record.rebind(data)  # who painted there meanwhile is a person, too
    return record if record.axis == axis else along(record, axis)


def _record_of_mask(labels: NDArray[np.uint8], axis: int, complete: bool) -> AnnotationRecord:
    """Take a mask from elsewhere as annotation: slices with any label are annotated.

    255 means "not annotated": it becomes background, and its slices partial. A mask that
    is not `complete` is taken for predictions.
    """
    unknown = labels == IGNORE_LABEL
    labels[unknown] = 0
    if not complete:
        return AnnotationRecord(labels, axis)
    annotated = slices_where(labels, axis)
    return AnnotationRecord(labels, axis, annotated, unknown if unknown.any() else None)
