"""What a server does besides."""

import logging
from collections.abc import AsyncIterator

import pytest
import trio
from trio.testing import MockClock

from securechat import limits
from securechat.errors import StorageError
from securechat.history.log import Append, Retention
from securechat.history.memory import MemoryLog
from securechat.protocol.messages import Direction
from securechat.server.rooms import Rooms
from securechat.server.upkeep import Upkeep

ADDRESS = bytes(range(32))
HOUR = 3600.0


class Wall:
    """A wall clock that can be set, over trio's."""

    def __init__(self) -> None:
        self.set_by = 1_700_000_000.0

    def __call__(self) -> float:
        return trio.current_time() + self.set_by


class Office:
    """An upkeep with all that it keeps."""

    def __init__(self, **retention: float) -> None:
        self.log = MemoryLog()
        self.rooms = Rooms(self.log)
        self.wall = Wall()
        self.upkeep = Upkeep(self.log, self.rooms, Retention(**retention), self.wall)  # type: ignore[arg-type]

    async def say(self) -> int:
        """Put a message into a room, and return the number of the room."""
        opened = await self.log.open_room(ADDRESS, bytes(16))
        assert opened is not None
        envelope = b"%f" % self.wall()
        await self.log.append([Append(opened[0].room, int(self.wall() * 1000), envelope)])
        return opened[0].room

    async def kept(self) -> int:
        """Return how many messages are kept."""
        return len((await self.log.read(0, Direction.FORWARD, 1, 100)).records)


@pytest.fixture
async def office(autojump_clock: MockClock) -> AsyncIterator[Office]:
    async with trio.open_nursery() as nursery:
        made = Office(seconds=HOUR)
        nursery.start_soon(made.upkeep.run)
        yield made
        nursery.cancel_scope.cancel()


async def test_messages_go_when_they_are_old(office: Office, autojump_clock: MockClock) -> None:
    await office.say()
    await trio.sleep(HOUR - 1)
    assert await office.kept() == 1
    await trio.sleep(limits.EXPIRY_INTERVAL + 2)
    assert await office.kept() == 0


@pytest.mark.parametrize("jump", [365 * 24 * HOUR, -365 * 24 * HOUR])
async def test_when_the_clock_jumps_nothing_goes_for_its_age_for_a_while(
    office: Office, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, jump: float
) -> None:
    await office.say()
    await trio.sleep(limits.EXPIRY_INTERVAL + 2)
    office.wall.set_by += jump
    with caplog.at_level(logging.WARNING, "securechat.server"):
        await trio.sleep(limits.CLOCK_TRUST - limits.EXPIRY_INTERVAL)
    assert await office.kept() == 1
    assert [r.message[:23] for r in caplog.records] == [f"the clock jumped by {jump:+.0f}"[:23]]
    office.wall.set_by -= jump  # the operator puts it right
    await trio.sleep(limits.CLOCK_TRUST)
    assert await office.kept() == 1


async def test_a_clock_that_stays_where_it_jumped_to_is_believed_in_the_end(
    office: Office, autojump_clock: MockClock
) -> None:
    await office.say()
    office.wall.set_by += 24 * HOUR
    await trio.sleep(limits.CLOCK_TRUST + 3 * limits.EXPIRY_INTERVAL)
    assert await office.kept() == 0


async def test_a_server_that_starts_with_a_wrong_clock_removes_nothing_for_its_age(
    autojump_clock: MockClock,
) -> None:
    office = Office(seconds=HOUR)
    await office.say()
    office.wall.set_by += 365 * 24 * HOUR
    upkeep = Upkeep(office.log, office.rooms, Retention(seconds=HOUR), office.wall)
    await upkeep.expire()
    assert await office.kept() == 1
    await trio.sleep(limits.CLOCK_TRUST)
    await upkeep.expire()
    assert await office.kept() == 0


async def test_a_clock_that_is_slewed_is_believed_at_once(
    office: Office, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(10):
        office.wall.set_by += limits.CLOCK_JUMP / 10
        await trio.sleep(limits.EXPIRY_INTERVAL)
    assert not caplog.records


async def test_a_log_that_cannot_be_written_stops_nothing(
    office: Office, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> dict[int, int]:
        raise StorageError("The disk is gone.")

    await office.say()
    with monkeypatch.context() as patch:
        patch.setattr(office.log, "expire", fail)
        await trio.sleep(2 * HOUR)
    assert "old messages could not be removed: The disk is gone." in caplog.messages
    await trio.sleep(2 * limits.EXPIRY_INTERVAL)
    assert await office.kept() == 0
