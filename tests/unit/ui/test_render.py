import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securechat import limits
from securechat.client.conversation import ALARMS, Event, Kind, Sender
from securechat.ui.render import to_json, to_line

CLOCK = 1_700_000_000_123  # 2023-11-14 22:13:20.123 UTC
ANN = Sender("ann", bytes.fromhex("ab" * 32), verified=False, is_me=False)
BOB = Sender("bob", bytes.fromhex("cd" * 32), verified=True, is_me=False)
SAID = Event(Kind.MESSAGE, CLOCK, "hello", 7, ANN)
SKEW_MS = limits.CLOCK_SKEW_SECONDS * 1000


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def test_a_message_is_one_line_with_time_name_and_text() -> None:
    assert to_line(SAID) == "2023-11-14 22:13:20 ann~abab: hello"
    assert to_line(replace(SAID, sender=BOB)) == "2023-11-14 22:13:20 bob: hello"


def test_an_action_is_told_in_the_third_person() -> None:
    assert to_line(replace(SAID, text="waves", is_action=True)) == "2023-11-14 22:13:20 * ann~abab waves"


def test_the_time_is_this_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "UTC-05:30")
    time.tzset()
    assert to_line(SAID).startswith("2023-11-15 03:43:20 ")


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.MESSAGE])
def test_alarms_are_marked_apart_from_news(kind: Kind) -> None:
    mark = "!!" if kind in ALARMS else "--"
    assert to_line(Event(kind, CLOCK, "something", sender=ANN)) == f"2023-11-14 22:13:20 {mark} something"


@pytest.mark.parametrize(
    ("error", "mark"),
    [
        (-SKEW_MS - 1, "written 5 minutes before it was sent"),
        (-3_600_000, "written 1 hour before it was sent"),
        (-259_200_000, "written 3 days before it was sent"),
        (SKEW_MS + 1, "dated 5 minutes ahead"),
        (86_400_000, "dated 1 day ahead"),
    ],
)
def test_a_clock_far_off_is_told_in_words(error: int, mark: str) -> None:
    assert to_line(replace(SAID, clock_error=error)) == f"2023-11-14 22:13:20 ({mark}) ann~abab: hello"


@pytest.mark.parametrize("error", [SKEW_MS, 0, -SKEW_MS])
def test_a_clock_little_off_is_not_told(error: int) -> None:
    assert to_line(replace(SAID, clock_error=error)) == to_line(SAID)


def test_a_late_message_is_told_to_be_out_of_order() -> None:
    assert to_line(replace(SAID, is_late=True)) == "2023-11-14 22:13:20 (out of order) ann~abab: hello"


def test_a_line_feed_cannot_make_a_second_line() -> None:
    forged = "hello\n2023-11-14 22:13:20 bob: I owe you\r\n!! alarm"
    line = to_line(replace(SAID, text=forged))
    assert "\n" not in line
    assert "\r" not in line
    assert line.count("\u23ce") == 2


@pytest.mark.parametrize(
    "evil",
    ["\x1b[31m", "\x1b]0;title\x07", "\x9b2J", "\x1bc", "\u202e", "\u2066", "\x08", "\x00", "\u2028", "\x7f"],
)
def test_nothing_that_a_peer_wrote_drives_the_terminal(evil: str) -> None:
    event = replace(SAID, text=f"a{evil}b", sender=ANN._replace(nick=f"a{evil}nn"))
    assert to_line(event) == "2023-11-14 22:13:20 ann~abab: ab"
    notice = Event(Kind.LEFT, CLOCK, f"a{evil}nn left.", sender=event.sender)
    assert to_line(notice) == "2023-11-14 22:13:20 -- ann left."


@pytest.mark.parametrize("clock", [0, 2**53 - 1, 253402300799000, 10**15])
def test_any_clock_that_a_peer_may_sign_can_be_shown(clock: int) -> None:
    event = replace(SAID, time=clock)
    assert to_line(event)
    assert json.loads(to_json(event))["time"].endswith("Z")


@pytest.mark.parametrize("zone", ["UTC-14", "UTC+12"])
def test_the_ends_of_the_calendar_can_be_shown_in_any_zone(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", zone)
    time.tzset()
    assert to_line(replace(SAID, time=2**53 - 1)).startswith("9999-12-3")
    assert to_line(replace(SAID, time=0))[:4] in {"1969", "1970"}


def test_a_message_is_one_json_object_with_all_that_is_known() -> None:
    assert json.loads(to_json(SAID)) == {
        "event": "message",
        "time": "2023-11-14T22:13:20.123Z",
        "sequence": 7,
        "nick": "ann",
        "fingerprint": "ab" * 32,
        "verified": False,
        "text": "hello",
        "action": False,
        "late": False,
        "clock_error": 0,
    }
    marked = json.loads(to_json(replace(SAID, is_late=True, clock_error=-259_200_000)))
    assert (marked["late"], marked["clock_error"]) == (True, -259_200_000)


def test_any_other_event_has_a_detail_and_what_is_known() -> None:
    assert json.loads(to_json(Event(Kind.CHANGED_KEY, CLOCK, "another key", sender=BOB))) == {
        "event": "changed-key",
        "time": "2023-11-14T22:13:20.123Z",
        "nick": "bob",
        "fingerprint": "cd" * 32,
        "verified": True,
        "detail": "another key",
    }
    assert set(json.loads(to_json(Event(Kind.NOTICE, CLOCK, "note")))) == {"event", "time", "detail"}
    assert json.loads(to_json(Event(Kind.NOTICE, CLOCK, "odd", 4)))["sequence"] == 4


@given(st.text(max_size=200))
def test_whatever_is_written_stays_one_line_and_is_read_back_from_json(text: str) -> None:
    event = replace(SAID, text=text, sender=ANN._replace(nick=text or "x"))
    assert len(to_line(event).splitlines()) == 1
    encoded = to_json(event)
    assert encoded.isascii()
    assert len(encoded.splitlines()) == 1
    assert json.loads(encoded)["text"] == text
    assert json.loads(encoded)["nick"] == (text or "x")
