"""What a member makes of the server's log: in order, without a hole, and nothing of it on trust.

Sans-I/O: frames and opened letters in, events out. PROTOCOL.md, section 5: the chain is computed from
the envelopes; what the server claims of it, and what others say to have seen, is compared with it.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from securechat import limits
from securechat.client.clock import now_ms
from securechat.client.conversation import Event, Kind, Sender
from securechat.client.counters import Counters, Verdict
from securechat.client.letters import Letter
from securechat.client.people import People
from securechat.client.state import Heard, Position
from securechat.client.tally import Tally
from securechat.protocol import chain
from securechat.protocol.messages import Direction, Joined, Past
from securechat.sealing import body as bodies
from securechat.sealing.body import Here, Unknown


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
        self._people = people
        self._counters = counters
        self._stored = position
        self._backlog = backlog
        self._session = session
        self._clock = clock
        self.log_id = b""
        self.newest = 0
        self.head = b""
        self.follows = False
        self.tally = Tally()
        self._target = 0  # the newest sequence known to exist
        self._announced = 0  # the newest at JOINED: up to there it is backlog
        self._first_shown = 1
        self._first_before = b""  # H before the first shown
        self._reread = 0  # up to here, this run has shown the log already
        self.oldest = 1
        self._links: dict[int, bytes] = {}
        self._claims: dict[int, bytes] = {}
        self._forked: set[tuple[bytes, bytes]] = set()
        self._heard: list[Heard] = []

    @property
    def is_caught_up(self) -> bool:
        """Whether all that is known to exist was followed."""
        return self.follows and self.newest >= self._target

    @property
    def position(self) -> Position:
        """How far the log was followed."""
        return Position(self.log_id, self.newest, self.head)

    def take_heard(self) -> list[Heard]:
        """Return what was heard since the last call, to be remembered."""
        heard, self._heard = self._heard, []
        return heard

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
            events += self._check_claim(joined.newest, joined.head, self.head)
        elif joined.newest > self.newest:
            self._claims[joined.newest] = joined.head
        return events

    def _check_log(self, joined: Joined) -> Iterable[Event]:
        known = self.position if self.follows else self._stored
        if joined.newest == 0 and joined.head != chain.root(self._address, joined.log_id):
            yield self._event(Kind.ROLLBACK, "The server's empty history does not begin where this room's must.")
        if known is None:
            return
        if joined.log_id != known.log_id:
            yield self._event(
                Kind.ROLLBACK,
                "The history was restarted: the server has lost or replaced what was before.",
            )
        elif joined.newest < (reached := max(known.sequence, self._target)):
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
        elif is_first and self._stored:
            if self._backlog.is_new:
                start = min(start, self._stored.sequence + 1)
            if self._stored.sequence < joined.newest:
                self._claims[self._stored.sequence] = self._stored.head
        start = max(start, joined.oldest)
        if not is_first or not self._stored or start > self._stored.sequence + 1:
            self._counters.lose_track()
        self.newest = start - 1
        self._first_shown = start
        self.follows = False
        if start > joined.newest:
            self._first_before = joined.head
            self._chain_from(joined.newest, joined.head)

    def _chain_from(self, sequence: int, head: bytes) -> None:
        self.newest, self.head, self.follows = sequence, head, True
        self._links[sequence] = head

    def page(self, past: Past, letters: Sequence[Letter]) -> list[Event]:
        """Take in the page that ``wanted`` asked for."""
        events = list(self._anchor(past))
        self.oldest = past.oldest
        for record, letter in zip(past.records, letters, strict=True):
            events += self._append(letter, record.clock)
        if not past.records and self.newest < self._target:
            lacking = self._target - self.newest
            events.append(
                self._event(
                    Kind.GAP,
                    f"{_messages(lacking)} missing: the server announced them and does not hand them out.",
                )
            )
            self._counters.lose_track()
            self._chain_from(self._target, self._claims.pop(self._target, past.before))
        return events

    def _anchor(self, past: Past) -> Iterable[Event]:
        """Begin the page where the chain ends, or say why it does not."""
        skipped = past.first - self.newest - 1
        if skipped > 0 and past.first == past.oldest and past.first <= self._announced + 1:
            self._counters.lose_track()
            yield self._expired(skipped)
        elif skipped > 0:  # retention takes nothing that was never delivered to who was there
            yield self._event(Kind.GAP, f"{_messages(skipped)} missing: the server does not hand them out.")
        elif skipped:
            self._reread = max(self._reread, self.newest)
            yield self._event(Kind.ROLLBACK, "The server answered with another part of the history than was asked for.")
        if skipped or not self.follows:
            if not self.follows:
                self._first_shown, self._first_before = past.first, past.before
            self._chain_from(past.first - 1, past.before)
            yield from self._check_claim(self.newest, past.before, self._claims.pop(self.newest, past.before))
        elif past.before != self.head:
            yield self._rewritten()
            self._chain_from(self.newest, past.before)
        if past.first == 1 and past.before != chain.root(self._address, self.log_id):
            yield self._rewritten()

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
        head = past.before
        links = {past.first - 1: head}
        for number, letter in enumerate(letters, past.first):
            head = links[number] = chain.link(head, number, letter.digest)
        is_whole = past.first + len(letters) == self._first_shown and head == self._first_before
        if not is_whole or (past.first == 1 and past.before != chain.root(self._address, self.log_id)):
            return [self._rewritten()]
        self._first_shown, self._first_before = past.first, past.before
        self._links.update(links)
        events: list[Event] = []
        for number, (record, letter) in enumerate(zip(past.records, letters, strict=True), past.first):
            events += self._read(letter, number, record.clock, is_older=True)
        return events

    def _append(self, letter: Letter, clock: int) -> list[Event]:
        """Chain one more envelope and read it."""
        sequence = self.newest + 1
        self._chain_from(sequence, chain.link(self.head, sequence, letter.digest))
        if len(self._links) > limits.CHAIN_WINDOW:
            del self._links[next(iter(self._links))]
        self._target = max(self._target, sequence)
        events = self._read(letter, sequence, clock, is_older=False)
        if sequence in self._claims:
            events = [*self._check_claim(sequence, self.head, self._claims.pop(sequence)), *events]
        return events

    def _check_claim(self, sequence: int, computed: bytes, claimed: bytes) -> list[Event]:
        """Compare the chain at ``sequence`` with what was known or announced of it."""
        return [] if computed == claimed else [self._rewritten()]

    # What a letter says

    def _read(self, letter: Letter, sequence: int, clock: int, *, is_older: bool) -> list[Event]:
        body = letter.body
        if body is None or isinstance(body, Here):
            why = letter.failure or "body"
            text = f"Message {sequence} does not open ({why}): it was forged or altered, and is not shown."
            return [self._event(Kind.NOTICE, text, sequence=sequence)]
        header = body.header if isinstance(body, Unknown) else body
        sender = self._people.sender(header.nick, letter.identity)
        heard = Heard(
            letter.identity,
            header.session,
            header.counter,
            chain.digest(bodies.without_seen(body)),
            self.log_id,
            sequence,
        )
        judged = self._counters.judge(heard, is_older=is_older)
        if judged.verdict is Verdict.DUPLICATE or (judged.verdict is Verdict.AGAIN and sequence <= self._reread):
            return []
        self.tally.add(letter, clock)
        if judged.verdict is Verdict.CONFLICT:
            text = f"{sender.name} signed two different messages with one number; the second, {sequence}, is not shown."
            return [self._event(Kind.FORK, text, sender=sender)]
        if judged.verdict is Verdict.NEW:
            self._heard.append(heard)
        events = [*self._gap(sender, judged.missing), *self._new_key(sender)]
        events += self._judge_seen(sender, header.session, header.seen, sequence)
        events.append(self._message(body, header, sender, sequence, clock, is_late=judged.is_late))
        return events

    def _message(
        self,
        body: bodies.Body,
        header: bodies.Header,
        sender: Sender,
        sequence: int,
        clock: int,
        *,
        is_late: bool,
    ) -> Event:
        if isinstance(body, Unknown):
            text = f"{sender.name} sent something of a kind ({body.kind}) that this version does not know."
            return self._event(Kind.NOTICE, text, sender=sender, sequence=sequence)
        assert not isinstance(body, Here)
        return Event(
            Kind.MESSAGE,
            header.clock,
            body.text,
            sequence,
            sender,
            is_action=isinstance(body, bodies.Action),
            is_backlog=sequence <= self._announced,
            is_late=is_late,
            is_own=sender.is_me and header.session == self._session,
            clock_error=header.clock - clock,
        )

    def _gap(self, sender: Sender, missing: int) -> list[Event]:
        if not missing:
            return []
        what = "1 message" if missing == 1 else f"{missing} messages"
        is_or_are = "is" if missing == 1 else "are"
        return [self._event(Kind.GAP, f"{what} from {sender.name} {is_or_are} missing.", sender=sender)]

    def _new_key(self, sender: Sender) -> list[Event]:
        owner = self._people.claim(sender)
        if owner is None:
            return []
        text = (
            f"{sender.name} speaks with the key {sender.identity.hex()[:8]}, but this name, or one that looks "
            f"like it, had the key {owner.hex()[:8]} before. Verify who it is before you trust it."
        )
        return [self._event(Kind.CHANGED_KEY, text, sender=sender)]

    def _judge_seen(
        self, sender: Sender, session: bytes, seen: bodies.Seen | None, sequence: int | None
    ) -> list[Event]:
        """Compare what a member says to have seen with the chain; each run of a member is told of once."""
        if seen is None:
            return []
        is_future = sequence is not None and seen.sequence >= sequence
        if not is_future and self._links.get(seen.sequence, seen.head) == seen.head:
            return []
        key = (sender.identity, session)
        if key in self._forked:
            return []
        self._forked.add(key)
        text = (
            f"{sender.name} has seen another history than you: the server shows different people different "
            f"things, or {sender.name} does not tell the truth."
        )
        return [self._event(Kind.FORK, text, sender=sender)]

    def presence(self, letter_body: Here, identity: bytes, *, is_live: bool) -> list[Event]:
        """Take in what a member's presence says of its messages; only a live one is known to be of now."""
        sender = self._people.sender(letter_body.nick, identity)
        events = self._new_key(sender)
        if is_live and self.is_caught_up:
            missing = self._counters.announce(identity, letter_body.session, letter_body.messages)
            events += self._gap(sender, missing)
            events += self._judge_seen(sender, letter_body.session, letter_body.seen, None)
        return events

    def _rewritten(self) -> Event:
        return self._event(
            Kind.ROLLBACK,
            "The server has rewritten the history: it does not continue what was seen before.",
        )

    def _expired(self, count: int) -> Event:
        return self._event(Kind.NOTICE, f"{_messages(count, 'older ')} no longer kept by the server.")

    def _event(self, kind: Kind, text: str, *, sender: Sender | None = None, sequence: int | None = None) -> Event:
        return Event(kind, self._clock(), text, sequence, sender)


def _messages(count: int, what: str = "") -> str:
    return f"1 {what}message is" if count == 1 else f"{count} {what}messages are"
