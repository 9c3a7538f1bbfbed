"""A room: who is in it, what it tells them, and how changes of presence are folded."""

from itertools import pairwise

import pytest
import trio

from securechat import limits
from securechat.history.log import Head
from securechat.history.memory import MemoryLog
from securechat.protocol import frames, messages
from securechat.protocol.messages import Change, Code, Error, Joined, MemberChange, Reason
from securechat.server.room import Member, Room
from securechat.server.rooms import Rooms

HANDLE = 5
HEAD = Head(3, b"log id, 16 bytes", 2, 9, b"h" * 32)


class Ears:
    """A session that hears."""

    def __init__(self) -> None:
        self.data = b""
        self.settled = 0
        self.ended: Reason | None = None

    def send(self, data: bytes) -> None:
        """Hear."""
        self.data += data

    prepare = send

    def flush(self) -> None:
        """Heard already."""

    def settle(self, size: int) -> None:
        """Count."""
        self.settled += 1

    def end(self, reason: Reason, retry_after: int) -> None:
        """Hear why."""
        self.ended = reason

    def take(self) -> list[messages.Message]:
        """Return what was heard since the last time."""
        data, self.data = self.data, b""
        return parse(data)

    def take_changes(self) -> list[MemberChange]:
        """Return the changes of presence that were heard since the last time."""
        return [change for message in self.take() if isinstance(message, messages.Member) for change in message.changes]


def parse(data: bytes) -> list[messages.Message]:
    return [messages.parse(frame) for frame in frames.FrameDecoder(limits.FRAME_BYTES).feed(data)]


@pytest.fixture
def room() -> Room:
    return Room(HANDLE, bytes(range(32)), HEAD)


@pytest.fixture
def watcher(room: Room) -> Ears:
    """Return what an unlisted member hears who is there all the time."""
    ears = Ears()
    room.join(ears, 1, b"", created=False)
    return ears


def enter(room: Room, presence: bytes = b"presence") -> Member:
    return room.join(Ears(), 1, presence, created=False)[0]


def test_who_joins_learns_where_the_log_stands(room: Room) -> None:
    member, reply = room.join(Ears(), 77, b"me", created=True)
    assert parse(reply) == [Joined(77, HANDLE, member.number, True, HEAD.log_id, 2, 9, HEAD.hash, 0)]
    room.advance(10, b"i" * 32)
    _, reply = room.join(Ears(), 78, b"you", created=False)
    joined, listed = parse(reply)
    assert isinstance(joined, Joined)
    assert (joined.newest, joined.head, joined.listed) == (10, b"i" * 32, 1)
    assert listed == messages.Member(HANDLE, (MemberChange(Change.HERE, member.number, b"me"),))


def test_only_listed_members_are_listed_and_never_oneself(room: Room) -> None:
    enter(room, b"a")
    enter(room, b"")
    enter(room, b"c")
    joined, listed = parse(room.join(Ears(), 1, b"d", created=False)[1])
    assert isinstance(joined, Joined)
    assert isinstance(listed, messages.Member)
    assert joined.listed == 2
    assert [change.presence for change in listed.changes] == [b"a", b"c"]


def test_numbers_are_not_used_twice(room: Room) -> None:
    numbers = []
    for _ in range(5):
        member = enter(room)
        numbers.append(member.number)
        room.leave(member)
    assert all(b > a for a, b in pairwise(numbers))


def test_a_long_list_comes_in_frames_of_a_hundred(room: Room) -> None:
    for _ in range(250):
        enter(room, b"x" * limits.PRESENCE_BYTES)
    joined, *pages = parse(room.join(Ears(), 1, b"", created=False)[1])
    assert isinstance(joined, Joined)
    assert joined.listed == 250
    assert [len(page.changes) for page in pages if isinstance(page, messages.Member)] == [100, 100, 50]


def test_everybody_hears_the_same_bytes(room: Room) -> None:
    ears = [Ears() for _ in range(4)]
    members = [room.join(each, 1, b"p", created=False)[0] for each in ears]
    room.fan_out(b"bytes")
    room.leave(members[0])
    room.fan_out(b" more")
    assert [each.data for each in ears] == [b"bytes", *[b"bytes more"] * 3]


def test_it_is_idle_without_members_and_without_anything_in_flight(room: Room) -> None:
    idle = [room.is_idle]
    member = enter(room)
    idle.append(room.is_idle)
    room.in_flight = 1
    room.leave(member)
    idle.append(room.is_idle)
    room.in_flight = 0
    idle.append(room.is_idle)
    assert idle == [True, False, False, True]


def test_its_label_is_the_beginning_of_its_address(room: Room) -> None:
    assert room.label == "00010203"


