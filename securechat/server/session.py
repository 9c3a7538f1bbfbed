"""One connection in the server: a reader, and a drain task only while there is a backlog."""

import logging
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from math import ceil
from typing import ClassVar

import trio

from securechat import limits
from securechat.errors import ChannelClosedError, ProtocolError, StorageError
from securechat.history.log import RoomLog
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
from securechat.server.buckets import AddressBuckets, Bucket
from securechat.server.commit import Committer
from securechat.server.room import Member, Room
from securechat.server.rooms import Rooms
from securechat.transport.channel import Channel

_logger = logging.getLogger("securechat.server")
_NO_SUBJECT = bytes(chain.ENVELOPE_ID_BYTES)


def clock_ms() -> int:
    """Return the server's clock in ms since 1970 UTC."""
    return time.time_ns() // 1_000_000


@dataclass
class Services:
    """What all sessions share.

    Attributes:
        log: The room log.
        rooms: The rooms in use.
        committer: Takes messages in.
        access: The access log.
        may_create: Whether members may create rooms.
        refused_joins: Tokens for joins that fail, by address.
        creations: Tokens for rooms created, by address.
        closed: How many connections ended for which reason.
    """

    log: RoomLog
    rooms: Rooms
    committer: Committer
    access: AccessLog
    may_create: bool = True
    refused_joins: AddressBuckets = field(
        default_factory=lambda: AddressBuckets(*limits.REFUSED_JOINS_PER_ADDRESS, trio.current_time)
    )
    creations: AddressBuckets = field(
        default_factory=lambda: AddressBuckets(*limits.CREATIONS_PER_ADDRESS, trio.current_time)
    )
    closed: Counter[str] = field(default_factory=Counter)


