"""Bad networks, jumping clocks and everybody at once, against the real server and clients in this process."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from math import ceil
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from securechat import limits
from securechat.client import outbox
from securechat.client.clock import now_ms
from securechat.client.conversation import Kind
from securechat.protocol import messages
from securechat.protocol.messages import Change, Ping
from securechat.server import serve
from securechat.server.serve import Configuration, Server, Started
from securechat.server.session import clock_ms
from securechat.transport.certificates import make_pair
from securechat.transport.tls import ServerTls
from tests.support.fault_proxy import Fault, open_proxy
from tests.support.members import open_member
from tests.support.patience import wait_until
from tests.support.traffic import open_traffic
from tests.support.visitors import open_visitor

YEAR = 365 * 24 * 3600 * 1000  # ms


@asynccontextmanager
async def open_server(directory: Path) -> AsyncIterator[Started]:
    """Run a server that keeps its log on the disk."""
    pair = make_pair(directory / "pair", ["127.0.0.1"])
    server = Server(Configuration(directory / "server", "127.0.0.1", 0), ServerTls.load(pair))
    async with trio.open_nursery() as nursery:
        yield await nursery.start(server.serve)
        nursery.cancel_scope.cancel()


@pytest.fixture
async def started(tmp_path: Path) -> AsyncIterator[Started]:
    async with open_server(tmp_path) as running:
        yield running


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make clients come back at once."""
    monkeypatch.setattr(limits, "RECONNECT_FIRST", 0.01)
    monkeypatch.setattr(limits, "RECONNECT_MOST", 0.05)


# Networks


BREAKS = {
    "corrupt": Fault(corrupt=300),
    "cut-at-once": Fault(cut=0),
    "cut": Fault(cut=300),
    "truncate-at-once": Fault(truncate=0),
    "truncate": Fault(truncate=300),
}
SLOW = {"byte-by-byte": Fault(piece=1), "late": Fault(piece=700, delay=0.001), "stalled": Fault(stalls=True)}


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("direction", ["to_server", "to_client"])
@pytest.mark.parametrize("fault", BREAKS.values(), ids=BREAKS)
async def test_a_connection_that_breaks_loses_nothing_and_repeats_nothing(
    started: Started, tmp_path: Path, fault: Fault, direction: str
) -> None:
    async with (
        open_proxy(started.port) as proxy,
        open_traffic(tmp_path / "people", proxy.port, started.pin, pause=0.002) as traffic,
    ):
        await traffic.until_heard(10)
        before = proxy.connections
        proxy.suffer(**{direction: fault})
        await wait_until(lambda: proxy.connections > before)
        proxy.suffer()
        await traffic.until_heard(10)
        verdict = await traffic.settle()
    assert verdict.is_well, verdict


@pytest.mark.usefixtures("soon")
async def test_a_network_that_is_away_for_a_while_loses_nothing(started: Started, tmp_path: Path) -> None:
    async with (
        open_proxy(started.port) as proxy,
        open_traffic(tmp_path / "people", proxy.port, started.pin, pause=0.002) as traffic,
    ):
        await traffic.until_heard(10)
        before = proxy.connections
        proxy.cut(is_away=True)
        await wait_until(lambda: proxy.connections > before + 5)
        proxy.suffer()
        await traffic.until_heard(10)
        verdict = await traffic.settle()
    assert verdict.is_well, verdict


@pytest.mark.parametrize("fault", SLOW.values(), ids=SLOW)
async def test_a_network_that_is_only_slow_breaks_no_connection(started: Started, tmp_path: Path, fault: Fault) -> None:
    async with (
        open_proxy(started.port) as proxy,
        open_traffic(tmp_path / "people", proxy.port, started.pin, pause=0.01) as traffic,
    ):
        await traffic.until_heard(5)
        before = proxy.connections
        proxy.suffer(to_server=fault, to_client=fault)
        if fault.stalls:
            said = sum(traffic.said.values())
            await wait_until(lambda: sum(traffic.said.values()) > said + 20)
            proxy.suffer()
        await traffic.until_heard(10)
        assert proxy.connections == before
        proxy.suffer()
        verdict = await traffic.settle()
    assert verdict.is_well, verdict


async def jump_until(clock: MockClock, is_true: Callable[[], Any], most: float) -> None:
    """Let time pass, a second at once, until something is true; fail when it takes more than ``most`` seconds."""
    for _ in range(ceil(most)):
        clock.jump(1)
        await wait_all_tasks_blocked(0.005)
        if is_true():
            return
    raise AssertionError(f"not within {most} s")


