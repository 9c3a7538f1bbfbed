"""A whole server session, and the room beside it: what one client sends harms no other."""

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from securechat import limits
from securechat.errors import ChannelClosedError
from securechat.history.memory import MemoryLog
from securechat.limits import Rate
from securechat.protocol import frames, messages
from securechat.protocol.messages import Direction, Goodbye, History, Leave, Ping, Presence, Reason, Send
from tests.fuzz.harness import Choices, Harness, vectors
from tests.support.relay import KEY, Key, Visitor, changes, delivered, open_relay

_ROOMS = [Key(number) for number in range(1, 4)]
_OTHERS = "192.0.2.2"  # an address of their own
_FAST = Rate(1000, 1000)  # nobody is read so slowly that the others time out meanwhile


def session(data: bytes) -> None:
    """Whatever a client says, it is answered or sent away with a reason, and the others talk on."""
    trio.run(_serve, Choices(data), clock=MockClock(autojump_threshold=0))


async def _serve(choices: Choices) -> None:
    async with open_relay(MemoryLog(), joins=_FAST, presence=_FAST) as relay:
        other, handle = await relay.member(KEY, b"other", peer=_OTHERS)
        visitor, _ = await relay.member(KEY, b"visitor")
        heard = b""
        while not choices.is_over:
            _say(visitor, choices)
            await wait_all_tasks_blocked()
            heard += visitor.channel.take()
        visitor.channel.shut_down()
        _check_heard(heard + await _until_end(visitor))
        other.say(Send(handle, b"the last word"))
        received = await other.rest()
        assert delivered(received)[-1] == b"the last word"
        assert [change.change.name for change in changes(received)][-1] == "LEFT"
        room = await relay.log.open_room(KEY.address, None)
        assert room
        assert room[0].newest == len(delivered(received)), "each was delivered once"


async def _until_end(visitor: Visitor) -> bytes:
    """Return what comes up to the end, which has to be one in good order."""
    heard = b""
    try:
        while True:
            heard += await visitor.channel.receive()
    except ChannelClosedError as error:
        assert type(error) is ChannelClosedError
    await wait_all_tasks_blocked()
    return heard


def _check_heard(heard: bytes) -> None:
    """Hold what the server said against its form: whole frames, and nothing after a goodbye."""
    said = [messages.parse(frame) for frame in frames.FrameDecoder(limits.FRAME_BYTES).feed(heard)]
    assert b"".join(message.encode() for message in said) == heard
    for message in said[:-1]:
        assert not isinstance(message, Goodbye)
    if said and isinstance(said[-1], Goodbye):
        assert said[-1].reason == Reason.PROTOCOL


def _say(visitor: Visitor, choices: Choices) -> None:
    """Send one frame, or any bytes."""
    handle, number = choices.byte() % 4, choices.number()
    match choices.byte() % 8:
        case 0:
            visitor.say_raw(_ROOMS[number % 3].join(visitor.challenge, number % 256, choices.take(4)).encode())
        case 1:
            visitor.say_raw(Send(handle, choices.take(8) or b"x").encode())
        case 2:
            visitor.say_raw(Presence(handle, choices.take(4) or b"x").encode())
        case 3:
            visitor.say_raw(History(1, handle, choices.one_of(list(Direction)), number, 3).encode())
        case 4:
            visitor.say_raw(Leave(handle).encode())
        case 5:
            visitor.say_raw(Ping(number.to_bytes(8, "big")).encode())
        case _:
            visitor.say_raw(choices.take(number))


def _raw(data: bytes) -> bytes:
    """Return what sends ``data`` as it is."""
    return b"\0\xff" + len(data).to_bytes(7, "big") + b"\7" + data


_SEEDS = [
    *(_raw(bytes.fromhex(vector["frame"])) for vector in vectors("frames") if len(vector["frame"]) < 2000),
    b"\1\0\1hello..." + b"\1\1\3\0" + b"\1\0\4",
    b"\0\0\0bits\2\0\1hello..." + b"\2\0\2more\2\0\4\2\0\1x",
]

HARNESSES = {"session": Harness(session, _SEEDS, 512, memory=4096)}
