import pytest

from securechat import limits
from securechat.client.conversation import Event, Kind, Sender
from securechat.ui.tui.scrollback import Entry, Scrollback

BOB = Sender("bob", b"b" * 32, verified=False, is_me=False)


def said(text: str) -> Event:
    return Event(Kind.MESSAGE, 1, text, 1, BOB)


def filled(*texts: str) -> Scrollback:
    log = Scrollback()
    for text in texts:
        log.append(Entry(said(text)))
    return log


def texts(log: Scrollback) -> list[str]:
    return [log[number].event.text for number in range(log.first, log.end)]


def test_numbers_stay_when_older_entries_come() -> None:
    log = filled("one", "two")
    log.prepend([said("minus one"), said("zero")])
    assert texts(log) == ["minus one", "zero", "one", "two"]
    assert (log.first, log[0].event.text, log[-1].event.text) == (-2, "one", "zero")
    with pytest.raises(IndexError):
        log[2]


def test_the_number_of_entries_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SCREEN_ENTRIES", 100)
    log = filled(*map(str, range(1000)))
    assert len(log) <= 100
    assert log[log.end - 1].event.text == "999"
    assert log.forgotten == 1000 - len(log)
    assert log.first == log.forgotten


def test_the_size_of_all_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SCREEN_CHARACTERS", 1_000_000)
    log = filled(*["x" * 32_000] * 200)
    assert 20 < len(log) < 32


def test_nothing_is_loaded_before_a_hole(monkeypatch: pytest.MonkeyPatch) -> None:
    assert filled("one").has_room
    monkeypatch.setattr(limits, "SCREEN_ENTRIES", 300)
    assert not filled(*["x"] * 150).has_room
    log = filled("one")
    log.clear()
    assert not log.has_room


def test_alarms_stay_when_the_rest_is_cleared() -> None:
    log = filled("one", "two")
    log.append(Entry(Event(Kind.GAP, 1, "2 messages are missing.")))
    log.append(Entry(Event(Kind.NOTICE, 1, "Message 3 does not open.", sequence=3)))
    log.append(Entry(said("three")))
    log.clear()
    assert texts(log) == ["2 messages are missing.", "Message 3 does not open."]
    assert log.append(Entry(said("four"))) == 5


def test_an_entry_can_be_replaced_while_it_is_there() -> None:
    log = filled("one")
    log.replace(0, Entry(said("another"), is_mark=True))
    log.replace(7, Entry(said("nowhere")))
    assert texts(log) == ["another"]


def test_what_is_loaded_is_searched_in_both_directions() -> None:
    log = filled("Tea?", "no", "green TEA", "coffee")
    assert log.find("tea", log.end) == 2
    assert log.find("tea", 2) == 0
    assert log.find("tea", 0) is None
    assert log.find_forward("tea", 0) == 2
    assert log.find_forward("tea", 2) is None
    assert log.find("bob", log.end) == 3, "who said it counts too"


def test_messages_below_a_place_are_counted() -> None:
    log = filled("one", "two", "three")
    log.append(Entry(Event(Kind.JOINED, 1, "bob joined.", sender=BOB)))
    assert log.count_messages(0) == 2
