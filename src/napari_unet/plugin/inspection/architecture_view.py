"""A drawing of the loaded model's U, with the true sizes for the slice on screen; click a level."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import QPointF, QRectF, QSize, Qt, Signal
from qtpy.QtGui import QColor, QMouseEvent, QPainter, QPaintEvent, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_unet.learning.inspection.levels import Level, Stage

STAGE_COLORS: dict[Stage, str] = {
    "encoder": "#4a90d9",
    "bridge": "#9b7ede",
    "before skip": "#e0a030",
    "after skip": "#6fa8b8",
    "decoder": "#3fae5a",
}
STAGE_WORDS: dict[Stage, str] = {
    "encoder": "Going down: what is in the picture",
    "bridge": "The bottom: what is there, at its coarsest",
    "before skip": "Coming from below, enlarged",
    "after skip": "Joined to the details from the other side (skip connection)",
    "decoder": "Going up: where exactly it is",
}
_ROW, _BAR, _WIDE, _NARROW, _SHIFT, _MARGIN = 42.0, 19.0, 42.0, 13.0, 17.0, 4.0


class ArchitectureView(QWidget):
    """The U, a block a level.

    Signals
    -------
    clicked : str
        Name of a level.
    """

    clicked = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._levels: tuple[Level, ...] = ()
        self._chosen = ""
        self._hint = ""
        self.setMouseTracking(True)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName("The network, level by level")

    def sizeHint(self) -> QSize:
        """Room for a row a level."""
        return QSize(300, int(self._depth * _ROW + 2 * _MARGIN))

    @property
    def _depth(self) -> int:
        """How many rows there are: the bridge is in the last."""
        return max((level.number for level in self._levels), default=5)

    def show_levels(self, levels: Sequence[Level], chosen: str, hint: str) -> None:
        """Render.

        Parameters
        ----------
        levels : sequence of Level
            The network; none before there is a model.
        chosen : str
            Name of the level whose features are shown.
        hint : str
            What to say where there is no network.
        """
        new = (tuple(levels), chosen, hint)
        if new != (self._levels, self._chosen, self._hint):
            self._levels, self._chosen, self._hint = new
            self.updateGeometry()
            self.update()

    def block(self, level: Level) -> QRectF:
        """Where a level is drawn."""
        depth = level.number - 1
        top = _MARGIN + depth * _ROW
        left, right = _MARGIN + depth * _SHIFT, self.width() - _MARGIN - depth * _SHIFT
        if level.stage == "bridge":
            return QRectF((self.width() - _WIDE) / 2, top, _WIDE, _BAR)
        if level.stage == "encoder":
            return QRectF(left, top, _WIDE, _BAR)
        if level.stage == "decoder":
            return QRectF(right - _WIDE, top, _WIDE, _BAR)
        after = right - _WIDE - 5 - _NARROW
        if level.stage == "after skip":
            return QRectF(after, top, _NARROW, _BAR)
        return QRectF(after - 3 - _NARROW, top, _NARROW, _BAR)

    def paintEvent(self, _event: QPaintEvent) -> None:
        """Draw the arrows, the blocks, their channels and sizes."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        text = self.palette().windowText().color()
        if not self._levels:
            painter.setPen(text)
            painter.drawText(
                self.rect(),
                int(Qt.AlignmentFlag.AlignCenter) | int(Qt.TextFlag.TextWordWrap),
                self._hint,
            )
            painter.end()
            return
        faint = QColor(text)
        faint.setAlpha(110)
        self._draw_arrows(painter, faint)
        font = painter.font()
        font.setPointSizeF(max(7.0, font.pointSizeF() - 1.5))
        painter.setFont(font)
        for level in self._levels:
            self._draw_block(painter, level, text)
        painter.end()

    def _draw_block(self, painter: QPainter, level: Level, text: QColor) -> None:
        block = self.block(level)
        chosen = level.name == self._chosen
        painter.setPen(QPen(text, 2.5) if chosen else Qt.PenStyle.NoPen)
        painter.setBrush(QColor(STAGE_COLORS[level.stage]))
        painter.drawRoundedRect(block, 2, 2)
        if block.width() < _WIDE:
            return
        painter.setPen(QColor("#ffffff"))
        painter.drawText(block, Qt.AlignmentFlag.AlignCenter, str(level.channels))
        painter.setPen(text)
        rows, columns = level.size
        below = QRectF(block.center().x() - 40, block.bottom(), 80, 15)
        if level.stage == "encoder":
            # Beside the arrow, which from the last level leads to the right.
            last = level.number == self._depth - 1
            below.moveLeft(block.left() + (0 if last else _SHIFT + 12))
        elif level.stage == "decoder":
            below.moveRight(block.right())
        side = {"encoder": Qt.AlignmentFlag.AlignLeft, "decoder": Qt.AlignmentFlag.AlignRight}
        align = side.get(level.stage, Qt.AlignmentFlag.AlignHCenter)
        painter.drawText(below, align | Qt.AlignmentFlag.AlignVCenter, f"{rows} x {columns}")

    def _draw_arrows(self, painter: QPainter, color: QColor) -> None:
        blocks = {level.name: self.block(level) for level in self._levels}
        depth = self._depth
        painter.setPen(QPen(color, 1.3))
        painter.setBrush(color)
        for number in range(1, depth):
            down = blocks[f"encoder {number}"]
            below = blocks.get(f"encoder {number + 1}", blocks["bridge"])
            up = blocks[f"decoder {number}, before skip"]
            source = blocks.get(f"decoder {number + 1}", blocks["bridge"])
            _arrow(
                painter,
                QPointF(min(below.left() + 6, down.right() - 6), down.bottom()),
                QPointF(below.left() + 6, below.top()),
            )
            _arrow(
                painter,
                QPointF(
                    source.left() + 8 if number < depth - 1 else source.right() - 8, source.top()
                ),
                QPointF(up.center().x(), up.bottom()),
            )
            # The skip connection goes over the features that come from below.
            over = QPointF(up.left() - 2, up.center().y())
            _arrow(painter, QPointF(down.right() + 2, down.center().y()), over)

    def _level_at(self, point: QPointF) -> Level | None:
        for level in self._levels:
            if self.block(level).adjusted(-1, -2, 2, 2).contains(point):
                return level
        return None

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Choose the clicked level."""
        level = self._level_at(event.position())
        if level is not None:
            self.clicked.emit(level.name)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Name the level under the pointer."""
        level = self._level_at(event.position())
        if level is None:
            self.setToolTip("")
            self.unsetCursor()
            return
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setToolTip(
            f"{level.title}\n{STAGE_WORDS[level.stage]}.\nClick to see its feature maps"
        )


def _arrow(painter: QPainter, start: QPointF, end: QPointF) -> None:
    """Draw a line with a small head."""
    painter.drawLine(start, end)
    along = end - start
    length = max(1e-6, (along.x() ** 2 + along.y() ** 2) ** 0.5)
    along = along * (4 / length)
    aside = QPointF(-along.y(), along.x()) * 0.7
    painter.drawPolygon(QPolygonF([end, end - along + aside, end - along - aside]))
