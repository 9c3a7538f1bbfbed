"""Rooms that are deleted while the server runs."""

import pytest
import trio
from trio.testing import MockClock

from securechat import limits
from securechat.errors import SecurechatError
from securechat.history.log import Append, Head
from securechat.history.memory import MemoryLog
from securechat.protocol.messages import Reason
from securechat.server.room import Member, Room
from securechat.server.rooms import Fate, Rooms

ADDRESS = bytes(range(32))
LOG_ID = b"log id, 16 bytes"
OTHER_LOG_ID = b"another 16 bytes"


class Guest:
    """A session in the room; it leaves when it is ended."""

    def __init__(self) -> None:
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


@pytest.fixture
async def log() -> MemoryLog:
    log = MemoryLog()
    opened = await log.open_room(ADDRESS, LOG_ID)
    assert opened is not None
    await log.append([Append(opened[0].room, 0, b"an envelope")])
    return log


async def enter(rooms: Rooms) -> tuple[Room, Member, Guest]:
    found = await rooms.find(ADDRESS, may_create=False)
    assert found is not None
    guest = Guest()
    member, _ = found[0].join(guest, 1, b"", created=False)
    return found[0], member, guest


async def test_a_room_is_deleted_when_its_members_are_gone(log: MemoryLog, autojump_clock: MockClock) -> None:
    rooms = Rooms(log)
    room, member, guest = await enter(rooms)
    async with trio.open_nursery() as nursery:
        fates = []

        async def delete() -> None:
            fates.append(await rooms.delete(ADDRESS, LOG_ID))

        nursery.start_soon(delete)
        await guest.leave.wait()
        assert await log.count_rooms() == 1
        room.leave(member)
        rooms.release(room)
        again = await rooms.find(ADDRESS, may_create=True)  # waits for the end of the old one
        assert again is not None
        assert again[1], "it was created"
    assert fates == [Fate.DELETED]


async def test_members_who_do_not_leave_are_not_waited_for_in_vain(log: MemoryLog, autojump_clock: MockClock) -> None:
    rooms = Rooms(log)
    room, _, _ = await enter(rooms)
    began = trio.current_time()
    with pytest.raises(SecurechatError, match=r"room 00010203 did not leave within 30 s"):
        await rooms.delete(ADDRESS, LOG_ID)
    assert trio.current_time() - began < limits.DELETION_TIMEOUT + 1
    assert await rooms.find(ADDRESS, may_create=False) == (room, False), "others come in again"


@pytest.mark.parametrize("log_id", [LOG_ID, OTHER_LOG_ID])
async def test_a_room_that_replaced_the_meant_one_stays(log: MemoryLog, log_id: bytes) -> None:
    rooms = Rooms(log)
    assert await rooms.delete(ADDRESS, LOG_ID) is Fate.DELETED
    assert await rooms.delete(ADDRESS, LOG_ID) is Fate.ABSENT
    await log.open_room(ADDRESS, log_id)
    _, _, guest = await enter(rooms)
    if log_id != LOG_ID:
        assert await rooms.delete(ADDRESS, LOG_ID) is Fate.ABSENT
        assert not guest.leave.is_set()


async def test_a_room_with_members_is_in_use(log: MemoryLog) -> None:
    rooms = Rooms(log)
    room, member, guest = await enter(rooms)
    assert await rooms.delete(ADDRESS, LOG_ID, 1) is Fate.IN_USE
    assert not guest.leave.is_set()
    room.leave(member)
    rooms.release(room)
    assert await rooms.delete(ADDRESS, LOG_ID, 0) is Fate.IN_USE, "somebody wrote meanwhile"
    assert await rooms.delete(ADDRESS, LOG_ID, 1) is Fate.DELETED


async def test_a_room_that_somebody_is_about_to_enter_is_in_use(
    log: MemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The look-up of a join has begun, and its answer is on its way."""
    lookup, answer = trio.Event(), trio.Event()
    open_room = log.open_room

    async def slow(address: bytes, new_log_id: bytes | None) -> tuple[Head, bool] | None:
        lookup.set()
        await answer.wait()
        return await open_room(address, new_log_id)

    rooms = Rooms(log)
    async with trio.open_nursery() as nursery:
        monkeypatch.setattr(log, "open_room", slow)
        nursery.start_soon(enter, rooms)
        await lookup.wait()
        assert await rooms.delete(ADDRESS, LOG_ID, 1) is Fate.IN_USE
        answer.set()
