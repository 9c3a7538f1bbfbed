"""One connection in the server: a reader, and a drain task only while there is a backlog."""

import logging
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from math import ceil
from typing import ClassVar

import trio

from securechat import limits
from securechat.errors import ChannelClosedError, ProtocolError, StorageError
from securechat.history.age import to_clock
from securechat.history.log import RoomLog
from securechat.limits import ServerLimits
from securechat.protocol import chain, proof
from securechat.protocol.connection import ServerConnection
from securechat.protocol.messages import (
    Change,
    Code,
    Error,
    Goodbye,
    History,
    Join,
    Leave,
    Message,
    Past,
    Ping,
    Pong,
    Presence,
    Reason,
    Send,
    ServerMessage,
    Welcome,
)
from securechat.server.access import AccessLog
from securechat.server.admission import Admission, Refusal
from securechat.server.buckets import Bucket
from securechat.server.commit import Committer
from securechat.server.laggards import Laggards
from securechat.server.repeats import FaultLog
from securechat.server.room import Member, Room
from securechat.server.rooms import Rooms
from securechat.transport.channel import Channel

_logger = logging.getLogger("securechat.server")
_NO_SUBJECT = bytes(chain.ENVELOPE_ID_BYTES)


def clock_ms() -> int:
    """Return the server's clock in ms since 1970 UTC, within what calendars can show."""
    return to_clock(time.time())


@dataclass
class Services:
    """What all sessions share.

    Attributes:
        log: The room log.
        rooms: The rooms in use.
        committer: Takes messages in.
        access: The access log.
        may_create: Whether members may create rooms.
        allowed: The limits.
        faults: Logs what is wrong with the disk.
        admission: Decides who gets into a room.
        laggards: The sessions whose socket is full.
        closed: How many connections ended for which reason.
        refused: How many requests were refused for which reason.
    """

    log: RoomLog
    rooms: Rooms
    committer: Committer
    access: AccessLog
    may_create: bool = True
    allowed: ServerLimits = limits.SERVER
    faults: FaultLog = field(default_factory=FaultLog)
    admission: Admission = field(init=False)
    laggards: Laggards = field(init=False)
    closed: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.admission = Admission(self.rooms, self.allowed, may_create=self.may_create)
        self.laggards = Laggards(self.allowed.outboxes_bytes)


