"""The log on the screen: only what is visible is laid out, so that its length does not matter.

The place of the reader is the last line that is seen: a number of an entry and a line of it. While that is the
end, the log moves up with what comes; else it stays where it is.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from rich.segment import Segment
from textual import events
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from securechat import limits
from securechat.client.conversation import Sender, Unsent
from securechat.ui.tui import layout
from securechat.ui.tui.layout import Line
from securechat.ui.tui.scrollback import Scrollback
from securechat.ui.tui.themes import Palette

_WHEEL: Final = 3  # lines
_AHEAD: Final = 3  # screens: nobody is to wait for what is above


class LogView(Widget):
    """Shows a scrollback.

    Args:
        scrollback: What to show.
        palette: In which styles.
        me: Who this member is.
    """

    class NearsTop(Message):
        """Somebody goes up, and will soon be at the oldest entry."""

    class Moved(Message):
        """Another part of the log is seen."""

    def __init__(self, scrollback: Scrollback, palette: Palette, me: Sender) -> None:
        super().__init__()
        self._log = scrollback
        self._palette = palette
        self._me = me
        self._pending: Sequence[Unsent] = ()
        self._place: tuple[int, int] | None = None  # None: the end
        self._found: int | None = None
        self._columns = layout.columns(0)
        self._wrapped: OrderedDict[int, list[Line]] = OrderedDict()
        self._strips: list[Strip] = []
        self._is_stale = True

    # What is shown

    def show(self, pending: Sequence[Unsent], me: Sender) -> None:
        """Draw again, with what waits for the server."""
        if me != self._me:
            self._wrapped.clear()
        self._pending, self._me = pending, me
        self.redraw()

    def redraw(self, *, anew: bool = False) -> None:
        """Draw again; ``anew`` if the lines themselves are others."""
        if anew:
            self._wrapped.clear()
        self._is_stale = True
        self.refresh()

    def forget(self, number: int) -> None:
        """Lay an entry out anew when it is seen next."""
        self._wrapped.pop(number, None)

    def use(self, palette: Palette) -> None:
        """Take other colours."""
        self._palette = palette
        self.redraw()

    @property
    def is_at_end(self) -> bool:
        """Whether the last line is seen."""
        return self._place is None

    @property
    def unseen(self) -> int:
        """How many messages are below what is seen."""
        return 0 if self._place is None else self._log.count_messages(self._place[0])

    # Where the reader is

    def move(self, lines: int) -> None:
        """Move down by so many lines, or up if negative; not further up than the first line at the top."""
        self._place = self._moved(self._place or self._last(), lines)
        lacking = self.size.height - len(self._rows_above(*self._place))
        if lacking > 0:
            self._place = self._moved(self._place, lacking)
        if lines < 0 and self._place[0] - self._log.first < _AHEAD * self.size.height:
            self.post_message(self.NearsTop())
        if self._place >= self._last():
            self._place = None
        self.redraw()
        self.post_message(self.Moved())

    def _moved(self, place: tuple[int, int], lines: int) -> tuple[int, int]:
        """Return the place so many lines below another one, or above if negative."""
        number, line = place[0], place[1] + lines
        while line < 0 and number > self._log.first:
            number -= 1
            line += len(self._lines(number))
        while number < self._end and line >= len(self._lines(number)):
            line -= len(self._lines(number))
            number += 1
        return min((number, max(line, 0)), self._last())

    def page(self, direction: int) -> None:
        """Move by a page, with one line of overlap."""
        self.move(direction * max(1, self.size.height - 1))

    def to_end(self) -> None:
        """Show the last line, and follow what comes."""
        self._place = None
        self._found = None
        self.redraw()
        self.post_message(self.Moved())

    def to_start(self) -> None:
        """Show the first line."""
        self._place = (self._log.first, 0)
        self.move(-1)

    def reveal(self, number: int) -> None:
        """Show an entry in the middle of the screen, marked as found."""
        self._found = number
        self._place = (number, 0)
        self.move(self.size.height // 2)

    @property
    def found(self) -> int | None:
        """The entry that is marked as found."""
        return self._found

    def lose(self) -> None:
        """Mark no entry as found."""
        self._found = None
        self.redraw()

    # Lines

    @property
    def _end(self) -> int:
        return self._log.end + len(self._pending)

    def _last(self) -> tuple[int, int]:
        """Return the place of the last line of all."""
        if self._end == self._log.first:
            return self._end, 0
        return self._end - 1, len(self._lines(self._end - 1)) - 1

    def _lines(self, number: int) -> list[Line]:
        """Return the lines of an entry, or of a message that is pending."""
        place = layout.columns(self.size.width)
        if place != self._columns:
            self._columns = place
            self._wrapped.clear()
        if number >= self._log.end:
            return layout.lay_out_pending(self._pending[number - self._log.end], place, self._me)
        lines = self._wrapped.get(number)
        if lines is None:
            entry = self._log[number]
            lines = layout.lay_out(entry, place, self._me.nick)
            if self._is_new_day(number):
                lines = [layout.day_mark(entry.event.time - entry.event.clock_error, place.width), *lines]
            if number == self._log.first and self._log.forgotten:
                lines = [layout.rule(f"{self._log.forgotten} older lines are not kept here", place.width), *lines]
            self._wrapped[number] = lines
            if len(self._wrapped) > limits.SCREEN_WRAPPED:
                self._wrapped.popitem(last=False)
        return lines

    def _is_new_day(self, number: int) -> bool:
        event = self._log[number].event
        return number == self._log.first or layout.day_of(event) != layout.day_of(self._log[number - 1].event)

    def _rows_above(self, number: int, line: int) -> list[tuple[int, Line]]:
        """Return the lines up to a place, as many as there is room for, with the numbers of their entries."""
        rows: list[tuple[int, Line]] = []
        upto: int | None = line + 1
        for above in range(number, self._log.first - 1, -1):
            lines = self._lines(above)[:upto] if above < self._end else []
            rows += [(above, one) for one in reversed(lines)]
            upto = None
            if len(rows) >= self.size.height:
                break
        return rows[: self.size.height][::-1]

    # Drawing

    def render_line(self, y: int) -> Strip:
        """Return one line of the screen."""
        if self._is_stale:
            self._draw()
        return self._strips[y] if y < len(self._strips) else self._strip(())

    def _draw(self) -> None:
        self._is_stale = False
        if self._place is not None and self._place[0] < self._log.first:
            self._place = (self._log.first, 0)
        rows = self._rows_above(*(self._place or self._last()))
        blank = [self._strip(())] * (self.size.height - len(rows))
        self._strips = [*blank, *(self._strip(line, is_found=number == self._found) for number, line in rows)]

    def _strip(self, line: Line, *, is_found: bool = False) -> Strip:
        base = self.rich_style
        styles = self._palette.styles
        found = styles["found"] if is_found else None
        segments = [Segment(text, base + (found or styles[style])) for text, style in line]
        return Strip(segments).adjust_cell_length(self.size.width, base)

    def on_resize(self, event: events.Resize) -> None:
        """Lay everything out anew."""
        del event
        self.redraw(anew=True)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """Move up."""
        event.stop()
        self.move(-_WHEEL)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """Move down."""
        event.stop()
        self.move(_WHEEL)
