"""The full screen as a person meets it: what is seen, and what the keys do."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from textual import events

from securechat.client.conversation import Event, Kind, Present, Sender, Unsent
from securechat.ui.tui.log_view import LogView
from securechat.ui.tui.scrollback import Entry
from tests.support.screens import BOB, EVE, ME, TIME, VIEW, Screen, play

SNAPSHOTS = Path(__file__).parent / "snapshots"
LONG = "A line that is long enough to be broken, even where there are many columns: it goes on and on, and then ends."


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


# How it looks


async def talk(screen: Screen) -> None:
    """Show something of everything."""
    view = VIEW._replace(unsent=(Unsent(TIME + 300_000, "and this waits", is_action=False),))
    screen.hear("good evening")
    screen.app.add(Entry(Event(Kind.NOTICE, TIME, "37 while you were away"), is_mark=True))
    screen.hear(f"alice: {LONG}", after=60)
    screen.hear("yes, one moment", ME, after=90, is_own=True)
    screen.hear("\x1b[31mred\u202e \u6f22\u5b57\u304b\u306a \U0001f389 e" + "\u0301" * 500, EVE, after=120)
    screen.alarm("2 messages from eve~eeee are missing.")
    screen.hear("waves", after=86_400, is_action=True)
    screen.app.update(view)
    await screen.type("half a line")


@pytest.mark.parametrize("width", [40, 80, 140])
def test_the_screen_looks_as_it_did(width: int) -> None:
    """Delete a file in snapshots/ to make it anew; then look at it."""
    path = SNAPSHOTS / f"talk-{width}.txt"

    async def scene(screen: Screen) -> None:
        await talk(screen)
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            path.write_text(screen.text + "\n")
        assert screen.text + "\n" == path.read_text()

    play(scene, size=(width, 24))


@pytest.mark.parametrize("theme", ["light", "high-contrast"])
def test_themes_differ_in_colours_alone(theme: str) -> None:
    async def scene(screen: Screen) -> None:
        await talk(screen)
        assert screen.text + "\n" == (SNAPSHOTS / "talk-80.txt").read_text()
        screen.app.use_theme("dark")
        await screen.settle()
        assert screen.text + "\n" == (SNAPSHOTS / "talk-80.txt").read_text()

    play(scene, theme=theme)


def test_there_is_no_colour_where_none_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")

    async def scene(screen: Screen) -> None:
        await talk(screen)
        styles = [s.style for strip in screen.app.screen._compositor.render_strips() for s in strip]
        colours = {c for style in styles if style for c in (style.color, style.bgcolor) if c and c.triplet}
        assert all(c.triplet is not None and len(set(c.triplet)) == 1 for c in colours), "only greys"
        assert "!!" in screen.text

    play(scene)


# What is told at a glance


def test_a_room_that_is_not_encrypted_says_so_in_title_and_status() -> None:
    async def scene(screen: Screen) -> None:
        await screen.settle()
        assert "NOT ENCRYPTED" in screen.lines[0]
        assert "NOT ENCRYPTED" in screen.lines[-2]
        assert "verified" not in screen.text

    stranger = Sender("bob", b"", verified=False, is_me=False)
    view = VIEW._replace(is_encrypted=False, present=(Present(stranger, is_reader=False),))
    play(scene, view=view)
    play(scene, view=view, size=(40, 12))


def test_the_state_of_the_connection_is_told() -> None:
    async def scene(screen: Screen) -> None:
        for changes, says in (
            ({}, "connected 23 ms"),
            ({"is_connected": False, "retry_in": 2.4}, "lost, reconnecting in 3 s"),
            ({"is_connected": False, "retry_in": None}, "lost, connecting"),
            ({"unsent": (Unsent(TIME, "hi", is_action=False),)}, "1 pending"),
        ):
            screen.app.update(VIEW._replace(**changes))
            await screen.settle()
            assert says in screen.lines[-2]

    play(scene)


def test_who_is_verified_is_told_in_words() -> None:
    async def scene(screen: Screen) -> None:
        await screen.settle()
        assert "3 here, 1 \u2713 verified" in screen.lines[0]
        column = [line[118:].strip() for line in screen.lines[1:8]]
        assert column[:5] == ["alice (you)", "\u2713 verified", "\u2713 bob", "not verified", "eve~eeee (reads)"]

    play(scene, size=(140, 24))


def test_many_members_end_in_how_many_more_there_are() -> None:
    crowd = tuple(Present(Sender(f"n{n:03}", bytes([n]) * 32, verified=False, is_me=False), False) for n in range(200))

    async def scene(screen: Screen) -> None:
        await screen.settle()
        assert any("more: /names" in line for line in screen.lines)

    play(scene, size=(140, 24), view=VIEW._replace(present=crowd))


def test_the_members_can_be_shown_and_hidden() -> None:
    async def scene(screen: Screen) -> None:
        await screen.settle()
        assert "alice (you)" not in screen.text
        await screen.press("f2")
        assert "alice (you)" in screen.text
        await screen.press("f2")
        assert "alice (you)" not in screen.text

    play(scene)


def test_an_alarm_stays_until_it_was_seen_and_in_the_log_after_that() -> None:
    async def scene(screen: Screen) -> None:
        screen.alarm("2 messages are missing.")
        for number in range(100):
            screen.hear(f"line {number}")
        await screen.settle()
        assert any(line.startswith(" !! 2 messages are missing.") for line in screen.lines)
        await screen.press("escape")
        assert "missing" not in screen.text
        screen.app.log_of_room.clear()
        screen.app.redraw()
        await screen.settle()
        assert "!! \u2502 2 messages are missing." in screen.text

    play(scene)


def test_an_alarm_among_older_messages_is_an_alarm() -> None:
    async def scene(screen: Screen) -> None:
        screen.app.add_older([Event(Kind.ROLLBACK, TIME, "The server has rewritten the history.")])
        await screen.settle()
        assert " !! The server has rewritten" in screen.text

    play(scene)


def test_what_is_pending_turns_into_what_was_taken_and_never_shows_twice() -> None:
    async def scene(screen: Screen) -> None:
        screen.app.update(VIEW._replace(unsent=(Unsent(TIME, "one", False), Unsent(TIME + 1, "two", False))))
        await screen.settle()
        assert [line[6] for line in screen.lines if "one" in line or "two" in line] == ["\u2026", "\u2026"]
        screen.hear("one", ME, is_own=True)  # a moment before it is acknowledged
        await screen.settle()
        assert [line[6] for line in screen.lines if "one" in line or "two" in line] == ["\u2713", "\u2026"]

    play(scene)


# Scrolling


def test_new_messages_do_not_pull_down_whoever_reads_above() -> None:
    async def scene(screen: Screen) -> None:
        for number in range(100):
            screen.hear(f"line {number}.")
        await screen.settle()
        assert "line 99." in screen.text
        await screen.press("pageup")
        before = screen.lines[1:-2]
        assert "line 99." not in screen.text
        for number in range(7):
            screen.hear(f"new {number}.")
        await screen.settle()
        assert screen.lines[1:-2] == before
        assert "new below \u2193" in screen.lines[-2]
        await screen.press("pagedown", "pagedown")
        assert "new 6." in screen.text
        assert "new below" not in screen.text
        screen.hear("followed.")
        await screen.settle()
        assert "followed." in screen.text

    play(scene)


def test_older_messages_load_when_the_top_is_reached() -> None:
    async def scene(screen: Screen) -> None:
        for number in range(30):
            screen.hear(f"line {number}.")
        await screen.settle()
        await screen.press("pageup", "pageup")
        assert screen.asked_older == 1
        top = screen.lines[2]
        assert "line 0." in top
        await screen.press("pageup")
        assert screen.asked_older == 1, "one question at a time"
        screen.app.add_older([Event(Kind.MESSAGE, TIME - 1000 * n, f"old {n}.", 1, BOB) for n in range(50, 0, -1)])
        await screen.settle()
        assert top in screen.lines, "what was read stays where it was"
        await screen.press("ctrl+home")
        assert "old 50." in screen.text
        assert screen.asked_older == 2
        await screen.press("ctrl+end")
        assert "line 29." in screen.text

    play(scene)


def test_ten_thousand_lines_scroll_as_fast_as_ten() -> None:
    async def scene(screen: Screen) -> None:
        for number in range(10_000):
            screen.hear(f"line {number}. " + LONG)
        await screen.settle()
        loop = asyncio.get_running_loop()
        began = loop.time()
        for _ in range(20):
            await screen.press("pageup")
        assert loop.time() - began < 5
        await screen.pilot.resize_terminal(40, 24)
        await screen.settle()
        assert loop.time() - began < 6

    play(scene)


def test_a_resize_keeps_the_place() -> None:
    async def scene(screen: Screen) -> None:
        for number in range(100):
            screen.hear(f"line {number}. {LONG}")
        await screen.settle()
        await screen.press("pageup", "pageup")
        await screen.settle()
        place = [line for line in screen.lines if "line " in line][-1].split("line ")[1].split(".")[0]
        for width in (40, 140, 80):
            await screen.pilot.resize_terminal(width, 24)
            await screen.settle()
            assert f"line {place}." in screen.text
            assert all(len(line) <= width for line in screen.lines)

    play(scene)


def test_the_members_make_room_when_there_is_less_of_it() -> None:
    async def scene(screen: Screen) -> None:
        screen.hear("\n".join(f"pasted line {n}." for n in range(300)))
        await screen.settle()
        assert "alice (you)" in screen.text
        await screen.pilot.resize_terminal(40, 20)
        await screen.settle()
        assert "alice (you)" not in screen.text
        await screen.press("pageup")
        assert "pasted line 299." not in screen.text
        assert "pasted line 283." in screen.text
        await screen.pilot.resize_terminal(140, 30)
        await screen.settle()
        assert "alice (you)" in screen.text

    play(scene, size=(140, 30))


def test_a_click_leaves_the_input_where_it_is() -> None:
    async def scene(screen: Screen) -> None:
        screen.hear("hello")
        await screen.settle()
        await screen.pilot.click(offset=(10, 10))
        await screen.type("still typing")
        assert screen.typed == "still typing"

    play(scene)


def test_the_wheel_scrolls() -> None:
    async def scene(screen: Screen) -> None:
        for number in range(100):
            screen.hear(f"line {number}.")
        await screen.settle()
        wheel: dict[str, Any] = {"x": 5, "y": 5, "delta_x": 0, "delta_y": 1, "button": 0}
        modifiers: dict[str, Any] = {"shift": False, "meta": False, "ctrl": False}
        log = screen.app.query_one(LogView)
        log.post_message(events.MouseScrollUp(log, **wheel, **modifiers))
        await screen.settle()
        assert "line 99." not in screen.text
        assert "line 96." in screen.text
        assert "3 new below" in screen.lines[-2]
        log.post_message(events.MouseScrollDown(log, **wheel, **modifiers))
        await screen.settle()
        assert "line 99." in screen.text

    play(scene)


def test_searching_finds_upwards_and_again() -> None:
    async def scene(screen: Screen) -> None:
        for number in range(100):
            screen.hear(f"line {number}.")
        await screen.settle()
        await screen.press("ctrl+r")
        await screen.type("line 4")
        assert "line 49." in screen.text
        assert "Search: line 4_" in screen.text
        await screen.press("ctrl+r")
        assert "line 48." in screen.text
        await screen.press("backspace", "7", "x")
        assert "nothing loaded says that" in screen.text
        await screen.press("escape")
        assert "Search" not in screen.text
        assert "line 99." in screen.text
        assert screen.typed == ""
        screen.app.search.begin("LINE 12")
        await screen.settle()
        assert "line 12." in screen.text
        await screen.press("enter")
        assert "line 12." in screen.text

    play(scene)


# Typing


def test_a_line_is_entered_and_recalled() -> None:
    async def scene(screen: Screen) -> None:
        for line in ("one", "two"):
            await screen.type(line)
            await screen.press("enter")
        assert screen.entered == ["one", "two"]
        await screen.type("draft")
        await screen.press("up", "up", "up")
        assert screen.typed == "one"
        await screen.press("down")
        assert screen.typed == "two"
        await screen.press("down")
        assert screen.typed == "draft"
        await screen.press("ctrl+u", "space", "enter")
        assert screen.entered == ["one", "two"], "nothing is no message"

    play(scene)


def test_the_keys_of_emacs_do_what_they_do_there() -> None:
    async def scene(screen: Screen) -> None:
        await screen.type("one two three")
        for keys, text in (
            (("ctrl+w",), "one two "),
            (("ctrl+y",), "one two three"),
            (("alt+b", "alt+b", "ctrl+k"), "one "),
            (("ctrl+a", "ctrl+y"), "two threeone "),
            (("ctrl+e", "x"), "two threeone x"),
            (("ctrl+a", "alt+f", "ctrl+u"), " threeone x"),
            (("ctrl+a", "ctrl+f", "ctrl+d"), " hreeone x"),
            (("ctrl+b", "alt+d"), " x"),
        ):
            await screen.press(*keys)
            assert screen.typed.rstrip() == text.rstrip(), keys

    play(scene)


def test_a_message_may_have_many_lines_and_five_are_seen() -> None:
    async def scene(screen: Screen) -> None:
        for number in range(7):
            await screen.type(str(number))
            await screen.press("alt+enter")
        assert screen.app.prompt.size.height == 5
        await screen.press("enter")
        assert screen.entered == ["0\n1\n2\n3\n4\n5\n6"]
        assert screen.app.prompt.size.height == 1

    play(scene)


def test_a_short_paste_is_kept_as_it_is_and_a_long_one_asked_about() -> None:
    long = "\r\n".join(f"line {n}" for n in range(300))

    async def scene(screen: Screen) -> None:
        screen.app.prompt.post_message(events.Paste("one\r\ntwo\x1b[31m"))
        await screen.settle()
        assert screen.typed == "one\ntwo"
        await screen.press("ctrl+c")
        assert screen.typed == ""
        screen.app.prompt.post_message(events.Paste(long))
        await screen.settle()
        assert "Paste 300 lines as one message? (y/n)" in screen.text
        assert screen.typed == ""
        await screen.press("n")
        assert screen.typed == ""
        screen.app.prompt.post_message(events.Paste(long))
        await screen.settle()
        await screen.press("y")
        assert screen.typed.count("\n") == 299
        await screen.press("enter")
        assert screen.entered == [long.replace("\r\n", "\n")]
        screen.app.prompt.post_message(events.Paste("x\n" * 20_000))
        await screen.settle()
        assert "it was not taken" in screen.text

    play(scene)


def test_tab_completes_commands_and_nicknames_and_goes_round() -> None:
    async def scene(screen: Screen) -> None:
        screen.hear("hi", EVE)
        await screen.settle()
        await screen.type("/he")
        await screen.press("tab")
        assert screen.typed == "/help "
        await screen.press("ctrl+u")
        await screen.type("/h")
        await screen.press("tab", "tab")
        assert screen.typed == "/history "
        await screen.press("tab")
        assert screen.typed == "/help "
        await screen.press("ctrl+u")
        await screen.type("b")
        await screen.press("tab")
        assert screen.typed == "bob: "

    play(scene)


# Being called, leaving


def test_being_called_rings_the_bell(monkeypatch: pytest.MonkeyPatch) -> None:
    rung: list[str] = []

    async def scene(screen: Screen) -> None:
        monkeypatch.setattr(screen.app, "bell", lambda: rung.append("bell"))
        screen.hear("nobody")
        screen.hear("alice in an old message", is_backlog=True)
        screen.hear("alice says this herself", ME)
        assert rung == []
        screen.hear("Alice?")
        assert rung == ["bell"]

    play(scene)


def test_what_comes_while_nobody_looks_is_counted() -> None:
    async def scene(screen: Screen) -> None:
        screen.app.post_message(events.AppBlur())
        await screen.settle()
        screen.hear("one")
        screen.hear("two")
        await screen.settle()
        assert "2 new" in screen.lines[-2]
        screen.app.post_message(events.AppFocus())
        await screen.settle()
        assert "2 new" not in screen.lines[-2]

    play(scene)


@pytest.mark.parametrize("keys", [("ctrl+d",), ("ctrl+c", "ctrl+c"), ("ctrl+c", "y"), ("ctrl+q", "enter")])
def test_leaving_takes_one_key_or_an_answer(keys: tuple[str, ...]) -> None:
    async def scene(screen: Screen) -> None:
        await screen.pilot.press(*keys)
        await screen.pilot.pause()
        assert screen.app._exit

    play(scene)


def test_whoever_is_asked_can_stay() -> None:
    async def scene(screen: Screen) -> None:
        await screen.type("half")
        await screen.press("ctrl+c")
        assert screen.typed == ""
        await screen.press("ctrl+c")
        assert "Leave the chat?" in screen.text
        await screen.press("n")
        assert "Leave the chat?" not in screen.text
        assert not screen.app._exit
        assert screen.typed == ""

    play(scene)
