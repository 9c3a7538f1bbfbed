"""What is painted around and behind the rows of a conversation: discs, rules, grounds, ticks."""

from collections.abc import Iterator

from PySide6.QtCore import QPoint, QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QFont, QPainter, QPen, QTextBlock
from PySide6.QtWidgets import QTextBrowser

from securechat.ui.gui.formats import COLOUR, GUTTER, INITIAL, LOOK, MENTION, OWN
from securechat.ui.gui.rows import Look
from securechat.ui.gui.theme import Theme

_DISC = 34.0
_PADDING = 7.0


def paint_under(view: QTextBrowser, theme: Theme) -> None:
    """Paint what belongs to the blocks in view; the text comes on top."""
    painter = QPainter(view.viewport())
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    for block, rect in _in_view(view):
        _paint(painter, block, rect, theme)
    painter.end()


def _in_view(view: QTextBrowser) -> Iterator[tuple[QTextBlock, QRectF]]:
    """Yield the blocks in view, and the one above them, whose disc may reach in."""
    layout = view.document().documentLayout()
    offset = view.verticalScrollBar().value()
    height = view.viewport().height()
    block = view.cursorForPosition(QPoint(0, 0)).block()
    block = block.previous() if block.previous().isValid() else block
    while block.isValid():
        rect = layout.blockBoundingRect(block).translated(0, -offset)
        if rect.top() > height:
            return
        yield block, QRectF(0, rect.top(), view.viewport().width(), rect.height())
        block = block.next()


def _paint(painter: QPainter, block: QTextBlock, rect: QRectF, theme: Theme) -> None:
    form = block.blockFormat()
    look = Look(form.intProperty(LOOK))
    if look in {Look.NAME, Look.PENDING_NAME, Look.ACTION}:
        disc = _DISC if look is not Look.ACTION else 20.0
        top = rect.top() + 1
        middle = QPointF(GUTTER / 2 - 1, top + disc / 2)
        paint_disc(painter, middle, disc, form.stringProperty(INITIAL), form.stringProperty(COLOUR), theme)
    if look in {Look.DAY, Look.NEW}:
        _paint_rules(painter, block, rect, theme.line if look is Look.DAY else theme.danger)
    if look is Look.ALARM:
        _paint_ground(painter, block, rect, theme.danger_ground, theme.danger)
    if form.boolProperty(MENTION):
        _paint_ground(painter, block, rect, theme.mention_ground, form.stringProperty(COLOUR))
    if look is Look.TEXT and form.boolProperty(OWN):
        _paint_tick(painter, block, rect, theme)


def paint_disc(painter: QPainter, middle: QPointF, width: float, initial: str, colour: str, theme: Theme) -> None:
    """Paint the disc that stands for a person or a room."""
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(QColor(colour))
    painter.drawEllipse(middle, width / 2, width / 2)
    font = QFont(painter.font())
    font.setPixelSize(round(width * 0.44))
    font.setWeight(QFont.Weight.DemiBold)
    painter.setFont(font)
    painter.setPen(QColor(theme.ground))
    square = QRectF(middle.x() - width / 2, middle.y() - width / 2, width, width)
    painter.drawText(square, Qt.AlignmentFlag.AlignCenter, initial)


def _text_rect(block: QTextBlock, rect: QRectF) -> QRectF:
    """Return where the text of a block is; Qt leaves the margins above and below out of ``rect``."""
    form = block.blockFormat()
    return rect.adjusted(form.leftMargin(), 0, -form.rightMargin(), 0)


def _paint_ground(painter: QPainter, block: QTextBlock, rect: QRectF, ground: str, edge: str) -> None:
    text = _text_rect(block, rect)
    pad = min(_PADDING, block.blockFormat().bottomMargin())
    around = text.adjusted(-10, -pad, 10, pad)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(QColor(ground))
    painter.drawRoundedRect(around, 6, 6)
    painter.setBrush(QColor(edge))
    painter.drawRoundedRect(QRectF(around.left(), around.top(), 3, around.height()), 1.5, 1.5)


def _paint_rules(painter: QPainter, block: QTextBlock, rect: QRectF, colour: str) -> None:
    text = _text_rect(block, rect)
    layout = block.layout()
    half = layout.lineAt(0).naturalTextWidth() / 2 + 14 if layout.lineCount() else 0.0
    y = text.center().y()
    painter.setPen(QPen(QColor(colour), 1))
    painter.drawLine(QPointF(text.left() - 8, y), QPointF(text.center().x() - half, y))
    painter.drawLine(QPointF(text.center().x() + half, y), QPointF(text.right() + 8, y))


def _paint_tick(painter: QPainter, block: QTextBlock, rect: QRectF, theme: Theme) -> None:
    """Paint a tick behind the last line: the server has it."""
    layout = block.layout()
    if not layout.lineCount():
        return
    line = layout.lineAt(layout.lineCount() - 1)
    text = _text_rect(block, rect)
    size = line.height() * 0.34
    x = min(text.left() + line.naturalTextWidth() + 10, rect.width() - 20)
    y = text.bottom() - line.height() * 0.45
    painter.setPen(QPen(QColor(theme.accent), 1.6, Qt.PenStyle.SolidLine, Qt.PenCapStyle.RoundCap))
    painter.drawPolyline([QPointF(x, y), QPointF(x + size * 0.4, y + size * 0.45), QPointF(x + size, y - size * 0.5)])
