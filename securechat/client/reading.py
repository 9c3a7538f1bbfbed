"""What members say, each message in its place in the log, judged by all that is known; sans-I/O.

PROTOCOL.md, section 5: counters tell replays and losses, what others have seen tells of forks.
"""

from collections.abc import Callable
from typing import NamedTuple

from securechat import limits
from securechat.client.alarms import Alarms
from securechat.client.conversation import Event, Kind, Sender
from securechat.client.counters import Counters, Verdict
from securechat.client.letters import Letter
from securechat.client.people import People
from securechat.client.state import Heard
from securechat.client.tally import Tally
from securechat.errors import Failure
from securechat.protocol import chain
from securechat.sealing import body as bodies
from securechat.sealing.body import Here, Unknown


class Links:
    """The part of the hash chain that was computed here, by which is judged what others have seen.

    Attributes:
        root: H_0 of the log.
    """

    def __init__(self) -> None:
        self.root = b""
        self._links: dict[int, bytes] = {}

    def clear(self) -> None:
        """Forget all but the root."""
        self._links.clear()

    def note(self, sequence: int, head: bytes) -> None:
        """Take in H of a sequence; only so many are kept."""
        self._links[sequence] = head
        if len(self._links) > limits.CHAIN_WINDOW:
            del self._links[next(iter(self._links))]

    def deny(self, sequence: int, head: bytes) -> bool:
        """Tell whether H of a sequence is known, and another."""
        known = self._links.get(sequence, head) if sequence else self.root
        return known != head


class Place(NamedTuple):
    """Where and how a letter was found.

    Attributes:
        log_id: In which log, 16 bytes.
        sequence: At which sequence of it.
        clock: When the server says that it got it, in ms since 1970 UTC.
        is_backlog: It was there when this client joined.
        is_older: It is from a page before what was shown.
        is_reread: An earlier run of this client has followed the log beyond it.
        was_shown: This run has shown it already.
    """

    log_id: bytes
    sequence: int
    clock: int
    is_backlog: bool
    is_older: bool
    is_reread: bool
    was_shown: bool


