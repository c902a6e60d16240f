"""Structures, the strip of slices, and what to do with the slice on screen."""

from __future__ import annotations

from qtpy.QtWidgets import (
    QCheckBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_unet.annotation.states import BACKGROUND_BRUSH, SliceState
from napari_unet.plugin.slice_strip import STATE_COLORS, STATE_WORDS, SliceStrip
from napari_unet.plugin.structure_list import StructureList


class PaintPanel(QWidget):
    """Structures, the strip of slices and what to do with the slice on screen."""

    def __init__(self) -> None:
        super().__init__()
        self.structures = StructureList()
        self.counts = QLabel()
        self.strip = SliceStrip()
        self.slice = QLabel()
        self.accept = QPushButton("Accept slice")
        self.accept.setToolTip(
            "This slice is right as it is, also if it is empty (Shift-Enter).\n"
            "A stroke accepts its slice by itself: what you leave unpainted is background."
        )
        self.next = QPushButton("Next slice")
        self.next.setToolTip("Go to the slice whose correction helps most (N)")
        self.partial = QCheckBox("Only painted voxels count")
        self.partial.setToolTip(
            "Partial slice: learn only from what you paint here.\n"
            "Paint “not this” with the background brush."
        )
        self.background = QToolButton()
        self.background.setText("Background brush")
        self.background.setCheckable(True)
        self.background.setToolTip("Paint what is NOT a structure on a partial slice")
        self.release = QToolButton()
        self.release.setText("Reset")
        self.release.setToolTip(
            "Forget what you painted on this slice; the model's opinion returns"
        )
        top = QHBoxLayout()
        top.addWidget(self.slice, 1)
        top.addWidget(self.counts)
        buttons = QHBoxLayout()
        buttons.addWidget(self.accept)
        buttons.addWidget(self.next)
        partial = QHBoxLayout()
        partial.addWidget(self.partial, 1)
        partial.addWidget(self.background)
        partial.addWidget(self.release)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addWidget(self.structures)
        column.addLayout(top)
        column.addWidget(self.strip)
        column.addWidget(_legend())
        column.addLayout(buttons)
        column.addLayout(partial)

    def show_slice(self, index: int, state: SliceState, selected_label: int) -> None:
        """Show the slice on screen."""
        self.slice.setText(f"Slice {index}: {STATE_WORDS[state]}")
        human = state in (SliceState.ANNOTATED, SliceState.PARTIAL)
        self.partial.setChecked(state is SliceState.PARTIAL)
        self.background.setVisible(state is SliceState.PARTIAL)
        self.background.setChecked(selected_label == BACKGROUND_BRUSH)
        self.release.setEnabled(human)
        self.accept.setText("Accepted" if state is SliceState.ANNOTATED else "Accept slice")
        self.accept.setEnabled(state is not SliceState.ANNOTATED)

    def show_counts(self, done: int, total: int, plane: str) -> None:
        """Show how many slices are annotated."""
        self.counts.setText(f"{done} of {total} annotated")
        self.counts.setToolTip(f"{plane.capitalize()} slices that you painted or accepted")


def _legend() -> QLabel:
    """Say what the colours of the strip mean."""
    shown = (SliceState.ANNOTATED, SliceState.PARTIAL, SliceState.PREDICTED, SliceState.EMPTY)
    label = QLabel(
        "&nbsp; ".join(
            f"<span style='color:{STATE_COLORS[s]}'>■</span> {STATE_WORDS[s]}" for s in shown
        )
    )
    label.setStyleSheet("font-size: 8pt;")
    return label
