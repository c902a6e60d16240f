"""The strip of slices: the state of every slice, click to jump."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

from qtpy.QtCore import QPointF, QSize, Qt, Signal
from qtpy.QtGui import QColor, QMouseEvent, QPainter, QPaintEvent, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QToolTip, QWidget

from napari_unet.annotation.states import UNTOUCHED, SliceState

FILLED: Final = "filled"
ColumnState: TypeAlias = SliceState | Literal["filled"]
"""State of a slice; or what an untouched one shows is interpolated."""

STATE_COLORS: dict[ColumnState, str] = {
    SliceState.EMPTY: "#6b7078",
    SliceState.PREDICTED: "#4a90d9",
    FILLED: "#9b7ede",
    SliceState.PARTIAL: "#e0a030",
    SliceState.ANNOTATED: "#3fae5a",
}
STATE_WORDS: dict[ColumnState, str] = {
    SliceState.EMPTY: "untouched",
    SliceState.PREDICTED: "predicted",
    FILLED: "filled",
    SliceState.PARTIAL: "partial",
    SliceState.ANNOTATED: "annotated",
}
_BAR_TOP, _BAR_HEIGHT, _MARK = 8, 20, 6


class SliceStrip(QWidget):
    """A coloured bar with one column per slice.

    Signals
    -------
    jump : int
        The user wants to see this slice.
    """

    jump = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._states: tuple[ColumnState, ...] = ()
        self._current: int | None = None
        self._suggested: int | None = None
        self.setMouseTracking(True)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setAccessibleName("Slices and their states")

    def sizeHint(self) -> QSize:
        """Room for the bar and the marks above and below it."""
        return QSize(200, _BAR_TOP + _BAR_HEIGHT + _MARK + 3)

    def show_states(
        self, states: Sequence[ColumnState], current: int | None, suggested: int | None
    ) -> None:
        """Render; repaints only if something is different.

        Parameters
        ----------
        states : sequence of SliceState or FILLED
            State of every slice.
        current : int or None
            The slice on screen, if there is one: a mark above the bar.
        suggested : int or None
            The slice to look at next: a mark below the bar.
        """
        new = (tuple(states), current, suggested)
        if new != (self._states, self._current, self._suggested):
            self._states, self._current, self._suggested = new
            self.update()

    def x_of(self, index: float) -> float:
        """Horizontal position of the left edge of a slice's column, in pixels."""
        return float(index * self.width() / max(1, len(self._states)))

    def _index_at(self, x: float) -> int:
        return min(len(self._states) - 1, max(0, int(x * len(self._states) / max(1, self.width()))))

    def paintEvent(self, _event: QPaintEvent) -> None:
        """Draw the columns, the current slice and the suggested one."""
        painter = QPainter(self)
        painter.setPen(Qt.PenStyle.NoPen)
        # Human slices last and at least three pixels wide: one among 300 must be seen.
        untouched: tuple[ColumnState, ...] = (*UNTOUCHED, FILLED)
        for state in untouched:
            self._draw_columns(painter, QColor(STATE_COLORS[state]), (state,), 1, 0)
        by_human = (SliceState.PARTIAL, SliceState.ANNOTATED)
        # A gap on both sides: green on blue is hard to tell by colour alone.
        self._draw_columns(painter, self.palette().window().color(), by_human, 3, 1)
        for state in by_human:
            self._draw_columns(painter, QColor(STATE_COLORS[state]), (state,), 3, 0)
        if not self._states:
            painter.end()
            return
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setBrush(self.palette().windowText())
        if self._current is not None:
            x = self.x_of(self._current + 0.5)
            painter.drawPolygon(
                QPolygonF([QPointF(x - 5, 0), QPointF(x + 5, 0), QPointF(x, _BAR_TOP - 1)])
            )
            painter.drawRect(int(x), _BAR_TOP, 1, _BAR_HEIGHT)
        if self._suggested is not None:
            x, bottom = self.x_of(self._suggested + 0.5), _BAR_TOP + _BAR_HEIGHT
            painter.drawPolygon(
                QPolygonF(
                    [
                        QPointF(x, bottom + 1),
                        QPointF(x - 5, bottom + 1 + _MARK),
                        QPointF(x + 5, bottom + 1 + _MARK),
                    ]
                )
            )
        painter.end()

    def _draw_columns(
        self,
        painter: QPainter,
        color: QColor,
        states: Sequence[ColumnState],
        minimum: int,
        margin: int,
    ) -> None:
        painter.setBrush(color)
        for index, state in enumerate(self._states):
            if state in states:
                left = int(self.x_of(index))
                width = max(minimum, int(self.x_of(index + 1)) - left)
                left = min(left, self.width() - width)  # the last slice of a long scan
                painter.drawRect(left - margin, _BAR_TOP, width + 2 * margin, _BAR_HEIGHT)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Jump to the clicked slice."""
        if self._states:
            self.jump.emit(self._index_at(event.position().x()))

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Name the slice under the pointer; drag to scroll through them."""
        if not self._states:
            return
        index = self._index_at(event.position().x())
        if event.buttons() & Qt.MouseButton.LeftButton:
            self.jump.emit(index)
        text = f"Slice {index}: {STATE_WORDS[self._states[index]]}"
        if index == self._suggested:
            text += " (suggested next)"
        QToolTip.showText(event.globalPosition().toPoint(), text, self)
