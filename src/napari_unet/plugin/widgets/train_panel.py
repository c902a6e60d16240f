"""Train or stop, progress, the live curve and the score."""

from __future__ import annotations

from typing import Any

from qtpy.QtWidgets import QHBoxLayout, QLabel, QProgressBar, QPushButton, QVBoxLayout, QWidget

from napari_unet.annotation.scoring import CorrectionScore
from napari_unet.learning.events import StepDone
from napari_unet.plugin.app.tasks import Activity
from napari_unet.text import counted

_START_HELP = (
    "Learn from the annotated slices; go on painting meanwhile.\n"
    "If all that is painted hangs together, slices far beyond it are taken for empty:\n"
    "if there may be others there, as with metastases, paint two"
)
_STOP_HELP = "End this round now; the best weights so far are kept"


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
        self.reset()
        self.show_activity(None)

    def reset(self) -> None:
        """Go back to the start: another scan is on screen, or the model is forgotten."""
        self.show_score(None)
        # Without a value Qt shows no text either.
        self.progress.setValue(0)
        self.progress.setFormat("not trained yet")
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
        self.progress.setValue(0)
        self.progress.setFormat("getting ready")

    def finish(self) -> None:
        """No more steps come."""
        if self.plot is not None:
            self.plot.finish()

    def add_step(self, step: StepDone) -> None:
        """Show one training step."""
        self.progress.setValue(int(1000 * step.progress))
        slices = counted(step.n_slices, "slice")
        if step.n_held_back:
            slices = f"{step.n_slices} + {step.n_held_back} slices"
        minutes, seconds = divmod(int(step.seconds), 60)
        self.progress.setFormat(f"{minutes}:{seconds:02d} · loss {step.loss:.2f} · {slices}")
        if self.plot is not None:
            self.plot.add_step(step.seconds, step.loss, self._score.dice if self._score else None)

    def show_score(self, score: CorrectionScore | None) -> None:
        """Show how good predictions probably are."""
        self._score = score
        self.score.setVisible(score is not None)
        if score is not None:
            self.score.setText(
                f"Dice about {score.dice:.2f} "
                f"({score.n_slices} corrected: {score.lowest:.2f}–{score.highest:.2f})"
            )

    def show_activity(self, activity: Activity | None) -> None:
        """Show what is running."""
        training = activity is Activity.TRAINING
        self.start.setText("Stop" if training else "Train")
        self.start.setEnabled(training or activity is None)
        if activity is None:
            self.start.setToolTip(_START_HELP)
        else:
            wait = f"Wait: the plugin is {activity.value}"
            self.start.setToolTip(_STOP_HELP if training else wait)
        if not training:
            self.finish()
