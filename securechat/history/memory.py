"""A room log in memory: for tests, and for servers that are to forget (``--memory``).

It lives in the event loop, so nothing here works for long: what drops many messages lets others run in between.
"""

import heapq
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import trio

from securechat import limits
from securechat.history.age import AgeClock, Clocks
from securechat.history.log import Append, Appended, Head, Page, Retention, fair_share
from securechat.protocol import chain
from securechat.protocol.messages import Direction, Record

_SYSTEM: Final = Clocks()
_NO_BOUND: Final = Retention(seconds=None, messages=None)


class _Kept(NamedTuple):
    clock: int
    stored: int
    before: bytes
    envelope: bytes
    id: bytes


@dataclass
class _Room:
    address: bytes
    log_id: bytes
    newest: int
    hash: bytes
    used: int
    size: int = 0
    kept: deque[_Kept] = field(default_factory=deque)
    sequences: dict[bytes, int] = field(default_factory=dict)

    @property
    def oldest(self) -> int:
        return self.newest + 1 - len(self.kept)

    def drop_oldest(self) -> int:
        """Forget the oldest message and return its size in bytes."""
        dropped = self.kept.popleft()
        del self.sequences[dropped.id]
        size = len(dropped.envelope)
        self.size -= size
        return size


class _Bounds(NamedTuple):
    """What a room may keep: from this stamp and this sequence on, and so many bytes."""

    cutoff: int
    retention: Retention
    size: int

    def is_exceeded(self, room: _Room) -> bool:
        return bool(room.kept) and (
            room.kept[0].stored < self.cutoff
            or room.oldest < self.retention.fewest(room.newest)
            or room.size > self.size
        )


class MemoryLog:
    """See ``RoomLog``. Nothing survives the process.

    Args:
        most: Bytes of envelopes to keep in all; above, the rooms with the most bytes lose their oldest.
        clocks: Where time comes from.
    """

    def __init__(self, most: int = limits.SERVER.memory_bytes, clocks: Clocks = _SYSTEM) -> None:
        self.age = AgeClock(clocks)
        self._most = most
        self._size = 0
        self._evicted: set[int] = set()  # rooms whose oldest has changed since the last ``expire``
        self._rooms: dict[int, _Room] = {}
        self._numbers: dict[bytes, int] = {}
        self._next_number = 0

    async def open_room(self, address: bytes, new_log_id: bytes | None) -> tuple[Head, bool] | None:
        """See ``RoomLog.open_room``."""
        number = self._numbers.get(address)
        created = number is None
        if number is None:
            if new_log_id is None:
                return None
            number = self._numbers[address] = self._next_number
            self._next_number += 1
            self._rooms[number] = _Room(address, new_log_id, 0, chain.root(address, new_log_id), self.age.now())
        room = self._rooms[number]
        return Head(number, room.log_id, room.oldest, room.newest, room.hash), created

    async def delete_room(self, address: bytes) -> bool:
        """See ``RoomLog.delete_room``."""
        number = self._numbers.pop(address, None)
        if number is None:
            return False
        self._size -= self._rooms.pop(number).size
        self._evicted.discard(number)
        return True

    async def count_rooms(self) -> int:
        """See ``RoomLog.count_rooms``."""
        return len(self._numbers)

    async def append(self, batch: Sequence[Append]) -> list[Appended]:
        """See ``RoomLog.append``."""
        stored = self.age.now()
        appended = [self._append(*item, stored) for item in batch]
        if self._size > self._most:
            # A little more than has to go, so that the sizes of all rooms are not sorted for each message.
            most = self._most - self._most // limits.EVICTED_SHARE
            await self._drop(_Bounds(0, _NO_BOUND, fair_share((room.size for room in self._rooms.values()), most)))
        return appended

    def _append(self, number: int, clock: int, envelope: bytes, stored: int) -> Appended:
        room = self._rooms[number]
        digest = chain.digest(envelope)
        envelope_id = digest[: chain.ENVELOPE_ID_BYTES]
        known = room.sequences.get(envelope_id)
        if known is not None:
            return Appended(known, room.kept[known - room.oldest].clock, b"")
        room.kept.append(_Kept(clock, stored, room.hash, envelope, envelope_id))
        room.newest += 1
        room.hash = chain.link(room.hash, room.newest, digest)
        room.sequences[envelope_id] = room.newest
        room.size += len(envelope)
        room.used = stored
        self._size += len(envelope)
        return Appended(room.newest, clock, room.hash)

    async def read(self, room: int, direction: Direction, sequence: int, most: int) -> Page:
        """See ``RoomLog.read``."""
        log = self._rooms[room]
        step = 1 if direction is Direction.FORWARD else -1
        at = max(sequence, log.oldest) if step > 0 else min(sequence - 1, log.newest)
        chosen: deque[Record] = deque()
        size = 0
        first = min(at, log.newest + 1) if step > 0 else max(at + 1, log.oldest)
        while log.oldest <= at <= log.newest and len(chosen) < min(most, limits.PAGE_ENTRIES):
            kept = log.kept[at - log.oldest]
            size += len(kept.envelope) + limits.RECORD_BYTES
            if size > limits.PAGE_BYTES:
                break
            if step > 0:
                chosen.append(Record(kept.clock, kept.envelope))
            else:
                chosen.appendleft(Record(kept.clock, kept.envelope))
                first = at
            at += step
        before = log.kept[first - log.oldest].before if first <= log.newest else log.hash
        return Page(log.oldest, log.newest, first, before, tuple(chosen))

    async def expire(self, retention: Retention) -> dict[int, int]:
        """See ``RoomLog.expire``."""
        share = fair_share((room.size for room in self._rooms.values()), retention.total_bytes)
        await self._drop(_Bounds(self.age.cutoff(retention.seconds), retention, min(retention.room_bytes, share)))
        changed, self._evicted = self._evicted, set()
        return {number: self._rooms[number].oldest for number in changed}

    async def _drop(self, bounds: _Bounds) -> None:
        """Drop what is outside of its bounds; others run in between, and may append, create and delete."""
        work = 0
        for number in list(self._rooms):
            while True:
                work += 1
                if work % limits.EXPIRE_MESSAGES == 0:
                    await trio.lowlevel.checkpoint()
                room = self._rooms.get(number)
                if room is None or not bounds.is_exceeded(room):
                    break
                self._size -= room.drop_oldest()
                self._evicted.add(number)

    async def record(self, used: Collection[int]) -> None:
        """See ``RoomLog.record``."""
        now = self.age.now()
        for number in used:
            if room := self._rooms.get(number):
                room.used = now

    async def list_empty(self, before: int | None, count: int, spared: Collection[bytes]) -> list[bytes]:
        """See ``RoomLog.list_empty``."""
        empty = (
            room
            for room in self._rooms.values()
            if not room.newest and (before is None or room.used < before) and room.address not in spared
        )
        return [room.address for room in heapq.nsmallest(count, empty, key=lambda room: room.used)]

    async def forget(self, addresses: Collection[bytes]) -> int:
        """See ``RoomLog.forget``."""
        numbers = {self._numbers[address] for address in addresses if address in self._numbers}
        empty = [number for number in numbers if not self._rooms[number].newest]
        for number in empty:
            del self._numbers[self._rooms.pop(number).address]
        return len(empty)

    async def shrink(self) -> None:
        """See ``RoomLog.shrink``. Nothing is left over."""

    async def aclose(self) -> None:
        """See ``RoomLog.aclose``."""
