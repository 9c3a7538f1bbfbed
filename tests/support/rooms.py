"""A room without a server: members who seal, a log that hands out what a server would, and a reader of it."""

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import msgspec

from securechat.client.conversation import Event, Kind
from securechat.client.counters import Counters
from securechat.client.letters import Letter, read_letter, read_letters
from securechat.client.people import People
from securechat.client.state import Heard, Position, State
from securechat.client.transcript import Backlog, Transcript, Wanted
from securechat.protocol import chain
from securechat.protocol.messages import Direction, Joined, Past, Record
from securechat.sealing.body import Action, Here, Seen, Text, encode
from securechat.sealing.envelope import NO_LOG, SALT_BYTES, Context, seal
from securechat.sealing.identity import Identity
from securechat.sealing.keys import RoomKeys, RoomSecret

KEYS: Final = RoomKeys(RoomSecret(b"room secret of thirty-two bytes."))
OTHER_KEYS: Final = RoomKeys(RoomSecret(b"another secret, thirty-two bytes"))
LOG_ID: Final = b"log id 16 bytes."
OTHER_LOG_ID: Final = b"another log id.."
CLOCK: Final = 1_700_000_000_000  # the server's and, where nothing else is said, everybody's
ME: Final = Identity(b"me".ljust(32, b"."))
MY_SESSION: Final = b"my session......"

_salts = itertools.count(1)


def salt() -> bytes:
    """Return 24 bytes that no other envelope of this process has."""
    return next(_salts).to_bytes(SALT_BYTES, "big")


@dataclass
class Member:
    """One run of a member, who counts and seals as a client does."""

    nick: str
    identity: Identity
    session: bytes
    keys: RoomKeys = KEYS
    log_id: bytes = LOG_ID
    counter: int = 0
    presences: int = 0

    def seal_raw(self, raw: bytes, context: Context = Context.MESSAGE) -> bytes:
        """Return the envelope of any body."""
        log_id = self.log_id if context is Context.MESSAGE else NO_LOG
        return seal(self.keys, context, self.identity, raw, salt(), log_id)

    def write(
        self, text: str, seen: Seen, *, counter: int | None = None, clock: int = CLOCK, is_action: bool = False
    ) -> bytes:
        """Return the envelope of a message; the next of this run if no counter is given."""
        self.counter = self.counter + 1 if counter is None else counter
        kind = Action if is_action else Text
        return self.seal_raw(encode(kind(self.session, self.counter, clock, self.nick, seen, text)))

    def write_kind(self, kind: int, seen: Seen) -> bytes:
        """Return the envelope of a message of any kind, with a field that nobody knows."""
        self.counter += 1
        head = [seen.sequence, seen.head]
        fields = [kind, self.session, self.counter, CLOCK, self.nick, head, "what a later version says"]
        return self.seal_raw(msgspec.msgpack.encode(fields))

    def here(self, *, seen: Seen | None = None, messages: int | None = None, is_reader: bool = False) -> Here:
        """Return a presence body."""
        self.presences += 1
        said = self.counter if messages is None else messages
        return Here(self.session, self.presences, CLOCK, self.nick, seen, said, is_reader)

    def show(self, **settings: bool) -> bytes:
        """Return a sealed presence, as a joining member sends it."""
        return self.seal_raw(encode(self.here(is_reader=settings.get("is_reader", False))), Context.PRESENCE)


def member(nick: str, run: int = 1) -> Member:
    """Return a run of the member ``nick``: the key follows from the nickname, the session from both."""
    seed = nick.encode().ljust(32, b"#")
    return Member(nick, Identity(seed), f"{nick} run {run}".encode().ljust(16, b"#")[:16])


