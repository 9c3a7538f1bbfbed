"""Lists of rooms and of people: a disc, a title, a second line, and a count."""

from dataclasses import dataclass
from typing import Final

from PySide6.QtCore import QModelIndex, QPersistentModelIndex, QPointF, QRect, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QFont, QFontMetrics, QPainter, QPen, QStandardItem
from PySide6.QtWidgets import QListView, QStyle, QStyledItemDelegate, QStyleOptionViewItem, QWidget

from securechat.ui.gui import theme
from securechat.ui.gui.formats import initial_of
from securechat.ui.gui.ornament import paint_disc

_LINE: Final = Qt.ItemDataRole.UserRole + 1
_HEIGHT = 52
_DISC = 32.0
_LEFT = 54


@dataclass(frozen=True)
class Line:
    """A row of a list.

    Attributes:
        title: The first line, sanitised.
        detail: The second, sanitised.
        colour: Of the disc.
        is_good: Whether the second line tells of something good.
        is_bad: Whether it tells of something bad.
        count: In a badge; 0 for none.
        is_urgent: Whether the count is to be looked at soon.
    """

    title: str
    detail: str
    colour: str
    is_good: bool = False
    is_bad: bool = False
    count: int = 0
    is_urgent: bool = False

    @property
    def spoken(self) -> str:
        """What a screen reader says."""
        new = f", {self.count} new" if self.count else ""
        return f"{self.title}, {self.detail}{new}"


def item(line: Line) -> QStandardItem:
    """Return a row for a model."""
    made = QStandardItem()
    made.setEditable(False)
    set_line(made, line)
    return made


def set_line(row: QStandardItem, line: Line) -> None:
    """Let a row show something else."""
    if row.data(_LINE) != line:
        row.setData(line, _LINE)
        row.setText(line.title)
        row.setData(line.spoken, Qt.ItemDataRole.AccessibleTextRole)


class LineDelegate(QStyledItemDelegate):
    """Paints ``Line``."""

    def sizeHint(self, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex) -> QSize:
        """Return the size of a row."""
        del index
        return QSize(120, max(_HEIGHT, 2 * option.fontMetrics.height() + 14))

    def paint(
        self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex
    ) -> None:
        """Paint a row."""
        line = index.data(_LINE)
        rect, state = QRectF(option.rect), option.state
        colours = theme.current()
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        self._paint_ground(painter, rect, state, colours)
        middle = QPointF(rect.left() + _LEFT / 2, rect.center().y())
        paint_disc(painter, middle, _DISC, initial_of(line.title), line.colour, colours)
        right = rect.right() - 10 - self._paint_count(painter, rect, line, colours, option.font)
        self._paint_text(
            painter,
            QRectF(rect.left() + _LEFT, rect.top(), right - rect.left() - _LEFT, rect.height()),
            line,
            colours,
            option.font,
        )
        painter.restore()

    def _paint_ground(self, painter: QPainter, rect: QRectF, state: QStyle.StateFlag, colours: theme.Theme) -> None:
        flag = QStyle.StateFlag
        is_chosen, has_focus = bool(state & flag.State_Selected), bool(state & flag.State_HasFocus)
        painter.setPen(QPen(QColor(colours.accent), 2) if has_focus else Qt.PenStyle.NoPen)
        if is_chosen or has_focus or state & flag.State_MouseOver:
            painter.setBrush(
                QColor(colours.raised) if is_chosen or state & flag.State_MouseOver else Qt.BrushStyle.NoBrush
            )
            painter.drawRoundedRect(rect.adjusted(1, 1, -1, -1), 8, 8)

    def _paint_count(self, painter: QPainter, rect: QRectF, line: Line, colours: theme.Theme, font: QFont) -> float:
        """Paint the badge and return what it takes of the width."""
        if not line.count:
            return 0.0
        text = str(line.count) if line.count < 1000 else "999+"
        small = QFont(font)
        small.setPointSizeF(font.pointSizeF() * 0.85)
        small.setWeight(QFont.Weight.Bold)
        width = max(22.0, QFontMetrics(small).horizontalAdvance(text) + 14.0)
        badge = QRectF(rect.right() - width - 10, rect.center().y() - 10, width, 20)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(colours.danger if line.is_urgent else colours.accent))
        painter.drawRoundedRect(badge, 10, 10)
        painter.setFont(small)
        painter.setPen(QColor(colours.ground))
        painter.drawText(badge, Qt.AlignmentFlag.AlignCenter, text)
        return width + 8

    def _paint_text(self, painter: QPainter, rect: QRectF, line: Line, colours: theme.Theme, font: QFont) -> None:
        bold, small = QFont(font), QFont(font)
        bold.setWeight(QFont.Weight.DemiBold)
        small.setPointSizeF(font.pointSizeF() * 0.88)
        top = rect.center().y() - QFontMetrics(bold).height() - 0.5
        detail = colours.accent if line.is_good else colours.danger if line.is_bad else colours.muted
        for text, chosen, y, colour in (
            (line.title, bold, top, colours.text),
            (line.detail, small, rect.center().y() + 1.5, detail),
        ):
            metrics = QFontMetrics(chosen)
            painter.setFont(chosen)
            painter.setPen(QColor(colour))
            where = QRect(round(rect.left()), round(y), round(rect.width()), metrics.height())
            shown = metrics.elidedText(text, Qt.TextElideMode.ElideRight, where.width())
            painter.drawText(where, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, shown)


class LineView(QListView):
    """A list of ``Line``."""

    def __init__(self, name: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAccessibleName(name)
        self.setItemDelegate(LineDelegate(self))
        self.setMouseTracking(True)
        self.setUniformItemSizes(True)
        self.setTabKeyNavigation(False)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
