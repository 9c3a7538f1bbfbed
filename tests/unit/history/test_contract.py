"""The contract of a room log, run against each implementation."""

import hashlib
from collections.abc import AsyncIterator, Iterable
from math import inf
from pathlib import Path

import pytest

from securechat import limits
from securechat.history.age import Clocks
from securechat.history.log import Append, Appended, Retention, RoomLog, fair_share
from securechat.history.memory import MemoryLog
from securechat.history.sqlite import SqliteLog
from securechat.protocol import chain
from securechat.protocol.messages import Direction, Record

ADDRESS = bytes(range(32))
OTHER_ADDRESS = bytes(range(32, 64))
LOG_ID = b"log id, 16 bytes"
OTHER_LOG_ID = b"another 16 bytes"
KEEP_ALL = Retention(None, None)


def next_hash(before: bytes, sequence: int, envelope: bytes) -> bytes:
    return chain.link(before, sequence, hashlib.sha256(envelope).digest())


def chain_of(envelopes: Iterable[bytes], before: bytes | None = None, first: int = 1) -> list[bytes]:
    """Return H_(first - 1) and then the H after each of the envelopes."""
    hashes = [chain.root(ADDRESS, LOG_ID) if before is None else before]
    for sequence, envelope in enumerate(envelopes, first):
        hashes.append(next_hash(hashes[-1], sequence, envelope))
    return hashes


def letters(count: int, first: int = 1) -> list[bytes]:
    return [b"envelope %d" % number for number in range(first, first + count)]


class Hands:
    """A clock that a test sets: the age clock of the log starts at 0 and shows what the steady one does."""

    steady = 0.0
    wall = 0.0

    def set_ms(self, age: int) -> None:
        self.steady = self.wall = age / 1000


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture(params=["memory", "sqlite"])
async def log(request: pytest.FixtureRequest, tmp_path: Path, hands: Hands) -> AsyncIterator[RoomLog]:
    clocks = Clocks(lambda: hands.steady, lambda: hands.wall)
    made: RoomLog
    made = MemoryLog(clocks=clocks) if request.param == "memory" else SqliteLog.open(tmp_path / "log.db", clocks=clocks)
    made.age.now()
    yield made
    await made.aclose()


async def make_room(log: RoomLog, address: bytes = ADDRESS, log_id: bytes = LOG_ID) -> int:
    opened = await log.open_room(address, log_id)
    assert opened is not None
    return opened[0].room


async def fill(log: RoomLog, room: int, envelopes: Iterable[bytes], clock: int = 1000) -> list[Appended]:
    """Append the envelopes; their clocks are ``clock``, ``clock + 1`` and so on."""
    return await log.append([Append(room, clock + at, envelope) for at, envelope in enumerate(envelopes)])


async def test_a_room_that_nobody_made_is_none(log: RoomLog) -> None:
    assert await log.open_room(ADDRESS, None) is None
    assert await log.open_room(ADDRESS, None) is None, "looking does not create"


async def test_a_new_room_is_empty_and_its_chain_begins_at_the_root(log: RoomLog) -> None:
    opened = await log.open_room(ADDRESS, LOG_ID)
    assert opened is not None
    head, created = opened
    assert created
    assert (head.log_id, head.oldest, head.newest) == (LOG_ID, 1, 0)
    assert head.hash == hashlib.sha256(b"securechat v1 log\0" + ADDRESS + LOG_ID).digest()


async def test_the_first_log_id_wins(log: RoomLog) -> None:
    first = await log.open_room(ADDRESS, LOG_ID)
    assert first is not None
    assert await log.open_room(ADDRESS, OTHER_LOG_ID) == (first[0], False)
    assert await log.open_room(ADDRESS, None) == (first[0], False)


async def test_rooms_have_numbers_of_their_own(log: RoomLog) -> None:
    rooms = {await make_room(log), await make_room(log, OTHER_ADDRESS, OTHER_LOG_ID)}
    assert len(rooms) == 2
    assert await make_room(log) in rooms, "opening again gives the same"


