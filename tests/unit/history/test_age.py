"""The clock by which messages age: what it believes of the wall clock, and what it never does."""

from itertools import product
from math import inf

import pytest

from securechat import limits
from securechat.history.age import AgeClock, Clocks, Gap, Reckoning, to_clock

START = 1_700_000_000.0
HOUR = 3600.0
DAY = 24 * HOUR
YEAR = 365 * DAY
WEEK = 7 * DAY
JUMPS = [
    *(sign * size for sign in (1, -1) for size in (HOUR, DAY, 300 * DAY, YEAR, 31.7 * YEAR, 40 * YEAR, 300 * YEAR)),
    -START,  # 1970
    -2 * START,  # before it
    2**31 - START,
    2**32 - START,
    2**63 / 1000 - START,
    2**63 - START,
    1e300,
    -1e300,
]


class Machine:
    """A machine whose wall clock can be set; its server is started, stopped, and looks at the clock once a minute."""

    def __init__(self) -> None:
        self.true = START
        self.wrong_by = 0.0
        self.kept: Reckoning | None = None
        self.start()

    def start(self) -> None:
        booted = self.true
        clocks = Clocks(lambda: self.true - booted, lambda: self.true + self.wrong_by)
        self.clock = AgeClock(clocks, self.kept)
        self.jumps = [self.clock.look()]

    def restart(self, after: float = 0.0) -> None:
        self.kept = self.clock.reckoning
        self.true += after
        self.start()

    def crash(self, after: float = 0.0) -> None:
        """Start again from what was recorded a while ago, and the stamps in the log."""
        assert self.kept is not None
        self.kept = self.kept._replace(age=max(self.kept.age, self.clock.now()))
        self.true += after
        self.start()

    def run(self, seconds: float) -> None:
        for _ in range(int(seconds // 60)):
            self.true += 60
            self.jumps.append(self.clock.look())

    def pass_quietly(self, seconds: float) -> None:
        """Let time pass without a look at each minute of it."""
        self.true += seconds
        self.jumps.append(self.clock.look())

    def is_kept(self, stamp: int, retain: float = WEEK) -> bool:
        return stamp >= self.clock.cutoff(retain)


@pytest.fixture
def machine() -> Machine:
    return Machine()


def test_it_starts_at_the_wall_clock_and_counts_in_ms(machine: Machine) -> None:
    assert machine.clock.now() == START * 1000
    machine.true += 1.5
    assert machine.clock.now() == START * 1000 + 1500


def test_what_is_kept_is_kept_for_its_whole_time(machine: Machine) -> None:
    stamp = machine.clock.now()
    machine.pass_quietly(WEEK)
    assert machine.is_kept(stamp)
    machine.true += 0.001
    assert not machine.is_kept(stamp)


@pytest.mark.parametrize("seconds", [None, inf, 1e300, 10**30, 2000 * YEAR])
def test_no_bound_and_one_of_any_size_keep_everything(machine: Machine, seconds: float | None) -> None:
    machine.pass_quietly(1000 * YEAR)
    assert machine.clock.cutoff(seconds) == 0


@pytest.mark.parametrize("jump", JUMPS)
@pytest.mark.parametrize("is_during_a_run", [True, False])
def test_a_jump_removes_nothing_within_the_hour(machine: Machine, jump: float, is_during_a_run: bool) -> None:
    stamps = [machine.clock.now()]
    machine.run(DAY)
    stamps.append(machine.clock.now())
    machine.wrong_by = jump
    if not is_during_a_run:
        machine.restart(after=5 * 60)
    for _ in range(58):
        machine.run(60)
        assert all(machine.is_kept(stamp) for stamp in stamps)
    machine.wrong_by = 0
    machine.run(2 * DAY)
    assert all(machine.is_kept(stamp) for stamp in stamps), "and nothing after it was put right"


@pytest.mark.parametrize(("first", "second"), list(product(JUMPS[:9], JUMPS[:9])))
def test_two_jumps_remove_nothing_within_the_hour(machine: Machine, first: float, second: float) -> None:
    stamp = machine.clock.now()
    machine.run(HOUR)
    for jump in (first, second):
        machine.wrong_by = jump
        machine.run(HOUR - 120)
        assert machine.is_kept(stamp)
        machine.crash(after=3) if machine.kept else machine.restart(after=3)
        assert machine.is_kept(stamp)


@pytest.mark.parametrize("jump", [jump for jump in JUMPS if jump < 0 or jump > limits.CLOCK_CLAIM])
@pytest.mark.parametrize("stands", [HOUR / 2, 2 * HOUR, 3 * DAY])
def test_correcting_a_long_wrong_clock_removes_nothing(machine: Machine, jump: float, stands: float) -> None:
    stamp = machine.clock.now()
    machine.wrong_by = jump
    machine.run(stands)
    machine.restart(after=60)
    later = machine.clock.now()
    machine.wrong_by = 0
    machine.run(2 * HOUR)
    assert machine.is_kept(stamp)
    assert machine.is_kept(later)


@pytest.mark.parametrize("jump", JUMPS)
def test_nothing_is_kept_for_ever(machine: Machine, jump: float) -> None:
    stamp = machine.clock.now()
    machine.wrong_by = jump
    machine.run(2 * HOUR)
    later = machine.clock.now()
    for _ in range(7):
        machine.run(DAY)
        machine.crash() if machine.kept else machine.restart()
    machine.run(120)
    assert not machine.is_kept(stamp)
    assert not machine.is_kept(later)


def test_a_clock_that_always_starts_in_1970_counts_running_time(machine: Machine) -> None:
    stamp = machine.clock.now()
    for _ in range(14):
        machine.wrong_by = -machine.true
        machine.restart(after=DAY)
        machine.run(DAY / 2)
        assert machine.is_kept(stamp)
    machine.run(60)
    assert not machine.is_kept(stamp)


def test_the_time_that_a_server_was_off_counts_after_an_hour(machine: Machine) -> None:
    stamp = machine.clock.now()
    machine.run(HOUR)
    machine.restart(after=8 * DAY)
    machine.run(HOUR - 120)
    fresh = machine.clock.now()
    assert machine.is_kept(stamp)
    machine.run(180)
    assert not machine.is_kept(stamp)
    assert machine.is_kept(fresh), "what was stored meanwhile has not aged with it"
    machine.run(WEEK - HOUR)
    assert machine.is_kept(fresh)
    machine.run(HOUR)
    assert not machine.is_kept(fresh)


def test_a_claim_that_is_on_trial_survives_a_restart(machine: Machine) -> None:
    old = machine.clock.now()
    machine.run(120)
    machine.restart(after=8 * DAY)
    machine.run(HOUR / 2)
    fresh = machine.clock.now()
    machine.restart(after=1)
    machine.run(HOUR + 60)
    assert not machine.is_kept(old)
    assert machine.is_kept(fresh), "it was stored after the server had been off"


def test_a_short_time_off_counts_at_once(machine: Machine) -> None:
    stamp = machine.clock.now()
    machine.run(60)
    machine.restart(after=limits.CLOCK_JUMP)
    assert machine.is_kept(stamp, limits.CLOCK_JUMP + 60)
    assert not machine.is_kept(stamp, limits.CLOCK_JUMP + 59)
    assert machine.jumps == [0.0]


def test_a_suspended_machine_ages_by_what_it_slept(machine: Machine) -> None:
    stamp = machine.clock.now()
    machine.run(60)
    machine.wrong_by = 2 * DAY  # the steady clock has stood meanwhile
    machine.run(HOUR + 60)
    assert machine.jumps.count(0.0) == len(machine.jumps) - 1
    assert not machine.is_kept(stamp, 2 * DAY)
    assert machine.is_kept(stamp, 2 * DAY + 3 * HOUR)


def test_a_jump_is_told_once_and_a_slewed_clock_is_none(machine: Machine) -> None:
    machine.run(180)
    machine.wrong_by = 100 * DAY
    machine.run(180)
    assert [jump for jump in machine.jumps if jump] == [100 * DAY]
    machine.restart(after=WEEK)
    assert machine.jumps == [0.0], "a week off is no jump"
    for _ in range(10):
        machine.wrong_by += limits.CLOCK_JUMP / 10
        machine.run(60)
    assert not any(machine.jumps)


@pytest.mark.parametrize("jump", [40 * YEAR, -DAY])
def test_a_start_with_a_clock_that_cannot_be_right_is_told(machine: Machine, jump: float) -> None:
    machine.run(600)
    machine.wrong_by = jump
    machine.restart(after=60)
    assert machine.jumps == [pytest.approx(jump + 60)]


def test_another_jump_within_the_hour_begins_it_again(machine: Machine) -> None:
    stamp = machine.clock.now()
    machine.run(60)
    for days in (10, 20, 30):
        machine.wrong_by = days * DAY
        machine.run(HOUR - 180)
    assert machine.is_kept(stamp)
    machine.run(300)
    assert not machine.is_kept(stamp)


def test_a_message_stored_just_before_a_jump_does_not_age(machine: Machine) -> None:
    machine.run(60)
    machine.true += 50
    machine.wrong_by = 10 * DAY
    fresh = machine.clock.now()
    machine.run(2 * HOUR)
    assert machine.is_kept(fresh)


def test_gaps_are_counted_once_each() -> None:
    reckoning = Reckoning(10_000, gaps=(Gap(2_000, 500), Gap(6_000, 3_000)))
    cutoffs = {seconds: reckoning.cutoff(seconds) for seconds in (1, 4, 5, 7, 8, 11, 11.2, 12, 13.4, 13.5)}
    assert cutoffs == {
        1: 9_000,
        4: 6_000,
        5: 6_000,
        7: 6_000,
        8: 5_000,
        11: 2_000,
        11.2: 2_000,
        12: 1_500,
        13.4: 100,
        13.5: 0,
    }


def test_many_gaps_become_fewer_and_nothing_gets_older(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "AGE_GAPS", 5)
    stamps = []
    for _ in range(20):
        stamps.append((machine.true, machine.clock.now()))
        machine.run(60)
        machine.restart(after=300)
    assert len(machine.clock.reckoning.gaps) == 5
    for stored, stamp in stamps:
        age = machine.true - stored
        assert machine.is_kept(stamp, age)
    assert not machine.is_kept(stamps[0][1], machine.true - stamps[0][0] - 360)


def test_a_stamp_is_shown_by_todays_wall_clock(machine: Machine) -> None:
    stamp = machine.clock.now()
    machine.run(DAY)
    machine.restart(after=3 * DAY)
    assert machine.clock.reckoning.wall_of(stamp) == START * 1000, "also while the days off are on trial"
    machine.run(2 * HOUR)
    assert machine.clock.reckoning.wall_of(stamp) == START * 1000
    machine.wrong_by = -START
    machine.run(60)
    assert machine.clock.reckoning.wall_of(stamp) == 0, "in 1970, that was before"
    machine.wrong_by = 300 * DAY
    machine.run(2 * HOUR)
    machine.wrong_by = 0
    machine.run(60)
    assert machine.clock.reckoning.wall_of(machine.clock.now()) == machine.true * 1000, "never in the future"


@pytest.mark.parametrize("jump", JUMPS)
def test_any_clock_is_one_that_calendars_can_show(machine: Machine, jump: float) -> None:
    assert 0 <= to_clock(START + jump) <= limits.CLOCK_LAST
    machine.wrong_by = jump
    machine.run(2 * HOUR)
    assert 0 <= machine.clock.reckoning.wall_of(machine.clock.now()) <= limits.CLOCK_LAST
    assert all(-(2**62) < number < 2**62 for number in machine.clock.reckoning[:3])
