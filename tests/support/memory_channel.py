"""A channel in memory: both ends, with a socket between them that holds so much and no more."""

import sys
from collections import deque
from collections.abc import Callable

import trio

from securechat.errors import ChannelBrokenError, ChannelClosedError
from securechat.transport.channel import Channel

CAPACITY = 256 * 1024


class _Pipe:
    """One direction: bytes that were handed to the kernel and not read yet."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.held = bytearray()
        self.is_closed = False
        self.is_broken = False
        self._waiting = trio.lowlevel.ParkingLot()

    @property
    def is_over(self) -> bool:
        return self.is_closed or self.is_broken

    @property
    def room(self) -> int:
        return self.capacity - len(self.held)

    def take(self, data: bytes) -> bytes:
        """Take in what there is room for, and return the rest."""
        taken = data[: self.room]
        if taken:
            self.held += taken
            self.notify()
        return data[len(taken) :]

    def notify(self) -> None:
        self._waiting.unpark_all()

    async def changed(self) -> None:
        await self._waiting.park()


class MemoryChannel:
    """See ``securechat.transport.channel.Channel``.

    Attributes:
        closed_with: How this end was closed: "close", "abort", or "" so far.
    """

    def __init__(self, outgoing: _Pipe, incoming: _Pipe, peer: str) -> None:
        self._outgoing = outgoing
        self._incoming = incoming
        self._waiting: deque[bytes] = deque()
        self._waiting_size = 0
        self._unsent = b""
        self._is_draining = False
        self._prepared: list[bytes] = []
        self.peer = peer
        self.on_backlog: Callable[[], None] = lambda: None
        self.closed_with = ""

    @property
    def backlog(self) -> int:
        """See ``Channel.backlog``."""
        return len(self._unsent) + self._waiting_size

    def send(self, data: bytes) -> None:
        """See ``Channel.send``."""
        if self._outgoing.is_over:
            return
        if self._unsent:
            self._waiting.append(data)
            self._waiting_size += len(data)
            return
        self._unsent = self._outgoing.take(data)
        if self._unsent and not self._is_draining:
            self.on_backlog()

    def prepare(self, data: bytes) -> None:
        """See ``Channel.prepare``."""
        self._prepared.append(data)

    def flush(self) -> None:
        """See ``Channel.flush``."""
        prepared, self._prepared = self._prepared, []
        for data in prepared:
            self.send(data)

    def replace_backlog(self, data: bytes) -> None:
        """See ``Channel.replace_backlog``."""
        self._waiting.clear()
        self._waiting_size = 0
        self.send(data)

    async def drain(self) -> None:
        """See ``Channel.drain``."""
        self._is_draining = True
        try:
            while self._unsent and not self._outgoing.is_over:
                if not self._outgoing.room:
                    await self._outgoing.changed()
                self._unsent = self._outgoing.take(self._unsent)
                if not self._unsent and self._waiting:
                    self._unsent = self._waiting.popleft()
                    self._waiting_size -= len(self._unsent)
        finally:
            self._is_draining = False

    def take(self) -> bytes:
        """Return what is there, without waiting."""
        data = bytes(self._incoming.held)
        self._incoming.held.clear()
        self._incoming.notify()
        return data

    async def receive(self) -> bytes:
        """See ``Channel.receive``."""
        await trio.lowlevel.checkpoint()
        while True:
            if self._incoming.is_broken:
                raise ChannelBrokenError("the connection broke")
            if data := self.take():
                return data
            if self._incoming.is_closed or self.closed_with:
                raise ChannelClosedError("the connection was closed")
            await self._incoming.changed()

    async def aclose(self) -> None:
        """See ``Channel.aclose``."""
        try:
            await self.drain()
            self._outgoing.is_closed = True
            self._outgoing.notify()
            while not self._incoming.is_over:
                self.take()
                await self._incoming.changed()
            self.closed_with = self.closed_with or "close"
        finally:
            self.abort()
        await trio.lowlevel.checkpoint()

    def shut_down(self) -> None:
        """Say that nothing will follow from this end, which still reads."""
        self._outgoing.is_closed = True
        self._outgoing.notify()

    def abort(self) -> None:
        """See ``Channel.abort``: what was not closed in good order is broken for the other end."""
        if self.closed_with:
            return
        self.closed_with = "abort"
        self._outgoing.is_broken = self._outgoing.is_broken or not self._outgoing.is_closed
        self._incoming.is_broken = True
        self._unsent = b""
        self._waiting.clear()
        self._waiting_size = 0
        self._outgoing.notify()
        self._incoming.notify()


def memory_channels(peer: str = "192.0.2.1", capacity: int = CAPACITY) -> tuple[MemoryChannel, MemoryChannel]:
    """Return the server's and the client's end; ``capacity`` bytes fit on the way to the client, any number back."""
    there, back = _Pipe(capacity), _Pipe(sys.maxsize)
    return MemoryChannel(there, back, peer), MemoryChannel(back, there, "192.0.2.200")


def _is_a_channel(channel: MemoryChannel) -> Channel:
    """Let the type checker hold it against the interface."""
    return channel
