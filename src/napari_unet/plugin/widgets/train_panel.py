"""Train or stop, progress, the live curve and the score."""

from __future__ import annotations

from typing import Any

from qtpy.QtWidgets import QHBoxLayout, QLabel, QProgressBar, QPushButton, QVBoxLayout, QWidget

from napari_unet.annotation.scoring import CorrectionScore
from napari_unet.learning.events import StepDone
from napari_unet.plugin.app.panel_text import PanelText
from napari_unet.plugin.widgets.dock_widget import show_button


class TrainPanel(QWidget):
    """Train or stop, progress, the live curve and the score."""

    def __init__(self) -> None:
        super().__init__()
        self._theme = "dark"
        self._score: CorrectionScore | None = None
        self.start = QPushButton("Train")
        self.start.setMinimumHeight(30)
        self.progress = QProgressBar()
        self.progress.setRange(0, 1000)
        self.progress.setValue(0)  # without one Qt shows no text either
        self.progress.setTextVisible(True)
        self.progress.setToolTip(
            "Training time; training loss (lower is better); annotated slices learned from,\n"
            "and those held back to test the new model against the old"
        )
        self.progress.setMinimumWidth(100)
        self.score = QLabel()
        self.score.setToolTip(
            "How good predictions probably are on the slices that you have not corrected (1 is\n"
            "perfect): what they say of their own errors, and how far your corrections bear that\n"
            "out, on slices the model had not seen. In brackets the worst and the best of those"
        )
        self.plot: Any = None  # made with the first training: pyqtgraph is slow to import
        row = QHBoxLayout()
        row.setSpacing(4)
        row.addWidget(self.start, 1)
        row.addWidget(self.progress, 2)
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(4)
        self._column.addLayout(row)
        self._column.addWidget(self.score)
        self.score.hide()

    def hide_curve(self) -> None:
        """Show no curve: another scan is on screen."""
        if self.plot is not None:
            self.plot.restart()
            self.plot.finish()
            self.plot.hide()

    def follow_theme(self, theme: str) -> None:
        """Use the colours of a napari theme."""
        self._theme = theme
        if self.plot is not None:
            self.plot.follow_theme(theme)

    def restart(self, theme: str) -> None:
        """A round of training begins."""
        if self.plot is None:
            from napari_unet.plugin.widgets.curve_plot import CurvePlot

            self.plot = CurvePlot()
            self._column.insertWidget(1, self.plot)
        self.follow_theme(theme)
        self.plot.restart()
        self.plot.show()

    def finish(self) -> None:
        """No more steps come."""
        if self.plot is not None:
            self.plot.finish()

    def add_step(self, step: StepDone) -> None:
        """Draw one training step, and the score at that time."""
        if self.plot is not None:
            self.plot.add_step(step.seconds, step.loss, self._score.dice if self._score else None)

    def show_text(self, text: PanelText, score: CorrectionScore | None) -> None:
        """Show progress, score and what can be done; the score is drawn with the next step."""
        self._score = score
        self.progress.setValue(int(1000 * text.fraction))
        self.progress.setFormat(text.progress)
        self.score.setText(text.score)
        self.score.setVisible(bool(text.score))
        show_button(self.start, text.train)
