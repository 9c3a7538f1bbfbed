"""The old base64 mode: whatever the chunking, what went in comes out (PROTOCOL.md, LEG)."""

import base64
import contextlib
import itertools
import json
import re

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from securechat.legacy import codec, notices
from securechat.legacy.codec import GreetingDecoder, LegacyError, ServerDecoder, UnitDecoder

READ = 4096  # what old programs read at once
CELL = 256
TIME = "2026-11-24 00:14:37"
GBK = [char for code in range(1, 0x10000) if len((char := chr(code)).encode("gbk", errors="ignore")) and char != "\x80"]

patient = settings(deadline=None)  # for long texts on a busy machine
texts = st.text(st.sampled_from(GBK), max_size=200)
long_texts = st.builds(
    lambda text, count: text * count, st.text(st.sampled_from(GBK), max_size=40), st.integers(1, 300)
)
words = st.text(st.sampled_from(GBK), min_size=1, max_size=20).map(codec.clean).filter(bool)


def old_decode(data: bytes) -> str:
    """Decode as old programs do what one read has returned."""
    return base64.b64decode(data).decode("gbk")


def old_unit(text: str) -> bytes:
    """Encode as old programs do."""
    return base64.b64encode(text.encode("gbk"))


def chunks(data: bytes, cuts: list[int]) -> list[bytes]:
    """Cut bytes at some places."""
    places = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    return [data[a:b] for a, b in itertools.pairwise(places)]


cuts = st.lists(st.integers(0, 12_000), max_size=8)


def drawn_reads(data: st.DataObject, stream: bytes) -> list[bytes]:
    """Cut what was told as reads may: at the ends of cells, and where 4,096 characters were read."""
    reads = []
    while stream:
        size = CELL * data.draw(st.integers(1, READ // CELL))
        reads.append(stream[:size])
        stream = stream[size:]
    return reads


@patient
@given(st.lists(long_texts.filter(lambda text: text == text.rstrip(" ")), max_size=4), st.data())
def test_leg_1_what_we_tell_is_decoded_by_old_programs_at_whichever_cells_a_read_ends(
    said: list[str], data: st.DataObject
) -> None:
    stream = b"".join(map(codec.cells, said))
    assert len(stream) % CELL == 0
    shown = "".join(map(old_decode, drawn_reads(data, stream)))
    assert re.fullmatch("".join(re.escape(text) + " {0,2}" for text in said), shown)


@patient
@given(st.text(st.sampled_from("ab好长 "), max_size=900), st.data())
def test_leg_1_each_cell_is_decoded_where_bytes_and_characters_never_part_at_a_quad(
    text: str, data: st.DataObject
) -> None:
    text = data.draw(st.sampled_from(["", "a"])) + "b长" * data.draw(st.sampled_from([0, 63, 64, 500])) + text
    shown = "".join(map(old_decode, drawn_reads(data, codec.cells(text))))
    assert shown.replace(" ", "") == text.replace(" ", "")


@given(st.text(max_size=300))
def test_leg_1_what_gbk_cannot_carry_is_replaced_and_never_an_error(text: str) -> None:
    spelt = text.encode("gbk", errors="replace").decode("gbk")
    assert codec.spell(text) == spelt
    assert re.fullmatch(re.escape(spelt) + " {0,2}", old_decode(codec.cells(text)) if len(text) < 90 else spelt)
    assert re.fullmatch(re.escape(spelt) + " {0,2}", old_decode(codec.encode(text)))
    assert b"=" not in codec.encode(text)


@given(st.text(st.sampled_from(GBK), min_size=1, max_size=200), cuts)
def test_leg_1_a_unit_for_our_own_listener_ends_itself(text: str, where: list[int]) -> None:
    decoder = UnitDecoder()
    stream = codec.encode(text, is_ended=True) * 2
    heard = [one for chunk in chunks(stream, where) for one in decoder.feed(chunk)]
    assert [one.rstrip(" ") for one in heard] == [text.rstrip(" ")] * 2
    assert decoder.text == ""


@patient
@given(st.lists(long_texts.filter(bool), max_size=4), cuts)
def test_leg_1_our_client_finds_the_end_of_each_notice_that_our_listener_sends(
    said: list[str], where: list[int]
) -> None:
    decoder = ServerDecoder()
    heard = [one for chunk in chunks(b"".join(map(codec.cells, said)), where) for one in decoder.feed(chunk)]
    assert [one.text.rstrip(" ") for one in heard] == [text.rstrip(" ") for text in said]
    assert all(one.is_notice for one in heard)
    assert decoder.is_ours == bool(said)


@patient
@given(long_texts)
def test_a_long_message_is_told_in_pieces_that_old_servers_read_at_once(text: str) -> None:
    pieces = codec.split(text, 768)
    assert all(0 < len(piece.encode("gbk")) <= 768 for piece in pieces)
    assert "".join(pieces) == text or " " * 768 in text or text.endswith(" ")


@patient
@given(st.text(st.sampled_from("ab长   "), max_size=2000))
def test_a_long_message_keeps_its_spaces(text: str) -> None:
    text = f"{text}."
    pieces = codec.split(text, 90)
    if " " * 45 not in text:
        assert "".join(pieces) == text
    assert not any(piece.endswith(" ") for piece in pieces)


@patient
@given(st.lists(long_texts, max_size=4), cuts)
def test_leg_2_what_old_programs_send_is_decoded_whatever_the_chunks(said: list[str], where: list[int]) -> None:
    decoder = UnitDecoder()
    stream = b"".join(map(old_unit, said))
    heard = [text for chunk in chunks(stream, where) for text in decoder.feed(chunk)]
    assert decoder.is_whole
    assert "".join([*heard, decoder.flush()]) == "".join(said)


@given(st.lists(texts.filter(lambda text: len(text.encode("gbk")) % 3), max_size=5), cuts)
def test_leg_2_units_that_end_with_an_equals_sign_are_told_apart(said: list[str], where: list[int]) -> None:
    decoder = UnitDecoder()
    stream = b"".join(map(old_unit, said))
    assert [text for chunk in chunks(stream, where) for text in decoder.feed(chunk)] == said
    assert decoder.flush() == ""


@given(words, words, st.lists(texts.filter(bool), max_size=3), cuts, st.booleans())
def test_leg_2_a_greeting_ends_where_its_json_ends(
    room: str, name: str, said: list[str], where: list[int], is_ours: bool
) -> None:
    greeting = codec.greet(room, name) if is_ours else old_unit(json.dumps({"room_id": room, "name": name}))
    decoder, follows = GreetingDecoder(), b""
    found = None
    for chunk in chunks(greeting + b"".join(map(old_unit, said)), where):
        if found is None:
            if result := decoder.feed(chunk):
                found, follows = result
        else:
            follows += chunk
    assert found == (room, name)
    units = UnitDecoder()
    assert "".join([*units.feed(follows), units.flush()]) == "".join(said)


@given(st.binary(max_size=200), cuts)
def test_anything_is_text_or_a_legacy_error(data: bytes, where: list[int]) -> None:
    decoder, greeting = UnitDecoder(), GreetingDecoder()
    with contextlib.suppress(LegacyError):
        for chunk in chunks(data, where):
            list(decoder.feed(chunk))
    with contextlib.suppress(LegacyError):
        for chunk in chunks(data, where):
            if greeting.feed(chunk):
                break


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("hello", "no JSON object"),
        ('{"room_id": "1"}', "JSON without"),
        ('{"room_id": 1, "name": "a"}', "JSON without"),
        ('{"room_id": "1", "name": null}', "JSON without"),
        ("{nonsense}x", "not JSON"),
        ('{"room_id": ' + "[" * 1100, "a greeting without an end"),
        ('{"a": "' + "x" * 2000, "a greeting without an end"),
    ],
)
def test_leg_5_what_is_no_greeting_is_refused(text: str, what: str) -> None:
    with pytest.raises(LegacyError, match=what):
        GreetingDecoder().feed(old_unit(text))


