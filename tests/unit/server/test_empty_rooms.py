"""Rooms that come and go: one that never held a message, and has nobody in it, makes way."""

from collections.abc import Collection
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from securechat.errors import StorageError
from securechat.history.age import Clocks
from securechat.history.log import Head
from securechat.history.memory import MemoryLog
from securechat.history.sqlite import HISTORY_FILE, SqliteLog
from securechat.history.survey import summarise
from securechat.protocol.messages import Code, Error, Leave, Reason, Send
from securechat.server.rooms import Rooms
from tests.support.relay import CLOCK, Key, open_relay


class SlowLog(MemoryLog):
    """A log that stops where a test wants it to, before it looks up or forgets."""

    def __init__(self) -> None:
        super().__init__()
        self.looking, self.forgetting = trio.Event(), trio.Event()
        self.looking.set()
        self.forgetting.set()
        self.forgot: list[set[bytes]] = []

    async def open_room(self, address: bytes, new_log_id: bytes | None) -> tuple[Head, bool] | None:
        await self.looking.wait()
        return await super().open_room(address, new_log_id)

    async def forget(self, addresses: Collection[bytes]) -> int:
        self.forgot.append(set(addresses))
        await self.forgetting.wait()
        return await super().forget(addresses)


ADDRESSES = [bytes([number]) * 32 for number in range(4)]


async def create(rooms: Rooms, *addresses: bytes) -> None:
    for address in addresses:
        found = await rooms.find(address, may_create=True)
        assert found is not None
        rooms.release(found[0])


async def test_a_full_server_forgets_the_room_unused_for_longest(autojump_clock: MockClock) -> None:
    log = MemoryLog()
    rooms = Rooms(log)
    for address in ADDRESSES[:3]:
        await create(rooms, address)
        await trio.sleep(1)
    assert await rooms.make_way(4)
    assert await log.count_rooms() == 3, "there is space for one more"
    assert await rooms.make_way(3)
    assert await log.list_empty(None, 9, ()) == ADDRESSES[1:3]


async def test_a_room_in_use_or_with_messages_makes_no_way(autojump_clock: MockClock) -> None:
    async with open_relay(MemoryLog(), rooms=2) as relay:
        alice, _ = await relay.member(Key(1))
        bob, handle = await relay.member(Key(2))
        bob.say(Send(handle, b"said"))
        await bob.hear(1)
        bob.say(Leave(handle))
        await bob.rest()
        carol = await relay.connect(peer="192.0.2.2")
        refused = await carol.is_refused(Key(3).join(carol.challenge))
        assert (refused.code, refused.retry_after) == (Code.ROOMS_CLOSED, 0)
        alice.channel.abort()
        await wait_all_tasks_blocked()
        assert (await carol.join(Key(3))).created, "and now there is an empty room"
        assert (await carol.join(Key(2), ref=2)).newest == 1
        assert await relay.log.count_rooms() == 2


async def test_empty_rooms_of_others_do_not_close_a_server(autojump_clock: MockClock) -> None:
    async with open_relay(MemoryLog(), rooms=25) as relay:
        flooder = await relay.connect()
        for number in range(100, 140):
            flooder.say(Key(number).join(flooder.challenge, number))
            answer = await flooder.next()
            if not isinstance(answer, Error):
                flooder.say(Leave(answer.handle))  # type: ignore[union-attr]
        honest = await relay.connect(peer="192.0.2.2")
        assert (await honest.join(Key(1))).created
        assert await relay.log.count_rooms() == 25


async def test_who_comes_while_a_room_is_being_forgotten_finds_none(autojump_clock: MockClock) -> None:
    log = SlowLog()
    rooms = Rooms(log)
    await create(rooms, *ADDRESSES[:2])
    log.forgetting = trio.Event()
    found = []

    async def look(address: bytes) -> None:
        found.append(await rooms.find(address, may_create=False))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(rooms.make_way, 2)
        await wait_all_tasks_blocked()
        nursery.start_soon(look, ADDRESSES[0])
        await wait_all_tasks_blocked()
        assert not found, "it waits"
        await look(ADDRESSES[1])
        assert found[0] is not None, "who wants another room does not"
        log.forgetting.set()
    assert found[1] is None
    await create(rooms, ADDRESSES[0])


async def test_who_has_begun_to_look_keeps_the_room(autojump_clock: MockClock) -> None:
    log = SlowLog()
    rooms = Rooms(log)
    await create(rooms, *ADDRESSES[:2])
    log.looking = trio.Event()
    found = []

    async def look() -> None:
        found.append(await rooms.find(ADDRESSES[0], may_create=False))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(look)
        await wait_all_tasks_blocked()
        assert await rooms.make_way(2)
        log.looking.set()
    assert log.forgot == [{ADDRESSES[1]}]
    assert found[0] is not None


async def test_each_creation_makes_its_own_space(autojump_clock: MockClock) -> None:
    log = SlowLog()
    rooms = Rooms(log)
    await create(rooms, *ADDRESSES)
    log.forgetting = trio.Event()
    ways: list[bool] = []

    async def make_way() -> None:
        ways.append(await rooms.make_way(4))

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(make_way)
        await wait_all_tasks_blocked()
        log.forgetting.set()
    assert sorted(ways) == [False, True, True, True, True]
    assert log.forgot == [{address} for address in ADDRESSES]


class Reader:
    """A session that only listens."""

    def send(self, data: bytes) -> None:
        """Ignore."""

    prepare = send

    def flush(self) -> None:
        """Ignore."""

    def settle(self, size: int) -> None:
        """Ignore."""

    def end(self, reason: Reason, retry_after: int) -> None:
        """Ignore."""


async def test_a_room_with_readers_and_one_with_visitors_were_used(tmp_path: Path) -> None:
    hands = [CLOCK / 1000]
    path = tmp_path / HISTORY_FILE
    log = SqliteLog.open(path, clocks=Clocks(lambda: hands[0], lambda: hands[0]))
    rooms = Rooms(log)
    await create(rooms, *ADDRESSES[:3])
    inhabited = await rooms.find(ADDRESSES[0], may_create=False)
    assert inhabited is not None
    inhabited[0].join(Reader(), 1, b"", created=False)
    await rooms.record_use()
    for visited in (ADDRESSES[1:2], ()):
        hands[0] += 1000
        await create(rooms, *visited)  # somebody comes and goes
        await rooms.record_use()
    await log.aclose()
    assert [(room.address, (room.used - CLOCK) // 1_000_000) for room in summarise(path)] == [
        (ADDRESSES[0], 2),
        (ADDRESSES[1], 1),
        (ADDRESSES[2], 0),
    ]


async def test_what_could_not_be_recorded_is_recorded_later(autojump_clock: MockClock) -> None:
    class FailingLog(MemoryLog):
        error: StorageError | None = StorageError("It broke.")
        recorded: tuple[int, ...] = ()

        async def record(self, used: Collection[int]) -> None:
            if self.error:
                raise self.error
            self.recorded = tuple(used)

    log = FailingLog()
    rooms = Rooms(log)
    await create(rooms, *ADDRESSES[:2])
    with pytest.raises(StorageError):
        await rooms.record_use()
    log.error = None
    await rooms.record_use()
    assert sorted(log.recorded) == [0, 1]
    await rooms.record_use()
    assert log.recorded == ()
