"""The list of structures: colour, name, and which one the brush paints."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import (
    QAbstractItemView,
    QColorDialog,
    QGridLayout,
    QHBoxLayout,
    QListWidget,
    QListWidgetItem,
    QToolButton,
    QWidget,
)

from napari_unet.annotation.states import Structure

_ROW_HEIGHT, _MAX_ROWS = 22, 4


class StructureList(QWidget):
    """Named, coloured structures; the selected one is painted.

    Signals
    -------
    picked : int
        Paint with this label value (1..K).
    changed : (int, Structure)
        A structure got another name or colour.
    added, removed : ()
        The user wants one more structure, or the last one gone.
    """

    picked = Signal(int)
    changed = Signal(int, object)
    added = Signal()
    removed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._structures: list[Structure] = []
        self.list = QListWidget()
        self.list.setEditTriggers(
            QAbstractItemView.EditTrigger.DoubleClicked
            | QAbstractItemView.EditTrigger.EditKeyPressed
        )
        self.list.setToolTip(
            "Structures to segment. Click one to paint it, double-click to rename it."
        )
        self.list.currentRowChanged.connect(self._on_row)
        self.list.itemChanged.connect(self._on_item)
        add = self._button("+", "Add a structure", self.added.emit)
        remove = self._button("−", "Remove the last structure", self.removed.emit)
        color = self._button("●", "Change the colour of the selected structure", self._pick_color)
        buttons = QGridLayout()
        buttons.setSpacing(2)
        buttons.addWidget(add, 0, 0)
        buttons.addWidget(remove, 0, 1)
        buttons.addWidget(color, 1, 0)
        buttons.setRowStretch(2, 1)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.list)
        layout.addLayout(buttons)

    def _button(self, text: str, tooltip: str, slot: object) -> QToolButton:
        button = QToolButton()
        button.setText(text)
        button.setToolTip(tooltip)
        button.setFixedSize(24, 22)
        button.clicked.connect(lambda: slot())  # type: ignore[operator]
        return button

    def show_structures(self, structures: Sequence[Structure], selected: int) -> None:
        """Render; `selected` is the label value (1..K) that the brush paints."""
        self.list.blockSignals(True)
        self._structures = list(structures)
        self.list.clear()
        for structure in structures:
            swatch = QPixmap(14, 14)
            swatch.fill(QColor(structure.color))
            item = QListWidgetItem(QIcon(swatch), structure.name)
            item.setFlags(item.flags() | Qt.ItemFlag.ItemIsEditable)
            self.list.addItem(item)
        rows = min(max(len(structures), 2), _MAX_ROWS)
        self.list.setFixedHeight(rows * _ROW_HEIGHT + 8)
        self.list.setCurrentRow(selected - 1 if 1 <= selected <= len(structures) else -1)
        self.list.blockSignals(False)

    def _on_row(self, row: int) -> None:
        if row >= 0:
            self.picked.emit(row + 1)

    def _on_item(self, item: QListWidgetItem) -> None:
        row = self.list.row(item)
        before = self._structures[row]
        name = item.text().strip() or before.name
        self.changed.emit(row + 1, Structure(name, before.color))

    def _pick_color(self) -> None:
        row = self.list.currentRow()
        if row < 0:
            return
        before = self._structures[row]
        color = QColorDialog.getColor(QColor(before.color), self, f"Colour of {before.name}")
        if color.isValid():
            self.changed.emit(row + 1, Structure(before.name, color.name()))
