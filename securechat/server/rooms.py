"""The rooms that are in use, and their changes of presence."""

import os
from collections import Counter
from enum import StrEnum

import trio

from securechat import limits
from securechat.errors import SecurechatError, StorageError
from securechat.history.log import RoomLog
from securechat.protocol import chain
from securechat.protocol.messages import Change
from securechat.server.room import Member, Room


class Fate(StrEnum):
    """What became of a room that was to be deleted."""

    DELETED = "deleted"
    ABSENT = "absent"
    IN_USE = "in use"


class Rooms:
    """All rooms with members or messages in flight.

    Args:
        log: The room log.
    """

    def __init__(self, log: RoomLog) -> None:
        self._log = log
        self._by_address: dict[bytes, Room] = {}
        self._last_handle = 0
        self._looked_up: Counter[bytes] = Counter()
        self._changed: set[Room] = set()
        self._change = trio.Event()
        self._deleting = trio.Lock()
        self._doomed = b""  # the address of the room that is being deleted
        self._forgetting = trio.Lock()
        self._forgotten: frozenset[bytes] = frozenset()  # addresses of the rooms that are being forgotten
        self._left: set[int] = set()  # the log's numbers of rooms that were in use since ``record_use``

    @property
    def count(self) -> int:
        """How many rooms are in use."""
        return len(self._by_address)

    @property
    def members(self) -> int:
        """How many members they have together."""
        return sum(len(room.members) for room in self._by_address.values())

    async def find(self, address: bytes, *, may_create: bool) -> tuple[Room, bool] | None:
        """Return the room at ``address`` and whether it was created just now; None when there is none.

        The caller joins it before the next checkpoint.

        Raises:
            StorageError: The log cannot be read or written.
        """
        while address == self._doomed or address in self._forgotten:
            async with self._deleting if address == self._doomed else self._forgetting:
                pass
        if room := self._by_address.get(address):
            return room, False
        new_log_id = os.urandom(chain.LOG_ID_BYTES) if may_create else None
        self._looked_up[address] += 1
        try:
            opened = await self._log.open_room(address, new_log_id)
        finally:
            self._looked_up[address] -= 1
            if not self._looked_up[address]:
                del self._looked_up[address]
            if room := self._by_address.get(address):
                self.release(room)
        if opened is None:
            return None
        head, created = opened
        if room is None:
            self._last_handle += 1
            room = Room(self._last_handle, address, head)
        self._by_address[address] = room  # one that was faster knows more than this head
        return room, created

    def release(self, room: Room) -> None:
        """Forget the room if nothing needs it, nor may need what it knows."""
        if room.is_idle and not self._looked_up[room.address]:
            if self._by_address.pop(room.address, None):
                self._left.add(room.number)
            self._changed.discard(room)

    async def delete(self, address: bytes, log_id: bytes, newest: int | None = None) -> Fate:
        """Delete a room, if it is still what the operator saw.

        Args:
            address: Its address, 32 bytes.
            log_id: The id of its log, 16 bytes: a room that was created there since is another one.
            newest: None to send its members away. A sequence to delete it only while it is not in use: nobody is
                in it, and this is still its newest message.

        Raises:
            SecurechatError: It cannot be written, or its members do not leave.
        """
        async with self._deleting:
            self._doomed = address  # from here on nobody enters it
            try:
                if newest is not None and self._is_used(address):
                    return Fate.IN_USE
                found = await self._log.open_room(address, None)
                if found is None or found[0].log_id != log_id:
                    return Fate.ABSENT
                if newest not in {None, found[0].newest}:
                    return Fate.IN_USE
                await self._clear(address)
                await self._log.delete_room(address)
                return Fate.DELETED
            finally:
                self._doomed = b""

    def _is_used(self, address: bytes) -> bool:
        """Tell whether somebody is in a room, or about to be."""
        return address in self._by_address or bool(self._looked_up[address])

    async def _clear(self, address: bytes) -> None:
        """Send the members of a room away, and wait until they are gone."""
        with trio.move_on_after(limits.DELETION_TIMEOUT):
            while self._is_used(address):
                if room := self._by_address.get(address):
                    room.send_away()
                await trio.sleep(limits.DELETION_POLL)
            return
        raise SecurechatError(
            f"The members of room {address.hex()[:8]} did not leave within {limits.DELETION_TIMEOUT:.0f} s.",
            "Try again.",
        )

    async def record_use(self) -> None:
        """Record in the log which rooms are in use, or were since the last call.

        Raises:
            StorageError: It cannot be written.
        """
        left, self._left = self._left, set()
        try:
            await self._log.record(left | {room.number for room in self._by_address.values()})
        except StorageError:
            self._left |= left
            raise

    async def make_way(self, most: int) -> bool:
        """Return whether one more room may be created beside at most ``most``.

        Rooms that never held a message and have nobody in them do not count: one goes for the new one.

        Raises:
            StorageError: The log cannot be read or written.
        """
        return await self._log.count_rooms() < most or await self._forget(None, 1) > 0

    async def forget_empty(self) -> None:
        """Forget the rooms that never held a message and that nobody has been in for a day.

        Raises:
            StorageError: The log cannot be read or written.
        """
        before = self._log.age.cutoff(limits.EMPTY_ROOM_SECONDS)
        while await self._forget(before, limits.EMPTY_ROOMS):
            pass

    async def _forget(self, before: int | None, count: int) -> int:
        """Forget at most ``count`` empty rooms; return how many they were.

        Somebody may look one up at any moment. A look-up that has begun before the set of ``_forgotten`` is made keeps
        its room; one that begins later waits until the room is gone, and finds none.
        """
        async with self._forgetting:
            found = await self._log.list_empty(before, count, self._by_address.keys() | self._looked_up.keys())
            self._forgotten = frozenset(found) - self._by_address.keys() - self._looked_up.keys()
            try:
                return await self._log.forget(self._forgotten) if self._forgotten else 0
            finally:
                self._forgotten = frozenset()

    def set_oldest(self, oldest: dict[int, int]) -> None:
        """Note what retention has left: the new oldest sequence by the log's number of the room."""
        for room in self._by_address.values():
            room.oldest = oldest.get(room.number, room.oldest)

    def tell(self, change: Change, member: Member) -> None:
        """Tell the room of a member's change: at once in a small room, together with others in a large one."""
        room = member.room
        room.note(change, member)
        if room.tells_at_once:
            room.tell_changes()
        else:
            self._changed.add(room)
            self._change.set()

    async def tell_changes(self) -> None:
        """Run for ever: tell large rooms their changes, once a second."""
        while True:
            await self._change.wait()
            await trio.sleep(limits.PRESENCE_DELAY)
            self._change = trio.Event()
            changed, self._changed = self._changed, set()
            for room in changed:
                room.tell_changes()
