"""The server without sockets and TLS: real sessions, rooms and committer, over channels in memory."""

from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar

import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from trio.testing import wait_all_tasks_blocked

from securechat.errors import ChannelClosedError, StorageError
from securechat.history.log import RoomLog
from securechat.limits import ServerLimits
from securechat.protocol import messages, proof
from securechat.protocol.connection import ClientConnection
from securechat.protocol.messages import Deliver, Error, Goodbye, Join, Joined, MemberChange, Message, Welcome
from securechat.server.access import AccessLog
from securechat.server.commit import Committer
from securechat.server.gate import Gate
from securechat.server.rooms import Rooms
from securechat.server.session import Services, Session
from tests.support.memory_channel import CAPACITY, MemoryChannel, memory_channels

SPKI_HASH = b"spki hash of thirty-two bytes..."
CLOCK = 1_700_000_000_000  # the server's, in ms
M = TypeVar("M", bound=Message)
L = TypeVar("L", bound=RoomLog)


class Key:
    """The key of a room: who has it may join."""

    def __init__(self, number: int = 0) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(number.to_bytes(32, "big"))
        self.address = self._private.public_key().public_bytes_raw()

    def join(self, challenge: bytes, ref: int = 1, presence: bytes = b"", *, may_create: bool = True) -> Join:
        """Return a JOIN with a good proof."""
        signature = self._private.sign(proof.signed_bytes(challenge, SPKI_HASH, self.address))
        return Join(ref, self.address, signature, may_create, presence)


KEY = Key()


class Visitor:
    """A client.

    Attributes:
        channel: Its end of the connection; ``server_end`` is the other.
        raw: All bytes that came.
        challenge: That of WELCOME.
    """

    def __init__(self, channel: MemoryChannel, server_end: MemoryChannel, session: Session) -> None:
        self.channel = channel
        self.server_end = server_end
        self.session = session
        self.raw = b""
        self.challenge = b""
        self._connection = ClientConnection()
        self._came: deque[Message] = deque()

    def _take(self, data: bytes) -> None:
        self.raw += data
        self._came.extend(self._connection.receive(data))

    async def next(self) -> Message:
        """Return the next message."""
        while not self._came:
            self._take(await self.channel.receive())
        return self._came.popleft()

    async def expect(self, kind: type[M]) -> M:
        """Return the next message, which has to be of a kind."""
        message = await self.next()
        assert isinstance(message, kind), message
        return message

    async def until(self, kind: type[M]) -> M:
        """Return the next message of a kind; what comes before it is ignored."""
        while True:
            message = await self.next()
            if isinstance(message, kind):
                return message
            assert not isinstance(message, Goodbye), message

    async def hear(self, count: int) -> list[bytes]:
        """Return the envelopes of the next deliveries."""
        return [(await self.until(Deliver)).envelope for _ in range(count)]

    async def rest(self) -> list[Message]:
        """Return what came until nothing happens any more."""
        while True:
            await wait_all_tasks_blocked()
            data = self.channel.take()
            if not data:
                break
            self._take(data)
        return self.take_rest()

    def take_rest(self) -> list[Message]:
        """Return what is there, without waiting."""
        self._take(self.channel.take())
        rest = list(self._came)
        self._came.clear()
        return rest

    async def end(self) -> list[Message]:
        """Return what comes up to the end, which has to be one in good order."""
        try:
            while True:
                self._take(await self.channel.receive())
        except ChannelClosedError as error:
            assert type(error) is ChannelClosedError, "not in good order"  # noqa: PT017
        self.channel.shut_down()
        rest = list(self._came)
        self._came.clear()
        await wait_all_tasks_blocked()
        return rest

    def say(self, *said: messages.ClientMessage) -> None:
        """Send messages, together."""
        self.channel.send(b"".join(self._connection.send(message) for message in said))

    def say_raw(self, data: bytes) -> None:
        """Send any bytes."""
        self.channel.send(data)

    async def greet(self) -> None:
        """Wait for WELCOME."""
        self.challenge = (await self.expect(Welcome)).challenge

    async def join(self, key: Key = KEY, presence: bytes = b"", ref: int = 1, *, may_create: bool = True) -> Joined:
        """Join a room."""
        self.say(key.join(self.challenge, ref, presence, may_create=may_create))
        return await self.until(Joined)

    async def is_refused(self, join: Join) -> Error:
        """Try to join and return the refusal."""
        self.say(join)
        error = await self.expect(Error)
        assert error.ref == join.ref
        assert error.subject == bytes(16)
        return error


class Relay(Generic[L]):
    """The server without sockets and TLS.

    Args:
        nursery: Where its tasks run.
        log: The room log.
        clock: Returns the server's clock in ms.
        allowed: Limits other than the usual ones.

    Attributes:
        failures: What the committer reported.
    """

    def __init__(self, nursery: trio.Nursery, log: L, clock: Callable[[], int] = lambda: CLOCK, **allowed: Any) -> None:
        self._nursery = nursery
        self.log = log
        self.failures: list[StorageError] = []
        rooms = Rooms(log)
        limited = ServerLimits(**allowed)
        committer = Committer(log, rooms, clock, self.failures.append, limited.in_flight_bytes)
        self.services = Services(log, rooms, committer, AccessLog(Gate()), allowed=limited)
        nursery.start_soon(committer.run)
        nursery.start_soon(rooms.tell_changes)
        nursery.start_soon(self.services.laggards.watch)

    @property
    def closed(self) -> dict[str, int]:
        """How many sessions ended for which reason."""
        return dict(self.services.closed)

    async def connect(
        self, *, peer: str = "192.0.2.1", capacity: int = CAPACITY, kind: type[Session] = Session
    ) -> Visitor:
        """Connect somebody, who has read WELCOME."""
        server_end, client_end = memory_channels(peer, capacity)
        session = kind(self.services, server_end, SPKI_HASH)
        self._nursery.start_soon(session.run)
        visitor = Visitor(client_end, server_end, session)
        await visitor.greet()
        return visitor

    async def member(self, key: Key = KEY, presence: bytes = b"", **settings: Any) -> tuple[Visitor, int]:
        """Connect somebody who joins, and return them with the handle of the room."""
        visitor = await self.connect(**settings)
        return visitor, (await visitor.join(key, presence)).handle


@asynccontextmanager
async def open_relay(log: L, **settings: Any) -> AsyncIterator[Relay[L]]:
    """Run the server for the time of a test."""
    async with trio.open_nursery() as nursery:
        yield Relay(nursery, log, **settings)
        nursery.cancel_scope.cancel()


def delivered(received: Sequence[Message]) -> list[bytes]:
    """Return the envelopes among what was received."""
    return [message.envelope for message in received if isinstance(message, Deliver)]


def changes(received: Sequence[Message]) -> list[MemberChange]:
    """Return the changes of presence among what was received."""
    return [change for message in received if isinstance(message, messages.Member) for change in message.changes]
