"""The four parts of the dock widget: scan, paint, train, result. They hold no logic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from magicgui.widgets import ComboBox, Container, FloatSpinBox
from napari.layers import Image, Labels
from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QAction
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QGridLayout,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QMenu,
    QProgressBar,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QToolButton,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible

from napari_unet.annotation.scoring import CorrectionScore
from napari_unet.annotation.states import BACKGROUND_BRUSH, SliceState
from napari_unet.imaging.cleanup import CleanUp
from napari_unet.imaging.measurement import StructureMeasure
from napari_unet.imaging.volume import PLANES, Grid
from napari_unet.learning.config import PRESETS, TrainConfig
from napari_unet.learning.events import StepDone
from napari_unet.plugin.slice_strip import STATE_COLORS, STATE_WORDS, SliceStrip
from napari_unet.plugin.structure_list import StructureList

NEW_LAYER = "New layer"


class ScanPanel(QWidget):
    """Which scan, which sequences of it, sliced how, labelled where.

    Signals
    -------
    chosen : (list of Image, int or None, Labels or None)
        Images, slicing axis (None: decide) and label layer (None: make or find one).
    """

    chosen = Signal(object, object, object)

    def __init__(self) -> None:
        super().__init__()
        self._images: list[Image] = []
        self._labels: list[Labels] = []
        self.image = QComboBox()
        self.image.setToolTip("The MRI volume to segment")
        self.sequences = QToolButton()
        self.sequences.setText("Sequences: 1")
        self.sequences.setStyleSheet("QToolButton::menu-indicator { image: none; }")
        self.sequences.setToolTip("Use further sequences of the same patient (same grid), such as FLAIR")
        self.sequences.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self._menu = QMenu(self.sequences)
        self.sequences.setMenu(self._menu)
        self.axis = QComboBox()
        self.axis.setToolTip("The plane you paint in; by default across the thickest slices")
        self.labels = QComboBox()
        self.labels.setToolTip("The label layer that holds the mask")
        for box in (self.image, self.axis, self.labels):
            box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
            box.setMinimumContentsLength(8)
        self.image.activated.connect(lambda _i: self._emit(axis=None, labels=None, fresh=True))
        self.axis.activated.connect(lambda i: self._emit(axis=i))
        self.labels.activated.connect(lambda _i: self._emit(axis=None))
        form = QGridLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.setVerticalSpacing(4)
        form.addWidget(QLabel("Scan"), 0, 0)
        form.addWidget(self.image, 0, 1)
        form.addWidget(self.sequences, 0, 2)
        form.addWidget(QLabel("Plane"), 1, 0)
        form.addWidget(self.axis, 1, 1)
        form.addWidget(self.labels, 1, 2)
        form.setColumnStretch(1, 3)
        form.setColumnStretch(2, 2)

    def show_layers(self, images: Sequence[Image], labels: Sequence[Labels]) -> None:
        """Offer the layers of the viewer."""
        chosen = self._chosen_images()
        label = self._labels[self.labels.currentIndex() - 1] if self.labels.currentIndex() > 0 else None
        self._images, self._labels = list(images), list(labels)
        self.image.clear()
        self.image.addItems([image.name for image in images])
        if chosen and chosen[0] in self._images:
            self.image.setCurrentIndex(self._images.index(chosen[0]))
        self.labels.clear()
        self.labels.addItems([NEW_LAYER, *(layer.name for layer in labels)])
        if label in self._labels:
            self.labels.setCurrentIndex(self._labels.index(label) + 1)
        self._fill_menu(chosen[1:])

    def show_choice(
        self, images: Sequence[Image], axis: int, labels: Labels, grid: Grid
    ) -> None:
        """Show what is being annotated."""
        if images[0] in self._images:
            self.image.setCurrentIndex(self._images.index(images[0]))
        self._fill_menu(images[1:])
        self.axis.clear()
        self.axis.addItems(
            [f"{p.capitalize()} ({s:.3g} mm)" for p, s in zip(PLANES, grid.spacing_mm, strict=True)]
        )
        self.axis.setCurrentIndex(axis)
        if labels in self._labels:
            self.labels.setCurrentIndex(self._labels.index(labels) + 1)

    def _fill_menu(self, checked: Sequence[Image]) -> None:
        self._menu.clear()
        first = self._images[self.image.currentIndex()] if self._images else None
        for image in self._images:
            if image is not first:
                action = QAction(image.name, self._menu)
                action.setCheckable(True)
                action.setChecked(image in checked)
                action.setData(self._images.index(image))
                action.toggled.connect(lambda _on: self._emit(axis=None))
                self._menu.addAction(action)
        count = 1 + sum(a.isChecked() for a in self._menu.actions())
        self.sequences.setText(f"Sequences: {count}")
        self.sequences.setEnabled(len(self._images) > 1)

    def _chosen_images(self) -> list[Image]:
        if not self._images or self.image.currentIndex() < 0:
            return []
        extra = [self._images[a.data()] for a in self._menu.actions() if a.isChecked()]
        first = self._images[self.image.currentIndex()]
        return [first, *(image for image in extra if image is not first)]

    def _emit(self, axis: int | None, labels: Labels | None = None, *, fresh: bool = False) -> None:
        images = self._chosen_images()[:1] if fresh else self._chosen_images()
        if not fresh and self.labels.currentIndex() > 0:
            labels = self._labels[self.labels.currentIndex() - 1]
        if images:
            self.chosen.emit(images, axis, labels)


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
        self.release.setToolTip("Forget what you painted on this slice; the model's opinion returns")
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


class TrainPanel(QWidget):
    """Train or stop, progress, the live curve and the score."""

    def __init__(self) -> None:
        super().__init__()
        self._theme = "dark"
        self._score: CorrectionScore | None = None
        self.start = QPushButton("Train")
        self.start.setMinimumHeight(30)
        self.start.setToolTip("Learn from the annotated slices; go on painting meanwhile")
        self.progress = QProgressBar()
        self.progress.setRange(0, 1000)
        self.progress.setTextVisible(True)
        self.progress.setFormat("not trained yet")
        self.score = QLabel()
        self.score.setToolTip(
            "How well predictions matched your later corrections,\n"
            "on slices the model had not seen (1 is perfect)"
        )
        self.plot: Any = None  # made with the first training: pyqtgraph is slow to import
        row = QHBoxLayout()
        row.addWidget(self.start, 2)
        row.addWidget(self.progress, 3)
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(4)
        self._column.addLayout(row)
        self._column.addWidget(self.score)
        self.score.hide()

    def follow_theme(self, theme: str) -> None:
        """Use the colours of a napari theme."""
        self._theme = theme
        if self.plot is not None:
            self.plot.follow_theme(theme)

    def restart(self, theme: str) -> None:
        """A round of training begins."""
        if self.plot is None:
            from napari_unet.plugin.curve_plot import CurvePlot

            self.plot = CurvePlot()
            self._column.insertWidget(1, self.plot)
        self.follow_theme(theme)
        self.plot.restart()
        self.progress.setValue(0)
        self.progress.setFormat("getting ready")

    def finish(self) -> None:
        """No more steps come."""
        if self.plot is not None:
            self.plot.finish()

    def add_step(self, step: StepDone) -> None:
        """Show one training step."""
        self.progress.setValue(int(1000 * step.progress))
        minutes, seconds = divmod(int(step.seconds), 60)
        self.progress.setFormat(f"{minutes}:{seconds:02d} · loss {step.loss:.2f} · {step.n_slices} slices")
        if self.plot is not None:
            self.plot.add_step(step.seconds, step.loss, self._score.mean if self._score else None)

    def show_score(self, score: CorrectionScore | None) -> None:
        """Show the predict-then-correct Dice."""
        self._score = score
        self.score.setVisible(score is not None)
        if score is not None:
            plural = "slice" if score.n_slices == 1 else "slices"
            self.score.setText(
                f"Dice before your correction: {score.mean:.2f} "
                f"({score.lowest:.2f}–{score.highest:.2f}, {score.n_slices} {plural})"
            )

    def show_activity(self, activity: str) -> None:
        """Show what is running."""
        self.start.setText("Stop" if activity == "training" else "Train")
        self.start.setEnabled(activity in ("", "training"))
        if activity != "training":
            self.finish()


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
                    item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
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
