"""A room over a connection that comes and goes: THE one place that joins sealing and transport.

One supervisor task connects, joins, stays (``securechat.client.visit``), and begins again with a growing
pause when the connection is lost. What a person says meanwhile waits in the outbox.
"""

import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace

import trio

from securechat import limits
from securechat.client import recent, refusals, trust
from securechat.client.address import ServerAddress
from securechat.client.clock import now_ms, seconds_left
from securechat.client.conversation import Event, Kind, Present, Unsent
from securechat.client.counters import Counters
from securechat.client.event_queue import EventQueue
from securechat.client.link import Link
from securechat.client.outbox import Outbox
from securechat.client.people import People
from securechat.client.roster import Roster
from securechat.client.state import State
from securechat.client.transcript import Backlog, Transcript
from securechat.client.trust import Trust
from securechat.client.visit import Belongings, Visit
from securechat.errors import (
    ChannelClosedError,
    NoSuchRoomError,
    SecurechatError,
    ServerRefusedError,
    StorageError,
    UnreachableError,
)
from securechat.protocol import proof
from securechat.protocol.messages import Error, Join, Joined, Past
from securechat.sealing.body import SESSION_BYTES
from securechat.sealing.identity import Identity
from securechat.sealing.keys import RoomKeys, RoomSecret
from securechat.sealing.names import normalise_nick

_LONG_PAUSE = 5.0  # seconds: a longer one is told

AskCreate = Callable[[RoomKeys], Awaitable[bool]]


@dataclass(frozen=True)
class Options:
    """What a conversation is opened with.

    Attributes:
        server: Where.
        room: The room's name, normalised.
        nick: The nickname, normalised.
        identity: Who speaks.
        derive: Makes the room secret; it runs in a thread.
        trust: How the server is recognised.
        state: The profile.
        ask_create: Asked when nobody has used this room; what it raises ends the conversation.
        backlog: How much of the log to read at first.
        is_listed: Whether others see this member.
        is_reader: Whether this member only reads.
        remembers: Whether what this run hears is remembered for the next one; what earlier ones have
            remembered is known either way.
        keeps_secret: Whether the room secret is remembered, once the room was joined.
    """

    server: ServerAddress
    room: str
    nick: str
    identity: Identity
    derive: Callable[[], RoomSecret]
    trust: Trust
    state: State
    ask_create: AskCreate
    backlog: Backlog = field(default_factory=Backlog)
    is_listed: bool = True
    is_reader: bool = False
    remembers: bool = True
    keeps_secret: bool = False


