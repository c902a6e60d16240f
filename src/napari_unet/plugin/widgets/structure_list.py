"""The list of structures: colour, name, and which one the brush paints."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import (
    QAbstractItemView,
    QColorDialog,
    QGridLayout,
    QHBoxLayout,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QWidget,
)

from napari_unet.annotation.states import Structure
from napari_unet.plugin.widgets.message_line import plain

_ROW_HEIGHT, _MAX_ROWS, _BUTTON_WIDTH = 22, 4, 28


def swatch(color: str) -> QIcon:
    """Give an icon of one colour, in every state of its control.

    Parameters
    ----------
    color : str
        Hex colour, such as ``#e6550d``.
    """
    pixmap = QPixmap(14, 14)
    pixmap.fill(QColor(color))
    icon = QIcon()
    # Qt tints the icon of a selected row, and greys a disabled one, unless it is given.
    for mode in (QIcon.Mode.Normal, QIcon.Mode.Selected, QIcon.Mode.Active):
        icon.addPixmap(pixmap, mode)
    return icon


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
        self._row = 0  # of the structure painted last
        self.list = QListWidget()
        self.list.setEditTriggers(
            QAbstractItemView.EditTrigger.DoubleClicked
            | QAbstractItemView.EditTrigger.EditKeyPressed
        )
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.setTextElideMode(Qt.TextElideMode.ElideRight)
        self.list.setToolTip(
            "Structures to segment. Click one to paint it, double-click to rename it."
        )
        self.list.currentRowChanged.connect(self._on_row)
        # The current row does not change when it is clicked to leave the background brush.
        self.list.itemClicked.connect(lambda item: self._on_row(self.list.row(item)))
        self.list.itemChanged.connect(self._on_item)
        self.add = self._button("+", "Add a structure", self.added.emit)
        self.remove = self._button("−", "Remove the last structure", self.removed.emit)
        self.color = self._button("", "", self._pick_color)
        self.color.setFixedWidth(2 * _BUTTON_WIDTH + 2)
        buttons = QGridLayout()
        buttons.setSpacing(2)
        buttons.addWidget(self.add, 0, 0)
        buttons.addWidget(self.remove, 0, 1)
        buttons.addWidget(self.color, 1, 0, 1, 2)
        buttons.setRowStretch(2, 1)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.list)
        layout.addLayout(buttons)
        self.show_structures((), 0)

    def _button(self, text: str, tooltip: str, slot: Callable[[], object]) -> QPushButton:
        button = QPushButton(text)
        button.setToolTip(tooltip)
        button.setFixedSize(_BUTTON_WIDTH, _ROW_HEIGHT + 1)
        button.clicked.connect(lambda: slot())
        return button

    def show_structures(self, structures: Sequence[Structure], selected: int) -> None:
        """Render; `selected` is the label value (1..K) that the brush paints."""
        self.list.blockSignals(True)
        self._structures = list(structures)
        # In place: a row may be telling of its new name right now.
        while self.list.count() > len(structures):
            self.list.takeItem(self.list.count() - 1)
        while self.list.count() < len(structures):
            self.list.addItem(QListWidgetItem())
        for row, structure in enumerate(structures):
            item = self.list.item(row)
            item.setText(structure.name)
            item.setIcon(swatch(structure.color))
            item.setToolTip(plain(f"{structure.name} is label {structure.value} in saved masks."))
            item.setSizeHint(QSize(0, _ROW_HEIGHT))
            item.setFlags(item.flags() | Qt.ItemFlag.ItemIsEditable)
        rows = min(max(len(structures), 2), _MAX_ROWS)
        self.list.setFixedHeight(rows * _ROW_HEIGHT + 6)
        self.list.blockSignals(False)
        self.remove.setEnabled(len(structures) > 1)
        self.show_selected(selected)

    @property
    def last(self) -> int:
        """Label value (1..K) of the structure painted last."""
        return self._row + 1

    def show_selected(self, selected: int) -> None:
        """Show which label value the brush paints; none is selected if it is no structure."""
        row = selected - 1 if 1 <= selected <= len(self._structures) else -1
        if row >= 0:
            self._row = row
        self._row = min(self._row, max(0, len(self._structures) - 1))
        if row != self.list.currentRow():
            self.list.blockSignals(True)
            self.list.setCurrentRow(row)
            if row < 0:
                self.list.clearSelection()
            self.list.blockSignals(False)
        self.color.setEnabled(bool(self._structures))
        if self._structures:
            structure = self._structures[self._row]
            self.color.setIcon(swatch(structure.color))
            self.color.setToolTip(plain(f"Change the colour of {structure.name}"))

    def _on_row(self, row: int) -> None:
        if row >= 0:
            self.picked.emit(row + 1)

    def _on_item(self, item: QListWidgetItem) -> None:
        row = self.list.row(item)
        before = self._structures[row]
        name = item.text().strip() or before.name
        self.changed.emit(row + 1, Structure(name, before.color, before.value))

    def _pick_color(self) -> None:
        row = self._row
        before = self._structures[row]
        color = QColorDialog.getColor(QColor(before.color), self, f"Colour of {before.name}")
        if color.isValid():
            self.changed.emit(row + 1, Structure(before.name, color.name(), before.value))
