"""The gate: who makes way, and whose turn it is."""

import logging
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from securechat import limits
from securechat.limits import Rate, ServerLimits
from securechat.server.gate import Gate, Guest, Stage

HERE, THERE = "192.0.2.1", "192.0.2.2"


class Crowd:
    """Connections at a gate, without sockets.

    Attributes:
        told: What each connection was told when it made way.
    """

    def __init__(self, gate: Gate, stack: ExitStack) -> None:
        self.gate = gate
        self.told: dict[Guest, str] = {}
        self._stack = stack

    def come(self, peer: str = HERE, stage: Stage = Stage.CONNECTED) -> Guest:
        """Let a connection come in that goes on to a stage."""
        guest = self._stack.enter_context(self.gate.enter(peer))
        guest.say_goodbye = lambda why: self.told.__setitem__(guest, why)
        if stage is Stage.JOINED:
            guest.join()
        elif stage is not Stage.CONNECTED:
            guest.advance(stage)
        return guest


@contextmanager
def crowd(**allowed: int) -> Iterator[Crowd]:
    with ExitStack() as stack:
        yield Crowd(Gate(ServerLimits(**allowed)), stack)  # type: ignore[arg-type]


async def test_the_oldest_unfinished_one_makes_way() -> None:
    with crowd(connections_per_address=3) as here:
        first, second, third = (here.come() for _ in range(3))
        assert not here.told
        here.come()
        assert here.told == {first: "your address has its 3 connections"}
        assert first.scope.cancel_called
        here.come()
        assert set(here.told) == {first, second}
        assert not third.scope.cancel_called


async def test_what_has_joined_is_never_displaced() -> None:
    with crowd(connections_per_address=3, connections=4) as here:
        joined = [here.come(stage=Stage.JOINED) for _ in range(2)]
        unfinished = here.come()
        for _ in range(10):
            here.come()
            here.come(THERE)
        assert unfinished in here.told
        assert not set(joined) & set(here.told)


@pytest.mark.parametrize("flooded", [stage for stage in Stage if stage is not Stage.JOINED])
async def test_a_flood_in_one_stage_displaces_itself(flooded: Stage) -> None:
    with crowd(connections_per_address=20) as here:
        honest = [here.come(stage=stage) for stage in Stage if stage is not Stage.JOINED]
        for _ in range(100):
            here.come(stage=flooded)
        passing = [guest for guest in honest if guest.stage is not flooded]
        assert passing
        assert not set(passing) & set(here.told)


async def test_an_ipv6_network_counts_as_one_address() -> None:
    with crowd(connections_per_address=2) as here:
        first = here.come("2001:db8::1")
        here.come("2001:db8::2")
        here.come("2001:db8:0:1::1")
        assert not here.told
        here.come("2001:db8::ffff:3")
        assert set(here.told) == {first}


async def test_the_address_with_most_unfinished_ones_makes_way() -> None:
    with crowd(connections=10) as here:
        alone = here.come(THERE)
        flood = [here.come(HERE) for _ in range(9)]
        newcomers = [here.come("192.0.2.3"), here.come("192.0.2.4")]
        assert list(here.told) == flood[:2]
        assert here.told[flood[0]] == "this server has its 10 connections"
        assert not {alone, *newcomers} & set(here.told)


async def test_a_newcomer_to_a_full_address_is_told_so() -> None:
    with crowd(connections_per_address=2) as here:
        for _ in range(2):
            here.come(stage=Stage.JOINED)
        refused = [here.come() for _ in range(limits.REFUSED_AT_ONCE)]
        assert {guest.exceeded for guest in refused} == {"your address has its 2 connections"}
        assert not here.told, "each is told by its own task"
        here.come()
        assert set(here.told) == {refused[0]}, "of more the oldest is closed"
        assert here.come(THERE).exceeded == ""


async def test_nothing_is_kept_of_connections_that_ended() -> None:
    gate = Gate(ServerLimits(connections_per_address=2))
    with ExitStack() as stack:
        here = Crowd(gate, stack)
        for stage in (Stage.JOINED, Stage.IDLE, Stage.CONNECTED, Stage.SHAKING):
            here.come(stage=stage)
        here.come(THERE)
        assert gate.total == 5
    assert (gate.total, gate._counted, gate._addresses, gate._refused) == (0, 0, {}, {})


async def test_what_was_displaced_cannot_join_any_more() -> None:
    gate = Gate(ServerLimits(connections_per_address=1))
    with gate.enter(HERE) as first, gate.enter(HERE):
        first.join()
        assert gate._counted == 1
    assert gate._counted == 0