async def test_an_opened_room_tells_where_its_log_stands(log: RoomLog) -> None:
    room = await make_room(log)
    await fill(log, room, letters(3))
    for log_id in (None, OTHER_LOG_ID):
        opened = await log.open_room(ADDRESS, log_id)
        assert opened == ((room, LOG_ID, 1, 3, chain_of(letters(3))[-1]), False)


async def test_sequences_are_dense_and_hashes_chain(log: RoomLog) -> None:
    room = await make_room(log)
    hashes = chain_of(letters(5))
    assert await fill(log, room, letters(2), clock=70) == [(1, 70, hashes[1]), (2, 71, hashes[2])]
    assert await fill(log, room, letters(3, first=3), clock=90) == [
        (3, 90, hashes[3]),
        (4, 91, hashes[4]),
        (5, 92, hashes[5]),
    ]


async def test_an_empty_batch_appends_nothing(log: RoomLog) -> None:
    room = await make_room(log)
    assert await log.append([]) == []
    opened = await log.open_room(ADDRESS, None)
    assert opened is not None
    assert opened[0].newest == 0
    assert opened[0].room == room


async def test_a_resend_keeps_its_first_sequence_and_clock(log: RoomLog) -> None:
    room = await make_room(log)
    await fill(log, room, letters(3), clock=1000)
    (again,) = await log.append([Append(room, 5000, letters(3)[1])])
    assert again == (2, 1001, b"")
    assert not again.is_new
    page = await log.read(room, Direction.FORWARD, 1, 10)
    assert page.records == tuple(Record(1000 + at, envelope) for at, envelope in enumerate(letters(3)))


async def test_the_chain_goes_on_after_a_resend(log: RoomLog) -> None:
    room = await make_room(log)
    await fill(log, room, letters(2))
    appended = await fill(log, room, [letters(1)[0], b"new", letters(2)[1]], clock=2000)
    assert appended == [(1, 1000, b""), (3, 2001, chain_of([*letters(2), b"new"])[-1]), (2, 1001, b"")]


async def test_the_same_envelope_twice_in_a_batch_is_appended_once(log: RoomLog) -> None:
    room = await make_room(log)
    appended = await fill(log, room, [b"twice", b"twice", b"other"], clock=7)
    hashes = chain_of([b"twice", b"other"])
    assert appended == [(1, 7, hashes[1]), (1, 7, b""), (2, 9, hashes[2])]
    assert [item.is_new for item in appended] == [True, False, True]


async def test_a_batch_may_touch_several_rooms(log: RoomLog) -> None:
    one, two = await make_room(log), await make_room(log, OTHER_ADDRESS, OTHER_LOG_ID)
    appended = await log.append(
        [Append(one, 1, b"a"), Append(two, 2, b"a"), Append(one, 3, b"b"), Append(two, 4, b"c")]
    )
    first = chain_of([b"a", b"b"])
    second = chain_of([b"a", b"c"], chain.root(OTHER_ADDRESS, OTHER_LOG_ID))
    assert appended == [(1, 1, first[1]), (1, 2, second[1]), (2, 3, first[2]), (2, 4, second[2])]
    assert (await log.read(one, Direction.FORWARD, 1, 9)).records == ((1, b"a"), (3, b"b"))
    assert (await log.read(two, Direction.FORWARD, 1, 9)).records == ((2, b"a"), (4, b"c"))


async def test_every_byte_of_an_envelope_and_any_clock_come_back(log: RoomLog) -> None:
    room = await make_room(log)
    written = [Record(0, b"\0"), Record(2**48, bytes(range(256)))]
    await log.append([Append(room, *record) for record in written])
    assert (await log.read(room, Direction.FORWARD, 1, 9)).records == tuple(written)


@pytest.mark.parametrize(
    ("sequence", "most", "expected"),
    [(1, 3, (1, 2, 3)), (0, 2, (1, 2)), (4, 9, (4, 5)), (5, 1, (5,)), (2, 2, (2, 3))],
)
async def test_a_page_forward_begins_at_the_sequence(
    log: RoomLog, sequence: int, most: int, expected: tuple[int, ...]
) -> None:
    room = await make_room(log)
    await fill(log, room, letters(5))
    page = await log.read(room, Direction.FORWARD, sequence, most)
    assert (page.oldest, page.newest, page.first) == (1, 5, expected[0])
    assert page.before == chain_of(letters(5))[expected[0] - 1]
    assert page.records == tuple(Record(999 + number, b"envelope %d" % number) for number in expected)


