"""What can be left alone: training time, network, models, display, clean-up, a new start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from magicgui.widgets import ComboBox, FloatSpinBox
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QGridLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QWidget,
)
from superqt import QCollapsible, QElidingLabel

from napari_unet.imaging.cleanup import CleanUp
from napari_unet.learning.config import AUTO, PRESETS, TrainConfig
from napari_unet.plugin.app.tasks import Activity
from napari_unet.plugin.widgets.dock_widget import WheelGuard
from napari_unet.plugin.widgets.message_line import plain

TRAINING_SECONDS = (5, 3600)
"""Least and most that a round of training may take here."""

_MODEL_HELP = (
    "The model in use: the best after each round. Choose an earlier one to go back to it; "
    "held-back Dice is its score on annotated slices that it has not learned from"
)

_DISPLAY_HELP = (
    "Radiological: the patient's right is on the left of the picture, as if seen from the feet.\n"
    "Neurological: the right is on the right. Only the picture changes; masks stay as they are."
)


class AdvancedPanel(QCollapsible):
    """What can be left alone: training time, network, earlier models, clean-up, a new start.

    Signals
    -------
    config_changed : TrainConfig
        The user chose other training settings.
    clean_changed : (int, CleanUp)
        Clean-up of one structure.
    restore_model : (int)
        One of the models shown, by its place in the list, shall be used again.
    forget_model : ()
        The next training shall start from scratch.
    neurological : (bool)
        The patient's right shall be shown on the right, or (False) on the left.
    """

    config_changed = Signal(object)
    clean_changed = Signal(int, object)
    restore_model = Signal(int)
    forget_model = Signal()
    neurological = Signal(bool)

    def __init__(self, config: TrainConfig) -> None:
        # Blank icons: superqt draws them once, in the colour of the theme at that time.
        # (A null QIcon would do on PyQt6; on PySide6 it is false, and superqt trips over it.)
        super().__init__("Advanced", expandedIcon=" ", collapsedIcon=" ")
        self.setDuration(0)
        self._config = config
        self._guard = WheelGuard(self)
        shortest, longest = TRAINING_SECONDS
        self.seconds = FloatSpinBox(
            value=config.seconds, min=shortest, max=longest, step=15, label="Training time"
        )
        self.seconds.tooltip = "How long one round of training may take, in seconds"
        self.seconds.native.setDecimals(0)
        self.seconds.native.setSuffix(" s")
        self.preset = ComboBox(value=config.preset, choices=[AUTO, *PRESETS], label="Network")
        self.preset.tooltip = (
            "fast: half resolution, for CPUs; standard: full resolution;\n"
            "paper: the U-Net of 2015 to the letter, very slow without a graphics card;\n"
            "auto: fast without a graphics card, standard with one"
        )
        self.model = QComboBox()
        self.model.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.model.setMinimumContentsLength(8)
        self.model.setPlaceholderText("None yet")
        self.model.setToolTip(_MODEL_HELP)
        self.model.activated.connect(self.restore_model)
        self.display = QComboBox()
        self.display.addItems(["Radiological", "Neurological"])
        self.display.setToolTip(_DISPLAY_HELP)
        self.display.activated.connect(lambda index: self.neurological.emit(index == 1))
        self._guard.watch(self.seconds.native, self.preset.native, self.model, self.display)
        self.seconds.changed.connect(lambda value: self._change(seconds=float(value)))
        self.preset.changed.connect(lambda value: self._change(preset=str(value)))
        form = QWidget()
        rows = QFormLayout(form)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.setVerticalSpacing(4)
        rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        for control in (self.seconds, self.preset):
            rows.addRow(control.label, control.native)
            rows.labelForField(control.native).setToolTip(control.tooltip)
        rows.addRow("Model", self.model)
        rows.labelForField(self.model).setToolTip(_MODEL_HELP)
        rows.addRow("Display", self.display)
        rows.labelForField(self.display).setToolTip(_DISPLAY_HELP)
        self._clean_rows = QWidget()
        self._clean_grid = QGridLayout(self._clean_rows)
        self._clean_grid.setContentsMargins(0, 0, 0, 0)
        self._clean_grid.setVerticalSpacing(4)
        self._clean_grid.setColumnStretch(0, 1)
        self.forget = QPushButton("Forget the model")
        self.forget.setToolTip(
            "Start the next training from scratch; your annotation stays, and the model can be "
            "chosen again"
        )
        self.forget.clicked.connect(lambda: self.forget_model.emit())
        caption = QLabel("Clean-up after “Segment volume”, in 3D:")
        for widget in (form, caption, self._clean_rows, self.forget):
            self.addWidget(widget)
        self.layout().setContentsMargins(0, 0, 0, 0)
        self.content().layout().setContentsMargins(0, 4, 0, 0)
        self.content().layout().setSpacing(4)
        self.toggleButton().setToolTip("Training time, network, earlier models, display, clean-up")
        # Open, it is the heading of what is below, not a pressed button.
        self.toggleButton().setStyleSheet(
            "QPushButton { text-align: left; border: none; outline: none; }"
            "QPushButton:checked { background-color: none; font-weight: bold; }"
        )
        self.toggled.connect(self._show_arrow)
        self._show_arrow(False)

    def _change(self, **settings: Any) -> None:
        self._config = replace(self._config, **settings)
        self.config_changed.emit(self._config)

    def _show_arrow(self, expanded: bool) -> None:
        self.setText("▾ Advanced" if expanded else "▸ Advanced")

    def show_activity(self, activity: Activity | None, has_model: bool) -> None:
        """Show whether there is a model to forget, and nothing that needs it."""
        self.forget.setEnabled(has_model and activity is None)
        self.model.setEnabled(self.model.count() > 0 and activity is None)

    def show_display(self, neurological: bool) -> None:
        """Show which way round pictures are."""
        self.display.setCurrentIndex(int(neurological))

    def show_models(self, models: Sequence[tuple[str, str]], present: int | None) -> None:
        """Offer the models to go back to.

        Parameters
        ----------
        models : sequence of tuple
            Title and details of each.
        present : int, optional
            The one in use.
        """
        self.model.clear()
        for position, (title, details) in enumerate(models):
            self.model.addItem(title)
            self.model.setItemData(position, plain(details), Qt.ItemDataRole.ToolTipRole)
        self.model.setPlaceholderText("None in use" if models else "None yet")
        self.model.setCurrentIndex(-1 if present is None else present)
        details = "" if present is None else f"\n{models[present][1]}"
        self.model.setToolTip(plain(_MODEL_HELP + details))

    def show_structures(self, names: Sequence[str], clean: Mapping[int, CleanUp]) -> None:
        """Offer clean-up for each structure."""
        while item := self._clean_grid.takeAt(0):
            item.widget().hide()
            item.widget().deleteLater()
        for value, name in enumerate(names, start=1):
            settings = clean.get(value, CleanUp())
            label = QElidingLabel(name)
            label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
            label.setToolTip(plain(name))
            smallest = QDoubleSpinBox()
            smallest.setRange(0, 99_999)
            smallest.setDecimals(0)
            smallest.setPrefix("≥ ")
            smallest.setSuffix(" mm³")
            smallest.setSpecialValueText("any size")
            smallest.setValue(settings.min_volume_mm3)
            smallest.setFixedWidth(118)
            smallest.setToolTip(
                plain(f"Remove pieces of {name} that are smaller than this, in mm³")
            )
            holes = QCheckBox("fill holes")
            holes.setChecked(settings.fill_holes)
            holes.setToolTip(plain(f"Fill holes inside {name}"))
            self._guard.watch(smallest)

            def changed(
                *_: object, v: int = value, s: QDoubleSpinBox = smallest, h: QCheckBox = holes
            ) -> None:
                self.clean_changed.emit(v, CleanUp(s.value(), h.isChecked()))

            smallest.valueChanged.connect(changed)
            holes.toggled.connect(changed)
            for column, widget in enumerate((label, smallest, holes)):
                self._clean_grid.addWidget(widget, value, column)
