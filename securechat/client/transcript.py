"""What a member makes of the server's log: in order, without a hole, and nothing of it on trust.

Sans-I/O: frames and opened letters in, events out. PROTOCOL.md, section 5: the chain is computed from
the envelopes; what the server claims of it, and what others say to have seen, is compared with it.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from securechat import limits
from securechat.client.alarms import Alarms
from securechat.client.clock import now_ms
from securechat.client.conversation import Event, Kind
from securechat.client.counters import Counters
from securechat.client.letters import Letter
from securechat.client.people import People
from securechat.client.reading import Links, Place, Reading
from securechat.client.state import Heard, Position
from securechat.protocol import chain
from securechat.protocol.messages import Direction, Joined, Past
from securechat.sealing.body import Here


class Wanted(NamedTuple):
    """The page to ask for next: the fields of HISTORY."""

    direction: Direction
    sequence: int
    most: int


class Backlog(NamedTuple):
    """How much of the log to read when the room is joined first: so many messages, all that is new, or all."""

    messages: int = limits.BACKLOG
    is_new: bool = True
    is_all: bool = False


class Transcript:
    """The log of one room as this member follows it.

    Args:
        address: The room address, 32 bytes.
        people: Who has which nickname.
        counters: What was heard before.
        position: How far the log was followed before; None for never.
        backlog: How much to read at first.
        session: This run, 16 bytes: by it its own messages are known.
        clock: Returns this machine's clock in ms since 1970 UTC.

    Attributes:
        log_id: Which log this is, 16 bytes; empty before the first JOINED.
        newest: n: the last sequence that was chained.
        head: H_n, 32 bytes.
        oldest: The first sequence that the server still keeps.
        follows: Whether ``head`` is the chain's, or still to be taken from a page.
        tally: What was read of the log, as the server sees it.
    """

    def __init__(
        self,
        address: bytes,
        people: People,
        counters: Counters,
        position: Position | None,
        backlog: Backlog,
        session: bytes,
        clock: Callable[[], int] = now_ms,
    ) -> None:
        self._address = address
        self._counters = counters
        self._stored = position
        self._backlog = backlog
        self._clock = clock
        self.log_id = b""
        self.newest = 0
        self.head = b""
        self.follows = False
        self._alarms = Alarms(clock)
        self._links = Links()
        self._reading = Reading(people, counters, self._links, self._alarms, session, clock)
        self._followed = 0  # up to here, an earlier run of this client has followed this log
        self.tally = self._reading.tally
        self._target = 0  # the newest sequence known to exist
        self._announced = 0  # the newest at JOINED: up to there it is backlog
        self._first_shown = 1
        self._first_before = b""  # H before the first shown
        self._reread = 0  # up to here, this run has shown the log already
        self.oldest = 1
        self._claims: dict[int, bytes] = {}

    @property
    def is_caught_up(self) -> bool:
        """Whether all that is known to exist was followed."""
        return self.follows and self.newest >= self._target

    @property
    def position(self) -> Position:
        """How far the log was followed."""
        return Position(self.log_id, self.newest, self.head)

    def wanted(self) -> Wanted | None:
        """Return the page that is needed next, or None when caught up."""
        if self.is_caught_up:
            return None
        return Wanted(Direction.FORWARD, self.newest + 1, limits.PAGE_ENTRIES)

    def wanted_older(self, count: int) -> Wanted | None:
        """Return the page before the first message shown, or None when there is none."""
        if self._first_shown <= self.oldest:
            return None
        return Wanted(Direction.BACKWARD, self._first_shown, min(count, limits.PAGE_ENTRIES))

    # The server's word on the log

    def join(self, joined: Joined) -> list[Event]:
        """Take in where the server says that the log stands, against what is known of it."""
        self._links.root = chain.root(self._address, joined.log_id)
        if self._stored and not self._stored.sequence and self._stored.log_id != joined.log_id:
            self._stored = None  # a room that never held a message may be forgotten, and begin again
        events = list(self._check_log(joined))
        is_first = not self.log_id
        if is_first or joined.log_id != self.log_id or joined.newest < self.newest:
            self._start(joined, is_first=is_first and not events)
            if is_first and not events and self._stored and joined.oldest > self._stored.sequence + 1:
                events.append(self._expired(joined.oldest - self._stored.sequence - 1))
        self.log_id = joined.log_id
        self.oldest = joined.oldest
        self._target = self._announced = joined.newest
        if self.follows and joined.newest == self.newest:
            events += [self._rewritten()] if joined.head != self.head else []
        elif joined.newest > self.newest:
            self._claims[joined.newest] = joined.head
        return events

    def _check_log(self, joined: Joined) -> Iterable[Event]:
        known = self.position if self.follows else self._stored
        if joined.newest == 0 and joined.head != self._links.root:
            yield self._event(Kind.ROLLBACK, "The server's empty history does not begin where this room's must.")
        reached = max(known.sequence, self._target) if known else 0
        if known is None or (joined.log_id != known.log_id and not reached):
            return  # nothing was known of the log that is gone
        if joined.log_id != known.log_id:
            yield self._event(
                Kind.ROLLBACK,
                "The history was restarted: the server has lost or replaced what was before.",
            )
        elif joined.newest < reached:
            yield self._event(
                Kind.ROLLBACK,
                f"The history was rolled back: it had {reached} messages and has {joined.newest} now.",
            )
        elif not self.log_id and joined.newest == known.sequence and joined.head != known.head:
            yield self._rewritten()

    def _start(self, joined: Joined, *, is_first: bool) -> None:
        """Begin to follow the log: from where it was left, or a backlog before its end."""
        self._links.clear()
        self._claims.clear()
        self._reread = self.newest if self.log_id == joined.log_id else 0
        start = joined.newest + 1 - self._backlog.messages
        if self.log_id == joined.log_id:
            start = min(self._first_shown, joined.newest + 1)
        elif self._backlog.is_all or self.log_id:
            start = 1
        elif is_first and self._stored and self._backlog.is_new:
            start = min(start, self._stored.sequence + 1)
        start = max(start, joined.oldest)
        self._followed = self._stored.sequence if is_first and self._stored else 0
        if not is_first or not self._stored or start > self._stored.sequence + 1:
            self._counters.lose_track()
        elif self._stored.sequence < joined.newest:
            self._claims[self._stored.sequence] = self._stored.head
        self.newest = start - 1
        self._first_shown = start
        self.follows = False
        if start > joined.newest:
            self._first_before = joined.head
            self._chain_from(joined.newest, joined.head)

    def _chain_from(self, sequence: int, head: bytes) -> None:
        self.newest, self.head, self.follows = sequence, head, True
        self._links.note(sequence, head)

    def page(self, past: Past, letters: Sequence[Letter]) -> list[Event]:
        """Take in the page that ``wanted`` asked for.

        Whatever the server answers, ``newest`` is higher afterwards, or there is nothing left to want: a
        server cannot make this client ask for ever.
        """
        self.oldest = past.oldest
        if past.first <= self.newest:
            text = "The server answered with another part of the history than was asked for."
            return [*self._alarm("place", Kind.ROLLBACK, text), *self._give_up(past.before)]
        events = self._anchor(past)
        for record, letter in zip(past.records, letters, strict=True):
            events += self._append(letter, record.clock)
        if not past.records:
            events += self._give_up(past.before)
        return events

    def _give_up(self, before: bytes) -> list[Event]:
        """Go on behind what the server announced and does not hand out; ``before`` is H there, for want of better."""
        lacking = self._target - self.newest
        if lacking <= 0:
            return []
        self._counters.lose_track()
        head = self._claims.pop(self._target, before)
        if not self.follows:
            self._first_shown, self._first_before = self._target + 1, head
        self._chain_from(self._target, head)
        text = f"{_messages(lacking)} missing: the server announced them and does not hand them out."
        return self._alarm("announced", Kind.GAP, text)

    def _anchor(self, past: Past) -> list[Event]:
        """Begin the page where the chain ends, or say why it does not."""
        events: list[Event] = []
        skipped = past.first - self.newest - 1
        if skipped and past.first == past.oldest and past.first <= self._announced + 1:
            self._counters.lose_track()
            events += self._alarms.tell("expired", self._expired(skipped))
        elif skipped:  # retention takes nothing that was never delivered to who was there
            text = f"{_messages(skipped)} missing: the server does not hand them out."
            events += self._alarm("hole", Kind.GAP, text)
        if not self.follows:
            self._first_shown, self._first_before = past.first, past.before
        known = self.head if self.follows and not skipped else self._claims.pop(past.first - 1, past.before)
        self._chain_from(past.first - 1, past.before)
        if past.before != (self._links.root if past.first == 1 else known):
            events += self._alarms.tell("rewritten", self._rewritten())
        return events

    def deliver(self, sequence: int, clock: int, letter: Letter) -> list[Event]:
        """Take in a live message; one that is not the next is left to a page."""
        is_next = self.is_caught_up and sequence == self.newest + 1
        self._target = max(self._target, sequence)
        return self._append(letter, clock) if is_next else []

    def older(self, past: Past, letters: Sequence[Letter]) -> list[Event]:
        """Take in the page that ``wanted_older`` asked for; it has to end where the shown part begins."""
        self.oldest = past.oldest
        if not letters and past.oldest >= self._first_shown:
            return [self._event(Kind.NOTICE, "What was before is no longer kept by the server.")]
        if not letters:
            text = "The server says that it keeps older messages, and does not hand them out."
            return self._alarm("older", Kind.GAP, text)
        head = past.before
        links = {past.first - 1: head}
        for number, letter in enumerate(letters, past.first):
            head = links[number] = chain.link(head, number, letter.digest)
        is_whole = past.first + len(letters) == self._first_shown and head == self._first_before
        if not is_whole or (past.first == 1 and past.before != self._links.root):
            return self._alarms.tell("older", self._rewritten())
        self._first_shown, self._first_before = past.first, past.before
        for number, known in links.items():
            self._links.note(number, known)
        events: list[Event] = []
        for number, (record, letter) in enumerate(zip(past.records, letters, strict=True), past.first):
            events += self._read(letter, number, record.clock, is_older=True)
        return events

    def _append(self, letter: Letter, clock: int) -> list[Event]:
        """Chain one more envelope and read it."""
        sequence = self.newest + 1
        self._chain_from(sequence, chain.link(self.head, sequence, letter.digest))
        self._target = max(self._target, sequence)
        events = self._read(letter, sequence, clock, is_older=False)
        if self._claims.pop(sequence, self.head) != self.head:  # it is not what was known or announced of it
            events = [*self._alarms.tell("rewritten", self._rewritten()), *events]
        return events

    # What members say

    def _read(self, letter: Letter, sequence: int, clock: int, *, is_older: bool) -> list[Event]:
        place = Place(
            self.log_id,
            sequence,
            clock,
            is_backlog=sequence <= self._announced,
            is_older=is_older,
            is_reread=sequence <= self._followed,
            was_shown=sequence <= self._reread,
        )
        return self._reading.read(letter, place)

    def presence(self, here: Here, identity: bytes, *, is_live: bool) -> list[Event]:
        """Take in what a member's presence says of its messages; only a live one is known to be of now."""
        return self._reading.presence(here, identity, is_current=is_live and self.is_caught_up)

    def take_heard(self) -> list[Heard]:
        """Return what was heard since the last call, to be remembered."""
        return self._reading.take_heard()

    # What is told of the server

    def _rewritten(self) -> Event:
        return self._event(
            Kind.ROLLBACK,
            "The server has rewritten the history: it does not continue what was seen before.",
        )

    def _expired(self, count: int) -> Event:
        return self._event(Kind.NOTICE, f"{_messages(count, 'older ')} no longer kept by the server.")

    def _alarm(self, sort: str, kind: Kind, text: str) -> list[Event]:
        """Tell of something that a server can do again and again."""
        return self._alarms.tell(sort, self._event(kind, text))

    def _event(self, kind: Kind, text: str) -> Event:
        return Event(kind, self._clock(), text)


def _messages(count: int, what: str = "") -> str:
    return f"1 {what}message is" if count == 1 else f"{count} {what}messages are"
