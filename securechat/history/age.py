"""How old what a log keeps is: a clock that only a running server advances.

The wall clock is a claim. A board without a battery starts in 1970, a wrong time source says 2066, an operator
types the wrong year. Whoever ages messages by it deletes a room's history on a bad day, or keeps for ever what was
stored on that day. So each message has two times. One is what members see: the wall clock, as it was. The other is
its *age stamp*, and retention looks at nothing else.

**The clock.** Stamps are read from a clock that starts at the wall clock when a log is new, advances by the
steady clock while a server runs, and stands while none runs. It never goes back, and continues at the next start from
what the log has recorded: a crash loses nothing of it, because each room's ``used`` is a stamp too.

**The gaps.** Time passes also while no server runs (or the machine sleeps). Only the wall clock can know how much:
it is then further *ahead* of this clock than it was. That claim becomes a gap, a pair of a stamp and a length: what
was stored before that stamp is older by that length, and what was stored after it is not. A gap is never added to the
clock itself, because messages that are stored while a claim is on trial would otherwise age with it.

**Trust.** What the wall clock claims is judged by its size, in this order:

- Up to ``CLOCK_JUMP`` (ten minutes): a restart, or a clock that is slewed. It counts at once.
- More than ``CLOCK_CLAIM`` (a year), forward or back: a clock that is wrong now, or was wrong and is right now. Nobody
  can tell which, and it does not matter: it never counts as age, and after ``CLOCK_TRUST`` the difference is normal.
- Forward, up to a year: the time that a server was off. It counts when the clock has stood for ``CLOCK_TRUST`` (an
  hour); another jump within that hour starts the hour again.
- Back, up to a year: no age, and the old difference is still what a later claim is measured by. So a clock that was
  set back and right again claims nothing.

It follows that no jump of any size makes a message younger, that within the hour none makes anything older, and
that what the steady clock counts is never lost: with a clock that is always wrong, messages expire after their time
of running.
"""

import time
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

import trio

from securechat import limits

_GRAIN: Final = 1000  # ms; a smaller claim is what rounding leaves, and waits until it is more


class Clocks(NamedTuple):
    """Where time comes from.

    Attributes:
        steady: Returns seconds since any moment; nobody can set it.
        wall: Returns seconds since 1970 UTC, as the machine claims.
    """

    steady: Callable[[], float] = trio.current_time
    wall: Callable[[], float] = time.time


class Gap(NamedTuple):
    """A time that the age clock does not contain: ``length`` ms, after all that was stored before stamp ``at``."""

    at: int
    length: int


class Reckoning(NamedTuple):
    """What of an age clock is recorded with the log; all in ms.

    Attributes:
        age: The stamp that it had reached.
        ahead: By how much the wall clock is ahead of it, as far as is believed.
        shown: The same for display: with a wall clock that was set back, less.
        trial: The stamp after which a claim is on trial; None for no claim.
        gaps: What was believed, oldest first.
    """

    age: int
    ahead: int = 0
    shown: int = 0
    trial: int | None = None
    gaps: tuple[Gap, ...] = ()

    def wall_of(self, stamp: int) -> int:
        """Return what the wall clock would have shown at a stamp, in ms since 1970 UTC."""
        after = sum(gap.length for gap in self.gaps if gap.at > stamp)
        return min(max(0, stamp + self.shown - after), limits.CLOCK_LAST)

    def cutoff(self, seconds: float | None) -> int:
        """Return the stamp before which everything is older than ``seconds`` now; 0 when nothing is."""
        if seconds is None or seconds * 1000 >= self.age + sum(gap.length for gap in self.gaps):
            return 0
        at, left = self.age, int(seconds * 1000)
        for gap in reversed(self.gaps):
            if at - gap.at >= left:
                break
            left -= at - gap.at
            at = gap.at
            if gap.length >= left:
                return at
            left -= gap.length
        return max(0, at - left)


class AgeClock:
    """The clock of one log.

    It starts at the first call that needs it, which is made in a trio task.

    Args:
        clocks: Where time comes from.
        kept: What the log has recorded; None for a new log.
    """

    def __init__(self, clocks: Clocks, kept: Reckoning | None = None) -> None:
        self._clocks = clocks
        self._kept = kept
        self._started: float | None = None
        self._base = 0
        self._ahead = 0
        self._gaps: list[Gap] = []
        self._trial: int | None = None  # the stamp after which a claim is on trial
        self._offset = 0  # of the wall clock at the last look
        self._looked = 0  # the stamp at the last look
        self._since = 0.0  # the steady clock when the wall clock jumped last

    def now(self) -> int:
        """Return the stamp of what is stored now, in ms."""
        started = self._start()
        return self._base + round((self._clocks.steady() - started) * 1000)

    def _start(self) -> float:
        if self._started is None:
            self._started = self._since = self._clocks.steady()
            kept = self._kept or Reckoning(self._wall())
            self._base = self._looked = kept.age
            self._ahead, self._gaps, self._trial = kept.ahead, list(kept.gaps), kept.trial
            # What cannot be the time that a server was off is a jump: the first look says so.
            offset = self._wall() - self._base
            self._offset = offset if 0 <= offset - kept.shown <= limits.CLOCK_CLAIM * 1000 else kept.shown
        return self._started

    def _wall(self) -> int:
        return to_clock(self._clocks.wall())

    def look(self) -> float:
        """Look at the wall clock, as is done once a minute; return by how many seconds it was set, or 0.0."""
        now = self.now()
        offset = self._wall() - now
        jump, self._offset = (offset - self._offset) / 1000, offset
        is_jump = abs(jump) > limits.CLOCK_JUMP
        if is_jump:
            self._since = self._clocks.steady()
        self._judge(offset - self._ahead)
        self._looked = now
        return jump if is_jump else 0.0

    def _judge(self, claim: int) -> None:
        """Believe what the wall clock claims beyond the age clock, in ms; or put it on trial."""
        if -limits.CLOCK_CLAIM * 1000 <= claim < _GRAIN:
            self._trial = None
            return
        if self._trial is None:
            self._trial = self._looked  # the jump came after that look, so what was stored since may be younger
        has_stood = self._clocks.steady() - self._since >= limits.CLOCK_TRUST
        if not has_stood and not _GRAIN <= claim <= limits.CLOCK_JUMP * 1000:
            return
        if _GRAIN <= claim <= limits.CLOCK_CLAIM * 1000:
            self._gaps = _merged([*self._gaps, Gap(self._trial, claim)])
        self._ahead += claim
        self._trial = None

    @property
    def reckoning(self) -> Reckoning:
        """Where the clock stands."""
        age = self.now()
        return Reckoning(age, self._ahead, min(self._ahead, self._offset), self._trial, tuple(self._gaps))

    def cutoff(self, seconds: float | None) -> int:
        """See ``Reckoning.cutoff``."""
        return self.reckoning.cutoff(seconds)


def to_clock(seconds: float) -> int:
    """Return a time in seconds since 1970 UTC, which may be anything, in ms and within what calendars can show."""
    return int(min(max(0.0, seconds * 1000), float(limits.CLOCK_LAST)))


def _merged(gaps: Iterable[Gap]) -> list[Gap]:
    """Keep gaps in order and their number within its limit; what is stored between two that become one is younger."""
    ordered = sorted(gaps)
    while len(ordered) > limits.AGE_GAPS:
        first, second, *rest = ordered
        ordered = [Gap(first.at, first.length + second.length), *rest]
    return ordered
