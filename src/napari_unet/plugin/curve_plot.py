"""The live curve: training loss, and the Dice of predictions before their correction."""

from __future__ import annotations

import pyqtgraph as pg
from napari.utils.theme import get_theme
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QVBoxLayout, QWidget

REDRAW_MS = 200
"""At most five redraws a second: a redraw costs about 17 ms with software GL."""

LOSS_COLOR, DICE_COLOR = "#4a90d9", "#3fae5a"


class CurvePlot(QWidget):
    """Loss (left axis) and predict-then-correct Dice (right axis) over training time."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._times: list[float] = []
        self._losses: list[float] = []
        self._score_times: list[float] = []
        self._scores: list[float] = []
        self._dirty = False
        self.setFixedHeight(105)
        self._plot = pg.PlotWidget(self)
        item = self._plot.getPlotItem()
        item.setMenuEnabled(False)
        item.hideButtons()
        item.setMouseEnabled(x=False, y=False)
        item.setLabel("left", "loss", color=LOSS_COLOR)
        self._loss_curve = item.plot(pen=pg.mkPen(LOSS_COLOR, width=2))
        # A second view box for the Dice, whose scale is always 0 to 1.
        self._dice_box = pg.ViewBox(enableMenu=False, enableMouse=False)
        item.showAxis("right")
        item.setLabel("right", "Dice", color=DICE_COLOR)
        item.getAxis("right").setTicks([[(0, "0"), (0.5, ".5"), (1, "1")]])
        for side in ("left", "right"):
            item.getAxis(side).enableAutoSIPrefix(False)
        item.scene().addItem(self._dice_box)
        item.getAxis("right").linkToView(self._dice_box)
        self._dice_box.setXLink(item)
        self._dice_box.setYRange(0, 1.1, padding=0)
        self._dice_curve = pg.PlotDataItem(
            pen=pg.mkPen(DICE_COLOR, width=2), symbol="o", symbolSize=6, symbolBrush=DICE_COLOR
        )
        self._dice_box.addItem(self._dice_curve)
        item.vb.sigResized.connect(self._place_dice_box)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._plot)
        self._timer = QTimer(self)
        self._timer.setInterval(REDRAW_MS)
        self._timer.timeout.connect(self._redraw)
        self.setToolTip(
            "Over seconds of training.\nBlue: training loss, lower is better.\n"
            "Green: Dice of predictions on slices the model had not seen, "
            "against your later correction; 1 is perfect."
        )

    def follow_theme(self, name: str) -> None:
        """Use the background and text colours of a napari theme."""
        theme = get_theme(name)
        self._plot.setBackground(theme.background.as_hex())
        for side in ("left", "right", "bottom"):
            axis = self._plot.getPlotItem().getAxis(side)
            axis.setPen(theme.secondary.as_hex())
            axis.setTextPen(theme.text.as_hex())

    def restart(self) -> None:
        """Begin a new round of training."""
        for values in (self._times, self._losses, self._score_times, self._scores):
            values.clear()
        self._dirty = True
        self._redraw()
        self._timer.start()

    def finish(self) -> None:
        """The round is over: draw what is left."""
        self._timer.stop()
        self._redraw()

    def add_step(self, seconds: float, loss: float, score: float | None) -> None:
        """Add a training step; the score only where it changed."""
        self._times.append(seconds)
        self._losses.append(loss)
        if score is not None and (not self._scores or self._scores[-1] != score):
            self._score_times.append(seconds)
            self._scores.append(score)
        self._dirty = True

    def _redraw(self) -> None:
        if not self._dirty:
            return
        self._dirty = False
        self._loss_curve.setData(self._times, self._losses)
        self._dice_curve.setData(self._score_times, self._scores)

    def _place_dice_box(self) -> None:
        self._dice_box.setGeometry(self._plot.getPlotItem().vb.sceneBoundingRect())
