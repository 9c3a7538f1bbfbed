"""The bytes of the old protocol, sans-I/O: ``base64(text in GBK)`` units, back to back (PROTOCOL.md, section 8).

Old programs decode whatever one read of at most 4,096 bytes returns as one unit, and drop what follows
a ``=``. So the units that are made here have none, and stay below that; those that are read here may be
glued or split anywhere.
"""

import base64
import binascii
import codecs
import itertools
import json
import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from securechat import limits
from securechat.text import sanitise

_QUAD: Final = 4
_END: Final = b"="
_FIRST_LEAD_BYTE: Final = 0x81  # of a GBK character of two bytes
_SPACE: Final = re.compile(rb"[\r\n\t ]+")


class LegacyError(Exception):
    """A peer sent something that no old program sends.

    Args:
        what: What is wrong, without a word of what was sent.
    """


# Writing


def encode(text: str) -> list[bytes]:
    """Return the units that carry ``text``: of at most 4,096 characters, each of whole characters, without ``=``.

    The last one is filled up with at most two spaces.
    """
    pieces = split(text, limits.LEGACY_UNIT_BYTES)
    return [base64.b64encode(piece.ljust(-(-len(piece) // 3) * 3)) for piece in pieces]


def split(text: str, most: int) -> list[bytes]:
    """Return the GBK of ``text`` in pieces of at most ``most`` bytes, none of which ends within a character.

    All but the last have a multiple of three bytes, which base64 writes without ``=``. What GBK cannot
    carry is replaced by ``?``.
    """
    raw = text.encode("gbk", errors="replace")
    pieces = []
    start = at = end = 0
    while at < len(raw):
        at += 2 if raw[at] >= _FIRST_LEAD_BYTE else 1
        if at - start > most:
            pieces.append(raw[start:end])
            start = end
        if (at - start) % 3 == 0:
            end = at
    return [*pieces, raw[start:]] if raw else []


# Reading


class UnitDecoder:
    """Read units, however they are glued or split.

    A unit ends at ``=``; where there is none, its end is not in the bytes: ``flush`` takes a pause for one.
    """

    def __init__(self) -> None:
        self._quads = bytearray()  # read, and no whole quad yet
        self._text = ""
        self._gbk = codecs.getincrementaldecoder("gbk")()

    def feed(self, data: bytes) -> Iterator[str]:
        """Take bytes in and yield the texts that have ended.

        Raises:
            LegacyError: They are not base64, or what they hold is not GBK.
        """
        self._quads += _SPACE.sub(b"", data)
        while True:
            end = self._quads.find(_END)
            if end == 0:  # it ends a quad and begins none, whatever came before it at once
                raise LegacyError("not base64")
            whole = len(self._quads) // _QUAD * _QUAD
            taken = min(whole, -(-end // _QUAD) * _QUAD) if end > 0 else whole
            if not taken:
                return
            self._text += self._decode(bytes(self._quads[:taken]), is_last=0 <= end < taken)
            del self._quads[:taken]
            if 0 <= end < taken or len(self._text) >= limits.LEGACY_MESSAGE_CHARACTERS:
                yield self._take()

    def _decode(self, quads: bytes, *, is_last: bool) -> str:
        try:
            return self._gbk.decode(base64.b64decode(quads, validate=True), final=is_last)
        except binascii.Error:
            raise LegacyError("not base64") from None
        except UnicodeDecodeError:
            raise LegacyError("not GBK") from None

    def _take(self) -> str:
        text, self._text = self._text, ""
        return text

    @property
    def is_whole(self) -> bool:
        """Whether what was read ends with a whole quad and character."""
        return not self._quads and not self._gbk.getstate()[0]

    def flush(self) -> str:
        """Return what was read and has not ended, if it ends with a whole quad and character; empty for nothing."""
        return self._take() if self.is_whole else ""


class Greeting(NamedTuple):
    """A client's first unit: which room, and under which name."""

    room: str
    name: str


class GreetingDecoder:
    """Read a client's first unit, which ends where its JSON ends."""

    def __init__(self) -> None:
        self._read = bytearray()
        self._decoder = UnitDecoder()
        self._text = ""

    def feed(self, data: bytes) -> tuple[Greeting, bytes] | None:
        """Take bytes in; return the greeting and what follows it, or None while it is incomplete.

        Raises:
            LegacyError: It is no greeting.
        """
        self._read += _SPACE.sub(b"", data)
        while len(self._read) >= _QUAD:
            quad = bytes(self._read[:_QUAD])
            del self._read[:_QUAD]
            ended = "".join(self._decoder.feed(quad))
            self._text += ended or self._decoder.flush()
            if greeting := self._parse(is_last=bool(ended)):
                return greeting, bytes(self._read)
            if len(self._text) > limits.LEGACY_GREETING_CHARACTERS:
                raise LegacyError("a greeting without an end")
        return None

    def _parse(self, *, is_last: bool) -> Greeting | None:
        text = self._text.strip()
        if text and not text.startswith("{"):
            raise LegacyError("no JSON object")
        if not text.endswith("}") and not is_last:
            return None
        try:
            fields = json.loads(text)
        except ValueError:
            if is_last:
                raise LegacyError("not JSON") from None
            return None
        except RecursionError:
            raise LegacyError("not JSON") from None
        room, name = (clean(fields.get(key)) for key in ("room_id", "name"))
        if not room or not name:
            raise LegacyError("JSON without room_id or name")
        return Greeting(room, name)


def clean(value: object) -> str:
    """Return a name without what could drive a terminal or break a line; empty where there is none."""
    return " ".join(sanitise(value).split()) if isinstance(value, str) else ""


def greet(room: str, name: str) -> bytes:
    """Return a client's first unit."""
    units = encode(json.dumps({"room_id": room, "name": name}, ensure_ascii=False))
    return b"".join(units)


# Notices

NOT_ENCRYPTED: Final = "（注意：本房间未加密 NOT ENCRYPTED）"
_STAMP: Final = r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)：用户"
_NAME: Final = r"(?:'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")"  # as Python writes a string
_WELCOME: Final = re.compile(
    rf"您已成功加入房间(.*?)，当前房间内有(\d+)位用户：\[({_NAME}(?:, {_NAME})*)?\](.*)", re.DOTALL
)
_JOINED: Final = re.compile(_STAMP + r"(.*)加入了聊天室。\s*", re.DOTALL)
_SAID: Final = re.compile(_STAMP + r"(.*?)发送消息：(.*)", re.DOTALL)
_LEFT: Final = re.compile(_STAMP + r"(.*)已经退出聊天!\s*", re.DOTALL)
_NOTICE: Final = re.compile(rf"(?={_STAMP}|您已成功加入房间)")


def welcome(room: str, names: list[str]) -> str:
    """Return what a newcomer is told."""
    return f"您已成功加入房间{room}，当前房间内有{len(names)}位用户：{names}"


def joined(time: str, name: str) -> str:
    """Return what the room is told of a newcomer."""
    return f"{time}：用户{name}加入了聊天室。"


def said(time: str, name: str, text: str) -> str:
    """Return what the room is told of a message."""
    return f"{time}：用户{name}发送消息：{text}"


def left(time: str, name: str) -> str:
    """Return what the room is told of somebody who has left."""
    return f"{time}：用户{name}已经退出聊天!"


class Welcome(NamedTuple):
    """A welcome: the names of those who are here, and what the server adds."""

    names: list[str]
    addition: str


class Joined(NamedTuple):
    """Somebody joined."""

    time: str
    name: str


class Said(NamedTuple):
    """Somebody said something."""

    time: str
    name: str
    text: str


class Left(NamedTuple):
    """Somebody left."""

    time: str
    name: str


class Other(NamedTuple):
    """Text that is no notice: what follows a message, or a server's own words."""

    text: str


Notice = Welcome | Joined | Said | Left | Other


def parse_notices(text: str) -> list[Notice]:
    """Return the notices in what a server sent, which may be several in one."""
    starts = [match.start() for match in _NOTICE.finditer(text)]
    bounds = sorted({0, *starts, len(text)})
    return [_parse_notice(text[a:b]) for a, b in itertools.pairwise(bounds) if text[a:b].strip()]


def _parse_notice(text: str) -> Notice:
    if match := _WELCOME.match(text):
        names = [re.sub(r"\\(.)", r"\1", name[1:-1]) for name in re.findall(_NAME, match[3] or "")]
        return Welcome(names, match[4].strip())
    if match := _SAID.fullmatch(text):
        return Said(match[1], match[2], match[3].rstrip(" "))
    if match := _JOINED.fullmatch(text):
        return Joined(match[1], match[2])
    if match := _LEFT.fullmatch(text):
        return Left(match[1], match[2])
    return Other(text.rstrip(" "))
