"""What only the log in memory does: it has a size."""

import pytest
import trio

from securechat import limits
from securechat.history.log import Append, Retention
from securechat.history.memory import MemoryLog
from securechat.protocol.messages import Direction


async def make_room(log: MemoryLog, name: int) -> int:
    opened = await log.open_room(bytes([name]) * 32, bytes(16))
    assert opened is not None
    return opened[0].room


async def kept(log: MemoryLog, room: int) -> list[int]:
    """Return the first byte of each envelope that is kept."""
    return [record.envelope[0] for record in (await log.read(room, Direction.FORWARD, 1, 1000)).records]


def sized(room: int, numbers: range, size: int = 100) -> list[Append]:
    return [Append(room, 1000 + number, bytes([number]) * size) for number in numbers]


async def test_what_fits_the_cap_to_the_byte_is_kept() -> None:
    log = MemoryLog(most=500)
    room = await make_room(log, 1)
    await log.append(sized(room, range(5)))
    assert await kept(log, room) == [0, 1, 2, 3, 4]


async def test_above_the_cap_the_oldest_go_and_leave_a_little_space() -> None:
    log = MemoryLog(most=6400)
    room = await make_room(log, 1)
    await log.append(sized(room, range(64)))
    assert len(await kept(log, room)) == 64
    await log.append(sized(room, range(64, 65)))
    assert await kept(log, room) == list(range(3, 65)), "a 32nd part less than the cap"
    opened = await log.open_room(bytes([1]) * 32, None)
    assert opened is not None
    assert (opened[0].oldest, opened[0].newest) == (4, 65)
    assert await log.expire(Retention(None, None)) == {room: 4}, "which is told then"
    assert await log.expire(Retention(None, None)) == {}


async def test_above_the_cap_the_room_with_the_most_bytes_loses() -> None:
    log = MemoryLog(most=64_000)
    large, small = await make_room(log, 1), await make_room(log, 2)
    await log.append(sized(small, range(100), size=10))
    await log.append(sized(large, range(8), size=9000))
    assert await kept(log, large) == list(range(2, 8))
    assert await kept(log, small) == list(range(100))


async def test_many_small_rooms_outlive_a_few_large_ones() -> None:
    log = MemoryLog(most=2 * limits.MIB)
    victim = await make_room(log, 99)
    await log.append(sized(victim, range(60), size=329))
    for name in range(6):
        room = await make_room(log, name)
        for number in range(8):
            await log.append(sized(room, range(number, number + 1), size=limits.ENVELOPE_BYTES))
    assert await kept(log, victim) == list(range(60))


async def test_others_run_while_a_large_log_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "EXPIRE_MESSAGES", 10)
    log = MemoryLog()
    first, second = await make_room(log, 1), await make_room(log, 2)
    await log.append([*sized(first, range(100)), *sized(second, range(100))])
    passes: list[int] = []

    async def meddle() -> None:
        while log.age.now() and len(await kept(log, first)) > 50:
            passes.append(len(passes))
            await trio.lowlevel.checkpoint()
        await log.append(sized(first, range(200, 201)))
        await log.delete_room(bytes([2]) * 32)
        await make_room(log, 3)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(meddle)
        await trio.lowlevel.checkpoint()
        oldest = await log.expire(Retention(None, 5))
    assert len(passes) >= 4
    assert oldest == {first: 97}, "the second is gone, and what was appended meanwhile counts"
    assert len(await kept(log, first)) == 5


async def test_rooms_that_are_gone_leave_nothing_behind() -> None:
    log = MemoryLog()
    for name in range(100):
        await make_room(log, name)
    await log.forget([bytes([name]) * 32 for name in range(100)])
    assert (await log.count_rooms(), len(log._rooms), len(log._numbers)) == (0, 0, 0)
    assert await make_room(log, 1) == 100, "no number is used twice"


async def test_a_resend_takes_no_room() -> None:
    log = MemoryLog(most=300)
    room = await make_room(log, 1)
    for _ in range(5):
        await log.append(sized(room, range(3)))
    assert await kept(log, room) == [0, 1, 2]


async def test_what_expired_makes_room() -> None:
    log = MemoryLog(most=300)
    room = await make_room(log, 1)
    await log.append(sized(room, range(3)))
    await log.expire(Retention(None, 1))
    await log.append(sized(room, range(3, 5)))
    assert await kept(log, room) == [2, 3, 4]


async def test_a_message_larger_than_the_cap_is_gone_and_the_chain_goes_on() -> None:
    log = MemoryLog(most=50)
    room = await make_room(log, 1)
    (first,) = await log.append(sized(room, range(1)))
    assert first.is_new
    assert await log.read(room, Direction.FORWARD, 1, 10) == (2, 1, 2, first.hash, ())
    (second,) = await log.append(sized(room, range(1, 2), size=50))
    assert second.sequence == 2
    assert (await log.read(room, Direction.FORWARD, 1, 10)).before == first.hash
