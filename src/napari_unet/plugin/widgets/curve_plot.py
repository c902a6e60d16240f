"""The live curve: training loss, and the Dice of predictions before their correction."""

from __future__ import annotations

from collections.abc import Sequence

import pyqtgraph as pg
from napari.utils.theme import get_theme
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QVBoxLayout, QWidget

REDRAW_MS = 200
"""At most five redraws a second: a redraw costs about 17 ms with software GL."""

LOSS_COLOR, DICE_COLOR = "#4a90d9", "#3fae5a"


class SecondsAxis(pg.AxisItem):
    """An axis whose ticks carry their unit, which saves the line of a caption."""

    def tickStrings(self, values: Sequence[float], _scale: float, _spacing: float) -> list[str]:
        """Label ticks as seconds."""
        return [f"{value:g} s" for value in values]


class CurvePlot(QWidget):
    """Loss (left axis) and predict-then-correct Dice (right axis) over training time.

    The Dice axis appears with the first score.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._times: list[float] = []
        self._losses: list[float] = []
        self._score_times: list[float] = []
        self._scores: list[float] = []
        self._dirty = False
        self.setFixedHeight(100)
        self._plot = pg.PlotWidget(self, axisItems={"bottom": SecondsAxis("bottom")})
        item = self._plot.getPlotItem()
        item.setMenuEnabled(False)
        item.hideButtons()
        item.setMouseEnabled(x=False, y=False)
        # A tick label stands half above its tick; without room the top one is cut.
        item.layout.setContentsMargins(0, 6, 4, 0)
        self._loss_curve = item.plot(pen=pg.mkPen(LOSS_COLOR, width=2))
        # A second view box for the Dice, whose scale is always 0 to 1.
        self._dice_box = pg.ViewBox(enableMenu=False, enableMouse=False)
        self._dice_axis = item.getAxis("right")
        self._dice_axis.setTicks([[(0, "0"), (0.5, "0.5"), (1, "1")]])
        for side in ("left", "right", "bottom"):
            item.getAxis(side).enableAutoSIPrefix(False)
        item.scene().addItem(self._dice_box)
        self._dice_axis.linkToView(self._dice_box)
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

    @property
    def shows_dice(self) -> bool:
        """Whether there is a score, and with it the Dice axis."""
        return bool(self._dice_axis.isVisible())

    def follow_theme(self, name: str) -> None:
        """Use the background and text colours of a napari theme."""
        theme = get_theme(name)
        self._plot.setBackground(theme.background.as_hex())
        item = self._plot.getPlotItem()
        for side in ("left", "right", "bottom"):
            axis = item.getAxis(side)
            axis.setPen(theme.secondary.as_hex())
            axis.setTextPen(theme.text.as_hex())
        # After the text colour, which would take over the captions too.
        item.getAxis("left").setLabel("loss", color=LOSS_COLOR)
        self._dice_axis.setLabel("Dice", color=DICE_COLOR)
        self._show_dice_axis()  # a caption brings its axis back

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
        self._show_dice_axis()
        box = self._plot.getPlotItem().vb
        box.setYRange(0, max([*self._losses, 0.01]) * 1.05, padding=0)
        box.setXRange(0, max([*self._times, 1.0]), padding=0.02)

    def _show_dice_axis(self) -> None:
        self._dice_axis.setVisible(bool(self._scores))

    def _place_dice_box(self) -> None:
        self._dice_box.setGeometry(self._plot.getPlotItem().vb.sceneBoundingRect())