@pytest.mark.parametrize(
    ("data", "what"),
    [(b"GET / HTTP/1.1\r\n", "not GBK"), (b"\0", "not base64"), (b"//8=", "not GBK"), (b"=AAA", "base64")],
)
def test_leg_5_what_is_no_base64_or_gbk_is_refused(data: bytes, what: str) -> None:
    with pytest.raises(LegacyError, match=what):
        list(UnitDecoder().feed(data))


def test_leg_5_the_first_impossible_byte_of_a_greeting_is_refused() -> None:
    with pytest.raises(LegacyError, match="not base64"):
        GreetingDecoder().feed(b"-")


@pytest.mark.parametrize("name", ["", "\x07 "])
def test_leg_6_somebody_without_a_name_is_let_in_under_another(name: str) -> None:
    found = GreetingDecoder().feed(old_unit(json.dumps({"room_id": "", "name": name})))
    assert found == (("", codec.NAMELESS), b"")


@given(words, words, st.lists(words, max_size=4), texts.filter(lambda text: text.strip(" ") and "用户" not in text))
def test_notices_are_read_as_they_were_written(room: str, name: str, names: list[str], text: str) -> None:
    assume("加入了聊天室" not in name + text and "发送消息" not in name + text and "您已成功" not in text + room)
    assume("，当前" not in room and not any("\\" in n or not n.isprintable() for n in names))
    written = [
        notices.welcome(room, names),
        notices.joined(TIME, name),
        notices.said(TIME, name, text),
        notices.left(TIME, name),
    ]
    read = notices.parse_notices("".join(written))
    assert read == [
        notices.Welcome(names, ""),
        notices.Joined(TIME, name),
        notices.Said(TIME, name, text.rstrip(" ")),
        notices.Left(TIME, name),
    ]
