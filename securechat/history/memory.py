"""A room log in memory: for tests, and for servers that are to forget (``--memory``)."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from securechat import limits
from securechat.history.log import Append, Appended, Head, Page, Retention, fair_share
from securechat.protocol import chain
from securechat.protocol.messages import Direction, Record


class _Kept(NamedTuple):
    clock: int
    before: bytes
    envelope: bytes
    id: bytes


@dataclass
class _Room:
    address: bytes
    log_id: bytes
    newest: int
    hash: bytes
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


class MemoryLog:
    """See ``RoomLog``. Nothing survives the process.

    Args:
        most: Bytes of envelopes to keep in all; above, the room with the most messages loses its oldest.
    """

    def __init__(self, most: int = limits.SERVER.memory_bytes) -> None:
        self._most = most
        self._size = 0
        self._crowded_out: set[int] = set()  # rooms whose oldest has changed since the last ``expire``
        self._rooms: list[_Room] = []
        self._numbers: dict[bytes, int] = {}

    async def open_room(self, address: bytes, new_log_id: bytes | None) -> tuple[Head, bool] | None:
        """See ``RoomLog.open_room``."""
        number = self._numbers.get(address)
        created = number is None
        if number is None:
            if new_log_id is None:
                return None
            number = self._numbers[address] = len(self._rooms)
            self._rooms.append(_Room(address, new_log_id, 0, chain.root(address, new_log_id)))
        room = self._rooms[number]
        return Head(number, room.log_id, room.oldest, room.newest, room.hash), created

    async def delete_room(self, address: bytes) -> bool:
        """See ``RoomLog.delete_room``."""
        number = self._numbers.pop(address, None)
        if number is None:
            return False
        self._size -= self._rooms[number].size
        self._rooms[number] = _Room(address, b"", 0, b"")  # the numbers of the others stay
        return True

    async def count_rooms(self) -> int:
        """See ``RoomLog.count_rooms``."""
        return len(self._numbers)

    async def append(self, batch: Sequence[Append]) -> list[Appended]:
        """See ``RoomLog.append``."""
        appended = [self._append(*item) for item in batch]
        while self._size > self._most:
            number = max(range(len(self._rooms)), key=lambda number: len(self._rooms[number].kept))
            self._size -= self._rooms[number].drop_oldest()
            self._crowded_out.add(number)
        return appended

    def _append(self, number: int, clock: int, envelope: bytes) -> Appended:
        room = self._rooms[number]
        digest = chain.digest(envelope)
        envelope_id = digest[: chain.ENVELOPE_ID_BYTES]
        known = room.sequences.get(envelope_id)
        if known is not None:
            return Appended(known, room.kept[known - room.oldest].clock, b"")
        room.kept.append(_Kept(clock, room.hash, envelope, envelope_id))
        room.newest += 1
        room.hash = chain.link(room.hash, room.newest, digest)
        room.sequences[envelope_id] = room.newest
        room.size += len(envelope)
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

    async def expire(self, retention: Retention, clock: int) -> dict[int, int]:
        """See ``RoomLog.expire``."""
        cutoff = clock - int(retention.seconds * 1000)
        changed = {number: self._rooms[number].oldest for number in self._crowded_out}
        self._crowded_out.clear()
        most = min(retention.room_bytes, fair_share((room.size for room in self._rooms), retention.total_bytes))
        for number, room in enumerate(self._rooms):
            while room.kept and (
                room.kept[0].clock < cutoff or len(room.kept) > retention.messages or room.size > most
            ):
                self._size -= room.drop_oldest()
                changed[number] = room.oldest
        return changed

    async def aclose(self) -> None:
        """See ``RoomLog.aclose``."""
