"""The bytes of the old protocol, sans-I/O: ``base64(text in GBK)``, back to back (PROTOCOL.md, section 8).

Old programs decode whatever one read of at most 4,096 bytes returns as one unit, drop what follows a
``=``, and pass over what is not of base64. So what is told goes in cells of one size, which a read does
not cut; what is read here may be glued or split anywhere.
"""

import base64
import binascii
import codecs
import json
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from securechat import limits
from securechat.text import sanitise

_QUAD: Final = 4
_END: Final = b"="
_CHARACTER: Final = re.compile(rb"[\x81-\xff].|.", re.DOTALL)  # of GBK
_SPACE: Final = re.compile(rb"[\r\n\t ]+")
_LINE_FEEDS: Final = re.compile(rb"\n+")
_IMPOSSIBLE: Final = re.compile(rb"[^A-Za-z0-9+/=]")


class LegacyError(Exception):
    """A peer sent something that no old program sends.

    Args:
        what: What is wrong, without a word of what was sent.
    """


# Writing


def encode(text: str, *, is_ended: bool = False) -> bytes:
    """Return a client's unit that carries ``text``, filled up with one or two spaces where need be.

    Args:
        text: What GBK cannot carry of it is replaced by ``?``.
        is_ended: Whether it ends with ``=``, which our own listener takes for its end, and after which old
            servers drop what is glued to it; else it has none.
    """
    raw = _to_gbk(text)
    if is_ended:
        return base64.b64encode(raw if len(raw) % 3 else raw + b" ")
    return base64.b64encode(_fill(raw))


def cells(text: str) -> bytes:
    """Return a server's cells that carry ``text``: each of 256 characters, and decoded on its own.

    The rest of a cell is spaces, after the last piece line feeds; old programs pass over both. The text
    gets at most two spaces at its end, and within it only where bytes and characters never part at a quad.
    """
    size = limits.LEGACY_CELL_CHARACTERS
    pieces = _cut(_to_gbk(text), limits.LEGACY_CELL_BYTES, _ends_quad)
    *more, last = [base64.b64encode(_fill(piece)) for piece in pieces]
    return b"".join([*(piece.ljust(size) for piece in more), last.ljust(size, b"\n")])


def split(text: str, most: int) -> list[str]:
    """Return ``text`` as GBK carries it, as messages of at most ``most`` bytes.

    None ends with a space, which who receives it would take for filling: of a run of spaces that is longer
    than a message, the rest is lost.
    """
    pieces = _cut(_to_gbk(text), most, _ends_without_space)
    return [piece.decode("gbk") for piece in pieces if piece.strip(b" ")]


def spell(text: str) -> str:
    """Return ``text`` as it comes back from GBK: what that cannot carry is ``?``."""
    return _to_gbk(text).decode("gbk")


def _to_gbk(text: str) -> bytes:
    return text.encode("gbk", errors="replace")


