"""Cutting a stream into frames (PROTOCOL.md, FRM)."""

import tracemalloc

import pytest

from securechat.errors import ProtocolError, Violation
from securechat.protocol import frames
from securechat.protocol.frames import Frame, FrameDecoder

MOST = 1000


def test_frm_1_a_frame_is_its_length_its_type_and_its_body() -> None:
    assert frames.encode(7, b"ab", b"c") == b"\0\0\0\4\7abc"
    assert list(FrameDecoder(MOST).feed(b"\0\0\0\4\7abc")) == [Frame(7, b"abc")]


def test_frm_1_a_body_may_be_empty() -> None:
    assert list(FrameDecoder(MOST).feed(frames.encode(7))) == [Frame(7, b"")]


def test_frm_1_frames_come_out_one_byte_at_a_time_as_well() -> None:
    decoder = FrameDecoder(MOST)
    stream = frames.encode(1, b"one") + frames.encode(2) + frames.encode(3, b"three")
    found = [frame for byte in stream for frame in decoder.feed(bytes([byte]))]
    assert found == [Frame(1, b"one"), Frame(2, b""), Frame(3, b"three")]


def test_frm_2_the_largest_frame_is_taken_and_one_byte_more_is_not() -> None:
    body = bytes(MOST - 1)
    assert list(FrameDecoder(MOST).feed(frames.encode(1, body))) == [Frame(1, body)]
    with pytest.raises(ProtocolError) as caught:
        list(FrameDecoder(MOST).feed(frames.encode(1, body + b"x")[:4]))
    assert caught.value.violation is Violation.LENGTH


def test_frm_2_a_huge_length_is_refused_before_anything_is_allocated_for_it() -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError):
            list(FrameDecoder(MOST).feed(b"\xff\xff\xff\xff"))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100_000


def test_frm_2_a_length_of_zero_is_refused() -> None:
    with pytest.raises(ProtocolError) as caught:
        list(FrameDecoder(MOST).feed(bytes(4)))
    assert caught.value.violation is Violation.LENGTH


def test_frames_before_an_error_come_out_first() -> None:
    decoder = FrameDecoder(MOST).feed(frames.encode(1, b"good") + bytes(4))
    assert next(decoder) == Frame(1, b"good")
    with pytest.raises(ProtocolError):
        next(decoder)


def test_what_is_wrong_is_told_in_numbers_only() -> None:
    with pytest.raises(ProtocolError, match=r"^length: a frame of 1195725856 bytes$"):
        list(FrameDecoder(MOST).feed(b"GET / HTTP/1.1"))