async def test_an_operator_reads_of_it_once_a_minute(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "securechat.server")
    with crowd(connections_per_address=1) as here:
        here.come()
        for _ in range(50):
            here.come()
        autojump_clock.jump(limits.REPORT_INTERVAL)
        here.come()
    why = f"unfinished connections of {HERE} are held back (your address has its 1 connections)"
    assert caplog.messages == [
        f"{why}: 1 since the last such line, and 0 of other addresses",
        f"{why}: 50 since the last such line, and 0 of other addresses",
    ]


# Turns


class Turns:
    """Connections that wait for their turn at a gate whose handshakes take so long.

    Attributes:
        order: In which order they had it.
    """

    def __init__(self, nursery: trio.Nursery, seconds: float, allowed: ServerLimits = limits.SERVER) -> None:
        self.gate = Gate(allowed, self._processor)
        self.order: list[str] = []
        self._spent = 0.0
        self._seconds = seconds
        self._nursery = nursery
        self._changed = trio.Event()

    def _processor(self) -> float:
        return self._spent

    async def come(self, name: str, peer: str = HERE) -> None:
        """Let a connection wait for its turn."""
        self._nursery.start_soon(self._shake_hands, name, peer)
        await wait_all_tasks_blocked()

    async def until(self, count: int) -> None:
        """Wait until so many had their turn."""
        while len(self.order) < count:
            self._changed = trio.Event()
            await self._changed.wait()

    async def _shake_hands(self, name: str, peer: str) -> None:
        with self.gate.enter(peer) as guest:
            await self.gate.wait_turn(guest)
            with self.gate.work():
                self.order.append(name)
                self._changed.set()
                self._spent += self._seconds


async def test_handshakes_have_a_share_of_the_processor(autojump_clock: MockClock) -> None:
    began = trio.current_time()
    async with trio.open_nursery() as nursery, trio.open_nursery() as guests:
        turns = Turns(guests, 0.01)
        nursery.start_soon(turns.gate.run)
        for number in range(100):
            guests.start_soon(turns._shake_hands, str(number), HERE)
        await turns.until(100)
        nursery.cancel_scope.cancel()
    assert trio.current_time() - began == pytest.approx(100 * 0.01 / limits.HANDSHAKE_SHARE, rel=0.1)


async def test_addresses_take_turns_and_the_oldest_is_first(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        turns = Turns(nursery, 1.0)
        for number in range(4):
            await turns.come(f"flood {number}")
        await turns.come("there", THERE)
        nursery.start_soon(turns.gate.run)
        await turns.until(5)
        nursery.cancel_scope.cancel()
    assert turns.order == ["flood 0", "there", "flood 1", "flood 2", "flood 3"]


async def test_an_address_over_its_handshakes_comes_last(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        turns = Turns(nursery, 1.0, ServerLimits(handshakes=Rate(2, 0.001)))
        for number in range(4):
            await turns.come(f"flood {number}")
        for number in range(2):
            await turns.come(f"there {number}", THERE)
        nursery.start_soon(turns.gate.run)
        await turns.until(6)
        nursery.cancel_scope.cancel()
    assert turns.order == ["flood 0", "there 0", "flood 1", "there 1", "flood 2", "flood 3"]


async def test_a_connection_that_joins_gets_its_token_back(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        gate = Gate(ServerLimits(handshakes=Rate(1, 0.001)))
        nursery.start_soon(gate.run)
        for _ in range(5):
            with gate.enter(HERE) as guest:
                await gate.wait_turn(guest)
                assert guest.has_paid
                guest.join()
                guest.join()
        with gate.enter(HERE) as guest:
            await gate.wait_turn(guest)
        with gate.enter(HERE) as guest:
            await gate.wait_turn(guest)
            assert not guest.has_paid
        nursery.cancel_scope.cancel()


async def test_giving_up_leaves_nothing_in_the_queue(autojump_clock: MockClock) -> None:
    gate = Gate()
    with trio.move_on_after(1), gate.enter(HERE) as guest:
        await gate.wait_turn(guest)
    assert not gate._queues[0]._by_network
    async with trio.open_nursery() as nursery:
        nursery.start_soon(gate.run)
        with gate.enter(HERE) as guest:
            await gate.wait_turn(guest)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("said", [b"", b"\x16", b"\x16\x03\x01\x02", b"\x16\x03\x01\x02\x00" + bytes(511)])
async def test_half_a_hello_has_no_turn(said: bytes) -> None:
    gate = Gate()
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(gate.run)
        with theirs, gate.enter(HERE) as guest:
            theirs.sendall(said)
            nursery.start_soon(gate.shake_hands, guest, ours, ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
            await wait_all_tasks_blocked(0.01)
            assert guest.stage is Stage.CONNECTED
            nursery.cancel_scope.cancel()
    assert ours.fileno() == -1, "closed"
