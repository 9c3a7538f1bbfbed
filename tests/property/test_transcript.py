"""Whatever a server answers, a client stops asking, and the person is told something that can be read."""

import tempfile
from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from securechat import limits
from securechat.client.conversation import Kind
from securechat.client.letters import read_letter
from securechat.client.transcript import Backlog
from securechat.protocol.messages import Past, Record
from tests.support.rooms import CLOCK, KEYS, Log, kinds, member, profiles_in

NUMBERS = st.one_of(st.integers(1, 12), st.integers(1, 2**53 - 1))
PAGES = st.tuples(NUMBERS, NUMBERS, st.lists(st.integers(0, 5), max_size=4), st.booleans())
_OWN_KINDS = {Kind.NOTICE, Kind.GAP, Kind.ROLLBACK, Kind.FORK}


def log_of_six() -> Log:
    log = Log()
    log.fill(member("ann"), 6)
    return log


LOG = log_of_six()
LETTER = read_letter(KEYS, LOG.log_id, LOG.envelopes[0])


def page_of(oldest: int, first: int, chosen: list[int], *, is_chained: bool) -> Past:
    """Return a page with any envelopes at any place."""
    records = tuple(Record(CLOCK, LOG.envelopes[number]) for number in chosen)
    before = LOG.head(first - 1) if is_chained and first <= 7 else b"x" * 32
    return Past(1, 1, oldest, min(2**53 - 1, first + len(records)), first, before, records)


@given(
    st.lists(PAGES, min_size=1, max_size=6),
    st.lists(NUMBERS, max_size=6),
    st.sampled_from([Backlog(), Backlog(2), Backlog(is_all=True)]),
    st.one_of(st.just(6), NUMBERS),
)
def test_rel_13_no_answer_makes_a_client_ask_for_ever(
    pages: list[tuple[int, int, list[int], bool]], delivered: list[int], backlog: Backlog, newest: int
) -> None:
    with tempfile.TemporaryDirectory() as directory, profiles_in(Path(directory)) as profiles:
        reader = profiles.reader(backlog=backlog)
        transcript = reader.transcript
        events = transcript.join(replace(LOG.joined(), newest=newest))
        answers = [page_of(oldest, first, chosen, is_chained=honest) for oldest, first, chosen, honest in pages]
        asked = 0
        for sequence in [0, *delivered]:
            if sequence:
                events += transcript.deliver(sequence, CLOCK, LETTER)
            while transcript.wanted() is not None:
                before = transcript.newest, transcript.follows
                events += reader.take(answers[asked % len(answers)])
                asked += 1
                assert transcript.newest > before[0] or transcript.wanted() is None
                assert asked <= 7 * 7
        assert set(kinds(events)) <= _OWN_KINDS
        assert len(kinds(events)) <= 8 * (limits.ALARMS_AT_ONCE + 1)
