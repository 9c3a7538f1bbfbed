"""What the servers send is cut into deliveries, whatever the chunks, and nothing else is counted as one."""

import base64

import pytest

from scripts.benchmarks.dialects import TAG_BYTES, Dialect, Irc, Lines, Mqtt, Nats
from scripts.benchmarks.ours import Relay, seal_messages
from scripts.benchmarks.wire import LostError
from securechat.protocol.messages import Change, Code, Deliver, Error, Member, MemberChange

ENVELOPES = seal_messages(3)


def _mqtt(kind: int, body: bytes) -> bytes:
    assert 128 <= len(body) < 16384
    return bytes([kind, len(body) & 0x7F | 0x80, len(body) >> 7]) + body


def _irc(envelope: bytes) -> bytes:
    return b":u7!~u7@127.1.0.8 PRIVMSG #r1 :" + base64.b64encode(envelope) + b"\r\n"


STREAMS: dict[str, tuple[Dialect, list[bytes]]] = {
    "ours": (
        Relay(bytes(32)),
        [
            Member(1, (MemberChange(Change.JOINED, 2, b"presence"),)).encode(),
            *(Deliver(1, number + 1, 0, envelope).encode() for number, envelope in enumerate(ENVELOPES)),
        ],
    ),
    "irc": (
        Irc(),
        [b":u1!~u1@127.1.0.2 JOIN :#r1\r\n", b":irc.bench.test 366 u1 #r1 :End\r\n", *map(_irc, ENVELOPES)],
    ),
    "mqtt": (Mqtt(), [b"\xd0\x00", *(_mqtt(0x30, b"\x00\x03r/1" + envelope) for envelope in ENVELOPES)]),
    "nats": (
        Nats(),
        [b"PING\r\n", *(b"MSG r1 0 %d\r\n%b\r\n" % (len(envelope), envelope) for envelope in ENVELOPES), b"+OK\r\n"],
    ),
    "lines": (Lines(), [base64.b64encode(envelope) + b"\n" for envelope in ENVELOPES]),
}


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("step", [1, 7, 100, 100_000])
def test_every_delivery_is_cut_out_once_whatever_the_chunks(name: str, step: int) -> None:
    dialect, parts = STREAMS[name]
    stream, buffer = b"".join(parts), bytearray()
    tags = []
    for start in range(0, len(stream), step):
        buffer += stream[start : start + step]
        tags += dialect.split(buffer)
    assert tags == [dialect.payload(envelope)[:TAG_BYTES] for envelope in ENVELOPES]
    assert not buffer


@pytest.mark.parametrize("name", STREAMS)
def test_messages_are_told_apart_by_their_tags(name: str) -> None:
    dialect, _ = STREAMS[name]
    assert len({dialect.payload(envelope)[:TAG_BYTES] for envelope in ENVELOPES}) == len(ENVELOPES)


def test_a_line_of_irc_holds_an_envelope() -> None:
    assert len(_irc(ENVELOPES[0])) <= 512


@pytest.mark.parametrize(
    ("dialect", "said"),
    [
        (Relay(bytes(32)), Error(Code.STORAGE, 0, 5, bytes(16), "full").encode()),
        (Irc(), b"ERROR :Closing connection\r\n"),
        (Nats(), b"-ERR 'Slow Consumer'\r\n"),
    ],
)
def test_a_server_that_refuses_ends_the_run(dialect: Dialect, said: bytes) -> None:
    with pytest.raises(LostError):
        dialect.split(bytearray(said))
