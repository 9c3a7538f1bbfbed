"""A room of a real server without sockets, and a simple model of it, stepped together.

After each step every member has to have received exactly what the model says: one order, the same bytes
for all, nothing twice.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import trio
from trio.testing import wait_all_tasks_blocked

from securechat import limits
from securechat.errors import StorageFullError
from securechat.history.log import Append, Appended, Retention
from securechat.history.memory import MemoryLog
from securechat.history.sqlite import SqliteLog
from securechat.protocol import chain
from securechat.protocol.messages import (
    Change,
    Code,
    Deliver,
    Direction,
    Error,
    Goodbye,
    History,
    Joined,
    Leave,
    Member,
    MemberChange,
    Message,
    Past,
    Reason,
    Record,
    Send,
)
from securechat.server.upkeep import Upkeep
from tests.support.relay import CLOCK, KEY, Relay, Visitor

MEMBERS = 3
OUTBOX = 2_000
CAPACITY = 1_000  # of a socket: one step of a program is never too much for who reads
ENVELOPES = [(b"%d " % number).ljust(1 + 300 * (number % 4)) for number in range(60)]


class Step(NamedTuple):
    """What happens next; each kind of step takes what it needs of the rest."""

    kind: str
    who: int
    said: list[int]


class FullableMemoryLog(MemoryLog):
    is_full = False

    async def append(self, batch: Sequence[Append]) -> list[Appended]:
        if self.is_full:
            raise StorageFullError("The disk is full.")
        return await super().append(batch)


class FullableSqliteLog(SqliteLog):
    is_full = False

    async def append(self, batch: Sequence[Append]) -> list[Appended]:
        if self.is_full:
            raise StorageFullError("The disk is full.")
        return await super().append(batch)


@dataclass
class Model:
    """What the server has stored, by the rules of PROTOCOL.md, section 4."""

    log_id: bytes = b""
    kept: list[tuple[int, int, bytes]] = field(default_factory=list)  # sequence, clock, envelope
    heads: list[bytes] = field(default_factory=list)

    @property
    def newest(self) -> int:
        return len(self.heads) - 1

    def find(self, envelope: bytes) -> tuple[int, int, bytes] | None:
        return next((entry for entry in self.kept if entry[2] == envelope), None)

    def append(self, clock: int, envelope: bytes) -> tuple[int, int, bytes]:
        self.heads.append(chain.link(self.heads[-1], self.newest + 1, chain.digest(envelope)))
        self.kept.append((self.newest, clock, envelope))
        return self.kept[-1]

    @property
    def records(self) -> list[Record]:
        return [Record(clock, envelope) for _, clock, envelope in self.kept]


@dataclass
class Actor:
    """Somebody who comes and goes; ``owed`` is what the server has to have sent and was not read yet."""

    visitor: Visitor | None = None
    joins: int = 0
    handle: int = 0
    number: int = 0
    is_in: bool = False
    is_stalled: bool = False
    presence: bytes = b""
    held: bytes | None = None
    owed: list[Message] = field(default_factory=list)

    @property
    def waiting(self) -> int:
        return sum(len(message.encode()) for message in self.owed)


@dataclass
class Clock:
    """The server's clock: a second for each step."""

    time: int = CLOCK

    def __call__(self) -> int:
        return self.time


