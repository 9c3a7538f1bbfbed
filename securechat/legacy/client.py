"""A conversation in the old base64 mode, with our own listener (inside TLS) or an original server (bare TCP).

Another implementation of ``securechat.client.conversation``: nothing of it is encrypted between members,
and nobody is who they say they are.
"""

import datetime
import math
import random
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio

from securechat import labels, limits
from securechat.client import trust
from securechat.client.address import ServerAddress
from securechat.client.clock import now_ms, seconds_left
from securechat.client.conversation import Event, Kind, Present, Sender, Unsent
from securechat.client.trust import Trust
from securechat.errors import ChannelClosedError, InputError, UnreachableError
from securechat.legacy import codec
from securechat.legacy.codec import Joined, Left, LegacyError, Notice, Other, Said, UnitDecoder, Welcome
from securechat.transport.channel import SocketChannel

DEFAULT_PORT = 12345
_WARNING = "NOT ENCRYPTED: whoever runs the server, or is on the way without TLS, reads everything."


@dataclass(frozen=True)
class LegacyOptions:
    """What a conversation in the old mode is opened with.

    Attributes:
        server: Where.
        room: The room, as it is.
        nick: The nickname.
        trust: How the server is recognised; None to talk without TLS.
    """

    server: ServerAddress
    room: str
    nick: str
    trust: Trust | None


class _Unacknowledged:
    """What was sent and has not come back, oldest first.

    On a slow way a message may come back in parts, or together with the next one. Spaces, with which
    units are filled up, do not count.
    """

    def __init__(self) -> None:
        self._messages: deque[Unsent] = deque()
        self._heard = ""  # the beginning of the oldest

    def __len__(self) -> int:
        return len(self._messages)

    def __iter__(self) -> Iterator[Unsent]:
        return iter(self._messages)

    def append(self, message: Unsent) -> None:
        """Note that a message was sent."""
        self._messages.append(message)

    def take_all(self) -> int:
        """Forget everything and return how many messages that were."""
        count = len(self._messages)
        self._messages.clear()
        self._heard = ""
        return count

    def hear(self, text: str) -> bool:
        """Take in what came back under this member's name; tell whether a message is whole now."""
        text = _bare(text)
        self._heard += text
        before = len(self._messages)
        while self._messages and self._heard.startswith(first := _bare(self._messages[0].text)):
            self._heard = self._heard.removeprefix(first)
            self._messages.popleft()
        waiting = [_bare(message.text) for message in self._messages]
        if not "".join(waiting).startswith(self._heard):  # of another of this name, or one was lost before
            self._heard = ""
            if text in waiting:
                del self._messages[waiting.index(text)]
        return len(self._messages) < before


def _bare(text: str) -> str:
    return text.replace(" ", "")


