"""The relay protocol: frames, messages, and both ends of a connection."""

from collections.abc import Callable, Iterable

from securechat import limits
from securechat.errors import ProtocolError, Violation
from securechat.protocol import frames, messages
from securechat.protocol.connection import ClientConnection, ServerConnection
from securechat.protocol.frames import Frame, FrameDecoder
from securechat.protocol.messages import Direction, History, Join, Leave, Welcome
from tests.fuzz.harness import Choices, Harness, vectors

_MOST = 1000  # a limit that inputs can reach


def _read(feed: Callable[[bytes], Iterable[object]], chunks: Iterable[bytes]) -> tuple[list[object], Violation | None]:
    """Return what came, and the violation that ended it."""
    came: list[object] = []
    try:
        for chunk in chunks:
            for item in feed(chunk):
                came.append(item)  # noqa: PERF402 - what came before an error counts
    except ProtocolError as error:
        return came, error.violation
    return came, None


def _bytewise(data: bytes) -> Iterable[bytes]:
    return (data[at : at + 1] for at in range(len(data)))


def frame_decoder(data: bytes) -> None:
    """Frames are the same whatever the chunks, and are the bytes that came."""
    whole, pieces = FrameDecoder(_MOST), FrameDecoder(_MOST)
    came, violation = _read(whole.feed, [data])
    assert _read(pieces.feed, _bytewise(data)) == (came, violation)
    assert violation in {None, Violation.LENGTH}
    again = b"".join(frames.encode(frame.type, frame.body) for frame in came if isinstance(frame, Frame))
    assert data.startswith(again)
    assert violation or len(data) - len(again) < _MOST + frames.HEADER_BYTES, "no more is held than one frame"


def message_decoder(data: bytes) -> None:
    """A frame is a message that is written as it was read, or a violation."""
    came, _ = _read(FrameDecoder(limits.FRAME_BYTES).feed, [data])
    for frame in came:
        assert isinstance(frame, Frame)
        try:
            message = messages.parse(frame)
        except ProtocolError as error:
            assert error.violation in {Violation.TYPE, Violation.MALFORMED}
            assert len(str(error)) < 100
        else:
            assert message.encode() == frames.encode(frame.type, frame.body)


def server_end(data: bytes) -> None:
    """A server hears the same whatever the chunks, and nothing of a room that was not joined."""
    ends = ServerConnection(), ServerConnection()
    for end in ends:
        end.send(Welcome(bytes(32), limits.ENVELOPE_BYTES, 60, 0))
        for handle in (1, 2):
            end.admit(handle)
    came = _read(ends[0].receive, [data])
    assert _read(ends[1].receive, _bytewise(data)) == came
    left: set[int] = set()
    for message in came[0]:
        if isinstance(message, messages.Send | messages.Presence | History | Leave):
            assert message.handle in {1, 2} - left
        if isinstance(message, Leave):
            left.add(message.handle)


def client_end(data: bytes) -> None:
    """A client hears only answers to what it asked, and nothing of a room that it has not joined.

    The first bytes are what it says, each followed by what it hears.
    """
    choices = Choices(data)
    end, bytewise = ClientConnection(), ClientConnection()
    asked: set[int] = set()
    while not choices.is_over:
        said = _say(choices, asked)
        heard = choices.take(choices.number())
        try:
            for one in (end, bytewise):
                one.send(said)
        except ProtocolError as error:
            assert error.violation is Violation.STATE
        came, violation = _read(end.receive, [heard])
        assert _read(bytewise.receive, _bytewise(heard)) == (came, violation)
        for message in came:
            if isinstance(message, messages.Joined | messages.Past):
                assert message.ref in asked
        if violation:
            return


def _say(choices: Choices, asked: set[int]) -> messages.ClientMessage:
    ref, handle = choices.byte(), choices.byte() % 4
    match choices.byte() % 4:
        case 0:
            said: messages.ClientMessage = Join(ref, bytes(32), bytes(64), False, b"")
        case 1:
            said = History(ref, handle, Direction.FORWARD, 1, 1)
        case 2:
            said = Leave(handle)
        case _:
            said = messages.Ping(bytes(8))
    if isinstance(said, Join | History):
        asked.add(ref)
    return said


def _conversations() -> list[bytes]:
    """Return the vectors of clients as ``client_end`` reads them."""
    seeds = []
    for vector in vectors("connections"):
        if vector["end"] == "client":
            heard = [bytes.fromhex(step.get("heard", "")) for step in vector["frames"]]
            seeds.append(b"".join(b"\1\1\0\xff" + len(h).to_bytes(7, "big") + h for h in heard))
    return seeds


def _streams(end: str) -> list[bytes]:
    return [
        b"".join(bytes.fromhex(step.get("heard", "")) for step in vector["frames"])
        for vector in vectors("connections")
        if vector["end"] == end
    ]


_FRAMES = [bytes.fromhex(vector["frame"]) for vector in vectors("frames")]

HARNESSES = {
    "frame-decoder": Harness(frame_decoder, [*_FRAMES, b"".join(_FRAMES)]),
    "message-decoder": Harness(message_decoder, _FRAMES),
    "server-end": Harness(server_end, [*_streams("server"), *_FRAMES]),
    "client-end": Harness(client_end, _conversations()),
}
