from securechat.client.conversation import Event, Kind, Sender
from securechat.ui.tui.away import Away

BOB = Sender("bob", b"b" * 32, verified=False, is_me=False)
LOST = Event(Kind.NOTICE, 1, "connection lost")


def said(sequence: int, *, is_backlog: bool = True, is_own: bool = False) -> Event:
    return Event(Kind.MESSAGE, 1, "hello", sequence, BOB, is_backlog=is_backlog, is_own=is_own)


def test_what_is_behind_what_was_read_is_counted() -> None:
    away = Away(read_before=5)
    assert [away.note(said(number)) for number in range(4, 8)] == [False, False, True, True]
    assert away.text == "2 while you were away"


def test_whoever_has_read_nothing_has_missed_nothing() -> None:
    away = Away(read_before=0)
    assert not away.note(said(1))


def test_what_is_said_now_is_not_missed() -> None:
    away = Away(read_before=5, has_caught_up=True)
    assert not away.note(said(6, is_backlog=False))


def test_each_lost_connection_has_a_count_of_its_own() -> None:
    away = Away(read_before=0, has_caught_up=True)
    for first in (1, 10):
        assert not away.note(LOST)
        assert away.note(said(first))
        assert away.count == 1
        assert not away.note(said(first + 1, is_own=True))
        assert not away.note(Event(Kind.GAP, 1, "1 message is missing."))
        assert away.note(said(first + 2))
        assert away.count == 2
