"""The old base64 mode: units, the greeting, notices."""

import base64
import codecs
import json
from collections.abc import Callable, Iterable

from securechat import limits
from securechat.legacy import codec
from securechat.legacy import notices as parsing
from securechat.legacy.codec import GreetingDecoder, LegacyError, ServerDecoder, UnitDecoder
from tests.fuzz.harness import Harness, to_bytes, to_text


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
    """What is heard is the same whatever the chunks, up to an error, and no more than was sent."""
    said, is_bad = _heard(UnitDecoder(), [data])
    in_pieces = _heard(UnitDecoder(), _bytewise(data))
    assert in_pieces == (said, is_bad) or (is_bad and in_pieces[1] and in_pieces[0].startswith(said))
    assert len(said) <= len(data) * 3 // 4


def server_units(data: bytes) -> None:
    """What a server says is the same whatever the chunks, and who it is too."""
    ends = ServerDecoder(), ServerDecoder()
    heard = [_heard_of_server(ends[0], [data]), _heard_of_server(ends[1], _bytewise(data))]
    if None in heard:
        assert heard == [None, None]
        return
    assert ends[0].is_ours == ends[1].is_ours
    assert heard[0] == heard[1]


def _heard_of_server(decoder: ServerDecoder, chunks: Iterable[bytes]) -> list[codec.Heard] | None:
    """Return what was heard; None for an error."""
    try:
        return [heard for chunk in chunks for heard in decoder.feed(chunk)]
    except LegacyError:
        return None


def greeting(data: bytes) -> None:
    """A greeting is the same whatever the chunks, and what follows it is left; garbage may be seen at once."""
    whole = _greeted(lambda decoder: decoder.feed(data))
    pieces = _greeted(lambda decoder: _feed_bytewise(decoder, data))
    assert pieces == whole or isinstance(whole, str)
    if isinstance(whole, tuple):
        (room, name), follows = whole
        assert name
        for part in (room, name):
            assert codec.clean(part) == part
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
    """Any text is notices, of which no word is made up, and has an end or not."""
    text = to_text(data)
    for awaited in ((), (text[-20:],)):
        for notice in parsing.parse_notices(text, awaited):
            for part in notice:
                for said in part if isinstance(part, list) else [part]:
                    assert len(said) <= len(text)
    parsing.is_unfinished(text)
    assert text.endswith(parsing.begun_notice(text))


def written(data: bytes) -> None:
    """Any text goes in what old programs read, cell by cell and whole; so does a greeting."""
    text = to_text(data)
    spelt = codec.spell(text)
    for is_ended in (False, True):
        unit = codec.encode(text, is_ended=is_ended)
        assert base64.b64decode(unit).decode("gbk").rstrip(" ") == spelt.rstrip(" ")
        assert (b"=" in unit) == is_ended
    told = codec.cells(text)
    size = limits.LEGACY_CELL_CHARACTERS
    cells = [told[at : at + size] for at in range(0, len(told), size)]
    assert len(told) % size == 0
    assert "".join(_read(cell) for cell in cells).replace(" ", "") == spelt.replace(" ", "")
    name = codec.clean(text)[:100]
    if name:
        found = GreetingDecoder().feed(codec.greet(name, name))
        assert found
        assert found[0].name == codec.spell(name).strip()


def _read(cell: bytes) -> str:
    """Return what an old program makes of one read."""
    return base64.b64decode(cell).decode("gbk")


def _unit(text: str) -> bytes:
    return base64.b64encode(codecs.encode(text, "gbk"))


_TIME = "2026-11-24 00:14:37"
_NOTICES = [
    parsing.welcome("1", ["ann", "b'ob"]),
    parsing.joined(_TIME, "ann") + parsing.said(_TIME, "ann", "你好"),
    parsing.left(_TIME, "ann"),
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
    "legacy-server": Harness(server_units, [*_UNITS, *(codec.cells(notice) for notice in _NOTICES)]),
    "legacy-greeting": Harness(
        greeting, [_GREETING, _GREETING + _unit("hello"), codec.greet("a", "b"), _unit("{x}"), _unit('{"a":[[[')], 2048
    ),
    "legacy-notices": Harness(notices, to_bytes(_NOTICES)),
    "legacy-written": Harness(written, to_bytes([*_NOTICES, "\x80", "a" * 3071 + "你"])),
}
