"""A conversation in the old base64 mode, with our own listener (inside TLS) or an original server (bare TCP).

Another implementation of ``securechat.client.conversation``: nothing of it is encrypted between members,
and nobody is who they say they are.
"""

import datetime
import random
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
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
from securechat.legacy import codec, notices
from securechat.legacy.codec import Heard, LegacyError
from securechat.legacy.hearing import Texts, Unacknowledged
from securechat.legacy.notices import Joined, Left, Notice, Other, Said, Welcome
from securechat.transport.channel import SocketChannel

DEFAULT_PORT = 12345
_WARNING = "NOT ENCRYPTED: whoever runs the server, or is on the way without TLS, reads everything."


@dataclass(frozen=True)
class LegacyOptions:
    """What a conversation in the old mode is opened with.

    Attributes:
        server: Where.
        room: The room, as it is; all of it in GBK.
        nick: The nickname, as GBK carries it.
        trust: How the server is recognised; None to talk without TLS.
    """

    server: ServerAddress
    room: str
    nick: str
    trust: Trust | None


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
        self._sent = Unacknowledged()
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
        now = now_ms()
        pieces = codec.split(text.rstrip(" "), limits.LEGACY_SENT_BYTES)
        self._waiting.extend(Unsent(now, piece, is_action) for piece in pieces)
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
        """Connect: an end in good order, also of a client that is killed, breaks the threads of an original server."""
        options = self._options
        channel: SocketChannel
        if options.trust is None:
            channel = await trust.open_plain(options.server)
        else:
            channel, _ = await trust.connect(options.server, options.trust, labels.LEGACY_ALPN)
        channel.reset_on_close()
        return channel

    async def _leave(self, channel: SocketChannel) -> None:
        if unknown := self._sent.take_all():
            self.refused += unknown
            what = "1 message" if unknown == 1 else f"{unknown} messages"
            self._produce_now(f"It is not known whether {what} arrived.")
            self._acknowledged.set()
        self._names.clear()
        self._follows = None
        with trio.CancelScope(shield=True, deadline=trio.current_time() + limits.LEGACY_FLUSH_TIMEOUT):
            await channel.reset()

    def _produce_now(self, text: str) -> None:
        try:
            self._produce.send_nowait(_notice(text))
        except (trio.WouldBlock, trio.BrokenResourceError):
            return

    async def _stay(self, channel: SocketChannel, nursery: trio.Nursery, joined: Callable[[], Awaitable[None]]) -> None:
        """Read until the connection ends; begin to write when the welcome has come."""
        texts = Texts(channel)
        heard = await self._enter(texts)
        self._channel = channel
        await joined()
        nursery.start_soon(self._write, texts)
        while True:
            for notice in heard:
                await self._take(notice)
            self._caught_up.set()
            heard = self._parse(await texts.next())

    async def _enter(self, texts: Texts) -> list[Notice]:
        """Return what came up to the welcome. An original server may tell something else before it, and seldom all."""
        heard: list[Notice] = []
        with trio.move_on_after(limits.REPLY_TIMEOUT) as waiting:
            while not any(isinstance(notice, Welcome) for notice in heard):
                heard += self._parse(await texts.next())
                waiting.deadline = min(waiting.deadline, trio.current_time() + limits.LEGACY_HEAD_TIMEOUT)
        if not heard:
            raise LegacyError("it does not answer")
        return heard

    async def _write(self, texts: Texts) -> None:
        """Send one message after another: the next when the last has come back, or after a second."""
        while True:
            self._work = trio.Event()
            while self._waiting:
                message = self._waiting.popleft()
                self._sent.append(message)
                self._echo = trio.Event()
                texts.channel.send(codec.encode(message.text, is_ended=texts.decoder.is_ours))
                with trio.move_on_after(limits.LEGACY_ECHO_TIMEOUT):
                    await self._echo.wait()
            await self._work.wait()

    # What the server says

    def _sender(self, name: str) -> Sender:
        return Sender(name, b"", verified=False, is_me=name == self.nick)

    async def _tell(self, text: str) -> None:
        await self._produce.send(_notice(text))

    def _parse(self, heard: Heard) -> list[Notice]:
        """Return the notices in a text. Of an original server it may hold several, or a piece of one."""
        if heard.is_notice:
            self._follows = None
            return [notices.parse_notice(heard.text)]
        return notices.parse_notices(heard.text, [message.text for message in self._sent])

    async def _take(self, notice: Notice) -> None:
        follows, self._follows = self._follows, None
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
            case Other(text) if follows is not None:
                self._follows = follows
                await self._hear(follows._replace(text=text))
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
