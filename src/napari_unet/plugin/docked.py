"""A widget that notices when its dock is closed."""

from __future__ import annotations

from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QWidget


class DockedWidget(QWidget):
    """A dock widget that lets go of the viewer when it is taken out of its dock."""

    _docked = False

    def changeEvent(self, event: QEvent) -> None:
        """Taken out of its dock (closed): let go of the viewer."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.ParentChange:
            if self._docked and self.parent() is None:  # its dock was closed
                self.disconnect_viewer()
            self._docked = self.parent() is not None

    def disconnect_viewer(self) -> None:
        """Let go of the viewer; safe to call twice."""
        raise NotImplementedError
