"""What can be left alone: training time, network, clean-up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from magicgui.widgets import ComboBox, Container, FloatSpinBox
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QCheckBox, QDoubleSpinBox, QFormLayout, QHBoxLayout, QLabel, QWidget
from superqt import QCollapsible

from napari_unet.imaging.cleanup import CleanUp
from napari_unet.learning.config import PRESETS, TrainConfig


class AdvancedPanel(QCollapsible):
    """What can be left alone: training time, network, clean-up.

    Signals
    -------
    config_changed : TrainConfig
        The user chose other training settings.
    clean_changed : (int, CleanUp)
        Clean-up of one structure.
    """

    config_changed = Signal(object)
    clean_changed = Signal(int, object)

    def __init__(self, config: TrainConfig) -> None:
        super().__init__("Advanced")
        self.setDuration(0)
        self._config = config
        self.seconds = FloatSpinBox(
            value=config.seconds, min=5, max=3600, step=15, label="Training time (s)"
        )
        self.seconds.tooltip = "How long one round of training may take"
        self.preset = ComboBox(value=config.preset, choices=list(PRESETS), label="Network")
        self.preset.tooltip = "fast: half resolution, for CPUs; standard: full resolution"
        self.seconds.changed.connect(lambda value: self._change(seconds=float(value)))
        self.preset.changed.connect(lambda value: self._change(preset=str(value)))
        form = Container(widgets=[self.seconds, self.preset])
        form.margins = (0, 0, 0, 0)
        rows = QWidget()
        self._clean_form = QFormLayout(rows)
        self._clean_form.setContentsMargins(0, 0, 0, 0)
        for widget in (form.native, QLabel("Clean-up after “Segment volume”, in 3D:"), rows):
            self.addWidget(widget)

    def _change(self, **settings: Any) -> None:
        self._config = replace(self._config, **settings)
        self.config_changed.emit(self._config)

    def show_structures(self, names: Sequence[str], clean: Mapping[int, CleanUp]) -> None:
        """Offer clean-up for each structure."""
        while self._clean_form.rowCount():
            self._clean_form.removeRow(0)
        for value, name in enumerate(names, start=1):
            settings = clean.get(value, CleanUp())
            smallest = QDoubleSpinBox()
            smallest.setRange(0, 100_000)
            smallest.setDecimals(0)
            smallest.setSuffix(" mm³")
            smallest.setValue(settings.min_volume_mm3)
            smallest.setToolTip(f"Remove pieces of {name} that are smaller than this")
            holes = QCheckBox("fill holes")
            holes.setChecked(settings.fill_holes)
            holes.setToolTip(f"Fill holes inside {name}")

            def changed(
                *_: object, v: int = value, s: QDoubleSpinBox = smallest, h: QCheckBox = holes
            ) -> None:
                self.clean_changed.emit(v, CleanUp(s.value(), h.isChecked()))

            smallest.valueChanged.connect(changed)
            holes.toggled.connect(changed)
            row = QHBoxLayout()
            row.addWidget(QLabel("at least"))
            row.addWidget(smallest)
            row.addWidget(holes)
            self._clean_form.addRow(name, row)