@pytest.mark.parametrize(
    ("sequence", "most", "expected"),
    [(6, 3, (3, 4, 5)), (100, 2, (4, 5)), (4, 9, (1, 2, 3)), (2, 1, (1,)), (5, 2, (3, 4))],
)
async def test_a_page_backward_ends_just_before_the_sequence(
    log: RoomLog, sequence: int, most: int, expected: tuple[int, ...]
) -> None:
    room = await make_room(log)
    await fill(log, room, letters(5))
    page = await log.read(room, Direction.BACKWARD, sequence, most)
    assert (page.oldest, page.newest, page.first) == (1, 5, expected[0])
    assert page.before == chain_of(letters(5))[expected[0] - 1]
    assert page.records == tuple(Record(999 + number, b"envelope %d" % number) for number in expected)


@pytest.mark.parametrize("direction", list(Direction))
async def test_a_page_of_an_empty_room_is_empty_and_gives_the_root(log: RoomLog, direction: Direction) -> None:
    room = await make_room(log)
    for sequence in (0, 1, 2, 1000):
        page = await log.read(room, direction, sequence, 10)
        assert page == (1, 0, 1, chain.root(ADDRESS, LOG_ID), ())


@pytest.mark.parametrize("sequence", [4, 5, 10**6])
async def test_a_page_forward_from_after_the_newest_is_empty_and_gives_the_head(log: RoomLog, sequence: int) -> None:
    room = await make_room(log)
    await fill(log, room, letters(3))
    page = await log.read(room, Direction.FORWARD, sequence, 10)
    assert page == (1, 3, 4, chain_of(letters(3))[3], ())


@pytest.mark.parametrize("sequence", [0, 1, 2, 3])
async def test_a_page_backward_from_the_oldest_is_empty_and_gives_the_hash_before_it(
    log: RoomLog, sequence: int
) -> None:
    room = await make_room(log)
    await fill(log, room, letters(5))
    assert await log.expire(Retention(None, 3)) == {room: 3}
    page = await log.read(room, Direction.BACKWARD, sequence, 10)
    assert page == (3, 5, 3, chain_of(letters(5))[2], ())


async def test_a_page_forward_from_before_the_oldest_begins_at_the_oldest(log: RoomLog) -> None:
    room = await make_room(log)
    await fill(log, room, letters(5))
    await log.expire(Retention(None, 3))
    page = await log.read(room, Direction.FORWARD, 1, 2)
    assert page == (3, 5, 3, chain_of(letters(5))[2], (Record(1002, b"envelope 3"), Record(1003, b"envelope 4")))


@pytest.mark.parametrize(("direction", "first"), [(Direction.FORWARD, 1), (Direction.BACKWARD, 51)])
async def test_a_page_has_no_more_than_a_thousand_messages(log: RoomLog, direction: Direction, first: int) -> None:
    room = await make_room(log)
    total = limits.PAGE_ENTRIES + 50
    await fill(log, room, letters(total))
    page = await log.read(room, direction, 1 if first == 1 else total + 1, 10**6)
    assert page.first == first
    assert len(page.records) == limits.PAGE_ENTRIES
    assert page.records[0].envelope == b"envelope %d" % first


@pytest.mark.parametrize("direction", list(Direction))
async def test_a_page_holds_256_kib_with_what_each_record_adds(log: RoomLog, direction: Direction) -> None:
    room = await make_room(log)
    size = limits.PAGE_BYTES // 4 - limits.RECORD_BYTES
    await fill(log, room, [bytes([number]) * size for number in range(6)])
    page = await log.read(room, direction, 1 if direction is Direction.FORWARD else 7, 100)
    assert len(page.records) == 4, "four fill the page to its last byte"
    assert page.first == (1 if direction is Direction.FORWARD else 3)
    assert sum(len(record.envelope) + limits.RECORD_BYTES for record in page.records) == limits.PAGE_BYTES