class Session:
    """One connection, from WELCOME to its end.

    Args:
        services: What all sessions share.
        channel: The connection, after its handshake.
        spki_hash: SHA-256 of the public key under which this connection was accepted, 32 bytes.
    """

    def __init__(self, services: Services, channel: Channel, spki_hash: bytes) -> None:
        self._services = services
        self._channel = channel
        self._spki_hash = spki_hash
        self._connection = ServerConnection()
        self._challenge = os.urandom(proof.CHALLENGE_BYTES)
        self._members: dict[int, Member] = {}
        self._messages = Bucket(*limits.MESSAGES_PER_CONNECTION, trio.current_time)
        self._changes = Bucket(*limits.CHANGES_PER_CONNECTION, trio.current_time)
        self._in_flight = 0
        self._in_flight_bytes = 0
        self._joins = Bucket(*limits.JOINS_PER_CONNECTION, trio.current_time)
        self._settled = trio.Event()
        self._reading = trio.CancelScope()
        self._heard = 0.0
        self._ending: Reason | None = None
        self._retry_after = 0
        self._is_mute = False  # GOODBYE was said, or is all that is left to say

    async def run(self) -> None:
        """Serve the connection until either side ends it."""
        try:
            async with trio.open_nursery() as nursery:
                self._channel.on_backlog = partial(nursery.start_soon, self._channel.drain)
                try:
                    reason = await self._serve()
                    await self._say_goodbye(reason)
                finally:  # before the nursery closes: a fan-out may come at any moment
                    self._channel.on_backlog = lambda: None
                    self._leave_all()
        finally:
            self._channel.abort()

    async def _serve(self) -> Reason | None:
        """Read until the end and return why this side ends the connection; None when the peer did."""
        self._reading.deadline = trio.current_time() + limits.FIRST_JOIN_TIMEOUT
        try:
            with self._reading:
                await self._read()
        except ChannelClosedError:
            return None
        except ProtocolError as error:
            _logger.info("refused %s: %s", self._channel.peer, error)
            return Reason.PROTOCOL
        return self._ending or Reason.TIMEOUT

    async def _read(self) -> None:
        clock = clock_ms()
        welcome = Welcome(self._challenge, limits.ENVELOPE_BYTES, limits.KEEPALIVE, clock)
        self.send(self._connection.send(welcome))
        while True:
            data = await self._channel.receive()
            self._note_life()
            for message in self._connection.receive(data):
                if type(message) is Send:
                    if debt := self._messages.spend():
                        await trio.sleep(debt)  # who sends too fast is read more slowly; nothing is refused
                    self._on_send(message)
                else:
                    await self._HANDLERS[type(message)](self, message)
            while self._in_flight > limits.IN_FLIGHT_MESSAGES or self._in_flight_bytes > limits.IN_FLIGHT_BYTES:
                await self._wait_settled()

    def _note_life(self) -> None:
        """Move the deadline on, at most once a second, once the peer has joined a room."""
        now = trio.current_time()
        if self._members and now - self._heard > 1:
            self._heard = now
            self._reading.deadline = now + limits.KEEPALIVE * limits.KEEPALIVE_GRACE

    async def _wait_settled(self) -> None:
        self._settled = trio.Event()
        await self._settled.wait()

    def send(self, data: bytes) -> None:
        """Send frames without waiting; a reader that is too far behind is sent away, to come back and resume."""
        if self._is_mute:
            return
        self._channel.send(data)
        if self._channel.backlog > limits.OUTBOX_BYTES:
            self._is_mute = True
            self.end(Reason.SLOW, 1)

    def settle(self, size: int) -> None:
        """Hear that one message of this session, of ``size`` bytes, was appended or refused."""
        self._in_flight -= 1
        self._in_flight_bytes -= size
        self._settled.set()

    def end(self, reason: Reason, retry_after: int) -> None:
        """End the session: it says GOODBYE when its task runs next."""
        if self._ending is None:
            self._ending = reason
            self._retry_after = retry_after
            self._reading.cancel()

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
        for member in list(self._members.values()):
            self._leave(member)

    def _leave(self, member: Member) -> None:
        room = member.room
        del self._members[room.handle]
        room.leave(member)
        if member.presence:
            self._services.rooms.tell(Change.LEFT, member)
        self._services.access.left(self._channel.peer, room)
        self._services.rooms.release(room)

    def _refuse(self, ref: int, code: Code, text: str, retry_after: float = 0) -> None:
        self._reply(Error(code, ref, ceil(retry_after), _NO_SUBJECT, text))

    def _reply(self, message: ServerMessage) -> None:
        self.send(self._connection.send(message))

    def _on_send(self, message: Send) -> None:
        self._in_flight += 1
        self._in_flight_bytes += len(message.envelope)
        self._services.committer.submit(self._members[message.handle], message.envelope)

    async def _on_join(self, message: Join) -> None:
        if debt := self._joins.spend():
            await trio.sleep(debt)
        refused = self._services.refused_joins.of(self._channel.peer)
        if wait := refused.wait():
            self._refuse(message.ref, Code.RATE, "too many refused joins", wait)
            return
        if not proof.is_proven(message.address, message.proof, self._challenge, self._spki_hash):
            refused.take()
            self._refuse(message.ref, Code.BAD_PROOF, "the proof does not verify")
        elif any(m.room.address == message.address for m in self._members.values()):
            self._refuse(message.ref, Code.ALREADY_JOINED, "this connection is in that room")
        elif len(self._members) >= limits.ROOMS_PER_CONNECTION:
            self._refuse(message.ref, Code.TOO_MANY_ROOMS, f"at most {limits.ROOMS_PER_CONNECTION} rooms")
        else:
            await self._join(message)

    async def _join(self, message: Join) -> None:
        """Join a room whose proof was verified."""
        services = self._services
        try:
            found = await services.rooms.find(message.address, may_create=False)
            if found is None and message.may_create and self._may_create(message.ref):
                found = await services.rooms.find(message.address, may_create=True)
        except StorageError as error:
            _logger.error("a room could not be opened: %s", error)
            self._refuse(message.ref, Code.STORAGE, "the room could not be stored", limits.STORAGE_RETRY)
            return
        if found is not None:
            self._admit(message, *found)
            return
        services.refused_joins.of(self._channel.peer).take()  # whatever the answer was: it may have been a guess
        if not message.may_create:
            self._refuse(message.ref, Code.NO_SUCH_ROOM, "nobody has used this address")

    def _may_create(self, ref: int) -> bool:
        """Tell whether this peer may create a room now; if not, it is told why."""
        if not self._services.may_create:
            self._refuse(ref, Code.ROOMS_CLOSED, "this server takes no new rooms")
            return False
        if wait := self._services.creations.of(self._channel.peer).take():
            self._refuse(ref, Code.RATE, "too many new rooms", wait)
            return False
        return True

    def _admit(self, message: Join, room: Room, created: bool) -> None:
        member, reply = room.join(self, message.ref, message.presence, created=created)
        self._members[room.handle] = member
        self._connection.admit(room.handle)
        self.send(reply)
        if member.presence:
            self._services.rooms.tell(Change.JOINED, member)
        self._services.access.joined(self._channel.peer, room, created=created)
        self._note_life()

    async def _on_presence(self, message: Presence) -> None:
        member = self._members[message.handle]
        if debt := self._changes.spend():
            await trio.sleep(debt)
        change = Change.CHANGED if member.presence else Change.JOINED
        member.presence = message.presence
        self._services.rooms.tell(change, member)

    async def _on_history(self, message: History) -> None:
        """Answer with one page. The reader waits for it, so a connection has one page under way at the most."""
        member = self._members[message.handle]
        await self._channel.drain()
        try:
            page = await self._services.log.read(member.room.number, message.direction, message.sequence, message.most)
        except StorageError as error:
            _logger.error("history could not be read: %s", error)
            self._refuse(message.ref, Code.STORAGE, "the history could not be read", limits.STORAGE_RETRY)
        else:
            self._reply(Past(message.ref, message.handle, *page))

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
