"""Ask which of several things in one file or folder to open."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QApplication,
    QDialog,
    QDialogButtonBox,
    QLabel,
    QListWidget,
    QMainWindow,
    QVBoxLayout,
    QWidget,
)


def open_window() -> QWidget | None:
    """Return the window to ask in; None in a script."""
    if QApplication.instance() is None:
        return None
    windows = (w for w in QApplication.topLevelWidgets() if isinstance(w, QMainWindow))
    return next((window for window in windows if window.isVisible()), None)


class ChooseDialog(QDialog):
    """A list to choose one or several entries of.

    Parameters
    ----------
    title, text : str
        Title of the window, and the question.
    names : sequence of str
        What there is; the first one is selected.
    parent : QWidget, optional
        The window to ask in.
    """

    def __init__(
        self, title: str, text: str, names: Sequence[str], parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle(title)
        self.list = QListWidget()
        self.list.addItems(list(names))
        self.list.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.list.setToolTip("Hold Ctrl or Shift to choose several")
        self.list.setCurrentRow(0)
        self.list.itemDoubleClicked.connect(lambda _item: self.accept())
        buttons = QDialogButtonBox(
            QDialogButtonBox.StandardButton.Open | QDialogButtonBox.StandardButton.Cancel
        )
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        question = QLabel(text)
        question.setWordWrap(True)
        question.setTextFormat(Qt.TextFormat.PlainText)  # names may hold markup
        column = QVBoxLayout(self)
        for widget in (question, self.list, buttons):
            column.addWidget(widget)
        self.setMinimumWidth(360)

    def chosen(self) -> list[int]:
        """Numbers of the selected entries, ascending."""
        return sorted(index.row() for index in self.list.selectedIndexes())


def choose(title: str, text: str, names: Sequence[str]) -> list[int]:
    """Ask which of some things to open; empty if none.

    Parameters
    ----------
    title, text, names
        See `ChooseDialog`.

    Returns
    -------
    list of int
        Their numbers, ascending.
    """
    dialog = ChooseDialog(title, text, names, open_window())
    accepted = dialog.exec() == QDialog.DialogCode.Accepted
    chosen = dialog.chosen()
    dialog.deleteLater()
    return chosen if accepted else []
