"""What a person says of the slice on screen, and which one to look at next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_unet.errors import AnnotationError
from napari_unet.imaging.volume import PLANES

if TYPE_CHECKING:
    from napari_unet.plugin.app.annotator import Annotator
    from napari_unet.plugin.app.session import ScanSession


class SliceOnScreen:
    """Accept the slice on screen, take it back, or go on to another one.

    Parameters
    ----------
    annotator : Annotator
        Knows the scan at hand.
    """

    def __init__(self, annotator: Annotator) -> None:
        self._annotator = annotator

    def accept(self) -> None:
        """Take the slice as it is, also an empty one."""
        session, index = self._at_hand("accept it")
        with session.bridge.step([index]):
            session.record.accept(index)
        self._annotator.on_edited(session, [index])

    def set_partial(self, partial: bool) -> None:
        """Say whether only the painted voxels of the slice are truth."""
        session, index = self._at_hand("say what counts there")
        with session.bridge.step([index]):
            session.record.set_partial(index, partial)
        self._annotator.on_edited(session, [index])

    def reset(self) -> None:
        """Forget what was painted on the slice; the model's opinion returns."""
        session, index = self._at_hand("reset it")
        session.reset(index)
        session.bridge.refresh()
        self._annotator.on_edited(session, [index])

    def next(self) -> None:
        """Go to the suggested slice, and say why."""
        session = self._annotator.require_session()
        bridge = session.bridge
        mended = self._annotator.screen.make_seen()
        left = bridge.visible_index if bridge.in_view else None
        bridge.face_axis()
        session.record.sync()
        suggestion = session.suggest(left)
        if suggestion is None:
            self._annotator.say("No other slice is left: all are annotated.")
            return
        session.bridge.go_to(suggestion.index)
        said = f"Slice {suggestion.index}: {suggestion.reason.removesuffix('.')}"
        self._annotator.say(f"{said}. {mended}" if mended else said)
        self._annotator.slices_changed.emit()

    def _at_hand(self, wanted: str) -> tuple[ScanSession, int]:
        """Get the scan and the slice on screen, which the annotator must have seen."""
        session = self._annotator.require_session()
        if mended := self._annotator.screen.make_seen():
            raise AnnotationError(f"{mended} Look at the slice now, then {wanted}.")
        if not session.bridge.in_view:
            raise AnnotationError(
                f"No {PLANES[session.axis]} slice of the scan is on screen. Click the strip to go "
                "to one."
            )
        return session, session.bridge.visible_index
