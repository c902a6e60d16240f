"""A widget that shares its place with others of its kind, and notices when its dock is closed."""

from __future__ import annotations

from qtpy.QtCore import QEvent, QObject, Qt, QTimer
from qtpy.QtWidgets import QDockWidget, QMainWindow, QPushButton, QWidget

from napari_unet.plugin.app.panel_text import ButtonText


class DockedWidget(QWidget):
    """A dock widget that lets go of the viewer when it is taken out of its dock.

    Several of them lie in tabs, not one above the other: each needs the height of the window.
    """

    _docked = False

    def changeEvent(self, event: QEvent) -> None:
        """Taken out of its dock (closed): let go of the viewer."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.ParentChange:
            if self._docked and self.parent() is None:  # its dock was closed
                self.disconnect_viewer()
                self.on_dock_closed()
            self._docked = self.parent() is not None
            if self._docked:
                # Once the window has placed the dock, which it does after this.
                QTimer.singleShot(0, self._on_placed)

    def _on_placed(self) -> None:
        self._share_place()
        dock = self.parent()
        window = dock.parent() if isinstance(dock, QDockWidget) else None
        if isinstance(window, QMainWindow):
            self.on_docked(window)

    def _share_place(self) -> None:
        """Lie in a tab, the front one, where another of these widgets is docked already."""
        dock, window = self.parent(), self.window()
        if not (isinstance(dock, QDockWidget) and isinstance(window, QMainWindow)):
            return
        area = window.dockWidgetArea(dock)
        for other in window.findChildren(DockedWidget):
            place = other.parent()
            if other is self or not isinstance(place, QDockWidget) or place.isFloating():
                continue
            if window.dockWidgetArea(place) == area:
                animated = window.isAnimated()
                window.setAnimated(False)  # at its end the old one would be in front again
                window.tabifyDockWidget(place, dock)
                dock.show()
                dock.raise_()
                window.setAnimated(animated)
                return

    def disconnect_viewer(self) -> None:
        """Let go of the viewer; safe to call twice."""
        raise NotImplementedError

    def on_docked(self, window: QMainWindow) -> None:
        """Answer to being docked in a window."""

    def on_dock_closed(self) -> None:
        """Answer to being taken out of the dock, after `disconnect_viewer`."""


def show_button(button: QPushButton, text: ButtonText) -> None:
    """Show what a button does, and whether it can be pressed."""
    button.setText(text.text)
    button.setEnabled(text.enabled)
    button.setToolTip(text.tooltip)


class WheelGuard(QObject):
    """Leaves the wheel to the scroll area: scrolling the dock must not change a setting.

    Qt turns a combo box or spin box under the pointer with the wheel; scrolling
    past the scan's box would choose another scan.
    """

    def watch(self, *controls: QWidget) -> None:
        """Keep the wheel from these controls."""
        for control in controls:
            control.setFocusPolicy(Qt.FocusPolicy.StrongFocus)  # the default: focus by wheel
            control.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Hand wheel events on to the parent."""
        if event.type() == QEvent.Type.Wheel:
            event.ignore()
            return True
        return bool(super().eventFilter(watched, event))
