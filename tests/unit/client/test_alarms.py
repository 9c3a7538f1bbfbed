from securechat import limits
from securechat.client.alarms import Alarms
from securechat.client.conversation import Event, Kind

MINUTE = limits.ALARMS_INTERVAL * 1000


class Teller:
    """Alarms under a clock that the test sets."""

    def __init__(self) -> None:
        self.now = 1_700_000_000_000
        self.alarms = Alarms(lambda: self.now)

    def tell(self, times: int = 1, sort: str = "hole") -> list[str]:
        """Return what a person is told when this happens so many times."""
        event = Event(Kind.GAP, self.now, "a lie")
        return [shown.text for _ in range(times) for shown in self.alarms.tell(sort, event)]


def test_a_few_are_told_as_they_are() -> None:
    assert Teller().tell(limits.ALARMS_AT_ONCE - 1) == ["a lie"] * (limits.ALARMS_AT_ONCE - 1)


def test_of_very_many_a_few_are_told_and_that_there_may_be_more() -> None:
    told = Teller().tell(10_000)
    assert told == ["a lie"] * limits.ALARMS_AT_ONCE + ["If there is more like this, it is shown once a minute."]


def test_how_many_were_left_out_is_told_with_the_next() -> None:
    teller = Teller()
    teller.tell(limits.ALARMS_AT_ONCE + 7)
    teller.now += MINUTE - 1
    assert teller.tell() == []
    teller.now += 1
    assert teller.tell(9)[:2] == ["a lie", "8 more like this were not shown."]


def test_after_a_quiet_time_a_few_are_told_again() -> None:
    teller = Teller()
    teller.tell(100)
    teller.now += 100 * MINUTE
    assert teller.tell(100).count("a lie") == limits.ALARMS_AT_ONCE


def test_each_sort_counts_by_itself() -> None:
    teller = Teller()
    teller.tell(100)
    assert teller.tell(sort="rewritten") == ["a lie"]


def test_a_clock_that_is_set_back_silences_nothing_for_good() -> None:
    teller = Teller()
    teller.tell(100)
    teller.now -= 1000 * MINUTE
    assert teller.tell() == []
    teller.now += MINUTE
    assert teller.tell()[:1] == ["a lie"]