STEPS = {"joined": Change.JOINED, "changed": Change.CHANGED, "left": Change.LEFT}


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        ("joined", Change.JOINED),
        ("changed", Change.CHANGED),
        ("left", Change.LEFT),
        ("joined changed", Change.JOINED),
        ("joined changed changed", Change.JOINED),
        ("changed changed", Change.CHANGED),
        ("joined left", None),
        ("joined changed left", None),
        ("changed left", Change.LEFT),
        ("changed changed left", Change.LEFT),
    ],
)
def test_only_what_a_member_looks_like_at_last_is_told(
    room: Room, watcher: Ears, steps: str, told: Change | None
) -> None:
    member = enter(room, b"before")
    for step in steps.split():
        member.presence = b"at last"
        room.note(STEPS[step], member)
    room.tell_changes()
    presence = b"" if told is Change.LEFT else b"at last"
    assert watcher.take_changes() == ([] if told is None else [MemberChange(told, member.number, presence)])


def test_what_was_told_is_not_told_again(room: Room, watcher: Ears) -> None:
    member = enter(room)
    room.note(Change.JOINED, member)
    room.tell_changes()
    assert len(watcher.take_changes()) == 1
    room.tell_changes()
    assert watcher.data == b""
    room.note(Change.CHANGED, member)
    room.note(Change.LEFT, member)
    room.tell_changes()
    assert watcher.take_changes() == [MemberChange(Change.LEFT, member.number, b"")]


def test_changes_of_different_members_are_told_together(room: Room, watcher: Ears) -> None:
    first, second, third = (enter(room, presence) for presence in (b"1", b"2", b"3"))
    for change, member in (
        (Change.JOINED, first),
        (Change.CHANGED, second),
        (Change.JOINED, third),
        (Change.LEFT, first),
    ):
        room.note(change, member)
    room.tell_changes()
    (told,) = watcher.take()
    assert told == messages.Member(
        HANDLE, (MemberChange(Change.CHANGED, second.number, b"2"), MemberChange(Change.JOINED, third.number, b"3"))
    )


def test_a_small_room_tells_at_once(room: Room) -> None:
    members = [enter(room) for _ in range(limits.PRESENCE_AT_ONCE)]
    at_once = [room.tells_at_once]
    enter(room)
    at_once.append(room.tells_at_once)
    room.leave(members[0])
    at_once.append(room.tells_at_once)
    assert at_once == [True, False, True]


def test_the_first_refused_message_is_the_one_that_has_to_come_again(room: Room) -> None:
    ears = Ears()
    member, _ = room.join(ears, 1, b"", created=False)
    member.refuse(b"a" * 16, Code.STORAGE, 5, "full")
    member.refuse(b"b" * 16, Code.STORAGE, 5, "full")
    assert member.refused == b"a" * 16
    assert ears.take() == [Error(Code.STORAGE, 0, 5, subject * 16, "full") for subject in (b"a", b"b")]


async def test_a_room_is_one_object_while_it_is_used_and_another_afterwards() -> None:
    rooms = Rooms(MemoryLog())
    address = bytes(32)
    assert await rooms.find(address, may_create=False) is None
    found = await rooms.find(address, may_create=True)
    assert found is not None
    room, created = found
    assert created
    member = enter(room)
    rooms.release(room)
    assert await rooms.find(address, may_create=True) == (room, False)
    room.leave(member)
    rooms.release(room)
    again = await rooms.find(address, may_create=False)
    assert again is not None
    assert again[0] is not room
    assert again[0].handle != room.handle
    assert not again[1]


async def test_retention_is_told_to_the_rooms_in_use() -> None:
    rooms = Rooms(MemoryLog())
    found = [await rooms.find(bytes([number]) * 32, may_create=True) for number in range(2)]
    first, second = (item[0] for item in found if item)
    rooms.set_oldest({first.number: 7, 99: 3})
    assert (first.oldest, second.oldest) == (7, 1)


async def test_of_two_who_look_at_the_same_time_one_creates_and_both_get_the_same_room() -> None:
    class SlowLog(MemoryLog):
        async def open_room(self, address: bytes, new_log_id: bytes | None) -> tuple[Head, bool] | None:
            opened = await super().open_room(address, new_log_id)
            await trio.lowlevel.checkpoint()
            return opened

    rooms = Rooms(SlowLog())
    found: list[tuple[Room, bool]] = []

    async def look() -> None:
        answer = await rooms.find(bytes(32), may_create=True)
        assert answer is not None
        found.append(answer)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(look)
        nursery.start_soon(look)
    (first, created), (second, created_too) = found
    assert first is second
    assert created + created_too == 1