class RoomConversation:
    """See ``Conversation``. Made by ``open_conversation``.

    Attributes:
        keys: The room's keys.
        identity: Who speaks.
        people: Who has which nickname.
        transcript: The log as it is followed.
        link: The connection while it stands, or None.
        was_created: Whether this client opened the room.
    """

    is_encrypted = True

    def __init__(self, options: Options, keys: RoomKeys) -> None:
        self.room = options.room
        self.server = str(options.server)
        self.keys = keys
        self.identity = options.identity
        self.link: Link | None = None
        self._options = options
        self._nick = options.nick
        state = options.state
        self.people = People(state, keys.address, options.identity, learns=options.remembers)
        self.people.claim(self.people.sender(options.nick, options.identity.public))
        if options.remembers:
            state.forget_old(keys.address)
        counters = Counters(state.heard(keys.address))
        position = state.position(keys.address)
        self.read_before = position.sequence if position else 0
        session = os.urandom(SESSION_BYTES)
        self.transcript = Transcript(keys.address, self.people, counters, position, options.backlog, session)
        self._outbox = Outbox(keys, options.identity, self.transcript, session)
        self._roster = Roster(keys, self.people, self.transcript, session)
        self.events = EventQueue(limits.EVENTS)
        self._loading = trio.Lock()
        self._acknowledged = trio.Event()
        self._caught_up = trio.Event()
        self._visit: Visit | None = None
        self._pausing: trio.CancelScope | None = None
        self._has_joined = False
        self.was_created = False
        self._was_connected = False
        self._told = ""
        self._pause = 0.0  # seconds before the last attempt to connect again
        self._own = Belongings(
            keys,
            self.transcript,
            self._outbox,
            self._roster,
            state if options.remembers else None,
            self.events.put,
            self._note_acknowledged,
        )

    # What a screen does

    @property
    def nick(self) -> str:
        """See ``Conversation.nick``."""
        return self._nick

    @property
    def is_connected(self) -> bool:
        """See ``Conversation.is_connected``."""
        return self._visit is not None

    @property
    def pending(self) -> int:
        """See ``Conversation.pending``."""
        return len(self._outbox)

    @property
    def unsent(self) -> list[Unsent]:
        """See ``Conversation.unsent``."""
        return [Unsent(p.clock, p.text, p.is_action) for p in self._outbox.pending]

    @property
    def lag(self) -> float | None:
        """See ``Conversation.lag``."""
        return self.link.lag if self.link else None

    @property
    def retry_in(self) -> float | None:
        """See ``Conversation.retry_in``."""
        return seconds_left(self._pausing)

    @property
    def present(self) -> Mapping[int, Present]:
        """See ``Conversation.present``."""
        return self._roster.present

    def say(self, text: str, *, is_action: bool = False) -> None:
        """See ``Conversation.say``."""
        self._outbox.add(text, self._nick, is_action=is_action)
        if self._visit is not None:
            self._visit.wake()

    def rename(self, nick: str) -> None:
        """See ``Conversation.rename``."""
        self._nick = normalise_nick(nick)
        with suppress(StorageError):  # then the next run offers the old one
            recent.note_names(self._options.state, self.room, self._nick)
        if self._visit is not None and self._options.is_listed:
            self._visit.show_presence(self._seal_presence(is_joining=False))

    def reconnect(self) -> None:
        """See ``Conversation.reconnect``."""
        self._pause = 0.0
        if self._visit is not None:
            self._visit.end(ChannelClosedError("reconnecting, as asked"))
        elif self._pausing is not None:
            self._pausing.cancel()

    @property
    def refused(self) -> int:
        """How many messages the server will never take."""
        return self._outbox.refused

    @property
    def join_line(self) -> str:
        """The line to hand to friends; a pin is in it when a pin is how this client knows the server."""
        server = self._options.server
        entry = self._options.trust.known.entries().get(str(server))
        pins = sorted(entry.pins) if entry else []
        return replace(server, room=self.room, pin=pins[0] if pins else b"").to_line()

    async def wait_acknowledged(self) -> None:
        """See ``Conversation.wait_acknowledged``."""
        self._acknowledged = trio.Event()
        await self._acknowledged.wait()

    async def wait_caught_up(self) -> None:
        """Wait until all that the log held at the first join was read."""
        await self._caught_up.wait()

    async def load_older(self, count: int) -> list[Event]:
        """See ``Conversation.load_older``."""
        async with self._loading:
            return await self._load_older(count)

    async def _load_older(self, count: int) -> list[Event]:
        wanted, visit = self.transcript.wanted_older(count), self._visit
        if wanted is None or visit is None:
            return []
        give, take = trio.open_memory_channel[list[Event]](1)
        waiting = trio.CancelScope(deadline=trio.current_time() + limits.REPLY_TIMEOUT)

        async def answer(past: Past) -> None:
            letters = await visit.open_page(past)
            if not waiting.cancel_called:  # else nobody would see them, and they are to be asked for again
                give.send_nowait(self.transcript.older(past, letters))

        visit.ask(wanted, answer, waiting.cancel)
        with waiting:
            return await take.receive()
        return []

    def _note_acknowledged(self) -> None:
        self._acknowledged.set()

    def _seal_presence(self, *, is_joining: bool) -> bytes:
        return self._outbox.seal_presence(self._nick, is_reader=self._options.is_reader, is_joining=is_joining)

    # The supervisor

    async def supervise(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Keep the room joined until cancelled; started when it is joined first.

        Raises:
            SecurechatError: It could not be joined, or the server is not to be trusted any more.
        """
        may_create = False
        give_up = trio.current_time() + limits.BUSY_PATIENCE
        while True:
            began = trio.current_time()
            try:
                lost = await self._visit_once(may_create=may_create, joined=task_status.started)
            except NoSuchRoomError:
                if may_create or not await self._options.ask_create(self.keys):
                    raise
                may_create = True
                give_up = trio.current_time() + limits.BUSY_PATIENCE
                continue
            except (UnreachableError, ServerRefusedError) as error:
                await self._wait_busy(error, give_up)
                continue
            may_create = True  # a member who comes back may: the server has lost the room
            if self._was_connected and trio.current_time() - began > limits.RECONNECT_MOST:
                self._pause = 0.0  # it had lasted; one that is lost at once, again and again, is tried less and less
            self._pause = _next_pause(self._pause, lost)
            await self._tell_lost(lost)
            with trio.move_on_after(self._pause) as self._pausing:
                await trio.sleep_forever()
            self._pausing = None

    async def _wait_busy(self, error: UnreachableError | ServerRefusedError, give_up: float) -> None:
        """Pause before another attempt to join for the first time.

        Args:
            error: Why the last attempt failed; raised again if another one is of no use.
            give_up: The time after which there is none.
        """
        pause = _next_pause(min(self._pause, limits.BUSY_PAUSE / 2), error)
        if not error.is_busy or trio.current_time() + pause > give_up:
            raise error
        self._pause = pause
        await trio.sleep(pause)

    async def _tell_lost(self, lost: Exception) -> None:
        """Say why there is no connection: once for each reason, not for each attempt."""
        why = lost.message if isinstance(lost, SecurechatError) else str(lost)
        if self._was_connected or why != self._told:
            self._told = why
            when = f" in {self._pause:.0f} s" if self._pause > _LONG_PAUSE else ""
            text = f"connection lost: {why.rstrip('.')}; reconnecting{when}"
            await self.events.put([Event(Kind.NOTICE, now_ms(), text)])

    async def _visit_once(self, *, may_create: bool, joined: Callable[[], None]) -> Exception:
        """Connect, join and stay; return why the connection was lost, if a new one may help."""
        self._was_connected = False
        try:
            async with self._connect() as link:
                nick = self._nick
                answer = await self._join(link, may_create=may_create)
                is_first, self._has_joined = not self._has_joined, True
                self._was_connected = True
                if is_first:
                    self._pause = 0.0
                    self.was_created = answer.created
                    joined()
                self._visit = Visit(self._own, link, answer, self._caught_up, is_first=is_first)
                if self._nick != nick:  # it was changed while the server answered
                    self.rename(self._nick)
                return await self._visit.run()
        except (ChannelClosedError, UnreachableError, ServerRefusedError) as error:
            if not self._has_joined:
                raise refusals.on_first_attempt(self._options.server, error) from error
            return error
        finally:
            self._visit = None

    @asynccontextmanager
    async def _connect(self) -> AsyncIterator[Link]:
        channel, spki_hash = await trust.connect(self._options.server, self._options.trust)
        link = self.link = Link(channel, spki_hash)
        try:
            await link.greet()
            yield link
        finally:
            self.link = None
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
                await channel.aclose()

    async def _join(self, link: Link, *, may_create: bool) -> Joined:
        """Join the room and return the answer.

        Raises:
            NoSuchRoomError: Nobody has used it, and it is not to be created.
            ServerRefusedError: The server says no.
            UnreachableError: It does not answer.
        """
        address = self.keys.address
        signed = proof.signed_bytes(link.welcome.challenge, link.spki_hash, address)
        presence = self._seal_presence(is_joining=True) if self._options.is_listed else b""
        link.send(Join(link.new_ref(), address, self.keys.sign_join(signed), may_create, presence))
        with trio.move_on_after(limits.REPLY_TIMEOUT):
            answer = await link.next()
            if isinstance(answer, Joined):
                return answer
            assert isinstance(answer, Error), "before a room is joined, nothing else can come"
            raise refusals.on_join(answer, self._options.server)
        raise UnreachableError("The server does not answer.", "Try again later.")


def _next_pause(pause: float, lost: Exception) -> float:
    """Return the seconds until the next attempt: doubled each time, with jitter, and no less than the server says."""
    least = lost.retry_after if isinstance(lost, ServerRefusedError) else 0
    doubled = min(limits.RECONNECT_MOST, pause * 2 or limits.RECONNECT_FIRST)
    jitter = random.uniform(0.8, 1.2)  # noqa: S311 - spreads load, guards nothing
    return max(least * (jitter + 0.2), doubled * jitter)


@asynccontextmanager
async def open_conversation(options: Options) -> AsyncIterator[RoomConversation]:
    """Join a room and keep it joined while the context is open.

    Raises:
        SecurechatError: The server cannot be reached, is not trusted or refuses; the room does not
            exist; or later, the server's key has changed. It may come inside an ExceptionGroup.
    """
    secret = await trio.to_thread.run_sync(options.derive)
    conversation = RoomConversation(options, RoomKeys(secret))
    async with trio.open_nursery() as nursery:
        await nursery.start(conversation.supervise)
        if options.keeps_secret:
            options.state.set_secret(options.room, secret.bytes)
        recent.note_names(options.state, options.room, conversation.nick)
        if options.remembers:
            recent.remember(options.state, options.server, options.room)
        try:
            yield conversation
        finally:
            conversation.events.settle()
        nursery.cancel_scope.cancel()
