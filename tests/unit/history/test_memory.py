"""What only the log in memory does: it has a size."""

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


async def test_above_the_cap_the_oldest_goes() -> None:
    log = MemoryLog(most=500)
    room = await make_room(log, 1)
    await log.append(sized(room, range(5)))
    await log.append(sized(room, range(5, 7)))
    assert await kept(log, room) == [2, 3, 4, 5, 6]
    opened = await log.open_room(bytes([1]) * 32, None)
    assert opened is not None
    assert (opened[0].oldest, opened[0].newest) == (3, 7)


async def test_above_the_cap_the_room_with_the_most_messages_loses() -> None:
    log = MemoryLog(most=500)
    large, small = await make_room(log, 1), await make_room(log, 2)
    await log.append(sized(small, range(1)))
    await log.append(sized(large, range(4)))
    await log.append(sized(small, range(1, 2)))
    assert await kept(log, large) == [1, 2, 3]
    assert await kept(log, small) == [0, 1]


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
    await log.expire(Retention(10**9, 1), 2000)
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