class World:
    """One server, its members and the model, stepped together."""

    def __init__(self, relay: Relay[Any], model: Model, clock: Clock) -> None:
        self._relay = relay
        self._model = model
        self._clock = clock
        self._actors = [Actor() for _ in range(MEMBERS)]
        self._present: list[Actor] = []  # in the order of joining

    # What happens

    async def take(self, step: Step) -> None:
        match step.kind:
            case "say":
                await self.say(step.who, *step.said)
            case "expire":
                await self.expire(step.said[0])
            case "disk":
                await self.fill_disk(is_full=step.said[0] < 2)
            case kind:
                await getattr(self, kind)(step.who)

    async def join(self, who: int) -> None:
        actor = self._actors[who]
        if actor.is_in or actor.is_stalled:
            return
        if actor.visitor is None:
            actor.visitor = await self._relay.connect(capacity=CAPACITY)
        actor.joins += 1
        actor.presence = b"%d/%d" % (who, actor.joins)
        joined = await actor.visitor.join(KEY, actor.presence, ref=actor.joins)
        self._check_joined(joined, len(self._present))
        actor.handle, actor.number, actor.is_in, actor.held = joined.handle, joined.member, True, None
        if here := tuple(MemberChange(Change.HERE, other.number, other.presence) for other in self._present):
            actor.owed.append(Member(actor.handle, here))
        self._present.append(actor)
        self._tell(MemberChange(Change.JOINED, actor.number, actor.presence))

    async def say(self, who: int, *numbers: int) -> None:
        free = [actor for actor in self._present if not actor.is_stalled]
        if not free:
            return
        actor = free[who % len(free)]
        assert actor.visitor is not None
        said = [ENVELOPES[number] for number in numbers]
        actor.visitor.say(*(Send(actor.handle, envelope) for envelope in said))
        actor.owed += self._answer(actor, said)

    def _answer(self, actor: Actor, said: list[bytes]) -> list[Message]:
        """Append what may be appended, tell everybody, and return what the sender alone is told."""
        taken: list[bytes] = []
        refused: list[Message] = []
        for envelope in said:
            if actor.held in {None, envelope}:
                actor.held = None
                taken.append(envelope)
            else:
                refused.append(_error(Code.OUT_OF_ORDER, envelope))
        if taken and self._relay.log.is_full:
            actor.held = taken[0]
            return [*refused, *(_error(Code.STORAGE, envelope) for envelope in taken)]
        actor.owed += refused
        resent = []
        for envelope in taken:
            if known := self._model.find(envelope):
                resent.append(Deliver(actor.handle, *known))
            else:
                new = self._model.append(self._clock.time, envelope)
                for member in self._present:
                    member.owed.append(Deliver(member.handle, *new))
        return list(resent)

    async def leave(self, who: int) -> None:
        actor = self._actors[who]
        if actor.is_in and not actor.is_stalled and actor.visitor is not None:
            actor.visitor.say(Leave(actor.handle))
            self._forget(actor)

    async def vanish(self, who: int) -> None:
        actor = self._actors[who]
        if actor.visitor is not None:
            actor.visitor.channel.abort()
            if actor.is_in:
                self._forget(actor)
            self._actors[who] = Actor(joins=actor.joins)

    async def stall(self, who: int) -> None:
        self._actors[who].is_stalled |= self._actors[who].is_in

    async def read_on(self, who: int) -> None:
        """Let a slow reader read: it missed nothing, or it was sent away and has a beginning of it."""
        actor = self._actors[who]
        if not actor.is_stalled or actor.visitor is None:
            return
        actor.is_stalled = False
        if not actor.is_in:
            *received, goodbye = await actor.visitor.end()
            assert goodbye == Goodbye(Reason.SLOW, 1, "")
            assert received == actor.owed[: len(received)]
            self._actors[who] = Actor(joins=actor.joins)

    async def fill_disk(self, *, is_full: bool) -> None:
        self._relay.log.is_full = is_full

    async def expire(self, keep: int) -> None:
        services = self._relay.services
        await Upkeep(services.log, services.rooms, Retention(seconds=None, messages=keep)).expire()
        del self._model.kept[: max(0, len(self._model.kept) - keep)]

    # What follows from it

    def _tell(self, change: MemberChange) -> None:
        for member in self._present:
            member.owed.append(Member(member.handle, (change,)))

    def _forget(self, actor: Actor) -> None:
        self._present.remove(actor)
        actor.is_in = False
        self._tell(MemberChange(Change.LEFT, actor.number, b""))

    def _send_slow_away(self) -> None:
        """Do what the server does with readers for whom too much waits; what that tells others may be too much too."""
        while slow := [actor for actor in self._present if actor.is_stalled and actor.waiting > OUTBOX + CAPACITY]:
            self._forget(slow[0])

    async def settle(self) -> None:
        """Wait until nothing happens any more, and hold what was received against the model."""
        await wait_all_tasks_blocked()
        while self._relay.services.committer.in_flight_bytes:  # a thread commits
            await trio.lowlevel.checkpoint()
        self._send_slow_away()
        for actor in self._actors:
            if actor.visitor is not None and not actor.is_stalled:
                received = [_plain(message) for message in await actor.visitor.rest()]
                assert _in_any_order_of_leaving(received) == _in_any_order_of_leaving(actor.owed)
                actor.owed.clear()
        assert len(self._present) == self._relay.services.rooms.members

    def _check_joined(self, joined: Joined, listed: int) -> None:
        model = self._model
        assert joined.created == (not model.log_id)
        if joined.created:
            model.log_id, model.heads = joined.log_id, [chain.root(KEY.address, joined.log_id)]
        oldest = model.newest + 1 - len(model.kept)
        assert (joined.log_id, joined.oldest, joined.newest) == (model.log_id, oldest, model.newest)
        assert (joined.head, joined.listed) == (model.heads[-1], listed)

    async def audit(self) -> None:
        """Read the whole log as somebody who comes anew, and unlisted, and goes again."""
        visitor = await self._relay.connect()
        joined = await visitor.join(KEY)
        self._check_joined(joined, len(self._present))
        await visitor.rest()
        visitor.say(History(1, joined.handle, Direction.FORWARD, 1, 1000))
        past = await visitor.expect(Past)
        assert list(past.records) == self._model.records
        assert past.before == self._model.heads[past.first - 1]
        visitor.channel.abort()
        await wait_all_tasks_blocked()

    async def send_unheard(self, *numbers: int) -> list[bytes]:
        """Let the first who is free to say something say it, and do not look at what comes of it."""
        said = [ENVELOPES[number] for number in numbers]
        for actor in self._present:
            if actor.visitor is not None and not actor.is_stalled and actor.held is None:
                actor.visitor.say(*(Send(actor.handle, envelope) for envelope in said))
                return said
        return []

    def acknowledged(self) -> set[tuple[int, bytes]]:
        """Return sequence and envelope of what came to anybody and was not looked at; the server has gone."""
        return {
            (message.sequence, message.envelope)
            for actor in self._actors
            if actor.visitor is not None
            for message in actor.visitor.take_rest()
            if isinstance(message, Deliver)
        }


def _error(code: Code, envelope: bytes) -> Error:
    return Error(code, 0, limits.STORAGE_RETRY, chain.envelope_id(envelope), "")


def _in_any_order_of_leaving(messages: list[Message]) -> list[Message]:
    """Return messages with neighbouring departures sorted: slow readers of one delivery leave in any order."""
    ordered: list[Message] = []
    for is_departure, group in itertools.groupby(messages, _is_departure):
        run = list(group)
        ordered += sorted(run, key=repr) if is_departure else run
    return ordered


def _is_departure(message: Message) -> bool:
    return isinstance(message, Member) and message.changes[0].change is Change.LEFT


def _plain(message: Message) -> Message:
    return replace(message, text="") if isinstance(message, Error) else message
