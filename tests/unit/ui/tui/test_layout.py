"""Lines of the log, compared whole: at 40, 80 and 140 columns."""

from dataclasses import replace

import pytest
from rich.cells import cell_len

from securechat.client.conversation import Event, Kind, Sender, Unsent
from securechat.ui.tui import layout
from securechat.ui.tui.layout import columns, lay_out, lay_out_pending, plain
from securechat.ui.tui.scrollback import Entry

TIME = 1_700_000_000_000  # 22:13:20 UTC
ME = Sender("alice", b"", verified=True, is_me=True)
BOB = Sender("bob", b"\xb0" * 32, verified=False, is_me=False)
LONG = "A line that is long enough to be broken, even where there are many columns: it goes on and on, and then ends."


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def said(text: str, sender: Sender = BOB, **more: object) -> Event:
    return replace(Event(Kind.MESSAGE, TIME, text, 1, sender), **more)  # type: ignore[arg-type]


def lines(event: Event, width: int = 80) -> list[str]:
    return plain(lay_out(Entry(event), columns(width), "alice"))


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (
            40,
            [
                "22:13   bob~b0b0 \u2502 A line that is long",
                "      \u2502 enough to be broken, even where",
                "      \u2502 there are many columns: it goes",
                "      \u2502 on and on, and then ends.",
            ],
        ),
        (
            80,
            [
                "22:13        bob~b0b0 \u2502 A line that is long enough to be broken, even where",
                "                      \u2502 there are many columns: it goes on and on, and then",
                "                      \u2502 ends.",
            ],
        ),
        (
            140,
            [
                "22:13             bob~b0b0 \u2502 A line that is long enough to be broken, even where there are many "
                "columns: it goes on and on, and then ends.",
            ],
        ),
    ],
)
def test_a_message_has_time_nickname_and_text_behind_one_another(width: int, expected: list[str]) -> None:
    got = lines(said(LONG), width)
    assert got == expected
    assert all(cell_len(line) <= width for line in got)


def test_what_the_server_has_taken_is_told_from_what_is_pending() -> None:
    assert lines(said("hi", ME, is_own=True)) == ["22:13 \u2713         alice \u2502 hi"]
    assert plain(lay_out_pending(Unsent(TIME, "hi", False), columns(80), ME)) == [
        "22:13 \u2026         alice \u2502 hi"
    ]
    assert lines(said("hi", ME)) == ["22:13           alice \u2502 hi"], "sent by another run of this person"


def test_an_action_is_told_in_the_third_person() -> None:
    assert lines(said("waves", is_action=True)) == ["22:13               * \u2502 bob~b0b0 waves"]


def test_line_feeds_stay_within_the_text() -> None:
    assert lines(said("one\n23:59 eve \u2502 two"))[1] == "                      \u2502 23:59 eve \u2502 two"


def test_alarms_and_notices_have_signs() -> None:
    assert lines(Event(Kind.GAP, TIME, "2 messages are missing.")) == [
        "22:13              !! \u2502 2 messages are missing."
    ]
    altered = Event(Kind.NOTICE, TIME, "Message 2 does not open.", sequence=2)
    assert lines(altered) == ["22:13              !! \u2502 Message 2 does not open."]
    assert lines(Event(Kind.NOTICE, TIME, "hello")) == ["22:13              -- \u2502 hello"]


def test_what_is_odd_about_a_message_is_said() -> None:
    assert lines(said("hi", clock_error=400_000)) == ["22:13        bob~b0b0 \u2502 (clock off) hi"]
    assert lines(said("hi", is_late=True)) == ["22:13        bob~b0b0 \u2502 (out of order) hi"]


@pytest.mark.parametrize(
    ("text", "is_called"),
    [("alice: hi", True), ("hi ALICE!", True), ("malice", False), ("alice's", True), ("bob", False)],
)
def test_being_called_is_marked(text: str, is_called: bool) -> None:
    assert ("\u203a" in lines(said(text))[0]) is is_called
    assert layout.mentions(text, "alice") is is_called


@pytest.mark.parametrize("width", [20, 40, 59, 60, 80, 140])
@pytest.mark.parametrize(
    "nick",
    [
        "x" * 32,
        "\u6f22" * 32,
        "a" + "\u0301" * 31,
        "\u202eevil\x1b[31m",
        "\u200b\u200b\u200b",
        "two\nlines",
        "\U0001f469\u200d\U0001f680" * 8,
        "",
    ],
)
def test_no_nickname_breaks_the_layout(width: int, nick: str) -> None:
    hostile = Sender(nick, b"\xee" * 32, verified=False, is_me=False)
    for event in (said("text " * 30 + "e" + "\u0301" * 500, hostile), said("x", hostile, is_action=True)):
        got = lines(event, width)
        assert all(cell_len(line) <= width for line in got)
        assert not any(set(line) & set("\x1b\u202e\u200b\n\r") for line in got)
        assert max(sum(0x300 <= ord(c) < 0x370 for c in line) for line in got) <= 4 * width
        assert "~eeee" in "".join(got), "the digits of the key are always seen"


def test_a_day_and_a_mark_stand_in_the_middle() -> None:
    assert plain([layout.day_mark(TIME, 40)]) == ["    -- Tuesday, 14 November 2023 --"]
    assert plain([layout.rule("37 while you were away", 40)]) == ["      -- 37 while you were away --"]
    assert cell_len(plain([layout.rule("x" * 100, 40)])[0]) <= 40


def test_the_day_of_a_message_is_the_servers() -> None:
    lie = said("from the future", clock_error=40 * 86_400_000, time=TIME + 40 * 86_400_000)
    assert layout.day_of(lie) == layout.day_of(said("now"))


def test_a_picture_is_shown_as_it_is() -> None:
    entry = Entry(Event(Kind.NOTICE, TIME, "QR code"), picture=("\u2588 \u2588", "\u2588\u2588\u2588"))
    assert plain(lay_out(entry, columns(80), "alice")) == ["\u2588 \u2588", "\u2588\u2588\u2588"]
