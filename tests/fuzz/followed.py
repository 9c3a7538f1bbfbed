"""A member follows the log of a server that says whatever the protocol lets it say."""

import atexit
import functools
from typing import Final

from securechat.client.conversation import Event, Kind
from securechat.client.counters import Counters
from securechat.client.letters import Letter
from securechat.client.people import People
from securechat.client.roster import Roster
from securechat.client.state import Position, State
from securechat.client.transcript import Backlog, Transcript, Wanted
from securechat.errors import ProtocolError
from securechat.protocol import frames, messages
from securechat.protocol.messages import Change, Direction, Joined, MemberChange, Past, Record, ServerMessage
from securechat.sealing.body import Seen
from tests.fuzz.harness import Choices, Harness, make_directory
from tests.support.rooms import CLOCK, KEYS, LOG_ID, ME, MY_SESSION, OTHER_LOG_ID, Log, letters_of, member

_LARGEST: Final = 2**53 - 1
_EVENTS: Final = 10  # for one message of the server, and for each envelope or member in it


def _honest_log() -> Log:
    """Return a log with one of each thing that members may say, and of what they may not."""
    ann, bob, false_ann = member("ann"), member("bob"), member("ann", 2)
    log = Log()
    for number in range(4):
        log.say(ann, f"ann {number}")
        log.say(bob, f"bob {number}")
    log.append(bob.write_kind(3, log.seen()))
    log.append(bytes(300))
    log.append(ann.write("the same number", log.seen(), counter=2))
    log.append(bob.write("after a hole", log.seen(), counter=9))
    log.append(false_ann.write("another history", Seen(2, bytes(32))))
    log.append(member("a\u043en").write("looks alike", log.seen()))
    return log


_LOG: Final = _honest_log()
_HEADS: Final = [_LOG.head(number) for number in range(_LOG.newest + 1)]
_LETTERS: Final = dict(zip(_LOG.envelopes, letters_of(_LOG.answer(Wanted(Direction.FORWARD, 1, 99))), strict=True))
_PRESENCES: Final = [
    *(m.show(is_reader=is_reader) for m in (member("ann"), member("bob")) for is_reader in (True, False)),
    bytes(200),
]
_POSITIONS: Final = (
    None,
    Position(LOG_ID, 5, _HEADS[5]),
    Position(LOG_ID, 5, bytes(32)),
    Position(OTHER_LOG_ID, 5, bytes(32)),
    Position(LOG_ID, _LARGEST, bytes(32)),
)
_BACKLOGS: Final = (Backlog(), Backlog(0, is_new=False), Backlog(3), Backlog(0, is_all=True))


@functools.cache
def _profile() -> State:
    """Return a profile that has met nobody and learns nothing; one for all runs, for speed."""
    state = State.open(make_directory() / "state.sqlite")
    atexit.register(state.close)
    return state


