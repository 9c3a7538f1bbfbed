"""What was heard of each member's run, to drop replays and to miss what was dropped (PROTOCOL.md, section 5.2)."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import NamedTuple

from securechat import limits
from securechat.client.state import Heard


class Verdict(Enum):
    """What a message is, by its counter."""

    NEW = auto()
    AGAIN = auto()  # the same message at the same place: history that is read once more
    DUPLICATE = auto()  # the same message at another place: a replay
    CONFLICT = auto()  # another message under the same counter


class Judged(NamedTuple):
    """A verdict, with how many messages of the run are missing before it, and whether it is late."""

    verdict: Verdict
    missing: int = 0
    is_late: bool = False


@dataclass
class _Run:
    high: int = 0
    passed: int = 0  # the highest that was read in this run of the client, older pages apart
    is_continuous: bool = False  # whether all up to ``high`` should have been heard
    heard: dict[int, tuple[bytes, bytes, int]] = field(default_factory=dict)

    def forget_below_window(self) -> None:
        if len(self.heard) > 2 * limits.REPLAY_WINDOW:  # seldom, and then half of it
            first = self.high - limits.REPLAY_WINDOW
            self.heard = {counter: entry for counter, entry in self.heard.items() if counter > first}


class Counters:
    """The runs of all members of a room.

    Args:
        heard: What earlier runs of this client have heard, counters rising within each run.
    """

    def __init__(self, heard: Iterable[Heard] = ()) -> None:
        self._runs: dict[tuple[bytes, bytes], _Run] = {}
        for row in heard:
            run = self._run(row.identity, row.session)
            run.heard[row.counter] = (row.digest, row.log_id, row.sequence)
            run.high = max(run.high, row.counter)
            run.is_continuous = True

    def _run(self, identity: bytes, session: bytes) -> _Run:
        return self._runs.setdefault((identity, session), _Run())

    def judge(self, message: Heard, *, is_older: bool, is_reread: bool = False) -> Judged:
        """Judge a message and remember it.

        Args:
            message: What was heard, and where.
            is_older: It comes from a page before what is shown: a low counter is no wonder there.
            is_reread: An earlier run of this client has followed the log beyond this place: what that run
                has heard behind it makes it neither late nor a duplicate.
        """
        run = self._run(message.identity, message.session)
        counter = message.counter
        is_late = not is_older and counter < (run.passed if is_reread else run.high)
        if not is_older:
            run.passed = max(run.passed, counter)
        entry = (message.digest, message.log_id, message.sequence)
        known = run.heard.get(counter)
        if known == entry:
            return Judged(Verdict.AGAIN, is_late=is_late and is_reread)
        if known is not None:
            return Judged(Verdict.DUPLICATE if known[0] == message.digest else Verdict.CONFLICT)
        if counter <= run.high - limits.REPLAY_WINDOW and not (is_older or is_reread):
            return Judged(Verdict.DUPLICATE)
        run.heard[counter] = entry
        if counter <= run.high:
            return Judged(Verdict.NEW, is_late=is_late)
        missing = counter - run.high - 1 if run.is_continuous else 0
        run.high, run.is_continuous = counter, True
        run.forget_below_window()
        return Judged(Verdict.NEW, missing)

    def announce(self, identity: bytes, session: bytes, messages: int) -> int:
        """Take in how many messages a member said just now to have sent; return how many are missing."""
        run = self._run(identity, session)
        missing = max(0, messages - run.high) if run.is_continuous else 0
        run.high, run.is_continuous = max(run.high, messages), True
        return missing

    def lose_track(self) -> None:
        """Note that messages were skipped for a known reason: the next of each run tells of none missing."""
        for run in self._runs.values():
            run.is_continuous = False
