from hypothesis import given
from hypothesis import strategies as st

from securechat import limits
from securechat.client.counters import Counters, Judged, Verdict
from securechat.client.state import Heard

ANN = b"a" * 32
BOB = b"b" * 32
RUN = b"run 1 of ann...."
LATER_RUN = b"run 2 of ann...."
LOG_ID = b"log id 16 bytes."


def heard(counter: int, *, text: str = "", place: int | None = None, who: bytes = ANN, run: bytes = RUN) -> Heard:
    digest = (text or f"text {counter}").encode().ljust(16, b".")[:16]
    return Heard(who, run, counter, digest, LOG_ID, counter if place is None else place)


def judge(counters: Counters, counter: int, *, text: str = "", place: int | None = None) -> Judged:
    return counters.judge(heard(counter, text=text, place=place), is_older=False)


def test_a_run_that_counts_by_one_misses_nothing() -> None:
    counters = Counters()
    assert all(judge(counters, n) == Judged(Verdict.NEW) for n in range(1, 50))


def test_the_same_message_at_the_same_place_is_read_again() -> None:
    counters = Counters()
    judge(counters, 1)
    assert judge(counters, 1).verdict is Verdict.AGAIN


def test_the_same_message_at_another_place_is_a_duplicate() -> None:
    counters = Counters()
    judge(counters, 1)
    assert judge(counters, 1, place=9).verdict is Verdict.DUPLICATE


def test_another_message_under_the_same_counter_is_a_conflict_at_any_place() -> None:
    counters = Counters()
    judge(counters, 1)
    assert judge(counters, 1, text="other").verdict is Verdict.CONFLICT
    assert judge(counters, 1, text="other", place=9).verdict is Verdict.CONFLICT
    assert judge(counters, 1).verdict is Verdict.AGAIN  # the first is still the one


def test_a_jump_tells_how_many_are_missing() -> None:
    counters = Counters()
    judge(counters, 1)
    assert judge(counters, 5) == Judged(Verdict.NEW, missing=3)
    assert judge(counters, 6) == Judged(Verdict.NEW)


def test_a_missing_message_that_comes_after_all_is_late() -> None:
    counters = Counters()
    judge(counters, 1)
    judge(counters, 3)
    assert judge(counters, 2, place=4) == Judged(Verdict.NEW, is_late=True)
    assert judge(counters, 2, place=5).verdict is Verdict.DUPLICATE


def test_an_older_page_is_not_late() -> None:
    counters = Counters()
    judge(counters, 10)
    assert counters.judge(heard(9), is_older=True) == Judged(Verdict.NEW)
    assert counters.judge(heard(8), is_older=True) == Judged(Verdict.NEW)


def test_below_the_window_all_is_taken_for_a_replay() -> None:
    counters = Counters()
    judge(counters, 5000)
    assert judge(counters, 5000 - limits.REPLAY_WINDOW).verdict is Verdict.DUPLICATE
    assert judge(counters, 5000 - limits.REPLAY_WINDOW + 1).verdict is Verdict.NEW


def test_an_older_page_may_reach_below_the_window() -> None:
    counters = Counters()
    judge(counters, 5000)
    assert counters.judge(heard(1), is_older=True).verdict is Verdict.NEW


def test_no_more_than_the_window_is_remembered_and_all_of_it_is() -> None:
    counters = Counters()
    most = 3 * limits.REPLAY_WINDOW
    for n in range(1, most + 1):
        judge(counters, n)
    replays = [judge(counters, n, place=most + n).verdict for n in range(1, most + 1)]
    assert set(replays) == {Verdict.DUPLICATE}


def test_runs_and_members_are_told_apart() -> None:
    counters = Counters()
    judge(counters, 1)
    assert counters.judge(heard(1, text="other", who=BOB), is_older=False) == Judged(Verdict.NEW)
    assert counters.judge(heard(1, text="other", run=LATER_RUN), is_older=False) == Judged(Verdict.NEW)
    assert judge(counters, 2) == Judged(Verdict.NEW)


def test_what_earlier_runs_of_the_client_heard_is_known() -> None:
    counters = Counters([heard(1), heard(2)])
    assert judge(counters, 2).verdict is Verdict.AGAIN
    assert judge(counters, 2, place=7).verdict is Verdict.DUPLICATE
    assert judge(counters, 5) == Judged(Verdict.NEW, missing=2)


def test_presence_tells_how_many_are_missing_once() -> None:
    counters = Counters()
    judge(counters, 1)
    assert counters.announce(ANN, RUN, 4) == 3
    assert counters.announce(ANN, RUN, 4) == 0
    assert judge(counters, 5) == Judged(Verdict.NEW)


def test_presence_that_says_less_than_was_heard_tells_nothing() -> None:
    counters = Counters()
    judge(counters, 5)
    assert counters.announce(ANN, RUN, 2) == 0
    assert judge(counters, 6) == Judged(Verdict.NEW)


def test_the_first_word_of_a_run_may_be_of_any_count() -> None:
    counters = Counters()
    assert counters.announce(ANN, RUN, 40) == 0
    assert judge(counters, 41) == Judged(Verdict.NEW)
    assert judge(counters, 43) == Judged(Verdict.NEW, missing=1)


def test_after_a_known_hole_the_next_of_each_run_misses_none() -> None:
    counters = Counters()
    judge(counters, 1)
    counters.lose_track()
    assert judge(counters, 30) == Judged(Verdict.NEW)
    assert judge(counters, 32) == Judged(Verdict.NEW, missing=1)
    counters.lose_track()
    assert counters.announce(ANN, RUN, 90) == 0


@given(st.permutations(range(1, 30)))
def test_in_any_order_each_is_new_once_and_a_replay_never_is(order: list[int]) -> None:
    counters = Counters()
    assert [judge(counters, n).verdict for n in order] == [Verdict.NEW] * len(order)
    assert {judge(counters, n, place=100 + n).verdict for n in order} == {Verdict.DUPLICATE}


def test_a_replay_is_known_however_far_back_in_the_window_it_was_read() -> None:
    """Older pages are read after newer messages: what is remembered goes by counter, not by when it was heard."""
    counters = Counters()
    for counter in [*range(1, 1601), *range(1, 0)]:
        counters.judge(heard_at(counter), is_older=False)
    fresh = Counters()
    for counter in (*range(1581, 1601), *range(581, 1581), *range(1, 581)):
        assert fresh.judge(heard_at(counter), is_older=counter <= 1580).verdict is Verdict.NEW
    for judging in (counters, fresh):
        for counter in (1600, 1590, 1000, 577, 576, 1):
            again = heard_at(counter)._replace(sequence=5000 + counter)
            assert judging.judge(again, is_older=False).verdict is Verdict.DUPLICATE


def heard_at(counter: int) -> Heard:
    return Heard(bytes(32), bytes(16), counter, counter.to_bytes(16, "big"), bytes(16), counter)
