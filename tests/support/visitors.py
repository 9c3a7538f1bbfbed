"""Clients that speak the relay protocol over TLS and seal nothing: many of them are cheap, and they may misbehave."""

import socket
import ssl
import struct
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache, partial
from typing import TypeVar

import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from securechat.errors import ChannelBrokenError, ChannelClosedError
from securechat.protocol import messages, proof
from securechat.protocol.connection import ClientConnection
from securechat.protocol.messages import (
    Deliver,
    Direction,
    Goodbye,
    History,
    Join,
    Joined,
    Message,
    Past,
    Ping,
    Pong,
    Send,
    Welcome,
)
from securechat.transport.certificates import spki_hash
from securechat.transport.channel import take_socket
from securechat.transport.tls import client_context
from securechat.transport.tls_channel import TlsChannel
from tests.support.patience import PATIENCE

KEY = Ed25519PrivateKey.from_private_bytes(b"one room key of thirty-two bytes")
OTHER_KEY = Ed25519PrivateKey.from_private_bytes(b"other room key of thirtytwo byte")
M = TypeVar("M", bound=Message)


async def open_socket(port: int, receive_buffer: int = 0) -> socket.socket:
    """Connect; a small receive buffer makes a slow reader felt soon."""
    sock = trio.socket.socket()
    if receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    try:
        await sock.connect(("127.0.0.1", port))
    except OSError:
        sock.close()
        raise
    return take_socket(trio.SocketStream(sock))


class Visitor:
    """A client.

    Attributes:
        raw: All bytes that came.
        handle: The room that was joined last.
    """

    def __init__(
        self, sock: socket.socket, channel: TlsChannel, nursery: trio.Nursery, *, keeps_raw: bool = True
    ) -> None:
        self.socket = sock
        self.channel = channel
        self.raw = b""
        self.challenge = b""
        self.handle = 0
        self._keeps_raw = keeps_raw
        self._connection = ClientConnection()
        self._came: deque[Message] = deque()
        channel.on_backlog = partial(nursery.start_soon, channel.drain)

    async def next(self) -> Message:
        """Return the next message."""
        while not self._came:
            data = await self.channel.receive()
            if self._keeps_raw:
                self.raw += data
            self._came.extend(self._connection.receive(data))
        return self._came.popleft()

    async def until(self, kind: type[M]) -> M:
        """Return the next message of a kind; what comes before it is ignored."""
        with trio.fail_after(PATIENCE):
            while True:
                message = await self.next()
                if isinstance(message, kind):
                    return message
                assert not isinstance(message, Goodbye), message

    async def hear(self, count: int) -> list[Deliver]:
        """Return the next deliveries."""
        return [await self.until(Deliver) for _ in range(count)]

    async def end(self) -> list[Message]:
        """Return what comes up to the end, which has to be one in good order."""
        received: list[Message] = []
        with trio.fail_after(PATIENCE):
            try:
                while True:
                    received.append(await self.next())
            except ChannelClosedError as error:
                assert not isinstance(error, ChannelBrokenError)  # noqa: PT017
            await self.channel.aclose()
        return received

    def say(self, *said: messages.ClientMessage) -> None:
        """Send messages."""
        self.channel.send(b"".join(self._connection.send(message) for message in said))

    def send(self, *envelopes: bytes) -> None:
        """Send envelopes to the room."""
        self.say(*(Send(self.handle, envelope) for envelope in envelopes))

    async def join(self, key: Ed25519PrivateKey = KEY, presence: bytes = b"") -> Joined:
        """Join a room."""
        address = key.public_key().public_bytes_raw()
        pin = spki_hash(self.channel.peer_certificate)
        signature = key.sign(proof.signed_bytes(self.challenge, pin, address))
        self.say(Join(1, address, signature, True, presence))
        joined = await self.until(Joined)
        self.handle = joined.handle
        return joined

    async def page(self, sequence: int = 1) -> Past:
        """Return a page of history from a sequence on."""
        self.say(History(2, self.handle, Direction.FORWARD, sequence, 1000))
        return await self.until(Past)

    async def is_well(self) -> None:
        """Check that the server answers."""
        self.say(Ping(b"8 bytes."))
        await self.until(Pong)

    def reset(self) -> None:
        """Vanish: the server gets a TCP reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()
        self.channel.abort()


@cache
def _context() -> ssl.SSLContext:
    return client_context(verify=False)


@asynccontextmanager
async def open_visitor(
    port: int,
    key: Ed25519PrivateKey | None = KEY,
    *,
    presence: bytes = b"",
    is_let_in: bool = True,
    receive_buffer: int = 0,
    keeps_raw: bool = True,
) -> AsyncIterator[Visitor]:
    """Connect, and join a room if there is a key.

    Args:
        port: Where on 127.0.0.1.
        key: The key of the room to join; None for none.
        presence: What to show to others; empty for an unlisted member.
        is_let_in: Whether a WELCOME is to be waited for.
        receive_buffer: Bytes that the socket holds unread; 0 for as many as the system likes.
        keeps_raw: Whether what comes is kept as bytes too.
    """
    sock = await open_socket(port, receive_buffer)
    async with trio.open_nursery() as nursery:
        visitor = Visitor(sock.dup(), TlsChannel(sock, _context(), "localhost"), nursery, keeps_raw=keeps_raw)
        try:
            with trio.fail_after(PATIENCE):
                await visitor.channel.handshake()
            if is_let_in:
                visitor.challenge = (await visitor.until(Welcome)).challenge
            if is_let_in and key is not None:
                await visitor.join(key, presence)
            yield visitor
        finally:
            visitor.channel.abort()
            visitor.socket.close()
        nursery.cancel_scope.cancel()
