"""The scans of one viewer that are, or were, being annotated."""

from __future__ import annotations

from collections.abc import Sequence

from napari.layers import Image, Labels
from napari.viewer import Viewer

from napari_unet.annotation.states import PALETTE, Structure
from napari_unet.plugin.scan_layers import (
    METADATA_KEY,
    adopt_segmentation,
    check_scan,
    grid_of,
    new_segmentation,
    same_grid,
)
from napari_unet.plugin.session import ScanSession

FIRST_STRUCTURE = Structure("Tumour", PALETTE[0])


class Sessions:
    """One `ScanSession` for each Segmentation layer, found again when its scan is chosen."""

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer
        self._sessions: list[ScanSession] = []

    def take_up(
        self, images: Sequence[Image], axis: int | None, labels: Labels | None, *, fresh: bool
    ) -> ScanSession | None:
        """Go on with a session of these images; None if there is none.

        Parameters are those of `Annotator.choose`.

        Raises
        ------
        NapariUnetError
            If a layer cannot be used; nothing has changed then.
        """
        check_scan(images)
        if fresh:
            return None
        for session in self._sessions:
            wanted = session.images[0] is images[0] if labels is None else session.labels is labels
            if wanted and session.labels in self._viewer.layers:
                adopt_segmentation(session.labels, images[0])
                session.use(images, session.axis if axis is None else axis)
                return session
        return None

    def begin(
        self, images: Sequence[Image], axis: int | None, labels: Labels | None, *, fresh: bool
    ) -> ScanSession:
        """Start a session on a given, left over or new label layer.

        Parameters are those of `Annotator.choose`.

        Raises
        ------
        NapariUnetError
            If a layer cannot be used; nothing has changed then.
        """
        layer = labels
        if layer is None and not fresh:
            layer = self._left_over(images[0])
        if layer is None:
            layer = new_segmentation(images[0])
        adopt_segmentation(layer, images[0])
        ours = layer.metadata[METADATA_KEY]
        if axis is None:
            axis = ours.get("axis", grid_of(images[0]).default_axis())
        structures = ours.get("structures", (FIRST_STRUCTURE,))
        session = ScanSession(self._viewer, images, layer, axis, structures)
        if layer not in self._viewer.layers:
            self._viewer.add_layer(layer)
        self._sessions.append(session)
        return session

    def end(self, session: ScanSession) -> None:
        """Let go of a session; its layer can be taken up again."""
        self._sessions.remove(session)
        session.close()

    def close(self) -> None:
        """Let go of all sessions."""
        for session in list(self._sessions):
            self.end(session)

    def _left_over(self, image: Image) -> Labels | None:
        """Find a Segmentation layer over a scan that nobody works on."""
        owned = [session.labels for session in self._sessions]
        for layer in self._viewer.layers:
            ours = layer.metadata.get(METADATA_KEY, {})
            is_free = ours.get("segmentation") and layer not in owned
            if is_free and isinstance(layer, Labels) and same_grid(image, layer):
                return layer
        return None
