"""What a member says, inside the envelope: msgpack arrays with one encoding each (PROTOCOL.md, section 3.3).

A body is accepted only if encoding what was decoded gives the same bytes again, so one content has
one body: no other integer widths, no duplicate or trailing fields.
"""

import math
import unicodedata
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from securechat import limits
from securechat.errors import Failure, OpenError
from securechat.sealing.envelope import Context

_TOO_LARGE: Final = 2**53  # for numbers in many languages

Number = Annotated[int, Meta(ge=0, lt=_TOO_LARGE)]
Session = Annotated[bytes, Meta(min_length=16, max_length=16)]
Hash = Annotated[bytes, Meta(min_length=32, max_length=32)]
Nick = Annotated[str, Meta(min_length=1, max_length=limits.NICK_CODE_POINTS)]

SESSION_BYTES: Final = 16
_LAST_MESSAGE_KIND: Final = 127
_LAST_KIND: Final = 255


class Seen(Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """How far the sender had followed the log: n and H_n."""

    sequence: Number
    head: Hash


class Header(Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """What every body begins with, after its kind.

    Attributes:
        session: 16 random bytes for each run of a client in a room.
        counter: 1 for the session's first message, then one more each; presence counts its own.
        clock: The sender's clock in ms since 1970 UTC.
        nick: The sender's nickname, 1 to 32 code points in NFC.
        seen: Where the sender stood in the log; nil only in a presence.
    """

    session: Session
    counter: Annotated[int, Meta(ge=1, lt=_TOO_LARGE)]
    clock: Number
    nick: Nick
    seen: Seen | None


class Text(Header, array_like=True, frozen=True, forbid_unknown_fields=True, tag=1):
    """A message: 1 to 32,000 bytes of UTF-8."""

    text: Annotated[str, Meta(min_length=1)]


class Action(Header, array_like=True, frozen=True, forbid_unknown_fields=True, tag=2):
    """What the sender does, told in the third person (``/me``)."""

    text: Annotated[str, Meta(min_length=1)]


class Here(Header, array_like=True, frozen=True, forbid_unknown_fields=True, tag=128):
    """A member's presence.

    Attributes:
        messages: The counter of the session's last acknowledged message; 0 before the first.
        reader: Whether this member only reads.
    """

    messages: Number
    reader: bool


class Unknown(Struct, frozen=True):
    """A body of a kind that this version does not know.

    Attributes:
        kind: Which.
        header: Its header, which is valid.
        unseen: The body with nil in place of ``seen``.
    """

    kind: int
    header: Header
    unseen: bytes


Spoken = Text | Action
Body = Text | Action | Here | Unknown

_encoder: Final = msgspec.msgpack.Encoder()
_message_decoder: Final = msgspec.msgpack.Decoder(Text | Action)
_presence_decoder: Final = msgspec.msgpack.Decoder(Here)
_list_decoder: Final = msgspec.msgpack.Decoder(list[msgspec.Raw])
_KNOWN: Final = frozenset({1, 2, 128})
_SEEN: Final = 5  # its place in every body


def encode(body: Text | Action | Here) -> bytes:
    """Return the bytes of a body."""
    return _encoder.encode(body)


def parse(context: Context, raw: bytes) -> Body:
    """Return the body in ``raw``, an opened envelope of ``context``.

    Raises:
        OpenError: ``Failure.BODY``: it is not the one encoding of a body of that context.
    """
    decoder = _message_decoder if context is Context.MESSAGE else _presence_decoder
    try:
        body = decoder.decode(raw)
    except msgspec.ValidationError:
        return _parse_unknown(context, raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise OpenError(Failure.BODY) from None
    if _encoder.encode(body) != raw or not _is_sound(body):
        raise OpenError(Failure.BODY)
    return body


def _is_sound(body: Text | Action | Here) -> bool:
    """Check what types alone do not."""
    if isinstance(body, Here):
        return _is_sound_header(Context.PRESENCE, body)
    return _is_sound_header(Context.MESSAGE, body) and len(body.text.encode()) <= limits.TEXT_BYTES


def _is_sound_header(context: Context, header: Header) -> bool:
    has_seen = header.seen is not None or context is Context.PRESENCE
    return has_seen and unicodedata.is_normalized("NFC", header.nick)


def _parse_unknown(context: Context, raw: bytes) -> Unknown:
    """Read a body that is no known kind: a later version's, or nothing at all."""
    first, last = (1, _LAST_MESSAGE_KIND) if context is Context.MESSAGE else (_LAST_MESSAGE_KIND + 1, _LAST_KIND)
    size = len(Header.__struct_fields__)
    try:
        fields = _list_decoder.decode(raw)
        kind = msgspec.msgpack.decode(fields[0], type=int) if fields else 0
        header = msgspec.convert([msgspec.msgpack.decode(f) for f in fields[1 : 1 + size]], Header)
        value = msgspec.msgpack.decode(raw)
        is_whole = _is_plain(value) and _encoder.encode(value) == raw
        unseen = _encoder.encode([*fields[:_SEEN], None, *fields[_SEEN + 1 :]])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise OpenError(Failure.BODY) from None
    is_later = first <= kind <= last and kind not in _KNOWN
    if not is_later or not is_whole or not _is_sound_header(context, header):
        raise OpenError(Failure.BODY)
    return Unknown(kind, header, unseen)


def _is_plain(value: object, level: int = 1) -> bool:
    """Tell whether a value of a later version is one that readers in every language take for the same.

    Args:
        value: What was decoded.
        level: That of an array or map here; what is neither has none.
    """
    if isinstance(value, list):
        return level <= limits.BODY_DEPTH and all(_is_plain(item, level + 1) for item in value)
    if isinstance(value, dict):
        is_readable = level <= limits.BODY_DEPTH and all(isinstance(key, str) for key in value)
        return is_readable and all(_is_plain(item, level + 1) for item in value.values())
    if isinstance(value, int):
        return abs(value) < _TOO_LARGE
    if isinstance(value, float):
        return not math.isnan(value)
    return value is None or isinstance(value, str | bytes)


def without_seen(body: Spoken | Unknown) -> bytes:
    """Return the bytes by which two messages with one counter are told apart.

    A message that is sealed anew after its log was restarted differs in ``seen`` alone.
    """
    if isinstance(body, Unknown):
        return body.unseen
    return _encoder.encode(msgspec.structs.replace(body, seen=None))
