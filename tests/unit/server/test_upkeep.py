"""What a server does besides."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from securechat import limits
from securechat.errors import StorageError
from securechat.history.age import Clocks, to_clock
from securechat.history.log import Append, Retention
from securechat.history.memory import MemoryLog
from securechat.history.sqlite import SqliteLog
from securechat.protocol.messages import Direction, Reason
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

    def __init__(self, directory: Path, **retention: float) -> None:
        self.wall = Wall()
        self.log = MemoryLog(clocks=Clocks(wall=self.wall))
        self.rooms = Rooms(self.log)
        self.upkeep = Upkeep(self.log, self.rooms, Retention(**retention))  # type: ignore[arg-type]

    async def say(self) -> int:
        """Put a message into a room, and return the number of the room."""
        opened = await self.log.open_room(ADDRESS, bytes(16))
        assert opened is not None
        envelope = b"%f" % self.wall()
        await self.log.append([Append(opened[0].room, to_clock(self.wall()), envelope)])
        return opened[0].room

    async def kept(self) -> int:
        """Return how many messages are kept."""
        return len((await self.log.read(0, Direction.FORWARD, 1, 100)).records)


@asynccontextmanager
async def open_office(directory: Path, **retention: float) -> AsyncIterator[Office]:
    async with trio.open_nursery() as nursery:
        made = Office(directory, **retention)
        nursery.start_soon(made.upkeep.run)
        yield made
        nursery.cancel_scope.cancel()


@pytest.fixture
async def office(tmp_path: Path, autojump_clock: MockClock) -> AsyncIterator[Office]:
    async with open_office(tmp_path, seconds=HOUR) as made:
        yield made


async def test_messages_go_when_they_are_old(office: Office, autojump_clock: MockClock) -> None:
    await office.say()
    await trio.sleep(HOUR - 1)
    assert await office.kept() == 1
    await trio.sleep(limits.EXPIRY_INTERVAL + 2)
    assert await office.kept() == 0


JUMPS = [days * 24 * HOUR for days in (1, 32 * 365, 10**200)]


@pytest.mark.parametrize("jump", [*JUMPS, *(-jump for jump in JUMPS)])
async def test_when_the_clock_jumps_nothing_goes_for_it_for_a_while(
    tmp_path: Path, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, jump: float
) -> None:
    async with open_office(tmp_path, seconds=2.5 * HOUR) as office:
        await office.say()
        await trio.sleep(limits.EXPIRY_INTERVAL + 2)
        office.wall.set_by += jump
        with caplog.at_level(logging.WARNING, "securechat.server"):
            await trio.sleep(limits.CLOCK_TRUST - limits.EXPIRY_INTERVAL)
        assert await office.kept() == 1
        assert [r.message[:20] for r in caplog.records] == [f"the clock jumped by {jump:+.0f}"[:20]]
        office.wall.set_by = 1_700_000_000.0  # the operator puts it right
        await trio.sleep(limits.CLOCK_TRUST)
        assert await office.kept() == 1
        await trio.sleep(0.6 * HOUR)
        assert await office.kept() == 0


async def test_a_clock_that_stays_where_it_jumped_to_is_believed_in_the_end(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_office(tmp_path, seconds=5 * HOUR) as office:
        await office.say()
        await trio.sleep(2 * limits.EXPIRY_INTERVAL)
        office.wall.set_by += 24 * HOUR
        await trio.sleep(limits.CLOCK_TRUST + 3 * limits.EXPIRY_INTERVAL)
        assert await office.kept() == 0


@pytest.mark.parametrize("wrong_by", [40 * 365 * 24 * HOUR, 100 * 24 * HOUR, -1e9, -1e12])
async def test_a_server_that_starts_with_a_wrong_clock_removes_nothing_for_its_age(
    tmp_path: Path, autojump_clock: MockClock, wrong_by: float
) -> None:
    wall = Wall()
    path = tmp_path / "history.sqlite"
    for run in range(3):
        log = SqliteLog.open(path, clocks=Clocks(wall=wall))
        room = await log.open_room(ADDRESS, bytes(16))
        assert room is not None
        await log.append([Append(room[0].room, to_clock(wall()), b"%d" % run)])
        upkeep = Upkeep(log, Rooms(log), Retention(seconds=24 * HOUR))
        for _ in range(50):
            await upkeep.expire()
            await trio.sleep(limits.EXPIRY_INTERVAL)
        assert len((await log.read(room[0].room, Direction.FORWARD, 1, 100)).records) == run + 1
        await log.aclose()
        wall.set_by += wrong_by if run == 0 else 0


async def test_a_clock_that_is_slewed_is_believed_at_once(
    office: Office, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(10):
        office.wall.set_by += limits.CLOCK_JUMP / 10
        await trio.sleep(limits.EXPIRY_INTERVAL)
    assert not caplog.records


@pytest.mark.parametrize(
    ("task", "failure"),
    [
        ("expire", "old messages could not be removed"),
        ("list_empty", "empty rooms could not be removed"),
        ("record", "the use of rooms could not be recorded"),
        ("shrink", "free space could not be given back"),
    ],
)
@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (StorageError("The disk is gone."), ": The disk is gone."),
        (OSError(5, "Input/output error"), ": [Errno 5] Input/output error"),
        (OverflowError("int too large"), ", by a fault of this server; please report it"),
    ],
)
async def test_a_failing_task_is_reported_once_a_minute(
    office: Office,
    autojump_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    task: str,
    failure: str,
    fault: Exception,
    text: str,
) -> None:
    async def fail(*_: object) -> dict[int, int]:
        raise fault

    await office.say()
    with monkeypatch.context() as patch:
        patch.setattr(office.log, task, fail)
        await trio.sleep(HOUR + 120)
        assert await office.kept() == (1 if task == "expire" else 0), "the others go on"
    assert set(caplog.messages) == {failure + text}
    assert 50 < len(caplog.messages) <= 62
    await trio.sleep(2 * limits.EXPIRY_INTERVAL)
    assert await office.kept() == 0


async def test_what_fails_each_second_is_said_once_a_minute(
    office: Office, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail() -> None:
        raise PermissionError(13, "Permission denied", "deletions/x")

    monkeypatch.setattr(office.log, "shrink", fail)
    await trio.sleep(5 * limits.EXPIRY_INTERVAL)
    assert 4 <= len(caplog.messages) <= 6


async def test_a_full_log_expires_at_the_next_tick(office: Office, autojump_clock: MockClock) -> None:
    await office.say()
    await trio.sleep(HOUR + 1)
    assert await office.kept() == 1
    office.upkeep.hasten()
    await trio.sleep(2)
    assert await office.kept() == 0


async def test_a_long_expiry_delays_a_start_a_moment_only(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    office = Office(tmp_path, messages=0)
    await office.say()
    expire = office.log.expire

    async def expire_slowly(retention: Retention) -> dict[int, int]:
        await trio.sleep(20)
        return await expire(retention)

    monkeypatch.setattr(office.log, "expire", expire_slowly)
    began = trio.current_time()
    await office.upkeep.prepare()
    assert trio.current_time() - began == pytest.approx(limits.FIRST_EXPIRY)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(office.upkeep.run)
        await trio.sleep(22)
        assert await office.kept() == 0
        nursery.cancel_scope.cancel()


async def test_an_empty_room_goes_after_a_day_unless_somebody_is_in_it(
    office: Office, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert limits.EMPTY_ROOM_SECONDS == 24 * HOUR
    monkeypatch.setattr(limits, "EMPTY_ROOM_SECONDS", HOUR)  # each tick of a day takes its time, also in a test
    rooms = office.rooms
    found = [await rooms.find(bytes([number]) * 32, may_create=True) for number in range(3)]
    empty, visited, inhabited = (item[0] for item in found if item)
    inhabited.join(Guest(), 1, b"", created=True)
    rooms.release(empty)
    rooms.release(visited)
    await trio.sleep(limits.EMPTY_ROOM_SECONDS - 600)
    assert await office.log.count_rooms() == 3
    again = await rooms.find(visited.address, may_create=False)
    assert again is not None
    rooms.release(again[0])  # nobody stayed
    await trio.sleep(1200)
    assert await rooms.find(empty.address, may_create=False) is None
    assert await office.log.count_rooms() == 2
    await trio.sleep(limits.EMPTY_ROOM_SECONDS)
    assert await rooms.find(visited.address, may_create=False) is None
    assert await rooms.find(inhabited.address, may_create=False) == (inhabited, False)


class Guest:
    """A session in the room; it leaves when it is ended."""

    def __init__(self) -> None:
        self.member: object = None
        self.leave = trio.Event()

    def send(self, data: bytes) -> None:
        """Ignore."""

    prepare = send

    def flush(self) -> None:
        """Ignore."""

    def settle(self, size: int) -> None:
        """Ignore."""

    def end(self, reason: Reason, retry_after: int) -> None:
        """Leave soon."""
        self.leave.set()