async def test_a_half_open_connection_is_found_by_a_client_who_says_something(
    started: Started, tmp_path: Path, mock_clock: MockClock
) -> None:
    async with (
        open_proxy(started.port) as proxy,
        open_member(tmp_path, proxy.port, started.pin, "alice") as alice,
        open_member(tmp_path, started.port, started.pin, "bob") as bob,
    ):
        before = proxy.connections
        proxy.strand()
        alice.say("is anybody there?")
        await jump_until(mock_clock, lambda: proxy.connections > before, 10 + limits.REPLY_TIMEOUT + 10)
        await bob.hears("is anybody there?")
        assert bob.texts == ["is anybody there?"]
        await alice.settles()
        alice.take_rest()
        assert "connection lost: the server does not answer; reconnecting" in alice.of(Kind.NOTICE)


async def test_a_half_open_connection_is_found_by_the_server(started: Started, mock_clock: MockClock) -> None:
    has_left = trio.Event()
    async with (
        open_proxy(started.port) as proxy,
        open_visitor(proxy.port, presence=b"gone"),
        open_visitor(started.port) as witness,
        trio.open_nursery() as nursery,
    ):

        async def watch() -> None:
            while True:
                message = await witness.next()
                if isinstance(message, messages.Member) and message.changes[0].change is Change.LEFT:
                    has_left.set()

        def look() -> bool:
            witness.say(Ping(b"8 bytes."))
            return has_left.is_set()

        nursery.start_soon(watch)
        proxy.strand()
        silence = limits.SERVER.keepalive * limits.KEEPALIVE_GRACE
        await jump_until(mock_clock, look, silence + 2 * limits.GOODBYE_TIMEOUT)
        nursery.cancel_scope.cancel()


# Everybody at once


async def test_who_comes_back_with_a_hundred_others_is_told_of_them_together(started: Started) -> None:
    """A change by itself for everybody would be 10,000 frames."""
    count = 100
    frames = 0
    known: list[set[int]] = []
    began = trio.current_time()

    async def come() -> None:
        nonlocal frames
        mine: set[int] = set()
        known.append(mine)
        async with open_visitor(started.port, None) as visitor:
            mine.add((await visitor.join(presence=bytes(329))).member)
            while True:
                message = await visitor.next()
                if isinstance(message, messages.Member):
                    frames += 1
                    mine |= {change.member for change in message.changes}

    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(come)
        await wait_until(lambda: len(known) == count and all(len(mine) == count for mine in known))
        seconds = trio.current_time() - began
        nursery.cancel_scope.cancel()
    at_once, each_second = limits.PRESENCE_AT_ONCE, seconds / limits.PRESENCE_DELAY
    assert frames <= at_once * at_once + count * (each_second + 3)


# Clocks


@pytest.mark.parametrize("jump", [YEAR, -YEAR])
async def test_clocks_that_jump_by_a_year_lose_nothing(
    started: Started, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: int
) -> None:
    async with (
        open_member(tmp_path, started.port, started.pin, "alice") as alice,
        open_member(tmp_path, started.port, started.pin, "bob") as bob,
    ):
        alice.say("before")
        await bob.hears("before")
        monkeypatch.setattr(outbox, "now_ms", lambda: now_ms() + jump)
        alice.say("from another year")
        await bob.hears("from another year")
        monkeypatch.undo()
        alice.say("and back")
        await bob.hears("and back")
        await alice.settles()
        errors = [event.clock_error for event in bob.events if event.kind is Kind.MESSAGE]
        assert [round(error / YEAR) for error in errors] == [0, round(jump / YEAR), 0]
        assert bob.texts == ["before", "from another year", "and back"]


@pytest.mark.parametrize("jump", [YEAR, -YEAR])
async def test_a_server_whose_clock_jumps_by_a_year_keeps_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: int
) -> None:
    clock = {"offset": 0}
    monkeypatch.setattr(serve, "clock_ms", lambda: clock_ms() + clock["offset"])
    async with (
        open_server(tmp_path) as started,
        open_traffic(tmp_path / "people", started.port, started.pin, pause=0.002) as traffic,
    ):
        for clock["offset"] in (0, jump, 0):
            await traffic.until_heard(10)
        verdict = await traffic.settle()
    assert verdict.is_well, verdict
