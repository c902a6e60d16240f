"""The dock widget "Look inside": the model's U, and what to see of it over the scan."""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from typing import TYPE_CHECKING, Any

from napari.layers import Labels
from napari.viewer import Viewer
from qtpy.QtCore import QSignalBlocker
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_unet.plugin.inspection.architecture_view import ArchitectureView
from napari_unet.plugin.inspection.controller import InspectionController
from napari_unet.plugin.widgets.dock_widget import DockedWidget, HelpRow, WheelGuard
from napari_unet.plugin.widgets.message_line import MessageLine

if TYPE_CHECKING:
    import napari

PAN = "pan_zoom"

TOGGLES = ("network_input", "probabilities", "uncertainty")
CHOICES = ("level", "channel_grid", "variation")
"""Fields of the request that a control of the same name shows."""


class InspectionPanel(DockedWidget):
    """Look inside.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Given by napari.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer: Viewer = viewer
        self.controller = InspectionController(viewer)
        self._resting: tuple[Labels, str] | None = None  # its mode, while voxels are asked about
        self.view = ArchitectureView()
        self.level = _choice("The level of the network whose feature maps to see")
        self.channel_grid = _choice(
            "One channel lies exactly over the scan.\n"
            "All channels: in a grid over the scan, each shrunk, the most telling first",
            {"One channel": False, "All channels": True},
        )
        self.rank = QSpinBox()
        self.rank.setPrefix("no. ")
        self.rank.setMinimum(1)
        self.rank.setToolTip(
            "Channels ranked by how much of their variance is between the structures that the "
            "model sees in this slice; 1 is the most telling"
        )
        self.network_input = _toggle(
            "As the model sees it",
            "The exact input of the network for this slice: cropped to the head, normalised, "
            "resampled to its pixel size, and filled up at the borders",
        )
        self.probabilities = _toggle(
            "Probabilities",
            "How likely the model alone finds each structure, without the slices next to this "
            "one and without your annotation",
        )
        self.uncertainty = _toggle(
            "Uncertainty", "Entropy of the probabilities: bright where the model cannot decide"
        )
        self.variation = _choice(
            "How training varies annotated slices before it learns from them (augmentation), "
            "shown on this one: “all” as for this kind of network, its recipe unchanged, and\n"
            "mirrored only where sides may be exchanged, upside down only as the paper does; "
            "“elastic (paper)” for any network. Choose the same again for another draw",
            {"Not varied": ""},
        )
        self.why = _toggle(
            "Why here?",
            "Click a voxel of the scan: a box shows what the model can see from there, colours "
            "what spoke for its decision and what against. Painting rests meanwhile",
        )
        self.method = _choice(
            "Gradient: which pixels would change the decision most; fast, but speckled.\n"
            "Occlusion: what the decision loses when a patch is hidden; slower, clearer",
            {"Gradient": "gradient", "Occlusion": "occlusion"},
        )
        self.follow = QCheckBox("Follow slice")
        self.follow.setToolTip("Show the same of every slice that comes on screen")
        self.remove = QPushButton("Remove")
        self.remove.setToolTip("Remove all layers of “Look inside”, and stop what is under way")
        self.units = QLabel()
        self.units.setWordWrap(True)
        self.units.setToolTip("What the colour bars at the edge of the picture measure")
        self.message = MessageLine()
        self.help = HelpRow()
        self._wheel_guard = WheelGuard(self)
        self._wheel_guard.watch(
            self.level, self.channel_grid, self.rank, self.method, self.variation
        )
        self._lay_out()
        self._connect()
        # When the window goes, the C++ half of this widget goes first: only Python here.
        self.destroyed.connect(partial(InspectionController.close, self.controller))
        self.controller.find()
        self._render()

    def _lay_out(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(6, 6, 6, 0)
        column.setSpacing(6)
        column.addWidget(self.view)
        column.addWidget(self.level)
        column.addLayout(_row(self.channel_grid, self.rank))
        column.addWidget(QLabel("Of the slice on screen:"))
        column.addWidget(self.network_input)
        column.addLayout(_row(self.probabilities, self.uncertainty))
        column.addWidget(self.variation)
        column.addLayout(_row(self.why, self.method))
        column.addLayout(_row(self.follow, self.remove))
        column.addWidget(self.units)
        column.addStretch()
        column.addWidget(self.message)
        column.addWidget(self.help)
        self.setMinimumWidth(316)

    def _connect(self) -> None:
        controller = self.controller
        for field in TOGGLES:
            getattr(self, field).clicked.connect(partial(self._see, field))
        self.view.clicked.connect(self._choose_level)
        self.level.activated.connect(lambda at: self._choose_level(self.level.itemData(at)))
        self.channel_grid.activated.connect(
            lambda at: controller.see(channel_grid=self.channel_grid.itemData(at))
        )
        self.rank.valueChanged.connect(lambda value: controller.see(rank=value - 1))
        self.variation.activated.connect(self._vary)
        self.why.toggled.connect(self._arm)
        self.method.activated.connect(lambda at: controller.explain_by(self.method.itemData(at)))
        self.follow.toggled.connect(controller.follow_slice)
        self.remove.clicked.connect(self._remove)
        controller.changed.connect(self._render)
        controller.message.connect(self.message.say)

    def enterEvent(self, event: Any) -> None:
        """Look for an annotator that was opened meanwhile."""
        super().enterEvent(event)
        if self.controller.open:
            self.controller.find()

    def disconnect_viewer(self) -> None:
        """Remove what is shown and let go of the viewer; safe to call twice."""
        if self.controller.open:
            self._arm(False)
            self.controller.close()

    # -- what to see -----------------------------------------------------------

    def _see(self, field: str, on: bool) -> None:
        self.controller.see(**{field: on})

    def _choose_level(self, name: str) -> None:
        self.controller.find()
        self.controller.see(level=name, rank=0)

    def _vary(self, at: int) -> None:
        seed = self.controller.request.seed + 1
        self.controller.see(variation=self.variation.itemData(at), seed=seed)

    def _remove(self) -> None:
        self.why.setChecked(False)
        self.controller.reset()

    def _render(self) -> None:
        """Show what is requested, and what can be."""
        if not self.controller.open:
            return
        levels, request = self.controller.levels, self.controller.request
        chosen = next((level for level in levels if level.name == request.level), None)
        self.view.show_levels(levels, request.level, "The model's levels will be drawn here.")
        titles = {"No feature maps": "", **{level.title: level.name for level in levels}}
        if list(titles) != [self.level.itemText(at) for at in range(self.level.count())]:
            self.level.clear()
            _add_items(self.level, titles)
        if levels and self.variation.count() == 1:
            # With levels known torch is loaded, and this import costs nothing.
            from napari_unet.learning.inspection.augmentation_preview import KINDS

            _add_items(self.variation, {f"Varied: {kind}": kind for kind in KINDS})
        for field in TOGGLES:
            getattr(self, field).setChecked(getattr(request, field))
        for field in CHOICES:
            control = getattr(self, field)
            control.setCurrentIndex(control.findData(getattr(request, field)))
        with QSignalBlocker(self.rank):
            self.rank.setMaximum(1 if chosen is None else chosen.channels)
            self.rank.setSuffix("" if chosen is None else f" of {chosen.channels}")
            self.rank.setValue(request.rank + 1)
        self.channel_grid.setEnabled(chosen is not None)
        self.rank.setEnabled(chosen is not None and not request.channel_grid)
        for field in (*TOGGLES, "level", "variation", "why"):
            getattr(self, field).setEnabled(bool(levels))
        if not levels:
            self.why.setChecked(False)
        self.units.setText("\n".join(request.units))

    # -- asking about a voxel --------------------------------------------------

    def _arm(self, on: bool) -> None:
        """Let clicks into the viewer ask why, and painting rest; or the other way round."""
        callbacks = self.viewer.mouse_drag_callbacks
        if on:
            callbacks.append(self._on_press)
            active = self.viewer.layers.selection.active
            if isinstance(active, Labels) and active.mode != PAN:
                self._resting = (active, str(active.mode))
                active.mode = PAN
            self.message.say("Click a voxel of the scan.")
            return
        if self._on_press in callbacks:
            callbacks.remove(self._on_press)
        if self._resting is not None:
            layer, mode = self._resting
            self._resting = None
            if layer.mode == PAN:
                layer.mode = mode
        self.controller.see(explanation=None)

    def _on_press(self, _viewer: Viewer, event: Any) -> Generator[None, None, None]:
        """Ask about the voxel that is clicked; a drag moves the view as ever."""
        if event.button != 1:
            return
        pressed = event.pos
        yield
        while event.type == "mouse_move":
            yield
        if abs(event.pos - pressed).max() < 4:
            self.controller.ask_why(tuple(event.position))


def _toggle(text: str, tooltip: str) -> QPushButton:
    button = QPushButton(text)
    button.setCheckable(True)
    button.setToolTip(tooltip)
    return button


def _choice(tooltip: str, items: dict[str, Any] | None = None) -> QComboBox:
    box = QComboBox()
    box.setToolTip(tooltip)
    _add_items(box, items or {})
    return box


def _add_items(box: QComboBox, items: dict[str, Any]) -> None:
    for text, data in items.items():
        box.addItem(text, data)


def _row(*widgets: QWidget) -> QHBoxLayout:
    row = QHBoxLayout()
    row.setSpacing(4)
    for widget in widgets:
        row.addWidget(widget, 1)
    return row