@pytest.mark.parametrize("direction", list(Direction))
async def test_a_page_stops_a_byte_before_it_would_be_too_large(log: RoomLog, direction: Direction) -> None:
    room = await make_room(log)
    size = limits.PAGE_BYTES // 4 - limits.RECORD_BYTES + 1
    await fill(log, room, [bytes([number]) * size for number in range(6)])
    page = await log.read(room, direction, 1 if direction is Direction.FORWARD else 7, 100)
    assert len(page.records) == 3
    assert page.first == (1 if direction is Direction.FORWARD else 4)


async def test_the_largest_envelope_is_readable_whole(log: RoomLog) -> None:
    room = await make_room(log)
    envelopes = [bytes([number]) * limits.ENVELOPE_BYTES for number in range(4)]
    await fill(log, room, envelopes)
    page = await log.read(room, Direction.FORWARD, 1, 100)
    assert [record.envelope for record in page.records] == envelopes[:3], "with its 12 bytes the fourth is too much"


async def test_pages_read_one_after_the_other_chain_up_to_the_head(log: RoomLog) -> None:
    room = await make_room(log)
    await fill(log, room, letters(23))
    sequence, head = 1, chain.root(ADDRESS, LOG_ID)
    while sequence <= 23:
        page = await log.read(room, Direction.FORWARD, sequence, 7)
        assert (page.first, page.before) == (sequence, head)
        for record in page.records:
            head = next_hash(head, sequence, record.envelope)
            sequence += 1
    opened = await log.open_room(ADDRESS, None)
    assert opened is not None
    assert opened[0].hash == head


async def test_nothing_expires_while_it_is_kept(log: RoomLog) -> None:
    room = await make_room(log)
    await fill(log, room, letters(3), clock=1000)
    assert await log.expire(KEEP_ALL) == {}
    assert len((await log.read(room, Direction.FORWARD, 1, 10)).records) == 3


async def age(log: RoomLog, hands: Hands, room: int, envelopes: Iterable[bytes], first: int = 1000) -> None:
    """Append envelopes whose stamps are ``first``, ``first + 1`` and so on; members see the same clock."""
    for at, envelope in enumerate(envelopes, first):
        hands.set_ms(at)
        await log.append([Append(room, at, envelope)])


async def test_messages_expire_by_age_to_the_millisecond(log: RoomLog, hands: Hands) -> None:
    room = await make_room(log)
    await age(log, hands, room, letters(3))
    retention = Retention(0.5, 100)
    hands.set_ms(1500)
    assert await log.expire(retention) == {}, "a message is kept for its whole time"
    hands.set_ms(1501)
    assert await log.expire(retention) == {room: 2}
    page = await log.read(room, Direction.FORWARD, 1, 10)
    assert page == (2, 3, 2, chain_of(letters(3))[1], (Record(1001, b"envelope 2"), Record(1002, b"envelope 3")))
    assert await log.expire(retention) == {}, "only what changed is told"


async def test_messages_expire_by_count_in_each_room(log: RoomLog) -> None:
    one, two = await make_room(log), await make_room(log, OTHER_ADDRESS, OTHER_LOG_ID)
    await fill(log, one, letters(5))
    await fill(log, two, letters(2))
    assert await log.expire(Retention(None, 2)) == {one: 4}
    assert (await log.read(one, Direction.FORWARD, 1, 10)).first == 4
    assert (await log.read(two, Direction.FORWARD, 1, 10)).first == 1


async def test_the_stricter_of_age_and_count_decides(log: RoomLog, hands: Hands) -> None:
    room = await make_room(log)
    await age(log, hands, room, letters(6))
    hands.set_ms(2003)
    assert await log.expire(Retention(1, 5)) == {room: 4}
    assert await log.expire(Retention(1, 2)) == {room: 5}


@pytest.mark.parametrize("clock", [0, 1, 4_102_444_800_000, limits.CLOCK_LAST, 2**53 - 1, 2**63 - 1])
async def test_what_a_message_is_stamped_says_nothing_of_its_age(log: RoomLog, hands: Hands, clock: int) -> None:
    room = await make_room(log)
    for at, stamp in enumerate((1000, clock, 1002)):
        hands.set_ms(1000 + at)
        await log.append([Append(room, stamp, b"%d" % at)])
    assert await log.expire(Retention(10, 100)) == {}
    hands.set_ms(2002)
    assert await log.expire(Retention(1, 100)) == {room: 3}
    hands.set_ms(2003)
    assert await log.expire(Retention(1, 100)) == {room: 4}


