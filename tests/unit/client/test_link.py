import math
from collections.abc import Callable

import pytest
import trio
from trio.testing import MockClock

from securechat import limits
from securechat.client.link import Link, clamp
from securechat.errors import ChannelClosedError, ProtocolError, ServerRefusedError, UnreachableError
from securechat.protocol.connection import ServerConnection
from securechat.protocol.messages import Goodbye, Join, Joined, Message, Ping, Pong, Reason, Welcome

WELCOME = Welcome(b"c" * 32, 65536, 60, 1_700_000_000_000)


class Wire:
    """A channel whose other end is in the test."""

    def __init__(self) -> None:
        self.peer = "test"
        self.on_backlog: Callable[[], None] = lambda: None
        self.sent: list[Message] = []
        self.server = ServerConnection()
        self.give, self.take = trio.open_memory_channel[bytes](math.inf)
        self.backlog = 0

    def send(self, data: bytes) -> None:
        self.sent.extend(self.server.receive(data))

    prepare = send

    def flush(self) -> None:
        pass

    def replace_backlog(self, data: bytes) -> None:
        self.send(data)

    async def drain(self) -> None:
        await trio.lowlevel.checkpoint()

    async def receive(self) -> bytes:
        try:
            return await self.take.receive()
        except trio.EndOfChannel:
            raise ChannelClosedError("closed") from None

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()

    def abort(self) -> None:
        self.give.close()

    def say(self, *messages: Message) -> None:
        """Send from the server, all in one read."""
        self.give.send_nowait(b"".join(self.server.send(message) for message in messages))


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def link(wire: Wire) -> Link:
    return Link(wire, b"s" * 32)


async def test_the_welcome_is_read_first(wire: Wire, link: Link) -> None:
    wire.say(WELCOME)
    await link.greet()
    assert link.welcome == WELCOME


@pytest.mark.parametrize(("said", "taken"), [(0, 10), (9, 10), (10, 10), (300, 300), (65535, 300)])
async def test_a_server_dictates_the_keep_alive_within_bounds(wire: Wire, link: Link, said: int, taken: int) -> None:
    wire.say(Welcome(b"c" * 32, 2**31, said, 0))
    await link.greet()
    assert link.welcome.keepalive == taken
    assert link.welcome.largest == limits.ENVELOPE_BYTES


def test_a_value_is_clamped_to_its_bounds() -> None:
    assert [clamp(value, (1, 5)) for value in (-1, 1, 3, 5, 9)] == [1, 1, 3, 5, 5]


async def test_a_server_that_says_nothing_is_given_up(link: Link, autojump_clock: MockClock) -> None:
    with pytest.raises(UnreachableError, match="does not say anything"):
        await link.greet()
    assert trio.current_time() == pytest.approx(limits.REPLY_TIMEOUT)


async def test_a_server_that_breaks_the_protocol_is_refused(wire: Wire, link: Link) -> None:
    wire.give.send_nowait(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    with pytest.raises(ServerRefusedError, match="broke the protocol") as caught:
        await link.greet()
    assert isinstance(caught.value.__cause__, ProtocolError)


async def test_anything_before_the_welcome_breaks_the_protocol(wire: Wire, link: Link) -> None:
    wire.give.send_nowait(Joined(1, 1, 1, False, b"l" * 16, 1, 0, b"h" * 32, 0).encode())
    with pytest.raises(ServerRefusedError, match="broke the protocol"):
        await link.greet()


async def test_an_end_of_the_connection_is_passed_on(wire: Wire, link: Link) -> None:
    wire.abort()
    with pytest.raises(ChannelClosedError):
        await link.greet()


async def test_several_messages_of_one_read_come_one_by_one(wire: Wire, link: Link) -> None:
    joined = Joined(1, 7, 1, True, b"l" * 16, 1, 0, b"h" * 32, 0)
    wire.say(WELCOME)
    await link.greet()
    link.send(Join(link.new_ref(), b"a" * 32, b"p" * 64, True, b""))
    assert isinstance(wire.sent[0], Join)
    wire.say(Ping(b"12345678"), joined, Ping(b"abcdefgh"))
    assert await link.next() == joined
    assert wire.sent[1:] == [Pong(b"12345678")]


async def test_a_frame_in_pieces_is_put_together(wire: Wire, link: Link) -> None:
    data = WELCOME.encode()
    for at in range(len(data)):
        wire.give.send_nowait(data[at : at + 1])
    await link.greet()
    assert link.welcome == WELCOME


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        (Reason.SHUTDOWN, "shuts down or restarts"),
        (Reason.SLOW, "read too slowly"),
        (Reason.TIMEOUT, "heard nothing"),
        (Reason.PROTOCOL, "broke the protocol"),
        (Reason.RATE, "too much from here"),
        (Reason.INTERNAL, "a fault of the server"),
        (99, "reason 99"),
    ],
)
async def test_a_goodbye_is_told_with_its_reason(wire: Wire, link: Link, reason: int, text: str) -> None:
    wire.say(Goodbye(reason, 30, ""))
    with pytest.raises(ServerRefusedError, match=text) as caught:
        await link.next()
    assert caught.value.retry_after == 30


