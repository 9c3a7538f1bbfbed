"""Events as lines for people and as JSON for programs. Everything that a peer wrote is sanitised here."""

import datetime
import json
from typing import Final

from securechat import limits
from securechat.client.conversation import Event, Kind
from securechat.text import legible_line, one_line

_LAST: Final = datetime.datetime(9999, 12, 31, tzinfo=datetime.UTC)
_UNITS: Final = ((86400, "day"), (3600, "hour"), (60, "minute"))
_LAST_MS: Final = int(_LAST.timestamp() * 1000)


def _moment(clock: int) -> datetime.datetime:
    """Return a time in ms since 1970 UTC, which a peer may have made up, within what a calendar holds."""
    return datetime.datetime.fromtimestamp(min(clock, _LAST_MS) / 1000, datetime.UTC)


def local_time(clock: int) -> datetime.datetime:
    """Return a time in ms since 1970 UTC as this machine's clock on the wall has it."""
    return _moment(clock).astimezone()


def to_line(event: Event, *, is_encrypted: bool = True) -> str:
    """Return one line: local time, who and what; a line feed inside a message shows as U+23CE."""
    when = f"{local_time(event.time):%Y-%m-%d %H:%M:%S}"
    if not is_encrypted:
        when += " [NOT ENCRYPTED]"
    if event.kind is not Kind.MESSAGE or event.sender is None:
        mark = "!!" if event.is_alarm else "--"
        return f"{when} {mark} {one_line(event.text)}"
    when += _clock_mark(event.clock_error / 1000)
    if event.is_late:
        when += " (out of order)"
    name = legible_line(event.sender.name)
    return f"{when} * {name} {one_line(event.text)}" if event.is_action else f"{when} {name}: {one_line(event.text)}"


def _clock_mark(error: float) -> str:
    """Say how far the signed clock, which is what is shown, is from when the message was sent, in seconds.

    What was typed without a connection has such a mark, and so has an old message that somebody sends again.
    """
    if abs(error) <= limits.CLOCK_SKEW_SECONDS:
        return ""
    size, unit = next((s, u) for s, u in _UNITS if abs(error) >= s)
    count = round(abs(error) / size)
    span = f"{count} {unit}{'s' if count > 1 else ''}"
    return f" (written {span} before it was sent)" if error < 0 else f" (dated {span} ahead)"


def to_json(event: Event, *, is_encrypted: bool = True) -> str:
    """Return one JSON object on one line; ``nick`` and ``text`` are as signed, escaped to ASCII.

    Of a message, ``late`` tells that it is out of order, and ``clock_error`` how many ms its signed clock
    (``time``) is from when it was sent.
    """
    moment = _moment(event.time).isoformat(timespec="milliseconds")
    fields: dict[str, object] = {"event": event.kind.value, "time": moment.replace("+00:00", "Z")}
    if event.sequence is not None:
        fields["sequence"] = event.sequence
    if event.sender is not None:
        fields["nick"] = event.sender.nick
        if event.sender.identity:
            fields["fingerprint"] = event.sender.identity.hex()
        fields["verified"] = event.sender.verified
    if event.kind is Kind.MESSAGE:
        fields["text"] = event.text
        fields["action"] = event.is_action
        fields["late"] = event.is_late
        fields["clock_error"] = event.clock_error
    else:
        fields["detail"] = one_line(event.text)
    if not is_encrypted:
        fields["encrypted"] = False
    return json.dumps(fields)