def _fill(raw: bytes) -> bytes:
    return raw.ljust(-(-len(raw) // 3) * 3)


def _ends_quad(raw: bytes, start: int, end: int) -> bool:
    del raw
    return (end - start) % 3 == 0


def _ends_without_space(raw: bytes, start: int, end: int) -> bool:
    del start
    return raw[end - 1] != ord(" ")


def _cut(raw: bytes, most: int, is_good: Callable[[bytes, int, int], bool]) -> list[bytes]:
    """Cut GBK into pieces of at most ``most`` bytes: never within a character, and where it can be at a good end."""
    ends = [match.end() for match in _CHARACTER.finditer(raw)]
    pieces = []
    start = first = 0
    while len(raw) - start > most:
        within = ends[first : bisect_right(ends, start + most, first)]
        end = next((end for end in reversed(within) if is_good(raw, start, end)), within[-1])
        pieces.append(raw[start:end])
        start, first = end, bisect_right(ends, end, first)
    return [*pieces, raw[start:]]


# Reading


class UnitDecoder:
    """Read units, however they are glued or split.

    A unit ends at ``=``; where there is none, its end is not in the bytes: ``flush`` takes a pause for one.

    Args:
        most: Characters after which a unit that does not end is told in parts.
    """

    def __init__(self, most: int = limits.LEGACY_MESSAGE_CHARACTERS) -> None:
        self._most = most
        self._quads = bytearray()  # read, and no whole quad yet
        self._text = ""
        self._gbk = codecs.getincrementaldecoder("gbk")()

    def feed(self, data: bytes) -> Iterator[str]:
        """Take bytes in and yield the texts that have ended, before any error behind them.

        Raises:
            LegacyError: They are not base64, or what they hold is not GBK.
        """
        good, bad = _part(data)
        self._quads += good
        while True:
            end = self._quads.find(_END)
            if end == 0:  # it ends a quad and begins none, whatever came before it at once
                raise LegacyError("not base64")
            whole = len(self._quads) // _QUAD * _QUAD
            taken = min(whole, -(-end // _QUAD) * _QUAD) if end > 0 else whole
            if not taken and bad:
                raise LegacyError("not base64")
            if not taken:
                return
            self._text += self._decode(bytes(self._quads[:taken]), is_last=0 <= end < taken)
            del self._quads[:taken]
            if 0 <= end < taken or len(self._text) >= self._most:
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
    def text(self) -> str:
        """What was read and has not ended."""
        return self._text

    @property
    def is_whole(self) -> bool:
        """Whether what was read ends with a whole quad and character."""
        return not self._quads and not self._gbk.getstate()[0]

    def flush(self) -> str:
        """Return what was read and has not ended, if it ends with a whole quad and character; empty for nothing."""
        return self._take() if self.is_whole else ""


def _part(data: bytes) -> tuple[bytes, bytes]:
    """Return bytes without white space, up to the first that base64 has not, and from there on."""
    data = _SPACE.sub(b"", data)
    match = _IMPOSSIBLE.search(data)
    end = match.start() if match else len(data)
    return data[:end], data[end:]


class Heard(NamedTuple):
    """A text that a server sent; whether it is one whole notice, as our own listener marks it."""

    text: str
    is_notice: bool


class ServerDecoder:
    """Read what a server sends.

    Attributes:
        units: The units: those of an original server have no mark of their end but ``=``.
        is_ours: Whether line feeds were seen, with which our own listener ends each notice.
    """

    def __init__(self) -> None:
        self.units = UnitDecoder(limits.LEGACY_NOTICE_CHARACTERS)
        self.is_ours = False

    def feed(self, data: bytes) -> Iterator[Heard]:
        """Take bytes in and yield the texts that have ended.

        Raises:
            LegacyError: They are not base64, or what they hold is not GBK.
        """
        *lines, rest = _LINE_FEEDS.split(data)
        for line in lines:
            self.is_ours = True
            yield from self._feed(line)
            if text := self.units.flush():
                yield Heard(text, is_notice=True)
        yield from self._feed(rest)

    def _feed(self, data: bytes) -> Iterator[Heard]:
        for text in self.units.feed(data):
            yield Heard(text, is_notice=False)


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
        good, bad = _part(data)
        self._read += good
        while len(self._read) >= _QUAD:
            quad = bytes(self._read[:_QUAD])
            del self._read[:_QUAD]
            ended = "".join(self._decoder.feed(quad))
            self._text += ended or self._decoder.flush()
            if greeting := self._parse(is_last=bool(ended)):
                return greeting, bytes(self._read) + bad
            if len(self._text) > limits.LEGACY_GREETING_CHARACTERS:
                raise LegacyError("a greeting without an end")
        if bad:
            raise LegacyError("not base64")
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
        room, name = fields.get("room_id"), fields.get("name")
        if not isinstance(room, str) or not isinstance(name, str):
            raise LegacyError("JSON without room_id or name")
        return Greeting(clean(room), clean(name) or NAMELESS)


NAMELESS: Final = "匿名"  # somebody who gave no name: old servers let them in


def clean(name: str) -> str:
    """Return a name without what could drive a terminal or break a line; empty where nothing is left."""
    return " ".join(sanitise(name).split())


def greet(room: str, name: str) -> bytes:
    """Return a client's first unit."""
    return encode(json.dumps({"room_id": room, "name": name}, ensure_ascii=False))