async def test_a_goodbye_is_told_with_what_the_server_says_of_it(wire: Wire, link: Link) -> None:
    wire.say(Goodbye(Reason.RATE, 30, "your address has its 2000 connections"))
    with pytest.raises(ServerRefusedError) as caught:
        await link.next()
    assert caught.value.message.endswith("too much from here (your address has its 2000 connections).")
    assert caught.value.next_step == "Try again in 30 s."


async def test_nothing_is_sent_once_a_goodbye_is_there(wire: Wire, link: Link) -> None:
    joined = Joined(1, 7, 1, True, b"l" * 16, 1, 0, b"h" * 32, 0)
    wire.say(WELCOME)
    await link.greet()
    link.send(Join(link.new_ref(), b"a" * 32, b"p" * 64, True, b""))
    wire.say(joined, Goodbye(Reason.SHUTDOWN, 0, ""))
    assert await link.next() == joined
    link.ping()
    assert len(wire.sent) == 1
    with pytest.raises(ServerRefusedError, match="shuts down"):
        await link.next()


async def test_who_pings_and_does_not_read_is_not_answered_any_more(wire: Wire, link: Link) -> None:
    wire.say(WELCOME)
    await link.greet()
    wire.backlog = limits.PONG_BACKLOG + 1
    wire.say(Ping(b"12345678"), Goodbye(Reason.SHUTDOWN, 0, ""))
    with pytest.raises(ServerRefusedError):
        await link.next()
    assert wire.sent == []


@pytest.mark.parametrize(("said", "taken"), [(0, 0), (1, 1), (65535, 3600)])
async def test_a_goodbye_dictates_the_pause_within_bounds(wire: Wire, link: Link, said: int, taken: int) -> None:
    wire.say(Goodbye(Reason.SHUTDOWN, said, ""))
    with pytest.raises(ServerRefusedError) as caught:
        await link.next()
    assert caught.value.retry_after == taken


async def test_the_lag_is_measured_by_the_answer_to_its_own_ping(
    wire: Wire, link: Link, autojump_clock: MockClock
) -> None:
    wire.say(WELCOME)
    await link.greet()

    async def answer() -> None:
        await trio.sleep(0.2)
        wire.say(Pong(b"not mine"))
        await trio.sleep(0.3)
        (ping,) = wire.sent
        assert isinstance(ping, Ping)
        wire.say(Pong(ping.token))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer)
        assert await link.measure() == pytest.approx(0.5)
    assert link.lag == pytest.approx(0.5)


async def test_a_ping_without_an_answer_is_given_up(wire: Wire, link: Link, autojump_clock: MockClock) -> None:
    wire.say(WELCOME)
    await link.greet()
    with pytest.raises(UnreachableError, match="does not answer"):
        await link.measure()
    assert link.lag is None


def test_questions_are_numbered_from_one(link: Link) -> None:
    assert [link.new_ref() for _ in range(3)] == [1, 2, 3]
