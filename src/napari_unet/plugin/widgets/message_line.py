"""One line that tells the annotator what happened and what to do next."""

from __future__ import annotations

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QSizePolicy, QWidget

from napari_unet.text import as_html, printable


def plain(text: str) -> str:
    """Text for tooltips and dialogs, which follow markup where they find any."""
    return f"<qt>{as_html(text)}</qt>" if text else ""


class MessageLine(QWidget):
    """The latest sentence; errors stand out, and stay until something else is said.

    Signals
    -------
    restore : ()
        The user wants the deleted Segmentation layer back.
    """

    restore = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.failed = False
        self.label = QLabel()
        self.label.setWordWrap(True)
        self.label.setTextFormat(Qt.TextFormat.PlainText)  # errors may quote <something>
        self.label.setMinimumHeight(34)
        self.label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.button = QPushButton("Bring it back")
        self.button.setToolTip("Restore the deleted Segmentation layer with all its strokes")
        self.button.clicked.connect(self.restore)
        self.button.hide()
        layout = QHBoxLayout(self)
        layout.setContentsMargins(8, 4, 8, 6)
        layout.addWidget(self.label, 1)
        layout.addWidget(self.button)

    @property
    def text(self) -> str:
        """What is being said."""
        return self.label.text()

    def say(self, text: str, failed: bool = False) -> None:
        """Show a sentence."""
        self.failed = failed
        self.label.setText(printable(text))
        self.label.setToolTip(plain(text))
        # A mark and a colour: an error must not depend on colour alone.
        self.label.setStyleSheet(
            "QLabel { border-left: 4px solid #d9534f; padding-left: 6px; font-weight: bold; }"
            if failed
            else "QLabel { border-left: 4px solid #4a90d9; padding-left: 6px; }"
        )

    def offer_restore(self, offer: bool) -> None:
        """Show or hide the button that brings the Segmentation layer back."""
        self.button.setVisible(offer)
