"""Who is here, by what members say of themselves; sans-I/O."""

from collections.abc import Iterable
from typing import NamedTuple

from securechat.client.clock import now_ms
from securechat.client.conversation import Event, Kind, Present, Sender
from securechat.client.letters import read_letter
from securechat.client.people import People
from securechat.client.transcript import Transcript
from securechat.protocol.messages import Change, MemberChange
from securechat.sealing.body import Here
from securechat.sealing.envelope import Context
from securechat.sealing.keys import RoomKeys

_Run = tuple[bytes, bytes]


class _Known(NamedTuple):
    present: Present
    run: _Run


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
        self._members: dict[int, _Known] = {}
        self._before: dict[_Run, str] = {}  # who was here before a reconnect
        self._counters: dict[_Run, tuple[int, bytes]] = {}
        self._listed = 0
        self._own = 0

    @property
    def present(self) -> dict[int, Present]:
        """Who is here, by member number; whether somebody is verified may have changed since they came."""
        return {number: self._as_known_now(known.present) for number, known in self._members.items()}

    def _as_known_now(self, present: Present) -> Present:
        return present._replace(sender=self._people.sender(present.sender.nick, present.sender.identity))

    def join(self, own: int, listed: int) -> list[Event]:
        """Begin anew on a new connection: this member's number, and how many members will be listed."""
        self._before = {known.run: known.present.sender.nick for known in self._members.values()}
        self._members.clear()
        self._own, self._listed = own, listed
        return self._end_of_list() if not listed else []

    def _end_of_list(self) -> list[Event]:
        """Forget who was here before the reconnect; they left meanwhile."""
        gone, self._before = self._before, {}
        return [self._left(self._people.sender(nick, run[0])) for run, nick in gone.items()]

    def _left(self, sender: Sender) -> Event:
        return Event(Kind.LEFT, now_ms(), f"{sender.name} left.", sender=sender)

    def take(self, changes: Iterable[MemberChange]) -> list[Event]:
        """Take in changes of presence."""
        events: list[Event] = []
        for change in changes:
            if change.change is Change.HERE:
                self._listed -= 1
            if change.member != self._own:
                events += self._leave(change) if change.change is Change.LEFT else self._arrive(change)
            if change.change is Change.HERE and self._listed == 0:
                events += self._end_of_list()
        return events

    def _leave(self, change: MemberChange) -> list[Event]:
        known = self._members.pop(change.member, None)
        return [] if known is None else [self._left(known.present.sender)]

    def _arrive(self, change: MemberChange) -> list[Event]:
        letter = read_letter(self._keys, change.presence, Context.PRESENCE)
        if not isinstance(letter.body, Here) or self._is_old(letter.identity, letter.body, letter.digest):
            return []
        here = letter.body
        run = letter.identity, here.session
        sender = self._people.sender(here.nick, letter.identity)
        if sender.is_me and here.session == self._session:
            return []
        known = self._members.get(change.member) or self._take_other_number(run)
        self._members[change.member] = _Known(Present(sender, here.reader), run)
        events = self._transcript.presence(here, letter.identity, is_live=change.change is not Change.HERE)
        old = known.present.sender.nick if known else self._before.pop(run, None)
        if old is None and change.change is Change.HERE:
            return events
        if old is None:
            return [*events, Event(Kind.JOINED, now_ms(), f"{sender.name} joined.", sender=sender)]
        if old != here.nick:
            text = f"{old} is now called {sender.name}."
            return [*events, Event(Kind.RENAMED, now_ms(), text, sender=sender)]
        return events

    def _take_other_number(self, run: _Run) -> _Known | None:
        """Forget the number under which a run was here: it came back before the server had missed it."""
        for number, known in self._members.items():
            if known.run == run:
                return self._members.pop(number)
        return None

    def _is_old(self, identity: bytes, here: Here, digest: bytes) -> bool:
        """Tell whether this run has said something newer of itself already, or something else at this count."""
        known = self._counters.get((identity, here.session))
        if known is not None and known != (here.counter, digest) and known[0] >= here.counter:
            return True
        self._counters[identity, here.session] = here.counter, digest
        return False