@pytest.mark.parametrize("bound", [None, inf, 10**9, 10.0**300, 10**30, 2**63])
async def test_a_bound_of_any_size_is_one(log: RoomLog, hands: Hands, bound: float | None) -> None:
    room = await make_room(log)
    await age(log, hands, room, letters(3))
    hands.set_ms(10**9)
    assert await log.expire(Retention(seconds=bound, messages=2)) == {room: 2}
    if not isinstance(bound, float):
        assert await log.expire(Retention(seconds=None, messages=bound)) == {}
    assert await log.expire(Retention(None, None, room_bytes=10**30, total_bytes=10**30)) == {}


async def test_a_room_outlives_its_messages(log: RoomLog, hands: Hands) -> None:
    room = await make_room(log)
    await fill(log, room, letters(3))
    hands.set_ms(1)
    assert await log.expire(Retention(0, 100)) == {room: 4}
    head = chain_of(letters(3))[3]
    assert await log.open_room(ADDRESS, OTHER_LOG_ID) == ((room, LOG_ID, 4, 3, head), False)
    for direction in Direction:
        for sequence in (0, 1, 3, 4, 9):
            assert await log.read(room, direction, sequence, 10) == (4, 3, 4, head, ())


async def test_none_kept_by_count_is_none_kept(log: RoomLog) -> None:
    room = await make_room(log)
    await fill(log, room, letters(3))
    assert await log.expire(Retention(None, 0)) == {room: 4}
    assert await log.expire(Retention(None, 0)) == {}


async def test_the_chain_goes_on_after_everything_expired(log: RoomLog, hands: Hands) -> None:
    room = await make_room(log)
    await fill(log, room, letters(3))
    hands.set_ms(1)
    await log.expire(Retention(0, 100))
    hashes = chain_of([*letters(3), b"new"])
    assert await log.append([Append(room, 2000, b"new")]) == [(4, 2000, hashes[4])]
    assert await log.read(room, Direction.FORWARD, 1, 10) == (4, 4, 4, hashes[3], (Record(2000, b"new"),))
    assert await log.read(room, Direction.BACKWARD, 5, 10) == (4, 4, 4, hashes[3], (Record(2000, b"new"),))


async def test_an_expired_envelope_is_new_again(log: RoomLog) -> None:
    room = await make_room(log)
    await fill(log, room, [b"same", b"other"])
    await log.expire(Retention(None, 1))
    (again,) = await log.append([Append(room, 3000, b"same")])
    assert again == (3, 3000, chain_of([b"same", b"other", b"same"])[3])


async def test_a_resend_of_a_kept_message_is_known_after_others_expired(log: RoomLog) -> None:
    room = await make_room(log)
    await fill(log, room, letters(5), clock=1000)
    await log.expire(Retention(None, 2))
    assert await log.append([Append(room, 9000, b"envelope 5")]) == [(5, 1004, b"")]


async def test_rooms_are_counted(log: RoomLog) -> None:
    assert await log.count_rooms() == 0
    await make_room(log)
    await make_room(log)
    await make_room(log, OTHER_ADDRESS, OTHER_LOG_ID)
    assert await log.count_rooms() == 2


async def test_a_room_keeps_so_many_bytes(log: RoomLog) -> None:
    room = await make_room(log)
    await fill(log, room, [bytes([number]) * 1000 for number in range(5)])
    assert await log.expire(Retention(None, 100, room_bytes=3999)) == {room: 3}
    assert await log.expire(Retention(None, 100, room_bytes=3000)) == {}
    await fill(log, room, [b"a" * 1, b"b" * 999])
    assert await log.expire(Retention(None, 100, room_bytes=3000)) == {room: 4}
    assert await log.expire(Retention(None, 100, room_bytes=0)) == {room: 8}


