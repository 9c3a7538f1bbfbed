"""The old base64 mode: units, the greeting, notices."""

import base64
import codecs
import json
from collections.abc import Callable, Iterable

from securechat import limits
from securechat.legacy import codec
from securechat.legacy import notices as notices_
from securechat.legacy.codec import GreetingDecoder, LegacyError, UnitDecoder
from tests.fuzz.harness import Harness, to_bytes, to_text

_READ = 4096  # what old programs read at once


def _heard(decoder: UnitDecoder, chunks: Iterable[bytes]) -> tuple[str, bool]:
    """Return all that was said, and whether it ended in an error."""
    said = ""
    try:
        for chunk in chunks:
            for text in decoder.feed(chunk):
                said += text
    except LegacyError as error:
        assert len(str(error)) < 40
        return said, True
    return said + decoder.flush(), False


def _bytewise(data: bytes) -> Iterable[bytes]:
    return (data[at : at + 1] for at in range(len(data)))


def units(data: bytes) -> None:
    """What is heard is the same whatever the chunks, and no more than was sent."""
    said, is_bad = _heard(UnitDecoder(), [data])
    assert _heard(UnitDecoder(), _bytewise(data)) == (said, is_bad)
    assert len(said) <= len(data) * 3 // 4


def greeting(data: bytes) -> None:
    """A greeting is the same whatever the chunks, and what follows it is left."""
    whole = _greeted(lambda decoder: decoder.feed(data))
    pieces = _greeted(lambda decoder: _feed_bytewise(decoder, data))
    assert pieces == whole
    if isinstance(whole, tuple):
        (room, name), follows = whole
        for part in (room, name):
            assert codec.clean(part) == part != ""
            assert "\n" not in part
        assert data.endswith(follows[-1:]) or not follows.strip()


def _feed_bytewise(decoder: GreetingDecoder, data: bytes) -> tuple[codec.Greeting, bytes] | None:
    for at in range(len(data)):
        if found := decoder.feed(data[at : at + 1]):
            rest = b"".join(data[at + 1 :].split())
            return found[0], found[1] + rest
    return None


def _greeted(
    feed: Callable[[GreetingDecoder], tuple[codec.Greeting, bytes] | None],
) -> tuple[codec.Greeting, bytes] | str | None:
    try:
        return feed(GreetingDecoder())
    except LegacyError as error:
        return str(error)


def notices(data: bytes) -> None:
    """Any text is notices, of which no word is made up."""
    text = to_text(data)
    for notice in notices_.parse_notices(text):
        for part in notice:
            for said in part if isinstance(part, list) else [part]:
                assert len(said) <= len(text)


def units_written(data: bytes) -> None:
    """Any text is units that old programs read, one by one and glued; so is a greeting."""
    text = to_text(data)
    unit, cells = codec.encode(text), codec.cells(text)
    assert b"=" not in unit + cells
    assert base64.b64decode(unit).decode("gbk").rstrip(" ") == codec.spell(text).rstrip(" ")
    size = limits.LEGACY_CELL_CHARACTERS
    assert len(cells) % size == _READ % size == 0
    read = "".join(base64.b64decode(cells[at : at + size]).decode("gbk") for at in range(0, len(cells), size))
    assert read.replace(" ", "") == codec.spell(text).replace(" ", "")
    name = codec.clean(text)[:100]
    if name:
        found = GreetingDecoder().feed(codec.greet(name, name))
        assert found
        assert found[0].name == codec.spell(name).strip()


def _unit(text: str) -> bytes:
    return base64.b64encode(codecs.encode(text, "gbk"))


_TIME = "2026-11-24 00:14:37"
_NOTICES = [
    notices_.welcome("1", ["ann", "b'ob"]),
    notices_.joined(_TIME, "ann") + notices_.said(_TIME, "ann", "你好"),
    notices_.left(_TIME, "ann"),
]
_GREETING = _unit(json.dumps({"room_id": "1", "name": "ann"}))
_UNITS = [
    _unit("hello"),
    _unit("你好") + _unit("ab"),
    b"GET / HTTP/1.1\r\n",
    b"=AAA",
    b"//8=",
    b"PPPP====",
    b"PPPP=PPP",
]

HARNESSES = {
    "legacy-units": Harness(units, _UNITS),
    "legacy-greeting": Harness(
        greeting, [_GREETING, _GREETING + _unit("hello"), codec.greet("a", "b"), _unit("{x}"), _unit('{"a":[[[')], 2048
    ),
    "legacy-notices": Harness(notices, to_bytes(_NOTICES), 3072),
    "legacy-written": Harness(units_written, to_bytes([*_NOTICES, "\x80", "a" * 3071 + "你"])),
}
