"""From SEND to DELIVER: one durable commit for all that a scheduler pass brought in, then its deliveries.

A message is delivered, which acknowledges it, only when the log holds it. While one commit runs, what
comes in collects for the next: the busier the server, the larger the batches.

Rooms take turns: a commit holds at most so much of one room, and one that has more waiting goes behind the
others. Together with the bound on what a pass reads of a connection, that is why a flooded room cannot starve
another one: a message waits for the commit that is running and for its own, and both are short.
"""

from collections import deque
from collections.abc import Callable

import trio

from securechat import limits
from securechat.errors import StorageError
from securechat.history.log import Append, Appended, RoomLog
from securechat.protocol import chain
from securechat.protocol.messages import Code, Deliver
from securechat.server.histogram import Histogram
from securechat.server.room import Member, Room, Sent
from securechat.server.rooms import Rooms


class Committer:
    """The one task that appends.

    Args:
        log: The room log.
        rooms: Told when a room has nothing in flight any more.
        clock: The server's clock, in ms since 1970 UTC.
        on_failure: Called with the error when a batch could not be stored.
        most: Bytes that may wait to be stored before ``wait_room`` waits.

    Attributes:
        in_flight_bytes: Bytes of envelopes that were received and not answered yet.
        stored: How many messages were appended.
        delivered: How many copies of them were handed to sessions.
        append_seconds: How long the appends took.
    """

    def __init__(
        self,
        log: RoomLog,
        rooms: Rooms,
        clock: Callable[[], int],
        on_failure: Callable[[StorageError], None],
        most: int = limits.SERVER.in_flight_bytes,
    ) -> None:
        self._log = log
        self._rooms = rooms
        self._clock = clock
        self._on_failure = on_failure
        self._turns: deque[Room] = deque()  # rooms in which something waits, the next one first
        self._wake = trio.Event()
        self._most = most
        self._has_room = trio.Event()
        self.in_flight_bytes = 0
        self.stored = 0
        self.delivered = 0
        self.append_seconds = Histogram()

    def submit(self, member: Member, envelope: bytes) -> None:
        """Take a message in; its sender's session is told by ``settle`` when it was answered."""
        room = member.room
        room.in_flight += 1
        self.in_flight_bytes += len(envelope)
        if not room.waiting:
            self._turns.append(room)
        room.waiting.append((member, envelope))
        self._wake.set()

    async def wait_room(self) -> None:
        """Wait while too much waits to be stored: a slow disk makes the server read more slowly."""
        while self.in_flight_bytes > self._most:
            await self._has_room.wait()

    async def run(self) -> None:
        """Run for ever: append, then deliver."""
        while True:
            await self._wake.wait()
            taken = self._take()
            if not self._turns:
                self._wake = trio.Event()
            batch = [sent for sent in taken if self._is_in_order(*sent)]
            if batch:
                await self._commit(batch)
            for member, envelope in taken:
                member.room.in_flight -= 1
                self.in_flight_bytes -= len(envelope)
                member.receiver.settle(len(envelope))
            for room in {member.room for member, _ in taken}:
                self._rooms.release(room)
            self._has_room.set()
            self._has_room = trio.Event()

    def _take(self) -> list[Sent]:
        """Take what one commit may hold, at least one message: a turn of each room, if there is space for so many."""
        taken: list[Sent] = []
        size = 0
        turn = max(limits.TURN_MESSAGES, limits.SHARED_MESSAGES // len(self._turns))
        for _ in range(len(self._turns)):
            if len(taken) >= limits.COMMIT_MESSAGES or size >= limits.COMMIT_BYTES:
                break
            room = self._turns.popleft()
            size += _take_turn(room.waiting, min(turn, limits.COMMIT_MESSAGES - len(taken)), taken)
            if room.waiting:
                self._turns.append(room)
        return taken

    def _is_in_order(self, member: Member, envelope: bytes) -> bool:
        """Refuse what a member sent behind a refused message; that one has to come again first."""
        if member.refused is None:
            return True
        envelope_id = chain.envelope_id(envelope)
        if envelope_id == member.refused:
            member.refused = None
            return True
        member.refuse(envelope_id, Code.OUT_OF_ORDER, limits.STORAGE_RETRY, "an earlier message was refused")
        return False

    async def _commit(self, batch: list[Sent]) -> None:
        clock = self._clock()
        began = trio.current_time()
        try:
            appended = await self._log.append([Append(m.room.number, clock, envelope) for m, envelope in batch])
        except StorageError as error:
            self._on_failure(error)
            for member, envelope in batch:
                envelope_id = chain.envelope_id(envelope)
                member.refuse(
                    envelope_id,
                    Code.STORAGE,
                    limits.STORAGE_RETRY,
                    "the message could not be stored",
                )
        else:
            self.append_seconds.observe(trio.current_time() - began)
            self._deliver(batch, appended)

    def _deliver(self, batch: list[Sent], appended: list[Appended]) -> None:
        """Fan out what is new, one write to a member for each room; answer a resend to its sender alone."""
        frames: dict[Room, list[bytes]] = {}
        resent: list[tuple[Member, bytes]] = []
        for (member, envelope), (sequence, clock, head) in zip(batch, appended, strict=True):
            room = member.room
            frame = Deliver.frame(room.handle, sequence, clock, envelope)
            if head:
                room.advance(sequence, head)
                frames.setdefault(room, []).append(frame)
            else:
                resent.append((member, frame))
        for room, new in frames.items():
            self.stored += len(new)
            self.delivered += len(new) * len(room.members)
            room.fan_out(b"".join(new))
        for member, frame in resent:
            member.receiver.send(frame)


def _take_turn(waiting: deque[Sent], most: int, taken: list[Sent]) -> int:
    """Move at most so many messages of one room from ``waiting`` to ``taken``; return their size in bytes."""
    size = 0
    for _ in range(min(len(waiting), most)):
        size += len(waiting[0][1])
        if size > limits.TURN_BYTES and size > len(waiting[0][1]):
            break
        taken.append(waiting.popleft())
    return size
