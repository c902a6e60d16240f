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
from napari_unet.plugin.app.tasks import Activity

_ROW_HEIGHT, _MAX_ROWS = 22, 4
_TABLE_HELP = "Volume and number of separate pieces of each structure"
_STALE_HELP = (
    "Measured before your last changes. Press “Segment volume” again for the present volumes."
)
_STALE_COLOR = "#7d828a"  # readable on dark and on light
_NO_MODEL = "Train or load a model first"
_FILL_HELP = (
    "Interpolate the outlines between annotated slices, without any training.\n"
    "Correct the filled slices as you correct predictions, which take their place."
)
_REMOVE_HELP = "Show again what was on the filled slices before"


class ResultPanel(QWidget):
    """Segment the volume, see its volumes, save and load."""

    def __init__(self) -> None:
        super().__init__()
        self.segment = QPushButton("Segment volume")
        self.fill = QPushButton()
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
        self._stale = False
        self.save_mask = QPushButton("Save mask")
        self.save_mask.setToolTip(
            "Save the mask on exactly the grid of the scan's file: for NIfTI, 3D Slicer, "
            "FreeSurfer or MetaImage"
        )
        self.save_model = QPushButton("Save model")
        self.load_model = QPushButton("Load model")
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
        self.show_activity(None, False)
        self.show_filling(False)

    def show_measures(self, measures: Sequence[StructureMeasure]) -> None:
        """Show volumes and piece counts."""
        self._stale = False
        self._show_age("Structure", _TABLE_HELP, "")
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
        self.table.show()

    def mark_stale(self) -> None:
        """Say that the mask has changed since it was measured."""
        if self.table.rowCount() and not self._stale:
            self._stale = True
            self._show_age(
                "Before your last changes", _STALE_HELP, f"QTableView {{ color: {_STALE_COLOR}; }}"
            )

    def clear_measures(self) -> None:
        """Show no volumes: there are none of this scan."""
        self.table.setRowCount(0)
        self.table.hide()

    def show_filling(self, current: bool) -> None:
        """Show whether the slices between annotated ones are filled, or could be."""
        self.fill.setText("Remove filling" if current else "Fill between slices")
        self.fill.setToolTip(_REMOVE_HELP if current else _FILL_HELP)

    def show_activity(self, activity: Activity | None, has_model: bool) -> None:
        """Show what is running and what can be done."""
        idle, segmenting = activity is None, activity is Activity.SEGMENTING
        self.segment.setText("Stop" if segmenting else "Segment volume")
        self.segment.setEnabled(segmenting or (has_model and idle))
        self.fill.setEnabled(idle)
        self.save_model.setEnabled(has_model)
        self.load_model.setEnabled(idle)
        wait = "" if activity is None else f"Wait for the end of {activity.value}, or stop it"
        if segmenting:
            segment = "Stop segmenting; the mask stays as it is"
        elif not has_model:
            segment = _NO_MODEL
        else:
            segment = wait or "Predict every slice you have not annotated"
        self.segment.setToolTip(segment)
        self.save_model.setToolTip(
            "Save the trained U-Net to one file, for other scans" if has_model else _NO_MODEL
        )
        self.load_model.setToolTip(wait or "Use a saved U-Net on this scan, or train it on")

    def _show_age(self, title: str, tooltip: str, style: str) -> None:
        self.table.setHorizontalHeaderLabels([title, "mL", "Pieces"])
        self.table.horizontalHeaderItem(0).setTextAlignment(
            Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
        )
        self.table.setToolTip(tooltip)
        self.table.setStyleSheet(style)
