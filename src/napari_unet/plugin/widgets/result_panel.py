"""Segment the volume, see its volumes, save and load."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QHBoxLayout,
    QHeaderView,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_unet.imaging.measurement import StructureMeasure
from napari_unet.plugin.app.panel_text import PanelText
from napari_unet.plugin.widgets.dock_widget import show_button

_ROW_HEIGHT, _MAX_ROWS = 22, 4
_STALE_COLOR = "#7d828a"  # readable on dark and on light


class ResultPanel(QWidget):
    """Segment the volume, see its volumes, save and load."""

    def __init__(self) -> None:
        super().__init__()
        self.segment = QPushButton()
        self.fill = QPushButton()
        self._measures: list[StructureMeasure] = []
        self.table = QTableWidget(0, 3)
        self.table.verticalHeader().hide()
        self.table.verticalHeader().setDefaultSectionSize(_ROW_HEIGHT)
        self.table.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
        self.table.setSelectionMode(QTableWidget.SelectionMode.NoSelection)
        self.table.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.table.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.table.setWordWrap(False)
        header = self.table.horizontalHeader()
        header.setSectionsClickable(False)
        header.setDefaultAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        for column in (1, 2):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)
        self.table.hide()
        self.save_mask = QPushButton("Save mask")
        self.save_mask.setToolTip(
            "Save the mask on exactly the grid of the scan's file: in the format of its "
            "name: NIfTI, 3D Slicer, NRRD, FreeSurfer, MetaImage, or DICOM for a DICOM scan"
        )
        self.save_model = QPushButton()
        self.load_model = QPushButton()
        files = QHBoxLayout()
        files.setSpacing(4)
        for button in (self.save_mask, self.save_model, self.load_model):
            files.addWidget(button)
        whole = QHBoxLayout()
        whole.setSpacing(4)
        whole.addWidget(self.segment, 1)
        whole.addWidget(self.fill, 1)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addLayout(whole)
        column.addWidget(self.table)
        column.addLayout(files)

    def show_measures(self, measures: Sequence[StructureMeasure]) -> None:
        """Fill the table with volumes and piece counts, unless it shows them already."""
        if list(measures) == self._measures:
            return
        self._measures = list(measures)
        self.table.setRowCount(len(measures))
        for row, m in enumerate(measures):
            for column, text in enumerate((m.name, f"{m.volume_ml:.2f}", str(m.n_components))):
                item = QTableWidgetItem(text)
                if column:
                    item.setTextAlignment(
                        Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
                    )
                self.table.setItem(row, column, item)
        header = max(_ROW_HEIGHT, self.table.horizontalHeader().sizeHint().height())
        self.table.setFixedHeight(header + _ROW_HEIGHT * min(len(measures), _MAX_ROWS) + 4)

    def show_text(self, text: PanelText) -> None:
        """Show what can be done, and of when the volumes are."""
        show_button(self.segment, text.segment)
        show_button(self.fill, text.fill)
        show_button(self.save_model, text.save_model)
        show_button(self.load_model, text.load_model)
        table = text.table
        self.table.setVisible(table is not None)
        if table is not None:
            self.table.setHorizontalHeaderLabels([table.title, "mL", "Pieces"])
            self.table.horizontalHeaderItem(0).setTextAlignment(
                Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
            )
            self.table.setToolTip(table.tooltip)
            style = f"QTableView {{ color: {_STALE_COLOR}; }}" if table.stale else ""
            if style != self.table.styleSheet():
                self.table.setStyleSheet(style)