class _Follower:
    """A member who follows, and what holds whatever the server says."""

    def __init__(self, choices: Choices) -> None:
        self._choices = choices
        people = People(_profile(), KEYS.address, ME, learns=False)
        position, backlog = choices.one_of(_POSITIONS), choices.one_of(_BACKLOGS)
        self.transcript = Transcript(KEYS.address, people, Counters(), position, backlog, MY_SESSION, lambda: CLOCK)
        self.roster = Roster(KEYS, people, self.transcript, MY_SESSION)
        self._shown: set[str] = set()

    def _sequence(self) -> int:
        """Return a number near where the follower is, or any."""
        number = self._choices.number()
        return number if number > 0xFF else max(0, self.transcript.newest + number - 0x80)

    def _head(self, sequence: int) -> bytes:
        honest = _HEADS[sequence] if sequence < len(_HEADS) else bytes(32)
        return self._choices.one_of([honest, self.transcript.head, bytes(32), _HEADS[0]]).ljust(32, b"\0")

    def _joined(self) -> Joined:
        oldest, newest = self._sequence(), self._sequence()
        log_id = self._choices.one_of([LOG_ID, OTHER_LOG_ID])
        return Joined(1, 1, 1, False, log_id, oldest, newest, self._head(newest), self._choices.byte())

    def _past(self) -> Past:
        oldest, first, more = self._sequence(), self._sequence(), self._choices.byte()
        start, count = self._choices.byte() % _LOG.newest, self._choices.byte() % 8
        records = tuple(Record(CLOCK, envelope) for envelope in _LOG.envelopes[start : start + count])
        newest = min(max(0, first + len(records) - 1 + more), _LARGEST)
        return Past(1, 1, oldest, newest, first, self._head(max(0, first - 1)), records)

    def step(self) -> None:
        """Take in one message of the server."""
        match self._choices.byte() % 5:
            case 0:
                if _can_be_said(joined := self._joined()):
                    events = self.transcript.join(joined)
                    self._check([*events, *self.roster.join(joined.member, joined.listed)], 2)
            case 1:
                past = self._past()
                if self.transcript.wanted() and _can_be_said(past):
                    self._check(self.transcript.page(past, _opened(past)), len(past.records))
            case 2:
                past = self._past()
                if self.transcript.log_id and self.transcript.wanted_older(20) and _can_be_said(past):
                    self._check(self.transcript.older(past, _opened(past)), len(past.records))
            case 3:
                sequence, envelope = self._sequence(), self._choices.one_of(_LOG.envelopes)
                if self.transcript.log_id and _can_be_said(messages.Deliver(1, sequence, CLOCK, envelope)):
                    self._check(self.transcript.deliver(sequence, CLOCK, _LETTERS[envelope]), 1)
            case _:
                self._check(self.roster.take([self._change()]), 8)

    def _change(self) -> MemberChange:
        change, number = self._choices.one_of(list(Change)), self._choices.byte()
        presence = self._choices.one_of(_PRESENCES)
        return MemberChange(change, number, b"" if change is Change.LEFT else presence)

    def _check(self, events: list[Event], size: int) -> None:
        """Hold what is shown against what was ever said."""
        assert len(events) <= _EVENTS * (1 + size)
        for event in events:
            assert len(event.text) < 300
            if event.kind is Kind.ROLLBACK:  # told, so what comes again is no wonder
                self._shown.clear()
            if event.kind is Kind.MESSAGE:
                assert event.sender
                assert event.sender.nick in {"ann", "bob", "a\u043en"}
                assert event.text not in self._shown, "a message is shown once"
                self._shown.add(event.text)
        for heard in self.transcript.take_heard():
            assert len(heard.identity) == len(heard.digest) == 32

    def reconcile(self) -> None:
        """An honest server is followed to the end of its log, whatever was before.

        The chain may have another H: this member did see another history, and will say so.
        """
        self._check(self.transcript.join(_LOG.joined()), 2)
        for _ in range(_LOG.newest + 2):
            if (wanted := self.transcript.wanted()) is None:
                break
            past = _LOG.answer(wanted)
            self._check(self.transcript.page(past, _opened(past)), len(past.records))
        assert self.transcript.is_caught_up
        assert self.transcript.position[:2] == (LOG_ID, _LOG.newest)


def _can_be_said(message: ServerMessage) -> bool:
    """Tell whether a client's parser lets a message through."""
    try:
        encoded = message.encode()
        messages.parse(frames.Frame(message.TYPE, encoded[frames.HEADER_BYTES :]))
    except ProtocolError:
        return False
    return True


def _opened(past: Past) -> list[Letter]:
    return [_LETTERS[record.envelope] for record in past.records]


def transcript(data: bytes) -> None:
    """No lie makes a member fail, show twice, or lose the honest log for good."""
    choices = Choices(data)
    follower = _Follower(choices)
    while not choices.is_over:
        follower.step()
    follower.reconcile()


_SEEDS = [
    b"",
    bytes([0, 0, 0, 0x81, 0x84, 0, 0, 0, 1, 0x81, 0x81, 0, 0, 4, 0, 3, 0x81, 0]),  # four messages, the first again
    bytes([0, 0, 0, 0x81, 0x8E, 0, 0, 1, 0x81, 0x81, 5, 0, 7, 0, 0]),
    bytes([1, 2, 0, 0x81, 0x88, 0, 0, 0, 3, 0x81, 8, 2, 0x81, 0x84, 0, 0, 3, 0]),
    bytes([0, 3, 0, 0x81, 0x8E, 0, 0, 2, 4, 0, 1, 0, 4, 1, 2, 3, 4, 2, 1, 0, 3, 0x90, 4]),
    bytes([2, 1, 0, 0x80, 0x80, 1, 2, 0, 0, 0xFF, *b"\x1f\xff\xff\xff\xff\xff\xff", 0x80, 0, 0, 0]),
]

HARNESSES = {"transcript": Harness(transcript, _SEEDS, 512, memory=256)}
