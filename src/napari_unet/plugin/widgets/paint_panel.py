"""Structures, the strip of slices, and what to do with the slice on screen."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QCheckBox, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_unet.annotation.states import BACKGROUND_BRUSH, TOUCHED, SliceState
from napari_unet.imaging.orientation import is_oblique, slice_position
from napari_unet.imaging.volume import Grid
from napari_unet.plugin.app.shortcuts import Shortcut
from napari_unet.plugin.widgets.slice_strip import (
    FILLED,
    STATE_COLORS,
    STATE_WORDS,
    ColumnState,
    SliceStrip,
)
from napari_unet.plugin.widgets.structure_list import StructureList

_PARTIAL_HELP = (
    "Partial slice: learn only from what you paint here. Paint here and there in all of the\n"
    "structure, and with the background brush what is not one: far from painted structures,\n"
    f"background is assumed ({Shortcut.PARTIAL.key})."
)
_BACKGROUND_HELP = (
    "Background brush: paint what is NOT a structure on a partial slice.\n"
    f"Press again to paint the structure ({Shortcut.BACKGROUND.key})."
)
_RESET_HELP = (
    f"Forget what you painted on this slice; the model's prediction returns ({Shortcut.RESET.key})"
)


class PaintPanel(QWidget):
    """Structures, the strip of slices and what to do with the slice on screen.

    Signals
    -------
    brush : int
        Paint with this label value: the background brush, or the structure painted
        before it.
    """

    brush = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self.structures = StructureList()
        self.counts = QLabel()
        self.strip = SliceStrip()
        self.slice = QLabel()
        self.place = QLabel()
        self.accept = QPushButton("Accept slice")
        self.accept.setToolTip(
            f"This slice is right as it is, also if it is empty ({Shortcut.ACCEPT.key}).\n"
            "A stroke accepts its slice by itself: what you leave unpainted is background."
        )
        self.next = QPushButton("Next slice")
        self.next.setToolTip(
            "Go to the slice farthest from what is annotated, of those between painted slices\n"
            f"and those with predictions; again: to the next one ({Shortcut.NEXT.key})"
        )
        self.reset = QPushButton("Reset")
        self.reset.setToolTip(_RESET_HELP)
        self.partial = QCheckBox("Only painted voxels count")
        self.partial.setToolTip(_PARTIAL_HELP)
        self.background = QPushButton("Background")
        self.background.setCheckable(True)
        self.background.setToolTip(_BACKGROUND_HELP)
        self.background.clicked.connect(self.take_background)
        self.structures.picked.connect(lambda _value: self.background.setChecked(False))
        top = QHBoxLayout()
        top.addWidget(self.slice, 1)
        top.addWidget(self.place)
        top.addWidget(self.counts)
        buttons = QHBoxLayout()
        buttons.setSpacing(4)
        buttons.addWidget(self.accept, 3)
        buttons.addWidget(self.next, 3)
        buttons.addWidget(self.reset, 2)
        partial = QHBoxLayout()
        partial.setSpacing(4)
        partial.addWidget(self.partial, 1)
        partial.addWidget(self.background)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addWidget(self.structures)
        column.addLayout(top)
        column.addWidget(self.strip)
        column.addWidget(_legend())
        column.addLayout(buttons)
        column.addLayout(partial)
        # Room for the background brush at all times: what is below must not jump.
        policy = self.background.sizePolicy()
        policy.setRetainSizeWhenHidden(True)
        self.background.setSizePolicy(policy)

    def show_slice(self, index: int, state: ColumnState, selected_label: int) -> None:
        """Show the slice on screen and what the brush paints."""
        self.slice.setText(f"Slice {index}: {STATE_WORDS[state]}")
        human = state in TOUCHED
        erasing = selected_label == BACKGROUND_BRUSH
        self.structures.show_selected(selected_label)
        self.partial.setEnabled(True)
        self.partial.setChecked(state is SliceState.PARTIAL)
        # Also away from partial slices as long as the brush paints background: the way back.
        self.background.setVisible(state is SliceState.PARTIAL or erasing)
        self.background.setChecked(erasing)
        self.reset.setEnabled(human)
        self.reset.setToolTip(_RESET_HELP if human else "You have not painted on this slice")
        self.accept.setText("Accepted" if state is SliceState.ANNOTATED else "Accept slice")
        self.accept.setEnabled(state is not SliceState.ANNOTATED)

    def show_no_slice(self, plane: str) -> None:
        """Show that the viewer shows no slice of the scan in its plane."""
        self.slice.setText("No slice of the scan on screen")
        self.slice.setToolTip(
            f"The viewer shows a place outside the scan, 3D, or another plane than {plane}.\n"
            "Click the strip to go to a slice"
        )
        self.accept.setText("Accept slice")
        for control in (self.accept, self.partial, self.reset):
            control.setEnabled(False)

    def show_place(self, grid: Grid | None, axis: int, index: int) -> None:
        """Show where the slice on screen lies in the patient.

        Parameters
        ----------
        grid : Grid or None
            Grid of the scan; None if only its place in the viewer is known.
        axis, index : int
            Slicing axis and slice, display order.
        """
        self.place.setVisible(grid is not None)
        if grid is None:
            self.slice.setToolTip("")
            return
        name, number = grid.file_slice(axis, index)
        self.slice.setToolTip(f"In the file: {name} = {number}")
        self.place.setText(slice_position(grid, axis, index))
        self.place.setToolTip(
            "Scanner position of the middle of this slice; the scan is oblique"
            if is_oblique(grid)
            else "Scanner position of this slice"
        )

    def show_counts(self, done: int, total: int, plane: str) -> None:
        """Show how many slices are annotated."""
        self.counts.setText(f"{done}/{total} done")
        self.counts.setToolTip(
            f"{done} of {total} {plane} slices are annotated: you painted or accepted them"
        )

    def take_background(self, take: bool) -> None:
        """Ask for the background brush, or for the structure painted last."""
        value = BACKGROUND_BRUSH if take else self.structures.last
        self.structures.show_selected(value)
        self.brush.emit(value)


def _legend() -> QLabel:
    """Say what the colours of the strip mean."""
    # No room for more; what is grey is untouched.
    shown: tuple[ColumnState, ...] = (
        SliceState.ANNOTATED,
        SliceState.PARTIAL,
        SliceState.PREDICTED,
        FILLED,
    )
    label = QLabel(
        "&nbsp; ".join(
            f"<span style='color:{STATE_COLORS[s]}'>■</span> {STATE_WORDS[s]}" for s in shown
        )
        + "&nbsp; ▲ next"
    )
    label.setStyleSheet("font-size: 8pt;")
    label.setToolTip(
        "What the colours of the strip mean (grey: untouched); click the strip to see a slice.\n"
        "What is predicted or filled is outlined in the picture, until you choose a contour.\n"
        f"▲ below: the slice that {Shortcut.NEXT.key} goes to; ▼ above: the slice on screen.\n"
        f"{Shortcut.PREVIOUS_ANNOTATED.key} and {Shortcut.NEXT_ANNOTATED.key}: annotated slices"
    )
    return label
