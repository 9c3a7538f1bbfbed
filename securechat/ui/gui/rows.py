"""From events to rows of text: days, who speaks, links, mentions; without Qt. Peers' text is sanitised here."""

import datetime
import re
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple

from securechat.client.conversation import Event, Kind, Unsent
from securechat.text import legible_line, one_line, sanitise
from securechat.ui.render import local_time, marks

_RUN_MS: Final = 5 * 60 * 1000  # what somebody says within it goes below one name
_LINK: Final = re.compile(r"https?://[\w\[][^\s<>\"\u3000-\u303f\uff00-\uffef]*", re.IGNORECASE)
_AFTER_LINK: Final = ".,;:!?'*_~"
_PAIRS: Final = {")": "(", "]": "[", "}": "{"}


class Look(IntEnum):
    """What a row is."""

    TOP = 0
    DAY = 1
    NEW = 2
    NAME = 3
    TEXT = 4
    ACTION = 5
    NOTICE = 6
    ALARM = 7
    PENDING_NAME = 8
    PENDING = 9


class Tone(IntEnum):
    """How a part of a row is written."""

    PLAIN = 0
    NAME = 1
    MUTED = 2
    LINK = 3


class Span(NamedTuple):
    """A part of a row: sanitised text and its tone."""

    text: str
    tone: Tone = Tone.PLAIN


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the conversation.

    Attributes:
        look: What it is.
        spans: What it says, sanitised.
        key: By which its sender has a colour; empty for none.
        is_own: Whether this person wrote it.
        is_mention: Whether it names this person.
        tip: More on it, for whoever points at it.
    """

    look: Look
    spans: tuple[Span, ...]
    key: bytes = b""
    is_own: bool = False
    is_mention: bool = False
    tip: str = ""


def day_of(event: Event) -> datetime.date:
    """Return the local day of an event."""
    return local_time(event.time).date()


def _day_row(day: datetime.date) -> Row:
    return Row(Look.DAY, (Span(f"{day:%A}, {day.day} {day:%B %Y}"),))


def names(text: str, nick: str) -> bool:
    """Tell whether ``text`` names ``nick`` as a word of its own, whatever the case."""
    return re.search(rf"(?<!\w){re.escape(nick)}(?!\w)", text, re.IGNORECASE) is not None


def spans_of(text: str) -> tuple[Span, ...]:
    """Return sanitised text with its links told apart."""
    spans: list[Span] = []
    end = 0
    for match in _LINK.finditer(text):
        link = _trim(match[0])
        if match.start() > end:
            spans.append(Span(text[end : match.start()]))
        spans.append(Span(link, Tone.LINK))
        end = match.start() + len(link)
    return (*spans, Span(text[end:])) if end < len(text) else tuple(spans)


def _trim(link: str) -> str:
    """Return a link without the punctuation of the sentence around it."""
    while link:
        last = link[-1]
        opening = _PAIRS.get(last)
        if last not in _AFTER_LINK and (opening is None or link.count(opening) >= link.count(last)):
            break
        link = link[:-1]
    return link


def rows_of(event: Event, before: Event | None, nick: str, *, is_apart: bool = False) -> list[Row]:
    """Return the rows of an event.

    Args:
        event: What happened.
        before: What is shown above it; None for nothing.
        nick: This person's nickname.
        is_apart: Whether a mark stands between the two.
    """
    rows = []
    if before is None or day_of(before) != day_of(event):
        rows.append(_day_row(day_of(event)))
    if event.kind is not Kind.MESSAGE or event.sender is None:
        rows.append(_told(event))
    elif event.is_action:
        rows.append(_done(event, nick))
    else:
        if is_apart or not _continues(event, before):
            rows.append(_name(event))
        rows.append(_said(event, nick))
    return rows


def is_mention(event: Event, nick: str) -> bool:
    """Tell whether somebody else names this person."""
    return event.sender is not None and not event.sender.is_me and names(sanitise(event.text), nick)


def pending_rows(unsent: list[Unsent], more: int, nick: str, *, is_connected: bool) -> list[Row]:
    """Return the rows of what the server has not acknowledged, and of how many more there are."""
    state = "sending ..." if is_connected else "waits for the connection"
    rows = [Row(Look.PENDING_NAME, (Span(legible_line(nick), Tone.NAME), Span(f"   {state}", Tone.MUTED)), is_own=True)]
    rows += [Row(Look.PENDING, (Span(sanitise(message.text)),), is_own=True) for message in unsent]
    if more:
        rows.append(Row(Look.PENDING, (Span(f"and {more} more", Tone.MUTED),), is_own=True))
    return rows


def new_row() -> Row:
    """Return the mark above what came while nobody looked."""
    return Row(Look.NEW, (Span("new"),))


def top_row(text: str) -> Row:
    """Return the row above everything."""
    return Row(Look.TOP, (Span(text, Tone.MUTED),))


def _told(event: Event) -> Row:
    look = Look.ALARM if event.is_alarm else Look.NOTICE
    clock = Span(f"   {local_time(event.time):%H:%M}", Tone.MUTED)
    return Row(look, (*spans_of(one_line(event.text)), clock), tip=_tip(event))


def _name(event: Event) -> Row:
    assert event.sender is not None
    name = Span(legible_line(event.sender.name), Tone.NAME)
    clock = Span(f"   {_clock(event)}", Tone.MUTED)
    return Row(Look.NAME, (name, clock), _key(event), event.sender.is_me, tip=_tip(event))


def _said(event: Event, nick: str) -> Row:
    return Row(
        Look.TEXT,
        spans_of(sanitise(event.text)),
        _key(event),
        event.is_own,
        is_mention(event, nick),
        _tip(event),
    )


def _done(event: Event, nick: str) -> Row:
    assert event.sender is not None
    name = Span(legible_line(event.sender.name), Tone.NAME)
    text = spans_of(f" {sanitise(event.text)}")
    clock = Span(f"   {_clock(event)}", Tone.MUTED)
    return Row(Look.ACTION, (name, *text, clock), _key(event), event.is_own, is_mention(event, nick), _tip(event))


def _continues(event: Event, before: Event | None) -> bool:
    """Tell whether a message goes below the name that is there already."""
    return (
        before is not None
        and before.kind is Kind.MESSAGE
        and before.sender == event.sender
        and not before.is_action
        and not _remarks(event)
        and not _remarks(before)
        and abs(event.time - before.time) < _RUN_MS
        and day_of(before) == day_of(event)
    )


def _key(event: Event) -> bytes:
    assert event.sender is not None
    return event.sender.identity or event.sender.nick.encode(errors="replace")


def _clock(event: Event) -> str:
    return f"{local_time(event.time):%H:%M}{_remarks(event)}"


def _remarks(event: Event) -> str:
    return "".join(f" ({mark})" for mark in marks(event))


def _tip(event: Event) -> str:
    tip = f"{local_time(event.time):%Y-%m-%d %H:%M:%S}"
    if event.sender is not None and event.sender.identity:
        state = "you" if event.sender.is_me else "verified" if event.sender.verified else "not verified"
        tip += f"\n{legible_line(event.sender.nick)}, {state}\nkey {event.sender.identity.hex()}"
    return tip + (f"\nmessage {event.sequence}" if event.sequence else "")
