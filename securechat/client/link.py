"""One connection of a client: the channel and the relay protocol over it."""

import os
from collections import deque
from typing import Final, cast

import trio

from securechat import limits
from securechat.errors import ProtocolError, ServerRefusedError, UnreachableError
from securechat.protocol.connection import ClientConnection, State
from securechat.protocol.messages import (
    ClientMessage,
    Goodbye,
    Message,
    Ping,
    Pong,
    Reason,
    ServerMessage,
    Welcome,
)
from securechat.transport.channel import Channel

_ENDINGS: Final[dict[int, str]] = {
    Reason.SHUTDOWN: "the server shuts down or restarts",
    Reason.SLOW: "this client read too slowly",
    Reason.TIMEOUT: "the server heard nothing for too long",
    Reason.PROTOCOL: "the server says that this client broke the protocol",
    Reason.RATE: "the server says that there is too much from here",
    Reason.INTERNAL: "a fault of the server",
}


def clamp(value: int, bounds: tuple[int, int]) -> int:
    """Return ``value`` within ``bounds``: a server dictates only so much."""
    return max(bounds[0], min(bounds[1], value))


class Link:
    """A connection of a client; ``greet`` comes first.

    Attributes:
        channel: The channel, its handshake done.
        spki_hash: SHA-256 of the server's public key, 32 bytes.
        welcome: What the server said first, clamped to what a client accepts.
        lag: Seconds that the last PING took; None before the first.
    """

    def __init__(self, channel: Channel, spki_hash: bytes) -> None:
        self.channel = channel
        self.spki_hash = spki_hash
        self.welcome = Welcome(b"", 0, 0, 0)
        self.lag: float | None = None
        self._connection = ClientConnection()
        self._received: deque[Message] = deque()
        self._pinged: tuple[bytes, float] | None = None
        self._last_ref = 0
        self._heard = trio.Event()

    async def greet(self) -> None:
        """Read the WELCOME.

        Raises:
            ServerRefusedError: The server says goodbye, or breaks the protocol.
            ChannelClosedError: The connection ended.
            UnreachableError: Nothing comes.
        """
        with trio.move_on_after(limits.REPLY_TIMEOUT):
            welcome = await self.next()
            assert isinstance(welcome, Welcome), "the state table lets nothing else come first"
            self.welcome = Welcome(
                welcome.challenge,
                min(welcome.largest, limits.ENVELOPE_BYTES),
                clamp(welcome.keepalive, limits.KEEPALIVE_SECONDS),
                welcome.clock,
            )
            return
        raise UnreachableError("The server does not say anything.", "Try again later.")

    def new_ref(self) -> int:
        """Return a number for a question."""
        self._last_ref += 1
        return self._last_ref

    def send(self, message: ClientMessage) -> None:
        """Send a message without waiting; after the server's GOODBYE, nothing."""
        if self._connection.state is not State.ENDED:  # it may have come together with what is worked on still
            self.channel.send(self._connection.send(message))

    def ping(self) -> trio.Event:
        """Send a PING, whose answer sets ``lag``; return an event that is set when the server says anything at all."""
        token = os.urandom(8)
        self._pinged = token, trio.current_time()
        self._heard = trio.Event()
        self.send(Ping(token))
        return self._heard

    async def measure(self) -> float:
        """Send a PING and return the seconds until its answer; for a connection that has joined nothing.

        Raises:
            ServerRefusedError: The server says goodbye, or breaks the protocol.
            ChannelClosedError: The connection ended.
            UnreachableError: Nothing comes.
        """
        self.ping()
        with trio.move_on_after(limits.REPLY_TIMEOUT):
            while self.lag is None:
                await self._receive_one()
            return self.lag
        raise UnreachableError("The server does not answer.", "Try again later.")

    async def next(self) -> ServerMessage:
        """Return the server's next message; pings and pongs are dealt with here.

        Raises:
            ServerRefusedError: The server says goodbye, or breaks the protocol.
            ChannelClosedError: The connection ended.
        """
        while (message := await self._receive_one()) is None:
            pass
        return message

    async def _receive_one(self) -> ServerMessage | None:
        """Return one message, or None for one that was dealt with."""
        while not self._received:
            data = await self.channel.receive()
            try:
                self._received.extend(self._connection.receive(data))
            except ProtocolError as error:
                raise ServerRefusedError(f"The server broke the protocol ({error}).", "Tell who runs it.") from error
        self._heard.set()
        message = self._received.popleft()
        match message:
            case Ping():
                if self.channel.backlog <= limits.PONG_BACKLOG:  # else the server asks and does not read
                    self.send(Pong(message.token))
            case Pong():
                self._note_pong(message)
            case Goodbye():
                raise _farewell(message)
            case _:
                return cast(ServerMessage, message)  # the state table admits no other
        return None

    def _note_pong(self, pong: Pong) -> None:
        if self._pinged and self._pinged[0] == pong.token:
            self.lag = trio.current_time() - self._pinged[1]
            self._pinged = None


def _farewell(goodbye: Goodbye) -> ServerRefusedError:
    why = _ENDINGS.get(goodbye.reason) or f"reason {goodbye.reason}"
    said = f" ({goodbye.text})" if goodbye.text else ""
    retry_after = clamp(goodbye.retry_after, limits.RETRY_SECONDS) if goodbye.retry_after else 0
    return ServerRefusedError(
        f"The server ended the connection: {why}{said}.",
        f"Try again in {retry_after} s." if retry_after else "Try again.",
        retry_after=retry_after,
        is_busy=goodbye.reason == Reason.RATE,
    )