class Session:
    """One connection, from WELCOME to its end.

    Args:
        services: What all sessions share.
        channel: The connection, after its handshake.
        spki_hash: SHA-256 of the public key under which this connection was accepted, 32 bytes.

    Attributes:
        on_joined: Called when it has joined a room.
    """

    def __init__(self, services: Services, channel: Channel, spki_hash: bytes) -> None:
        self._services = services
        self._channel = channel
        self._spki_hash = spki_hash
        self._connection = ServerConnection()
        self._challenge = os.urandom(proof.CHALLENGE_BYTES)
        self._members: dict[int, Member] = {}
        self._allowed = services.allowed
        self._frames, self._received, self._changes, self._history, self._joins = (
            Bucket(*rate, trio.current_time)
            for rate in (
                self._allowed.frames,
                self._allowed.received,
                self._allowed.presence,
                self._allowed.history,
                self._allowed.joins,
            )
        )
        self._in_flight = 0
        self._in_flight_bytes = 0
        self._settled: trio.Event | None = None  # while somebody waits for what is in flight
        self._reading = trio.CancelScope()
        self._heard = 0.0
        self._ending: Reason | None = None
        self._retry_after = 0
        self._is_mute = False  # GOODBYE was said, or is all that is left to say
        self.on_joined: Callable[[], None] = lambda: None

    async def run(self) -> None:
        """Serve the connection until either side ends it."""
        try:
            async with trio.open_nursery() as nursery:
                self._channel.on_backlog = lambda: nursery.start_soon(self._drain)
                try:
                    reason = await self._serve()
                    await self._say_goodbye(reason)
                finally:  # before the nursery closes: a fan-out may come at any moment
                    self._channel.on_backlog = lambda: None
                    self._leave_all()
        finally:
            self._channel.abort()

    @property
    def backlog(self) -> int:
        """Bytes that wait for the reader."""
        return self._channel.backlog

    async def _drain(self) -> None:
        self._services.laggards.add(self)
        try:
            await self._channel.drain()
        finally:
            self._services.laggards.remove(self)

    async def _serve(self) -> Reason | None:
        """Read until the end and return why this side ends the connection; None when the peer did."""
        self._reading.deadline = trio.current_time() + self._allowed.join_seconds
        try:
            with self._reading:
                await self._read()
        except ChannelClosedError:
            return None
        except ProtocolError as error:
            if self._services.access.may_log(self._channel.peer):
                _logger.info("refused %s: %s", self._channel.peer, error)
            return Reason.PROTOCOL
        return self._ending or Reason.TIMEOUT

    async def _read(self) -> None:
        clock = clock_ms()
        welcome = Welcome(self._challenge, limits.ENVELOPE_BYTES, self._allowed.keepalive, clock)
        self.send(self._connection.send(welcome))
        while True:
            await self._take(await self._channel.receive())
            while self._in_flight > limits.IN_FLIGHT_MESSAGES or self._in_flight_bytes > limits.IN_FLIGHT_BYTES:
                await self._wait_settled()
            await self._services.committer.wait_room()

    async def _take(self, data: bytes) -> None:
        """Obey what came; nothing of it is kept while the next read waits, which members do most of the time."""
        self._note_life()
        await _pay(self._received, len(data))
        for message in self._connection.receive(data):
            await _pay(self._frames)
            if type(message) is Send:
                self._on_send(message)
            else:  # what it asks for is answered once it has taken what it was sent
                await self._channel.drain()
                await self._HANDLERS[type(message)](self, message)

    def _note_life(self) -> None:
        """Move the deadline on, at most once a second, once the peer has joined a room."""
        now = trio.current_time()
        if self._members and now - self._heard > 1:
            self._heard = now
            self._reading.deadline = now + self._allowed.keepalive * limits.KEEPALIVE_GRACE

    async def _wait_settled(self) -> None:
        self._settled = trio.Event()
        await self._settled.wait()
        self._settled = None

    def send(self, data: bytes) -> None:
        """Send frames without waiting; a reader that is too far behind is sent away, to come back and resume."""
        self.prepare(data)
        self.flush()

    def prepare(self, data: bytes) -> None:
        """See ``Receiver.prepare``."""
        if not self._is_mute:
            self._channel.prepare(data)

    def flush(self) -> None:
        """See ``Receiver.flush``."""
        self._channel.flush()
        if self._channel.backlog > self._allowed.outbox_bytes and not self._is_mute:
            self._is_mute = True
            self.end(Reason.SLOW, 1)

    def settle(self, size: int) -> None:
        """Hear that one message of this session, of ``size`` bytes, was appended or refused."""
        self._in_flight -= 1
        self._in_flight_bytes -= size
        if self._settled is not None:
            self._settled.set()

    def end(self, reason: Reason, retry_after: int) -> None:
        """End the session: it says GOODBYE when its task runs next."""
        if self._ending is None:
            self._ending = reason
            self._retry_after = retry_after
            self._reading.cancel()

    def displace(self, why: str) -> None:
        """Say GOODBYE at once, as the session has to make way for a newcomer; the caller cancels ``run``."""
        self.send(Goodbye(Reason.RATE, limits.DISPLACED_RETRY, why).encode())
        self._is_mute = True

    async def _say_goodbye(self, reason: Reason | None) -> None:
        """Wait for what is in flight, leave, say why, flush and close; all of it within a deadline."""
        with trio.move_on_after(limits.GOODBYE_TIMEOUT):
            while self._in_flight and reason is not Reason.SLOW:
                await self._wait_settled()
        self._leave_all()
        self._services.closed[reason.name.lower() if reason else "closed"] += 1
        if reason is not None:
            goodbye = self._connection.send(Goodbye(reason, self._retry_after, ""))
            if reason is Reason.SLOW:
                self._channel.replace_backlog(goodbye)
            else:
                self._channel.send(goodbye)
        self._is_mute = True
        with trio.move_on_after(limits.GOODBYE_TIMEOUT):
            await self._channel.aclose()

    def _leave_all(self) -> None:
        """Leave every room, whatever leaving one of them raises: nobody stays listed who is gone."""
        with ExitStack() as stack:
            for member in self._members.values():
                stack.callback(self._leave, member)

    def _leave(self, member: Member) -> None:
        """Leave a room: first change what is, then let others know, then write it down."""
        room = member.room
        del self._members[room.handle]
        room.leave(member)
        self._services.rooms.release(room)
        if member.presence:
            self._services.rooms.tell(Change.LEFT, member)
        self._services.access.left(self._channel.peer, room)

    def _refuse(self, ref: int, code: Code, text: str, retry_after: float = 0) -> None:
        self._services.refused[code.name.lower()] += 1
        most = limits.RETRY_SECONDS[1]  # no client waits longer, and a slow bucket may take days
        self._reply(Error(code, ref, min(ceil(retry_after), most), _NO_SUBJECT, text))

    def _reply(self, message: ServerMessage) -> None:
        self.send(self._connection.send(message))

    def _on_send(self, message: Send) -> None:
        self._in_flight += 1
        self._in_flight_bytes += len(message.envelope)
        self._services.committer.submit(self._members[message.handle], message.envelope)

    async def _on_join(self, message: Join) -> None:
        await _pay(self._joins)
        if refusal := await self._join(message):
            self._refuse(message.ref, *refusal)
            if refusal.is_failure:  # throttle who does it, not its neighbours
                self._joins.spend(limits.FAILED_JOIN)

    async def _join(self, message: Join) -> Refusal | None:
        """Let the peer into a room, or return why not. The proof comes first; a bad one asks for nothing else."""
        if not proof.is_proven(message.address, message.proof, self._challenge, self._spki_hash):
            return Refusal(Code.BAD_PROOF, "the proof does not verify")
        if any(m.room.address == message.address for m in self._members.values()):
            return Refusal(Code.ALREADY_JOINED, "this connection is in that room")
        if len(self._members) >= (most := self._allowed.rooms_per_connection):
            return Refusal(Code.TOO_MANY_ROOMS, f"at most {most} rooms on one connection")
        left = self._reading.deadline - trio.current_time() - limits.JOIN_MARGIN
        enter = partial(self._admit_if_room, message)
        try:
            return await self._services.admission.join(
                self._channel.peer, message, min(limits.JOIN_PATIENCE, left), enter
            )
        except StorageError as error:
            self._services.faults.report("a room could not be opened", error)
            return Refusal(Code.STORAGE, "the room could not be stored", limits.STORAGE_RETRY)

    def _admit_if_room(self, message: Join, room: Room, created: bool) -> None:
        if len(room.members) >= (most := self._allowed.members_per_room):
            self._refuse(message.ref, Code.ROOM_FULL, f"the room has its {most} members", limits.REFUSED_RETRY)
        else:
            self._admit(message, room, created)

    def _admit(self, message: Join, room: Room, created: bool) -> None:
        member, reply = room.join(self, message.ref, message.presence, created=created)
        self._members[room.handle] = member
        self.on_joined()
        self._connection.admit(room.handle)
        self.send(reply)
        if member.presence:
            self._services.rooms.tell(Change.JOINED, member)
        self._note_life()
        self._services.access.joined(self._channel.peer, room, created=created)

    async def _on_presence(self, message: Presence) -> None:
        member = self._members[message.handle]
        await _pay(self._changes)
        change = Change.CHANGED if member.presence else Change.JOINED
        member.presence = message.presence
        self._services.rooms.tell(change, member)

    async def _on_history(self, message: History) -> None:
        """Answer with one page. The reader waits for it, so a connection has one page under way at the most."""
        member = self._members[message.handle]
        try:
            page = await self._services.log.read(member.room.number, message.direction, message.sequence, message.most)
        except StorageError as error:
            self._services.faults.report("history could not be read", error)
            self._refuse(message.ref, Code.STORAGE, "the history could not be read", limits.STORAGE_RETRY)
        else:
            self._reply(Past(message.ref, message.handle, *page))
            await _pay(self._history, sum(len(record.envelope) for record in page.records))

    async def _on_leave(self, message: Leave) -> None:
        self._leave(self._members[message.handle])

    async def _on_ping(self, message: Ping) -> None:
        self._reply(Pong(message.token))

    async def _on_pong(self, message: Pong) -> None:
        """A sign of life, noted already."""

    _HANDLERS: ClassVar[dict[type[Message], Callable[..., Awaitable[None]]]] = {
        Join: _on_join,
        Presence: _on_presence,
        History: _on_history,
        Leave: _on_leave,
        Ping: _on_ping,
        Pong: _on_pong,
    }


async def _pay(bucket: Bucket, amount: float = 1) -> None:
    """Take tokens, and wait until they are paid for: who asks too much is read more slowly, and nothing is refused."""
    if debt := bucket.spend(amount):
        await trio.sleep(debt)
