"""Who is here, by what members say of themselves; sans-I/O."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from securechat import limits
from securechat.client.clock import now_ms
from securechat.client.conversation import Event, Kind, Present, Sender
from securechat.client.letters import read_presence
from securechat.client.people import People
from securechat.client.transcript import Transcript
from securechat.protocol.messages import Change, MemberChange
from securechat.sealing.body import Here
from securechat.sealing.keys import RoomKeys

_Run = tuple[bytes, bytes]


@dataclass
class _Here:
    """A run that is here, under one member number or more."""

    present: Present
    numbers: set[int] = field(default_factory=set)


class _Said(NamedTuple):
    """What a run has said of itself last, and whether it has left since."""

    counter: int
    digest: bytes
    has_left: bool = False


class Roster:
    """The members of a room.

    Args:
        keys: The room's.
        people: Who has which nickname.
        transcript: Hears what members say of their messages.
        session: This run, 16 bytes: the server may still list it under the number of a lost connection.
    """

    def __init__(self, keys: RoomKeys, people: People, transcript: Transcript, session: bytes) -> None:
        self._keys = keys
        self._people = people
        self._transcript = transcript
        self._session = session
        self._runs: dict[_Run, _Here] = {}
        self._numbers: dict[int, _Run] = {}
        self._before: dict[_Run, str] = {}  # who was here before a reconnect
        self._said: dict[_Run, _Said] = {}
        self._listed = 0
        self._own = 0

    @property
    def present(self) -> dict[int, Present]:
        """Who is here, by member number; who is here under several, once."""
        return {min(here.numbers): self._as_known_now(here.present) for here in self._runs.values()}

    def _as_known_now(self, present: Present) -> Present:
        """Return a member with their verification of now: it may have come after they did."""
        return present._replace(sender=self._people.sender(present.sender.nick, present.sender.identity))

    def join(self, own: int, listed: int) -> list[Event]:
        """Begin anew on a new connection: this member's number, and how many members will be listed."""
        self._before = {run: here.present.sender.nick for run, here in self._runs.items()}
        self._runs.clear()
        self._numbers.clear()
        self._own, self._listed = own, listed
        return self._end_of_list() if not listed else []

    def _end_of_list(self) -> list[Event]:
        """Forget who was here before the reconnect; they left meanwhile."""
        gone, self._before = self._before, {}
        return [self._left(run, self._people.sender(nick, run[0])) for run, nick in gone.items()]

    def _left(self, run: _Run, sender: Sender) -> Event:
        if run in self._said:
            self._said[run] = self._said[run]._replace(has_left=True)
        return Event(Kind.LEFT, now_ms(), f"{sender.name} left.", sender=sender)

    def take(self, changes: Iterable[MemberChange]) -> list[Event]:
        """Take in changes of presence."""
        events: list[Event] = []
        for change in changes:
            if change.change is Change.HERE:
                self._listed -= 1
            if change.member != self._own:
                events += self._leave(change.member) if change.change is Change.LEFT else self._arrive(change)
            if change.change is Change.HERE and self._listed == 0:
                events += self._end_of_list()
        return events

    def _leave(self, number: int) -> list[Event]:
        """Take a member number from its run, which has left when that was its last.

        Anybody in the room can send another's sealed presence as their own, so a run may have several.
        """
        run = self._numbers.pop(number, None)
        if run is None:
            return []
        here = self._runs[run]
        here.numbers.discard(number)
        if here.numbers:
            return []
        del self._runs[run]
        return [self._left(run, here.present.sender)]

    def _arrive(self, change: MemberChange) -> list[Event]:
        letter = read_presence(self._keys, change.presence)
        if not isinstance(letter.body, Here):
            return []
        here, run = letter.body, (letter.identity, letter.body.session)
        sender = self._people.sender(here.nick, letter.identity)
        is_me = sender.is_me and here.session == self._session
        is_too_many = change.member not in self._numbers and len(self._numbers) >= limits.PRESENT_MEMBERS
        if is_me or is_too_many or self._is_old(run, here, letter.digest):
            return []
        events = self._leave(change.member) if self._numbers.get(change.member, run) != run else []
        known = self._runs.get(run)
        old = known.present.sender.nick if known else self._before.pop(run, None)
        numbers = known.numbers if known else set()
        self._runs[run] = _Here(Present(sender, here.reader), numbers | {change.member})
        self._numbers[change.member] = run
        events += self._transcript.presence(here, letter.identity, is_live=change.change is not Change.HERE)
        return [*events, *self._tell_arrival(sender, old, change.change)]

    def _tell_arrival(self, sender: Sender, old: str | None, change: Change) -> list[Event]:
        """Tell who came, or who is called otherwise now; who was here before us is not told of."""
        if old is None and change is not Change.HERE:
            return [Event(Kind.JOINED, now_ms(), f"{sender.name} joined.", sender=sender)]
        if old is not None and old != sender.nick:
            return [Event(Kind.RENAMED, now_ms(), f"{old} is now called {sender.name}.", sender=sender)]
        return []

    def _is_old(self, run: _Run, here: Here, digest: bytes) -> bool:
        """Tell whether this run has said something newer of itself, something else at this count, or has left since."""
        known = self._said.get(run)
        if known is not None and (known.has_left or known.digest != digest) and known.counter >= here.counter:
            return True
        if known is None and len(self._said) >= limits.PRESENT_MEMBERS:
            del self._said[next(iter(self._said))]
        self._said[run] = _Said(here.counter, digest)
        return False
