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


class ResultPanel(QWidget):
    """Segment the volume, see its volumes, save and load."""

    def __init__(self) -> None:
        super().__init__()
        self.segment = QPushButton("Segment volume")
        self.segment.setToolTip("Predict every slice you have not annotated")
        self.table = QTableWidget(0, 3)
        self.table.setHorizontalHeaderLabels(["Structure", "mL", "Pieces"])
        self.table.verticalHeader().hide()
        self.table.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
        self.table.horizontalHeader().setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        for column in (1, 2):
            self.table.horizontalHeader().setSectionResizeMode(
                column, QHeaderView.ResizeMode.ResizeToContents
            )
        self.table.setToolTip("Volume and number of separate pieces of each structure")
        self.table.hide()
        self.save_mask = QPushButton("Save mask")
        self.save_mask.setToolTip("Save the mask as NIfTI, on exactly the grid of the scan's file")
        self.save_model = QPushButton("Save model")
        self.save_model.setToolTip("Save the trained U-Net to one file, for other scans")
        self.load_model = QPushButton("Load model")
        self.load_model.setToolTip("Use a saved U-Net on this scan, or train it on")
        files = QHBoxLayout()
        for button in (self.save_mask, self.save_model, self.load_model):
            files.addWidget(button)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addWidget(self.segment)
        column.addWidget(self.table)
        column.addLayout(files)

    def show_measures(self, measures: Sequence[StructureMeasure]) -> None:
        """Show volumes and piece counts."""
        self.table.setRowCount(len(measures))
        for row, m in enumerate(measures):
            for column, text in enumerate((m.name, f"{m.volume_ml:.2f}", str(m.n_components))):
                item = QTableWidgetItem(text)
                if column:
                    item.setTextAlignment(
                        Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
                    )
                self.table.setItem(row, column, item)
        height = self.table.horizontalHeader().height() + 2
        height += sum(self.table.rowHeight(row) for row in range(min(len(measures), 4)))
        self.table.setFixedHeight(height)
        self.table.show()

    def show_activity(self, activity: str, has_model: bool) -> None:
        """Show what is running and what can be done."""
        self.segment.setText("Stop" if activity == "segmenting" else "Segment volume")
        self.segment.setEnabled(activity == "segmenting" or (has_model and not activity))
        self.save_model.setEnabled(has_model)
        self.load_model.setEnabled(not activity)
