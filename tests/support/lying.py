"""A server that can lie, made with the product's own protocol and channel; by itself it is honest."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import trio

from securechat.errors import ChannelClosedError, ProtocolError
from securechat.protocol import chain, proof
from securechat.protocol.connection import ServerConnection
from securechat.protocol.messages import (
    Change,
    Deliver,
    Direction,
    Goodbye,
    History,
    Join,
    Joined,
    Member,
    MemberChange,
    Message,
    Past,
    Ping,
    Pong,
    Presence,
    Reason,
    Record,
    Send,
    ServerMessage,
    Welcome,
)
from securechat.transport.certificates import make_pair
from securechat.transport.channel import take_socket
from securechat.transport.tls import ServerTls
from securechat.transport.tls_channel import TlsChannel
from tests.support.patience import PATIENCE

HANDLE = 7


class View:
    """A history: what some members are shown."""

    def __init__(self, address: bytes, log_id: bytes | None = None) -> None:
        self.address = address
        self.log_id = log_id or os.urandom(16)
        self.envelopes: list[bytes] = []
        self.first = 1  # the oldest that is handed out

    def copy(self) -> "View":
        """Return another view with the same past."""
        other = View(self.address, self.log_id)
        other.envelopes = list(self.envelopes)
        return other

    def head(self, sequence: int) -> bytes:
        """Return H of a sequence."""
        head = chain.root(self.address, self.log_id)
        for number, envelope in enumerate(self.envelopes[:sequence], 1):
            head = chain.link(head, number, chain.digest(envelope))
        return head

    @property
    def newest(self) -> int:
        """The last sequence."""
        return len(self.envelopes)


class Guest:
    """One connection.

    Attributes:
        view: What it is shown.
        number: Its member number.
        sent: The envelopes that came from it, in order.
    """

    def __init__(self, channel: TlsChannel, number: int) -> None:
        self._channel = channel
        self._connection = ServerConnection()
        self.challenge = os.urandom(32)
        self.number = number
        self.view = View(bytes(32))
        self.presence = b""
        self.sent: list[bytes] = []

    def tell(self, message: ServerMessage) -> None:
        """Send a message."""
        self._channel.send(self._connection.send(message))

    def tell_raw(self, data: bytes) -> None:
        """Send any bytes."""
        self._channel.send(data)

    def deliver(self, *envelopes: bytes) -> None:
        """Append envelopes to what this guest is shown, and deliver them."""
        for envelope in envelopes:
            self.view.envelopes.append(envelope)
            self.tell(Deliver(HANDLE, self.view.newest, 0, envelope))

    async def receive(self) -> list[Message]:
        """Return the next messages."""
        data = await self._channel.receive()
        return list(self._connection.receive(data))

    def close(self) -> None:
        """Cut the connection."""
        self._channel.abort()


class LyingServer:
    """The server. Tests replace its methods where it is to lie.

    Attributes:
        views: What those who join are shown, by their number; else ``view``.
        guests: The members who are connected, by number.
    """

    def __init__(self, tls: ServerTls, address: bytes) -> None:
        self.tls = tls
        self.pin = tls.pin
        self.port = 0
        self.view = View(address)
        self.views: dict[int, View] = {}
        self.guests: dict[int, Guest] = {}
        self.joins = 0
        self._changed = trio.Event()

    async def until_joined(self, number: int) -> Guest:
        """Wait for the guest of a number, counting joins from 1."""
        with trio.fail_after(PATIENCE):
            while number not in self.guests:
                await self._changed.wait()
        return self.guests[number]

    # Where it may lie

    def joined(self, guest: Guest, join: Join) -> Joined:
        """Return the answer to a JOIN."""
        view = guest.view
        head = view.head(view.newest)
        here = len(self.guests)
        return Joined(join.ref, HANDLE, guest.number, False, view.log_id, view.first, view.newest, head, here)

    def take(self, guest: Guest, envelope: bytes) -> None:
        """Do something with an envelope that came: append it everywhere, and deliver it to everybody."""
        done: list[View] = []
        for other in list(self.guests.values()):
            if other.view not in done:
                done.append(other.view)
                other.view.envelopes.append(envelope)
            other.tell(Deliver(HANDLE, other.view.newest, 0, envelope))

    def past(self, guest: Guest, history: History) -> Past:
        """Return the answer to a HISTORY."""
        view = guest.view
        if history.direction is Direction.FORWARD:
            first = min(max(history.sequence, view.first), view.newest + 1)
            chosen = view.envelopes[first - 1 : first - 1 + history.most]
        else:
            last = min(history.sequence - 1, view.newest)
            first = max(view.first, last + 1 - history.most)
            chosen = view.envelopes[first - 1 : last]
        records = tuple(Record(0, envelope) for envelope in chosen)
        return Past(history.ref, HANDLE, view.first, view.newest, first, view.head(first - 1), records)

    # The rest

    def change_presence(self, guest: Guest, change: Change) -> None:
        """Tell everybody of a change."""
        entry = MemberChange(change, guest.number, b"" if change is Change.LEFT else guest.presence)
        for other in self.guests.values():
            other.tell(Member(HANDLE, (entry,)))

    def say_goodbye(self) -> None:
        """End every connection."""
        guests, self.guests = self.guests, {}
        for guest in guests.values():
            guest.tell(Goodbye(Reason.SHUTDOWN, 0, ""))
            guest.close()

    async def serve(self, stream: trio.SocketStream) -> None:
        """Serve a connection."""
        channel = TlsChannel(take_socket(stream), self.tls.context)
        try:
            await channel.handshake()
            self.joins += 1
            guest = Guest(channel, self.joins)
            guest.tell(Welcome(guest.challenge, 65536, 60, 0))
            while True:
                for message in await guest.receive():
                    self._obey(guest, message)
        except (ChannelClosedError, ProtocolError):
            pass
        finally:
            for number, other in list(self.guests.items()):
                if other._channel is channel:
                    del self.guests[number]
                    self.change_presence(other, Change.LEFT)
            channel.abort()

    def _obey(self, guest: Guest, message: Message) -> None:
        match message:
            case Join():
                assert proof.is_proven(message.address, message.proof, guest.challenge, self.pin)
                guest.view = self.views.get(guest.number, self.view)
                guest.presence = message.presence
                guest.tell(self.joined(guest, message))
                here = tuple(MemberChange(Change.HERE, g.number, g.presence) for g in self.guests.values())
                if here:
                    guest.tell(Member(HANDLE, here))
                self.guests[guest.number] = guest
                self.change_presence(guest, Change.JOINED)
                self._changed.set()
                self._changed = trio.Event()
            case Send():
                guest.sent.append(message.envelope)
                self.take(guest, message.envelope)
            case History():
                guest.tell(self.past(guest, message))
            case Presence():
                guest.presence = message.presence
                self.change_presence(guest, Change.CHANGED)
            case Ping():
                guest.tell(Pong(message.token))


@asynccontextmanager
async def open_lying_server(directory: Path, address: bytes) -> AsyncIterator[LyingServer]:
    """Run a lying server for the room at ``address``."""
    server = LyingServer(ServerTls.load(make_pair(directory, ["127.0.0.1"], overwrite=True)), address)
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, server.serve, 0, host="127.0.0.1"))
        server.port = listeners[0].socket.getsockname()[1]
        yield server
        nursery.cancel_scope.cancel()
