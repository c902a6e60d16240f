"""Scroll past a control without turning it."""

from __future__ import annotations

from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtWidgets import QWidget


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
