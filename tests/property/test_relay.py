"""Whatever bytes come, in whatever chunks: messages, or one documented error."""

import contextlib
import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from securechat import limits
from securechat.errors import ProtocolError
from securechat.protocol import frames, messages
from securechat.protocol.connection import ClientConnection, ServerConnection
from securechat.protocol.messages import Change, Code, Direction, Message, Reason

numbers = st.integers(0, 2**53 - 1)
words = st.integers(0, 2**32 - 1)
shorts = st.integers(0, 2**16 - 1)
envelopes = st.binary(min_size=1, max_size=400)
hashes = st.binary(min_size=32, max_size=32)
texts = st.text(max_size=60)


@st.composite
def joined(draw: st.DrawFn) -> messages.Joined:
    newest = draw(st.integers(0, 2**53 - 2))
    return messages.Joined(
        draw(words),
        draw(words),
        draw(words),
        draw(st.booleans()),
        draw(st.binary(min_size=16, max_size=16)),
        draw(st.integers(1, newest + 1)),
        newest,
        draw(hashes),
        draw(words),
    )


@st.composite
def past(draw: st.DrawFn) -> messages.Past:
    records = draw(st.lists(st.builds(messages.Record, numbers, envelopes), max_size=4))
    first = draw(st.integers(1, 2**52))
    newest = first + len(records) - 1 + draw(st.integers(0, 5))
    oldest = draw(st.integers(1, 2**52))
    return messages.Past(draw(words), draw(words), oldest, newest, first, draw(hashes), tuple(records))


changes = st.one_of(
    st.builds(messages.MemberChange, st.just(Change.LEFT), words, st.just(b"")),
    st.builds(
        messages.MemberChange,
        st.sampled_from([Change.HERE, Change.JOINED, Change.CHANGED]),
        words,
        st.binary(min_size=1, max_size=limits.PRESENCE_BYTES),
    ),
)
from_client: st.SearchStrategy[Message] = st.one_of(
    st.builds(
        messages.Join, words, hashes, st.binary(min_size=64, max_size=64), st.booleans(), st.binary(max_size=1024)
    ),
    st.builds(messages.Send, words, envelopes),
    st.builds(messages.Presence, words, st.binary(min_size=1, max_size=1024)),
    st.builds(
        messages.History,
        words,
        words,
        st.sampled_from(Direction),
        st.integers(1, 2**53 - 1),
        st.integers(1, 2**16 - 1),
    ),
    st.builds(messages.Leave, words),
    st.builds(messages.Ping, st.binary(min_size=8, max_size=8)),
    st.builds(messages.Pong, st.binary(min_size=8, max_size=8)),
)
from_server: st.SearchStrategy[Message] = st.one_of(
    st.builds(messages.Welcome, hashes, words, shorts, numbers),
    joined(),
    st.builds(messages.Deliver, words, st.integers(1, 2**53 - 1), numbers, envelopes),
    st.builds(messages.Member, words, st.lists(changes, min_size=1, max_size=4).map(tuple)),
    past(),
    st.builds(messages.Error, st.sampled_from(Code), words, shorts, st.binary(min_size=16, max_size=16), texts),
    st.builds(messages.Goodbye, st.sampled_from(Reason), shorts, texts),
)


def chunked(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    return [data[a:b] for a, b in itertools.pairwise(places)]


@given(st.lists(st.one_of(from_client, from_server), max_size=4), st.lists(st.integers(0, 2000), max_size=6))
def test_what_was_encoded_is_parsed_whatever_the_chunks(sent: list[Message], cuts: list[int]) -> None:
    stream = b"".join(message.encode() for message in sent)
    decoder = frames.FrameDecoder(limits.FRAME_BYTES)
    parsed = [messages.parse(frame) for chunk in chunked(stream, cuts) for frame in decoder.feed(chunk)]
    assert parsed == sent


@given(st.binary(max_size=300))
def test_arbitrary_bytes_give_messages_or_a_protocol_error(data: bytes) -> None:
    server = ServerConnection()
    server.send(messages.Welcome(bytes(32), 65536, 60, 0))
    for connection in (server, ClientConnection()):
        with contextlib.suppress(ProtocolError):
            for message in connection.receive(data):
                assert message.encode() in data


@settings(max_examples=300)
@given(st.one_of(from_client, from_server), st.data())
def test_a_changed_body_is_another_message_or_a_protocol_error(message: Message, data: st.DataObject) -> None:
    frame = bytearray(message.encode())
    at = data.draw(st.integers(4, len(frame) - 1))
    frame[at] ^= data.draw(st.integers(1, 255))
    try:
        (parsed,) = (messages.parse(f) for f in frames.FrameDecoder(limits.FRAME_BYTES).feed(bytes(frame)))
    except ProtocolError:
        return
    assert parsed != message
    assert parsed.encode() == bytes(frame)
