"""The conversation as text that can be selected, searched and read aloud: a document of rows.

Rows are inserted as plain text with formats of our own, so nothing that a peer wrote is ever taken for HTML.
The document holds, from top to bottom: one row above everything, the events, and what is pending.
5,000 messages take half a second to put in and a tenth to wrap anew; only what is visible is painted.
"""

import html
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from PySide6.QtCore import QEvent, QPoint, Qt, QTimer, Signal
from PySide6.QtGui import QHelpEvent, QPaintEvent, QResizeEvent, QTextCursor, QTextOption
from PySide6.QtWidgets import QTextBrowser, QToolTip, QWidget

from securechat import limits
from securechat.client.conversation import Event, Unsent
from securechat.ui.gui import rows, theme
from securechat.ui.gui.formats import TIP, Formats
from securechat.ui.gui.ornament import paint_under
from securechat.ui.gui.rows import Row

_LINE_END = "\u2028"  # ends a line within a block
_WRAPPED_AT_ONCE = 1000  # events
_WRAP_PAUSE_MS = 60


@dataclass
class _Shown:
    """An event, or None for the mark of what is new, and how many rows it takes."""

    event: Event | None
    count: int


class Timeline(QTextBrowser):
    """Shows what happens in a room.

    Args:
        nick: Tells this person's nickname.
        parent: The widget around it.
    """

    top_reached = Signal()
    followed = Signal(bool)

    def __init__(self, nick: Callable[[], str], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._nick = nick
        self._formats = Formats(theme.current())
        self._shown: deque[_Shown] = deque()
        self._body = 0  # rows of events
        self._pending: tuple[list[Unsent], int, bool] = ([], 0, True)
        self._top = ""
        self._follows = True
        self.setOpenLinks(False)
        self.setUndoRedoEnabled(False)
        self.setAcceptDrops(False)
        self.setViewportMargins(0, 0, 0, 10)
        self.setWordWrapMode(QTextOption.WrapMode.WrapAtWordBoundaryOrAnywhere)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setAccessibleName("Conversation")
        self.document().setDocumentMargin(0)
        bar = self.verticalScrollBar()
        bar.valueChanged.connect(self._note_scrolled)
        bar.rangeChanged.connect(self._keep_end)
        self.setLineWrapMode(QTextBrowser.LineWrapMode.FixedPixelWidth)
        self._wrapping = QTimer(self, singleShot=True)
        self._wrapping.timeout.connect(self._wrap)
        self._set_top()

    # What is shown

    @property
    def first(self) -> Event | None:
        """The event shown first."""
        return next((shown.event for shown in self._shown if shown.event), None)

    @property
    def follows(self) -> bool:
        """Whether the end is in view, and stays there."""
        return self._follows

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Wrap and paint what is shown within only at the end of it."""
        cursor = QTextCursor(self.document())
        cursor.beginEditBlock()
        try:
            yield
        finally:
            cursor.endEditBlock()

    def show_event(self, event: Event) -> None:
        """Show an event below all others."""
        cursor = self._cursor_after(self._body)
        cursor.beginEditBlock()
        is_apart = bool(self._shown) and self._shown[-1].event is None
        count = self._insert(cursor, rows.rows_of(event, self._last(), self._nick(), is_apart=is_apart))
        cursor.endEditBlock()
        self._shown.append(_Shown(event, count))
        self._body += count
        if len(self._shown) > limits.SCREEN_ENTRIES:
            self._trim()

    def show_older(self, events: Sequence[Event]) -> None:
        """Show events above all others; what is in view stays where it is."""
        if not events:
            return
        bar = self.verticalScrollBar()
        below = bar.maximum() - bar.value()
        cursor = self._cursor_after(0)
        cursor.beginEditBlock()
        self._drop_first_day(events[-1])
        cursor = self._cursor_after(0)
        added = []
        before: Event | None = None
        for event in events:
            added.append(_Shown(event, self._insert(cursor, rows.rows_of(event, before, self._nick()))))
            before = event
        cursor.endEditBlock()
        self._shown.extendleft(reversed(added))
        self._body += sum(shown.count for shown in added)
        bar.setValue(bar.maximum() - below)

    def show_pending(self, unsent: Sequence[Unsent], *, is_connected: bool) -> None:
        """Show what the server has not acknowledged yet, below everything."""
        pending = list(unsent[: limits.SHOWN_PENDING]), len(unsent[limits.SHOWN_PENDING :]), is_connected
        if pending == self._pending or not (pending[0] or self._pending[0]):
            return
        self._pending = pending
        self._set_pending()

    def acknowledge(self, text: str) -> None:
        """Show a message no more as pending, now that it is shown as said."""
        unsent, more, is_connected = self._pending
        number = next((n for n, message in enumerate(unsent) if message.text == text), None)
        if number is not None:
            self._pending = unsent[:number] + unsent[number + 1 :], more, is_connected
            self._set_pending()

    def show_top(self, text: str) -> None:
        """Say something above all events."""
        if text != self._top:
            self._top = text
            self._set_top()

    def mark_new(self) -> None:
        """Let what comes from now on stand below a mark; there is one at a time."""
        self.unmark_new()
        count = self._insert(self._cursor_after(self._body), [rows.new_row()])
        self._shown.append(_Shown(None, count))
        self._body += count

    def unmark_new(self) -> None:
        """Take the mark away."""
        above = 0
        for number, shown in enumerate(self._shown):
            if shown.event is None:
                self._remove(above + 1, shown.count)
                self._body -= shown.count
                del self._shown[number]
                return
            above += shown.count

    def clear_events(self) -> None:
        """Show nothing but warnings, which stay."""
        self._show_only([shown.event for shown in self._shown if shown.event and shown.event.is_alarm])

    def _show_only(self, events: Iterable[Event]) -> None:
        self._remove(1, self._body)
        self._shown.clear()
        self._body = 0
        with self.at_once():
            for event in events:
                self.show_event(event)

    def refresh(self) -> None:
        """Set everything anew, in the colours of now."""
        self._formats = Formats(theme.current())
        self._set_top()
        self._show_only([shown.event for shown in self._shown if shown.event])
        self._set_pending()

    # Rows of the document: 0 above everything, then those of the events, then what is pending

    def _last(self) -> Event | None:
        """Return the event shown last, if any is."""
        return next((shown.event for shown in reversed(self._shown) if shown.event), None)

    def _cursor_after(self, row: int) -> QTextCursor:
        cursor = QTextCursor(self.document().findBlockByNumber(row))
        cursor.movePosition(QTextCursor.MoveOperation.EndOfBlock)
        return cursor

    def _insert(self, cursor: QTextCursor, added: Iterable[Row]) -> int:
        """Insert rows below the one that the cursor is in, and return how many."""
        count = 0
        for row in added:
            cursor.insertBlock(self._formats.block(row), self._formats.span(row, row.spans[0]))
            self._write(cursor, row)
            count += 1
        return count

    def _write(self, cursor: QTextCursor, row: Row) -> None:
        for span in row.spans:
            cursor.insertText(span.text.replace("\n", _LINE_END), self._formats.span(row, span))

    def _remove(self, row: int, count: int) -> None:
        """Remove rows, the first of which is not row 0."""
        if count:
            cursor = self._cursor_after(row - 1)
            last = self._cursor_after(row + count - 1)
            cursor.setPosition(last.position(), QTextCursor.MoveMode.KeepAnchor)
            cursor.removeSelectedText()

    def _drop_first_day(self, last_older: Event) -> None:
        """Remove the first day's mark when what comes above it is of the same day."""
        first = self._shown[0] if self._shown else None
        if first is not None and first.event is not None and rows.day_of(first.event) == rows.day_of(last_older):
            self._remove(1, 1)
            first.count -= 1
            self._body -= 1

    def _trim(self) -> None:
        """Forget the oldest of what is shown, and load no older ones in their place."""
        count = 0
        for _ in range(limits.SCREEN_ENTRIES // 10):
            count += self._shown.popleft().count
        self._remove(1, count)
        self._body -= count

    def _set_top(self) -> None:
        row = rows.top_row(self._top)
        cursor = QTextCursor(self.document().firstBlock())
        cursor.movePosition(QTextCursor.MoveOperation.EndOfBlock, QTextCursor.MoveMode.KeepAnchor)
        cursor.removeSelectedText()
        cursor.setBlockFormat(self._formats.block(row))
        self._write(cursor, row)

    def _set_pending(self) -> None:
        unsent, more, is_connected = self._pending
        cursor = self._cursor_after(self._body)
        cursor.beginEditBlock()
        self._remove(self._body + 1, self.document().blockCount() - 1 - self._body)
        if unsent:
            cursor = self._cursor_after(self._body)
            self._insert(cursor, rows.pending_rows(unsent, more, self._nick(), is_connected=is_connected))
        cursor.endEditBlock()

    # Scrolling

    def scroll_to_end(self) -> None:
        """Bring the end into view, and keep it there."""
        bar = self.verticalScrollBar()
        bar.setValue(bar.maximum())
        self._note_scrolled()

    def _keep_end(self) -> None:
        if self._follows:
            self.scroll_to_end()

    def _note_scrolled(self) -> None:
        bar = self.verticalScrollBar()
        follows = bar.value() >= bar.maximum() - 2
        if follows != self._follows:
            self._follows = follows
            self.followed.emit(follows)
        if bar.value() <= bar.minimum():
            self.top_reached.emit()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Wrap what is shown anew; where that is much, not for every step of a drag."""
        super().resizeEvent(event)
        self._wrapping.start(_WRAP_PAUSE_MS if len(self._shown) > _WRAPPED_AT_ONCE else 0)

    def _wrap(self) -> None:
        """Wrap what is shown at the width of now; the row that was at the top of the view stays there."""
        at_top = self.cursorForPosition(QPoint(0, 0)).block()
        self.setLineWrapColumnOrWidth(self.viewport().width())
        if self._follows:
            self.scroll_to_end()
        else:
            rect = self.document().documentLayout().blockBoundingRect(at_top)
            self.verticalScrollBar().setValue(round(rect.top()))

    # Painting and pointing

    def paintEvent(self, event: QPaintEvent) -> None:
        """Paint what is around and behind the text, then the text."""
        paint_under(self, theme.current())
        super().paintEvent(event)

    def viewportEvent(self, event: QEvent) -> bool:
        """Tell more on the row that is pointed at."""
        if event.type() == QEvent.Type.ToolTip:
            assert isinstance(event, QHelpEvent)
            tip = self.cursorForPosition(event.pos()).blockFormat().stringProperty(TIP)
            # Qt would take a nickname with tags for HTML: it is told so, and the tags are quoted.
            QToolTip.showText(event.globalPos(), html.escape(tip).replace("\n", "<br>"), self.viewport())
            return True
        return super().viewportEvent(event)
