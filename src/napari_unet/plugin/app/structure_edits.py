"""What the list of structures asks for, done to the scan at hand."""

from __future__ import annotations

from collections.abc import Callable

from napari_unet.annotation.states import Structure
from napari_unet.plugin.app.annotator import Annotator


class StructureEdits:
    """Pick, add, change and remove structures; nothing happens where there is no scan.

    Parameters
    ----------
    annotator : Annotator
        Knows the scan at hand.
    changed : callable
        Called when there are other structures than before.
    """

    def __init__(self, annotator: Annotator, changed: Callable[[], None]) -> None:
        self._annotator = annotator
        self._changed = changed

    def pick(self, value: int) -> None:
        """Paint with this label from now on."""
        session = self._annotator.session
        if session is not None:
            if mended := self._annotator.screen.make_seen():
                self._annotator.say(f"{mended} Now it can be painted.")
            session.labels.selected_label = value
            self._annotator.viewer.layers.selection.active = session.labels
            if session.labels.mode not in ("paint", "fill", "polygon"):
                session.labels.mode = "paint"

    def change(self, value: int, structure: Structure) -> None:
        """Give label `value` another name or colour."""
        session = self._annotator.session
        if session is not None:
            session.models.rename(value, session.structures[value - 1].name, structure.name)
            session.structures[value - 1] = structure
            session.show_structures()
            self._changed()

    def add(self) -> None:
        """Add a structure, and paint with it."""
        session = self._annotator.session
        if session is not None and session.ensure_structures(len(session.structures) + 1):
            session.show_structures()
            session.labels.selected_label = len(session.structures)
            self._changed()

    def remove_last(self) -> None:
        """Remove the last structure; see `ScanSession.remove_last_structure`."""
        session = self._annotator.session
        if session is not None:
            session.remove_last_structure()
            session.labels.selected_label = len(session.structures)
            self._changed()