class LegacyConversation:
    """See ``Conversation``. Made by ``open_legacy``.

    A message that was under way when the connection was lost may have arrived or not: it is not sent
    again, for the old protocol could not tell that it is the same.
    """

    is_encrypted = False
    read_before = 0

    def __init__(self, options: LegacyOptions) -> None:
        self.room = options.room
        self.server = str(options.server)
        self.lag: float | None = None  # nothing in that protocol measures it
        self.nick = options.nick
        self.refused = 0
        self._options = options
        self._produce, self.events = trio.open_memory_channel[Event](limits.EVENTS)
        self._channel: SocketChannel | None = None
        self._scope = trio.CancelScope()
        self._pausing: trio.CancelScope | None = None
        self._waiting: deque[Unsent] = deque()
        self._sent = _Unacknowledged()
        self._work = trio.Event()
        self._echo = trio.Event()
        self._acknowledged = trio.Event()
        self._caught_up = trio.Event()
        self._names: dict[int, str] = {}
        self._last_number = 0
        self._is_new = False  # the welcome has counted this member, the notice of its joining is to come
        self._follows: Said | None = None  # what a piece without a head goes on with

    # What a screen does

    @property
    def is_connected(self) -> bool:
        """See ``Conversation.is_connected``."""
        return self._channel is not None

    @property
    def pending(self) -> int:
        """See ``Conversation.pending``."""
        return len(self._waiting) + len(self._sent)

    @property
    def unsent(self) -> list[Unsent]:
        """See ``Conversation.unsent``. A message that was split is one for each part."""
        return [*self._sent, *self._waiting]

    @property
    def retry_in(self) -> float | None:
        """See ``Conversation.retry_in``."""
        return seconds_left(self._pausing)

    @property
    def present(self) -> dict[int, Present]:
        """See ``Conversation.present``."""
        return {number: Present(self._sender(name), is_reader=False) for number, name in self._names.items()}

    def say(self, text: str, *, is_action: bool = False) -> None:
        """See ``Conversation.say``. A long text becomes several messages."""
        if not text.strip():
            raise InputError("The message is empty.", "Type something.")
        if "\0" in text:
            raise InputError("The message holds a NUL character.", "Send text only.")
        if self.pending >= limits.PENDING_MESSAGES:
            raise InputError(f"{self.pending} messages wait for the server already.", "Wait until they are sent.")
        if is_action:
            text = f"* {self.nick} {text}"
        pieces = codec.split(text.rstrip(" "), limits.LEGACY_SENT_BYTES)
        now = now_ms()
        self._waiting.extend(Unsent(now, piece.decode("gbk"), is_action) for piece in pieces)
        self._work.set()

    def rename(self, nick: str) -> None:
        """See ``Conversation.rename``. There is no such thing here."""
        raise InputError("The old protocol cannot change a nickname.", f"Leave, and come back with --nick {nick}.")

    def reconnect(self) -> None:
        """See ``Conversation.reconnect``."""
        self._scope.cancel()
        if self._pausing is not None:
            self._pausing.cancel()

    async def wait_acknowledged(self) -> None:
        """See ``Conversation.wait_acknowledged``."""
        self._acknowledged = trio.Event()
        await self._acknowledged.wait()

    async def wait_caught_up(self) -> None:
        """See ``Conversation.wait_caught_up``."""
        await self._caught_up.wait()

    async def load_older(self, count: int) -> list[Event]:
        """See ``Conversation.load_older``. An old server keeps nothing."""
        del count
        await trio.lowlevel.checkpoint()
        return []

    # The supervisor

    async def supervise(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Keep the room joined until cancelled; started when it is joined first.

        Raises:
            SecurechatError: The first attempt failed, or the server is not to be trusted any more.
        """
        pause = limits.RECONNECT_FIRST
        has_joined = False

        async def joined() -> None:
            nonlocal has_joined, pause
            await self._tell(_WARNING)
            if not has_joined:
                task_status.started()
            has_joined, pause = True, limits.RECONNECT_FIRST

        while True:
            try:
                why = await self._visit(joined)
            except UnreachableError as error:
                if not has_joined:
                    raise
                why = error.message
            if not has_joined:
                raise UnreachableError(f"{self._options.server} ended the connection: {why}.", "Try again later.")
            await self._tell(f"connection lost: {why.rstrip('.')}; reconnecting ({_WARNING})")
            with trio.move_on_after(pause * random.uniform(0.8, 1.2)) as self._pausing:  # noqa: S311
                await trio.sleep_forever()
            self._pausing = None
            pause = min(limits.RECONNECT_MOST, pause * 2)

    async def _visit(self, joined: Callable[[], Awaitable[None]]) -> str:
        """Connect, join and stay; return why the connection was lost."""
        channel = await self._connect()
        try:
            with trio.CancelScope() as self._scope:
                async with trio.open_nursery() as nursery:
                    channel.on_backlog = lambda: nursery.start_soon(channel.drain)
                    channel.send(codec.greet(self.room, self.nick))
                    try:
                        await self._stay(channel, nursery, joined)
                    except (ChannelClosedError, LegacyError) as error:
                        nursery.cancel_scope.cancel()
                        return str(error)
            return "reconnecting, as asked"
        finally:
            self._channel = None
            await self._leave(channel)

    async def _connect(self) -> SocketChannel:
        options = self._options
        if options.trust is None:
            return await trust.open_plain(options.server)
        channel, _ = await trust.connect(options.server, options.trust, labels.LEGACY_ALPN)
        return channel

    async def _leave(self, channel: SocketChannel) -> None:
        """Leave by a reset: an end in good order breaks the threads of an original server."""
        if unknown := self._sent.take_all():
            self.refused += unknown
            what = "1 message" if unknown == 1 else f"{unknown} messages"
            self._produce_now(f"It is not known whether {what} arrived.")
        self._names.clear()
        with trio.CancelScope(shield=True, deadline=trio.current_time() + limits.LEGACY_FLUSH_TIMEOUT):
            await channel.reset()

    def _produce_now(self, text: str) -> None:
        try:
            self._produce.send_nowait(_notice(text))
        except (trio.WouldBlock, trio.BrokenResourceError):
            return

    async def _stay(self, channel: SocketChannel, nursery: trio.Nursery, joined: Callable[[], Awaitable[None]]) -> None:
        """Read until the connection ends; begin to write when the welcome has come."""
        decoder = UnitDecoder()
        is_welcome = False
        while True:
            if is_welcome or self._channel is not None:
                text = await _next_text(channel, decoder)
            else:
                with trio.move_on_after(limits.REPLY_TIMEOUT) as waiting:
                    text = await _next_text(channel, decoder)
                if waiting.cancelled_caught:
                    raise LegacyError("it does not answer")
            if not is_welcome:
                is_welcome = True
                self._channel = channel
                await joined()
                nursery.start_soon(self._write, channel)
                self._caught_up.set()
            for notice in codec.parse_notices(text):
                await self._take(notice)

    async def _write(self, channel: SocketChannel) -> None:
        """Send one message after another: the next when the last has come back, or after a second."""
        while True:
            self._work = trio.Event()
            while self._waiting:
                message = self._waiting.popleft()
                self._sent.append(message)
                self._echo = trio.Event()
                for unit in codec.encode(message.text):
                    channel.send(unit)
                with trio.move_on_after(limits.LEGACY_ECHO_TIMEOUT):
                    await self._echo.wait()
            await self._work.wait()

    # What the server says

    def _sender(self, name: str) -> Sender:
        return Sender(name, b"", verified=False, is_me=name == self.nick)

    async def _tell(self, text: str) -> None:
        await self._produce.send(_notice(text))

    async def _take(self, notice: Notice) -> None:
        match notice:
            case Welcome(names, addition):
                self._names.clear()
                self._is_new = self.nick in names
                if self._is_new:
                    names.remove(self.nick)
                for name in names:
                    self._arrive(name)
                await self._tell(f"You are in the room {self.room}. {addition}".rstrip())
            case Joined(time, name):
                if self._is_new and name == self.nick:
                    self._is_new = False
                else:
                    self._arrive(name)
                await self._produce.send(
                    Event(Kind.JOINED, _moment(time), f"{name} joined.", sender=self._sender(name))
                )
            case Left(time, name):
                self._depart(name)
                await self._produce.send(Event(Kind.LEFT, _moment(time), f"{name} left.", sender=self._sender(name)))
            case Said():
                self._follows = notice
                await self._hear(notice)
            case Other(text) if self._follows is not None:
                await self._hear(self._follows._replace(text=text))
            case Other(text):
                await self._tell(text)

    async def _hear(self, notice: Said) -> None:
        sender = self._sender(notice.name)
        is_own = sender.is_me and self._sent.hear(notice.text)
        if is_own:
            self._echo.set()
            self._acknowledged.set()
        await self._produce.send(Event(Kind.MESSAGE, _moment(notice.time), notice.text, sender=sender, is_own=is_own))

    def _arrive(self, name: str) -> None:
        self._last_number += 1
        self._names[self._last_number] = name

    def _depart(self, name: str) -> None:
        for number, known in self._names.items():
            if known == name:
                del self._names[number]
                return


async def _next_text(channel: SocketChannel, decoder: UnitDecoder) -> str:
    """Return the next text of the server: up to the end of a unit, or to a pause after whole characters."""
    data = b""
    while True:
        text = "".join(decoder.feed(data))
        if text:
            return text
        data = b""
        with trio.move_on_after(limits.LEGACY_QUIET if decoder.is_whole else math.inf):
            data = await channel.receive()
        if not data:
            if text := decoder.flush():
                return text
            data = await channel.receive()


def _notice(text: str) -> Event:
    return Event(Kind.NOTICE, now_ms(), text)


def _moment(time: str) -> int:
    """Return a server's local time, taken for ours, in ms since 1970 UTC; now if it is none."""
    try:
        return int(datetime.datetime.fromisoformat(time).timestamp() * 1000)
    except (ValueError, OverflowError, OSError):
        return now_ms()


@asynccontextmanager
async def open_legacy(options: LegacyOptions) -> AsyncIterator[LegacyConversation]:
    """Join a room in the old mode and keep it joined while the context is open.

    Raises:
        SecurechatError: The server cannot be reached or is not trusted. It may come inside an ExceptionGroup.
    """
    conversation = LegacyConversation(options)
    async with trio.open_nursery() as nursery:
        await nursery.start(conversation.supervise)
        yield conversation
        nursery.cancel_scope.cancel()