async def test_when_all_rooms_hold_too_much_the_largest_lose_their_oldest(log: RoomLog) -> None:
    large, small = await make_room(log), await make_room(log, OTHER_ADDRESS, OTHER_LOG_ID)
    await fill(log, large, [bytes([number]) * 1000 for number in range(8)])
    await fill(log, small, [bytes([number]) * 1000 for number in range(2)])
    assert await log.expire(Retention(None, 100, total_bytes=6000)) == {large: 5}
    assert await log.expire(Retention(None, 100, total_bytes=6000)) == {}
    assert await log.expire(Retention(None, 100, total_bytes=2000)) == {large: 8, small: 2}


async def test_the_largest_rooms_are_those_with_the_most_bytes(log: RoomLog) -> None:
    large, small = await make_room(log), await make_room(log, OTHER_ADDRESS, OTHER_LOG_ID)
    await fill(log, large, [bytes([number]) * 1000 for number in range(6)])
    await fill(log, small, [bytes([number]) * 10 for number in range(100)])
    assert await log.expire(Retention(None, None, total_bytes=3000)) == {large: 5}


async def test_a_room_that_never_held_a_message_is_forgotten(log: RoomLog, hands: Hands) -> None:
    addresses = [bytes([number]) * 32 for number in range(4)]
    made = []
    for at, address in enumerate(addresses):
        hands.set_ms(at)
        await make_room(log, address)
        made.append(log.age.now())
    await fill(log, await make_room(log, addresses[3]), [b"said"])
    assert await log.list_empty(None, 10, ()) == addresses[:3]
    assert await log.list_empty(None, 2, {addresses[0]}) == addresses[1:3]
    assert await log.list_empty(made[2], 10, ()) == addresses[:2]
    assert await log.forget([addresses[0], addresses[3], bytes(32), b"x" * 32]) == 1
    assert await log.count_rooms() == 3
    assert await log.open_room(addresses[0], None) is None
    kept = await log.open_room(addresses[3], None)
    assert kept is not None, "it held a message"
    assert kept[0].newest == 1
    assert (await log.open_room(addresses[0], OTHER_LOG_ID) or [None, False])[1]


async def test_a_room_whose_messages_expired_is_not_forgotten(log: RoomLog) -> None:
    room = await make_room(log)
    await fill(log, room, letters(2))
    await log.expire(Retention(None, 0))
    assert await log.list_empty(None, 10, ()) == []
    assert await log.forget([ADDRESS]) == 0


async def test_a_room_in_use_is_not_the_one_unused_for_longest(log: RoomLog, hands: Hands) -> None:
    first, second = await make_room(log), await make_room(log, OTHER_ADDRESS)
    hands.set_ms(5)
    await log.record({first, 12345})
    assert await log.list_empty(None, 10, ()) == [OTHER_ADDRESS, ADDRESS]
    assert await log.list_empty(log.age.now(), 10, ()) == [OTHER_ADDRESS]
    await log.record(range(second, second + 1200))
    assert await log.list_empty(log.age.now(), 10, ()) == []


@pytest.mark.parametrize(
    ("sizes", "most", "share"),
    [([], 10, 10), ([3, 4], 10, 10), ([3, 4], 7, 7), ([3, 9], 10, 7), ([9, 9, 1], 10, 4), ([9, 9], 0, 0)],
)
def test_a_fair_share_cuts_the_largest(sizes: list[int], most: int, share: int) -> None:
    assert fair_share(sizes, most) == share
    assert sum(min(size, share) for size in sizes) <= most


async def test_a_deleted_room_was_never_there(log: RoomLog) -> None:
    room, other = await make_room(log), await make_room(log, OTHER_ADDRESS, OTHER_LOG_ID)
    await fill(log, room, letters(1200))
    await fill(log, other, letters(3))
    assert await log.delete_room(ADDRESS)
    assert not await log.delete_room(ADDRESS)
    assert await log.count_rooms() == 1
    assert await log.open_room(ADDRESS, None) is None
    assert len((await log.read(other, Direction.FORWARD, 1, 10)).records) == 3
    opened = await log.open_room(ADDRESS, OTHER_LOG_ID)
    assert opened is not None
    assert opened[1]
    assert opened[0][1:] == (OTHER_LOG_ID, 1, 0, chain.root(ADDRESS, OTHER_LOG_ID))
    await fill(log, opened[0].room, letters(2))
    assert await log.expire(Retention(None, 1)) == {opened[0].room: 2, other: 3}