@dataclass
class Log:
    """What a server has of one room. It can be made to lie by changing what it hands out."""

    log_id: bytes = LOG_ID
    address: bytes = KEYS.address
    oldest: int = 1
    envelopes: list[bytes] = field(default_factory=list)
    page_size: int = 1000

    @property
    def newest(self) -> int:
        """The sequence of the last message."""
        return len(self.envelopes)

    def head(self, sequence: int | None = None) -> bytes:
        """Return H of a sequence, by default of the newest."""
        head = chain.root(self.address, self.log_id)
        chosen = self.envelopes if sequence is None else self.envelopes[:sequence]
        for number, envelope in enumerate(chosen, 1):
            head = chain.link(head, number, chain.digest(envelope))
        return head

    def seen(self, sequence: int | None = None) -> Seen:
        """Return what a member who has followed the log says of it."""
        at = self.newest if sequence is None else sequence
        return Seen(at, self.head(at))

    def append(self, envelope: bytes) -> int:
        """Put an envelope at the end and return its sequence."""
        self.envelopes.append(envelope)
        return self.newest

    def say(self, who: Member, text: str, *, counter: int | None = None) -> int:
        """Let a member who has seen all say something."""
        who.log_id = self.log_id
        return self.append(who.write(text, self.seen(), counter=counter))

    def fill(self, who: Member, count: int, what: str = "line") -> None:
        """Let a member say so many things."""
        for number in range(1, count + 1):
            self.say(who, f"{what} {number}")

    def joined(self) -> Joined:
        """Return the honest answer to JOIN."""
        return Joined(1, 1, 1, False, self.log_id, self.oldest, self.newest, self.head(), 0)

    def answer(self, wanted: Wanted) -> Past:
        """Return the honest answer to HISTORY."""
        most = min(wanted.most, self.page_size)
        if wanted.direction is Direction.FORWARD:
            first = min(max(wanted.sequence, self.oldest), self.newest + 1)
            last = min(self.newest, first + most - 1)
        else:
            last = min(wanted.sequence - 1, self.newest)
            first = max(last - most + 1, self.oldest)
        records = tuple(Record(CLOCK, envelope) for envelope in self.envelopes[first - 1 : last])
        return Past(1, 1, self.oldest, self.newest, first, self.head(first - 1), records)


def letters_of(past: Past, log_id: bytes = LOG_ID) -> list[Letter]:
    """Open the envelopes of a page."""
    return read_letters(KEYS, log_id, [record.envelope for record in past.records])


@dataclass
class Reader:
    """A transcript with all that it stands on: this member's view of the log."""

    transcript: Transcript
    state: State
    people: People

    def join(self, log: Log) -> list[Event]:
        """Join, without reading a page."""
        return self.transcript.join(log.joined())

    def pull(self, log: Log) -> list[Event]:
        """Ask for pages until there is none to ask for."""
        events: list[Event] = []
        for _ in range(100):
            wanted = self.transcript.wanted()
            if wanted is None:
                return events
            events += self.take(log.answer(wanted))
        raise AssertionError("the transcript asks for ever")

    def follow(self, log: Log) -> list[Event]:
        """Join and read all there is."""
        return [*self.join(log), *self.pull(log)]

    def take(self, past: Past) -> list[Event]:
        """Take in a page."""
        return self.transcript.page(past, letters_of(past, self.transcript.log_id))

    def deliver(self, log: Log, sequence: int) -> list[Event]:
        """Take in a live message."""
        letter = read_letter(KEYS, self.transcript.log_id, log.envelopes[sequence - 1])
        return self.transcript.deliver(sequence, CLOCK, letter)

    def older(self, log: Log, count: int) -> list[Event]:
        """Ask for older messages and take them in."""
        wanted = self.transcript.wanted_older(count)
        assert wanted is not None
        past = log.answer(wanted)
        return self.transcript.older(past, letters_of(past, self.transcript.log_id))

    def save(self) -> None:
        """Remember what was heard, as a visit does."""
        self.state.save(KEYS.address, self.transcript.position, self.transcript.take_heard())


@dataclass
class Profiles:
    """Readers that share a profile: one after another, as runs of a client do."""

    state: State

    def reader(
        self,
        *,
        backlog: Backlog | None = None,
        position: Position | None = None,
        heard: Sequence[Heard] | None = None,
        me: Identity = ME,
    ) -> Reader:
        """Return a new run that knows what the profile remembers."""
        remembered = self.state.heard(KEYS.address) if heard is None else heard
        people = People(self.state, KEYS.address, me, learns=True)
        stored = position or self.state.position(KEYS.address)
        transcript = Transcript(
            KEYS.address, people, Counters(remembered), stored, backlog or Backlog(), MY_SESSION, lambda: CLOCK
        )
        return Reader(transcript, self.state, people)


@contextmanager
def profiles_in(directory: Path) -> Iterator[Profiles]:
    """Open a profile's database for the time of a test."""
    state = State.open(directory / "state.sqlite")
    try:
        yield Profiles(state)
    finally:
        state.close()


def texts(events: Sequence[Event]) -> list[str]:
    """Return the texts of the messages among ``events``."""
    return [event.text for event in events if event.kind is Kind.MESSAGE]


def kinds(events: Sequence[Event]) -> list[Kind]:
    """Return the kinds of ``events``, without the messages."""
    return [event.kind for event in events if event.kind is not Kind.MESSAGE]


def lying(past: Past, **changes: object) -> Past:
    """Return a page with other fields than the log's."""
    return replace(past, **changes)  # type: ignore[arg-type]
