"""Tokens of an address by room: who gets them, and who waits for how long."""

import random

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from securechat import limits
from securechat.limits import Rate
from securechat.server.rations import Rations

HERE, THERE = "192.0.2.1", "192.0.2.2"


def open_rations(burst: int = 1, per_second: float = 0.5) -> Rations:
    return Rations(Rate(burst, per_second), trio.current_time, random.Random(7))


async def test_a_token_is_for_a_room_and_not_for_a_request(autojump_clock: MockClock) -> None:
    rations = open_rations(2)
    assert [await rations.claim(HERE, room, 0) for room in (b"a", b"b", b"a", b"b", b"a")] == [0.0] * 5
    assert await rations.claim(HERE, b"c", 0) == limits.JOIN_PAUSE
    assert await rations.claim(THERE, b"c", 0) == 0.0


async def test_one_waits_for_the_next_token_and_no_longer(autojump_clock: MockClock) -> None:
    rations = open_rations()
    await rations.claim(HERE, b"a", 0)
    began = trio.current_time()
    assert await rations.claim(HERE, b"b", 5) == 0.0
    assert trio.current_time() - began == pytest.approx(2)
    assert await rations.claim(HERE, b"c", 1) == limits.JOIN_PAUSE, "to stand in line again in time"
    assert trio.current_time() - began == pytest.approx(3)
    slow = open_rations(1, 0.1)
    await slow.claim(HERE, b"a", 0)
    assert await slow.claim(HERE, b"b", 1) == pytest.approx(9)


async def test_a_granted_room_can_be_given_back_once(autojump_clock: MockClock) -> None:
    rations = open_rations()
    await rations.claim(HERE, b"a", 0)
    rations.give_back(HERE, b"a")
    rations.give_back(HERE, b"a")
    rations.give_back(THERE, b"a")
    assert await rations.claim(HERE, b"b", 0) == 0.0
    assert await rations.claim(HERE, b"c", 0) == limits.JOIN_PAUSE


async def test_what_was_used_up_costs_another_token(autojump_clock: MockClock) -> None:
    rations = open_rations()
    await rations.claim(HERE, b"a", 0)
    rations.use_up(HERE, b"a")
    rations.give_back(HERE, b"a")
    assert await rations.claim(HERE, b"a", 0) == limits.JOIN_PAUSE


async def test_a_group_is_served_within_two_tokens(autojump_clock: MockClock) -> None:
    rations = open_rations()
    await rations.claim(HERE, b"spent", 0)
    granted: list[tuple[bytes, float]] = []

    async def ask(room: bytes) -> None:
        if not await rations.claim(HERE, room, 6):
            granted.append((room, trio.current_time()))

    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        for number in range(1000):
            nursery.start_soon(ask, b"%d" % number)
        for _ in range(20):
            nursery.start_soon(ask, b"ours")
    times = {when - began for room, when in granted if room == b"ours"}
    assert len([room for room, _ in granted if room == b"ours"]) == 20
    assert len(times) == 1
    assert max(times) <= 4.1
    assert not rations._lines


async def test_a_single_one_has_its_chance_beside_pairs(autojump_clock: MockClock) -> None:
    rations = open_rations()
    await rations.claim(HERE, b"spent", 0)
    rooms = iter(range(1_000_000))

    async def flood() -> None:
        while True:
            room = b"%d" % next(rooms)
            async with trio.open_nursery() as pair:
                for _ in range(2):
                    pair.start_soon(rations.claim, HERE, room, 1_000_000)

    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(flood)
        await wait_all_tasks_blocked()
        assert not await rations.claim(HERE, b"alone", 1_000_000)
        nursery.cancel_scope.cancel()
    assert trio.current_time() - began < 2 * 2 * 40 * 20, "a lot is one of 40; 20 times as long is all but impossible"


async def test_what_is_remembered_is_bounded(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ROOMS_ASKED_FOR", 2)
    rations = open_rations(3)
    for room in (b"a", b"b", b"a", b"c"):
        await rations.claim(HERE, room, 0)
    assert await rations.claim(HERE, b"a", 0) == 0.0, "asked for last, remembered"
    assert await rations.claim(HERE, b"b", 0) == limits.JOIN_PAUSE, "forgotten"


async def test_a_connection_that_ends_leaves_the_line(autojump_clock: MockClock) -> None:
    rations = open_rations()
    await rations.claim(HERE, b"a", 0)
    with trio.move_on_after(1):
        await rations.claim(HERE, b"b", 100)
    assert not rations._lines
    await trio.sleep(1)
    assert await rations.claim(HERE, b"c", 0) == 0.0


async def test_a_line_that_ends_leaves_the_next_one_whole(autojump_clock: MockClock) -> None:
    rations = open_rations()
    await rations.claim(HERE, b"spent", 0)
    granted: list[float] = []

    async def ask_twice() -> None:
        await rations.claim(HERE, b"first", 6)
        await rations.claim(HERE, b"second", 6)
        granted.append(trio.current_time())

    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(ask_twice)
    assert granted == [pytest.approx(began + 4)] * 3, "one token for each of the two rooms"
