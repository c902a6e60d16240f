"""A widget that shares its place with others of its kind, and notices when its dock is closed."""

from __future__ import annotations

from importlib.metadata import metadata

from qtpy.QtCore import QEvent, QObject, Qt, QTimer
from qtpy.QtGui import QKeySequence, QShortcut
from qtpy.QtWidgets import (
    QDialog,
    QDockWidget,
    QHBoxLayout,
    QLabel,
    QMainWindow,
    QPushButton,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_unet.plugin.app.panel_text import ButtonText
from napari_unet.plugin.app.shortcuts import Shortcut

LINK = "#4a90d9"
"""Read on dark and on light; the colour of links that Qt takes is not."""


def manual_url() -> str:
    """Address of the manual, as the package's metadata have it."""
    urls = metadata("napari-unet-mri").get_all("Project-URL") or []
    return dict(url.split(", ", 1) for url in urls)["Homepage"]


class HelpRow(QWidget):
    """A link to the manual, and a button (or the key ?) for the sheet of keys."""

    def __init__(self) -> None:
        super().__init__()
        self.manual = QLabel(f"<a style='color: {LINK}' href='{manual_url()}'>Manual</a>")
        self.manual.setOpenExternalLinks(True)
        self.manual.setToolTip(f"Open the manual in the browser: {manual_url()}")
        self.keys = QToolButton()
        self.keys.setText(Shortcut.HELP.key)
        self.keys.setToolTip(f"{Shortcut.HELP.does} ({Shortcut.HELP.key})")
        self.keys.clicked.connect(self.show_keys)
        self.sheet: QDialog | None = None
        # Not one of napari's bindings: they know no key that needs Shift on some keyboards only.
        shortcut = QShortcut(QKeySequence(Shortcut.HELP.key), self)
        shortcut.activated.connect(self.show_keys)
        shortcut.activatedAmbiguously.connect(self.show_keys)  # both docks side by side
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 8, 6)
        row.addStretch()
        row.addWidget(self.manual)
        row.addWidget(self.keys)

    def show_keys(self) -> None:
        """Show the sheet of keys beside the work; again: to the front."""
        if self.sheet is None:
            self.sheet = QDialog(self.window())
            self.sheet.setWindowTitle("Keys of U-Net MRI")
            rows = "".join(
                f"<tr><td style='padding-right: 14px'><b>{each.key}</b></td>"
                f"<td>{each.does}</td></tr>"
                for each in Shortcut
            )
            text = QLabel(
                f"<table cellpadding='3'>{rows}</table>"
                "<p>Keys of napari's own tools: <i>File &gt; Preferences &gt; Shortcuts</i>.</p>"
            )
            QVBoxLayout(self.sheet).addWidget(text)
        self.sheet.show()
        self.sheet.raise_()


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