class Reading:
    """Reads the letters of one room.

    Args:
        people: Who has which nickname.
        counters: What was heard before.
        links: The chain as far as it was computed.
        alarms: Holds back what a server can cause without end.
        session: This run, 16 bytes: by it its own messages are known.
        clock: Returns this machine's clock in ms since 1970 UTC.

    Attributes:
        tally: What was read, as the server sees it.
    """

    def __init__(
        self,
        people: People,
        counters: Counters,
        links: Links,
        alarms: Alarms,
        session: bytes,
        clock: Callable[[], int],
    ) -> None:
        self._people = people
        self._counters = counters
        self._links = links
        self._alarms = alarms
        self._session = session
        self._clock = clock
        self._forked: set[tuple[bytes, bytes]] = set()
        self._heard: list[Heard] = []
        self.tally = Tally()

    def take_heard(self) -> list[Heard]:
        """Return what was heard since the last call, to be remembered."""
        heard, self._heard = self._heard, []
        return heard

    def read(self, letter: Letter, place: Place) -> list[Event]:
        """Return what to show of a letter, which may be nothing."""
        body = letter.body
        if body is None or isinstance(body, Here):
            return self._closed(letter.failure or Failure.BODY, place)
        header = body.header if isinstance(body, Unknown) else body
        sender = self._people.sender(header.nick, letter.identity)
        digest = chain.digest(bodies.without_seen(body))
        heard = Heard(letter.identity, header.session, header.counter, digest, place.log_id, place.sequence)
        judged = self._counters.judge(heard, is_older=place.is_older, is_reread=place.is_reread)
        if judged.verdict is Verdict.DUPLICATE or (judged.verdict is Verdict.AGAIN and place.was_shown):
            return []
        self.tally.add(letter, place.clock)
        if judged.verdict is Verdict.CONFLICT:
            what = f"the second, {place.sequence}, is not shown."
            text = f"{sender.name} signed two different messages with one number; {what}"
            return self._alarms.tell("conflict", self._event(Kind.FORK, text, sender))
        if judged.verdict is Verdict.NEW:
            self._heard.append(heard)
        events = [*self._gap(sender, judged.missing), *self._new_key(sender)]
        events += self._judge_seen(sender, header.session, header.seen, place.sequence)
        events.append(self._message(body, header, sender, place, is_late=judged.is_late))
        return events

    def _closed(self, failure: Failure, place: Place) -> list[Event]:
        why = "of a newer version, or forged" if failure is Failure.VERSION else "forged or altered"
        text = f"Message {place.sequence} does not open ({failure}): it is {why}, and is not shown."
        return self._alarms.tell("closed", Event(Kind.NOTICE, self._clock(), text, place.sequence))

    def _message(
        self, body: bodies.Spoken | Unknown, header: bodies.Header, sender: Sender, place: Place, *, is_late: bool
    ) -> Event:
        if isinstance(body, Unknown):
            text = f"{sender.name} sent something of a kind ({body.kind}) that this version does not know."
            return Event(Kind.NOTICE, self._clock(), text, place.sequence, sender)
        return Event(
            Kind.MESSAGE,
            header.clock,
            body.text,
            place.sequence,
            sender,
            is_action=isinstance(body, bodies.Action),
            is_backlog=place.is_backlog,
            is_late=is_late,
            is_own=sender.is_me and header.session == self._session,
            clock_error=header.clock - self._sent_at(place),
        )

    def _sent_at(self, place: Place) -> int:
        """Return when the server got a message: as it says, unless it is live and this machine's clock denies that."""
        now = self._clock()
        is_denied = not place.is_backlog and abs(place.clock - now) > limits.CLOCK_SKEW_SECONDS * 1000
        return now if is_denied else place.clock

    def _gap(self, sender: Sender, missing: int) -> list[Event]:
        if not missing:
            return []
        what = "1 message" if missing == 1 else f"{missing} messages"
        is_or_are = "is" if missing == 1 else "are"
        return [self._event(Kind.GAP, f"{what} from {sender.name} {is_or_are} missing.", sender)]

    def _new_key(self, sender: Sender) -> list[Event]:
        owner = self._people.claim(sender)
        if owner is None:
            return []
        text = (
            f"{sender.name} speaks with the key {sender.identity.hex()[:8]}, but this name, or one that looks "
            f"like it, had the key {owner.hex()[:8]} before. Verify who it is before you trust it."
        )
        return [self._event(Kind.CHANGED_KEY, text, sender)]

    def _judge_seen(
        self, sender: Sender, session: bytes, seen: bodies.Seen | None, sequence: int | None
    ) -> list[Event]:
        """Compare what a member says to have seen with the chain; each run of a member is told of once."""
        if seen is None:
            return []
        is_future = sequence is not None and seen.sequence >= sequence
        key = (sender.identity, session)
        if key in self._forked or not (is_future or self._links.deny(seen.sequence, seen.head)):
            return []
        self._forked.add(key)
        text = (
            f"{sender.name} has seen another history than you: the server shows different people different "
            f"things, or {sender.name} does not tell the truth."
        )
        return [self._event(Kind.FORK, text, sender)]

    def presence(self, here: Here, identity: bytes, *, is_current: bool) -> list[Event]:
        """Take in what a member's presence says of its messages, where it is of now and so is what was heard."""
        sender = self._people.sender(here.nick, identity)
        events = self._new_key(sender)
        if is_current:
            missing = self._counters.announce(identity, here.session, here.messages)
            events += self._gap(sender, missing)
            events += self._judge_seen(sender, here.session, here.seen, None)
        return events

    def _event(self, kind: Kind, text: str, sender: Sender) -> Event:
        return Event(kind, self._clock(), text, sender=sender)
