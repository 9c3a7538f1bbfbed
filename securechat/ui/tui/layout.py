"""How an entry of the log looks in so many columns: ``time nick | text``; pure, in words for its styles."""

import re
import zlib
from collections.abc import Iterable
from typing import Final, NamedTuple

from rich.cells import cell_len

from securechat import limits
from securechat.client.conversation import Event, Kind, Sender, Unsent
from securechat.text import legible, legible_line
from securechat.ui.render import local_time
from securechat.ui.tui.scrollback import Entry
from securechat.ui.tui.wrapping import cut, wrap

NARROW: Final = 60  # columns; below, nicknames are not aligned
_WIDE: Final = 100
_BAR: Final = "\N{BOX DRAWINGS LIGHT VERTICAL}"
_SENT: Final = "\N{CHECK MARK}"
_PENDING: Final = "\N{HORIZONTAL ELLIPSIS}"
_MENTION: Final = "\N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK}"
NICK_STYLES: Final = 6


class Piece(NamedTuple):
    """A part of a line in one style, which is one of ``themes.STYLES``."""

    text: str
    style: str


Line = tuple[Piece, ...]


class Columns(NamedTuple):
    """Where things are in a line.

    Attributes:
        width: Of the line, in cells.
        nick: Of the nicknames; 0 where they are not aligned.
        indent: Of the text, where it goes on in the next line.
    """

    width: int
    nick: int
    indent: int


def columns(width: int) -> Columns:
    """Return where things are in lines of ``width`` cells."""
    if width < NARROW:
        return Columns(width, 0, min(8, width // 3))
    nick = 18 if width >= _WIDE else 13
    return Columns(width, nick, 8 + nick + 3)


def shown_name(sender: Sender, width: int) -> str:
    """Return a name of at most ``width`` cells: the digits of the key are the last thing to be cut."""
    name = legible_line(sender.name) or "?"
    tail = name[-5:] if sender.name != sender.nick else ""
    return name if cell_len(name) <= width else cut(name.removesuffix(tail), width - len(tail)) + tail


def lay_out(entry: Entry, place: Columns, me: str) -> list[Line]:
    """Return the lines of an entry.

    Args:
        entry: What to show.
        place: Where things are.
        me: This member's nickname: a message that names it is marked.
    """
    event = entry.event
    if entry.picture:
        return [(Piece(cut(row, place.width), "picture"),) for row in entry.picture]
    if entry.is_mark:
        return [rule(legible_line(event.text), place.width)]
    if event.kind is not Kind.MESSAGE or event.sender is None:
        style, sign = ("alarm", "!!") if event.is_alarm else ("notice", "--")
        return _lines(event.time, " ", Piece(sign, style), legible_line(event.text), style, place)
    return _message(event, event.sender, place, me)


def _message(event: Event, sender: Sender, place: Columns, me: str) -> list[Line]:
    mark, style = (_SENT if event.is_own else " "), "text"
    if not sender.is_me and mentions(event.text, me):
        mark, style = _MENTION, "mention"
    text = legible(event.text)
    if abs(event.clock_error) > limits.CLOCK_SKEW_SECONDS * 1000:
        text = f"(clock off) {text}"
    if event.is_late:
        text = f"(out of order) {text}"
    return _lines(event.time, mark, *_speaker(sender, text, place, is_action=event.is_action), style, place)


def lay_out_pending(unsent: Unsent, place: Columns, sender: Sender) -> list[Line]:
    """Return the lines of a message that the server has not acknowledged."""
    nick, text = _speaker(sender, legible(unsent.text), place, is_action=unsent.is_action)
    return _lines(unsent.time, _PENDING, nick, text, "pending", place)


def _speaker(sender: Sender, text: str, place: Columns, *, is_action: bool) -> tuple[Piece, str]:
    """Return who speaks, as it stands before the bar, and the text behind it."""
    name = shown_name(sender, place.nick or place.width // 2)
    style = nick_style(sender)
    return (Piece("*", style), f"{name} {text}") if is_action else (Piece(name, style), text)


def nick_style(sender: Sender) -> str:
    """Return the style of a name: the same for a key, or a name where nobody has one, wherever it is shown."""
    if sender.is_me:
        return "me"
    return f"nick{zlib.crc32(sender.identity or sender.nick.encode(errors='replace')) % NICK_STYLES}"


def _lines(clock: int, mark: str, who: Piece, text: str, style: str, place: Columns) -> list[Line]:
    time = Piece(f"{local_time(clock):%H:%M} ", "time")
    sign = Piece(f"{mark} ", "sign")
    if not place.nick:
        return _narrow_lines(time, sign, who, text, style, place)
    filling = Piece(" " * (place.nick - cell_len(who.text)), "bar")
    head: Line = (time, sign, filling, who, Piece(f" {_BAR} ", "bar"))
    indent: Line = (Piece(" " * (place.indent - 3), "bar"), Piece(f" {_BAR} ", "bar"))
    lines = wrap(text, place.width - place.indent)
    return [(*(indent if number else head), Piece(line, style)) for number, line in enumerate(lines)]


def _narrow_lines(time: Piece, sign: Piece, who: Piece, text: str, style: str, place: Columns) -> list[Line]:
    """Lay out few columns: the first line has less room, the others begin behind the time."""
    head: Line = (time, sign, who, Piece(f" {_BAR} ", "bar"))
    room = place.width - sum(cell_len(piece.text) for piece in head)
    first, *rest = wrap(text, place.width - place.indent, room)
    indent = Piece(" " * (place.indent - 2) + f"{_BAR} ", "bar")  # so that no text looks like a line of its own
    return [(*head, Piece(first, style)), *((indent, Piece(line, style)) for line in rest)]


def rule(text: str, width: int, style: str = "mark") -> Line:
    """Return a line across, with a text in it."""
    text = cut(f"-- {text} --", width)
    left = (width - cell_len(text)) // 2
    return (Piece(" " * left, "bar"), Piece(text, style))


def day_mark(clock: int, width: int) -> Line:
    """Return the line that tells of another day."""
    day = local_time(clock)
    return rule(f"{day:%A}, {day.day} {day:%B %Y}", width, "day")


def day_of(event: Event) -> int:
    """Return the day of an event on this machine's calendar, by the server's clock: a sender's may be made up."""
    return local_time(event.time - event.clock_error).toordinal()


def mentions(text: str, nick: str) -> bool:
    """Tell whether a text has a nickname in it as a word of its own."""
    return re.search(rf"(?<!\w){re.escape(nick)}(?!\w)", text, re.IGNORECASE) is not None


def plain(lines: Iterable[Line]) -> list[str]:
    """Return lines as text, for a file or a test."""
    return ["".join(piece.text for piece in line).rstrip() for line in lines]
