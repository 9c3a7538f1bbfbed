"""The full screen of the real program, in a terminal that is read as a person reads it, against a real server."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.patience import PATIENCE
from tests.support.programs import PASSPHRASE, ROOM, Home, ServerProgram, member_home
from tests.support.terminals import ScreenTerminal

_ENTER, _CTRL_C, _CTRL_D, _ESCAPE = "\r", "\x03", "\x04", "\x1b"
_CONNECTED = r"\N{BLACK CIRCLE} connected"


def screen(home: Home, server: ServerProgram, *arguments: str, nick: str = "alice", **settings: Any) -> ScreenTerminal:
    return ScreenTerminal(home, "chat", server.address, "--room", ROOM, "--nick", nick, *arguments, **settings)


def enter(terminal: ScreenTerminal) -> None:
    """Wait until the person is in the room."""
    terminal.shows(r"Type a message and press Enter")


def test_two_people_talk(tmp_path: Path, member: Home, server: ServerProgram, room: str) -> None:
    other = member_home(tmp_path / "other", server)
    with screen(member, server) as alice, other.chat(server, "bob") as bob:
        enter(alice)
        assert "tea house  encrypted" in alice.rows[0]
        alice.types(f"hello bob{_ENTER}")
        bob.wait_for(r"alice\S*: hello bob$")
        alice.shows(r"\N{CHECK MARK} +alice \N{BOX DRAWINGS LIGHT VERTICAL} hello bob$")
        bob.write("hello alice\n")
        alice.shows(
            r"\N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK} +bob~\w{4} \N{BOX DRAWINGS LIGHT VERTICAL} hello alice$"
        )
        assert "\x07" in alice.screen, "the bell"
        alice.types(_CTRL_D)
        assert alice.ends() == 0
        assert alice.cursor
        assert "Traceback" not in alice.screen


def test_whoever_knows_no_server_is_asked_for_everything(tmp_path: Path, server: ServerProgram) -> None:
    home = Home(tmp_path)
    with ScreenTerminal(home, "chat") as terminal:
        terminal.shows(r"^Server:$")
        terminal.types("no server\n")
        terminal.shows(r"^Error: 'no server' names no server\.(.*\n)+Server:$")
        terminal.types(f"securechat://{server.address}?pin={server.pin}\n")
        terminal.shows(r"^Room .*:$")
        terminal.types("Tea House\n")
        terminal.shows(r"^Your nickname")
        terminal.types("two words\n")
        terminal.shows(r"^Error: A nickname has no spaces(.*\n)+Your nickname.*:$")
        terminal.types("alice\n")
        terminal.shows(r"^Passphrase of room tea house:$")
        terminal.types("\n")
        made = terminal.shows(r"^    (\w[\w -]+)$")[1]
        assert len(made.split()) == 6
        terminal.shows(r"Enter when you have it")
        terminal.types("\n")
        terminal.shows(r"You opened the room tea house")
        terminal.shows(r"securechat://")
        terminal.types(f"/room qr{_ENTER}")
        terminal.shows("\N{FULL BLOCK}{5}")
        terminal.types(_CTRL_D)
        assert terminal.ends() == 0
    with ScreenTerminal(home, "chat") as terminal:
        terminal.shows(rf"^  1  tea house on {server.address}$")
        terminal.shows(r"^Number, or another server \[1\]:$")
        terminal.types("\n")
        terminal.shows(r"^Your nickname \[alice\]:$")
        terminal.types("\n")
        terminal.shows(r"^Passphrase of room tea house:$")
        terminal.types(f"{made}\n")
        terminal.shows(r"You are in the room tea house")
        terminal.types(_CTRL_D)
        assert terminal.ends() == 0
        assert made.split()[0] not in terminal.screen


def test_a_server_that_is_restarted_is_found_again_with_what_was_typed(
    tmp_path: Path, box: Home, member: Home, server: ServerProgram, room: str
) -> None:
    with screen(member, server) as alice:
        enter(alice)
        alice.types("in the middle of ")
        server.stop(signal.SIGKILL)
        alice.shows(r"\N{WHITE CIRCLE} lost, ")
        alice.types(f"a sentence{_ENTER}and a draft")
        alice.shows(r"\N{HORIZONTAL ELLIPSIS} +alice .* in the middle of a sentence$")
        alice.shows(r"lost.* 1 pending")
        with box.serve(port=server.port):
            assert member_home(tmp_path / "other", server).send(server, "--nick", "bob", "meanwhile").code == 0
            alice.shows(_CONNECTED)
            alice.shows(r"\N{CHECK MARK} +alice .* in the middle of a sentence$")
            assert alice.rows[-1].strip() == "and a draft"
            alice.types(f"{_CTRL_C}{_CTRL_D}")
            assert alice.ends() == 0


def test_messages_come_above_when_somebody_scrolls_up(member: Home, server: ServerProgram, room: str) -> None:
    assert member.send(server, typed="".join(f"line {n}.\n" for n in range(1, 301))).code == 0
    with screen(member, server) as alice:
        enter(alice)
        alice.shows(r"line 300\.$")
        alice.pages_up_to(r"the first message$")
        alice.shows(r"new below")
        alice.types(_ESCAPE)
        alice.shows(r"Type a message and press Enter")
        alice.types("\x12line 123.")
        alice.shows(r"line 123\.$")
        alice.types(f"{_ENTER}{_CTRL_D}")
        assert alice.ends() == 0


def test_what_came_while_one_was_away_is_parted_from_what_was_read(
    tmp_path: Path, member: Home, server: ServerProgram, room: str
) -> None:
    with screen(member, server) as alice:
        enter(alice)
        alice.types(_CTRL_D)
        assert alice.ends() == 0
    other = member_home(tmp_path / "other", server)
    assert other.send(server, "--nick", "bob", typed="one\ntwo\nthree\n").code == 0
    with screen(member, server) as alice:
        alice.shows(r"the first message\n.*-- 3 while you were away --\n.*one$")
        alice.types(_CTRL_D)
        assert alice.ends() == 0


def test_verifying_somebody_is_seen_and_kept(tmp_path: Path, member: Home, server: ServerProgram, room: str) -> None:
    other = member_home(tmp_path / "other", server)
    with other.chat(server, "bob") as bob:
        with screen(member, server, size=(120, 30)) as alice:
            enter(alice)
            alice.shows(r"bob~\w{4}$")
            alice.types("/verify bo\t")
            alice.types(_ENTER)
            alice.shows(r"If not: /verify bob~\w{4} no")
            bob.write("/verify alice\n")
            told = bob.wait_for(r"face to face: (.*)$")[1]
            assert len(told.split()) == 12
            assert all(word in "\n".join(alice.rows) for word in told.split())
            alice.types(f"/verify bob yes{_ENTER}")
            alice.shows(r"\N{CHECK MARK} verified\n.*\N{CHECK MARK} bob$")
            alice.types(_CTRL_D)
            assert alice.ends() == 0
        with screen(member, server, size=(120, 30)) as alice:
            enter(alice)
            alice.shows(r"1 \N{CHECK MARK} verified")
            alice.types(_CTRL_D)
            assert alice.ends() == 0


def test_the_screen_follows_the_size_of_the_terminal(member: Home, server: ServerProgram, room: str) -> None:
    with screen(member, server, size=(140, 30)) as alice:
        enter(alice)
        alice.shows(r"alice \(you\)$")
        for columns in (40, 80, 140):
            alice.resize(columns, 20)
            alice.shows(r"(?s)\A tea house  encrypted.*connected.*/help\s*\Z")
        alice.types(_CTRL_D)
        assert alice.ends() == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)])
def test_a_signal_restores_the_terminal(
    member: Home, server: ServerProgram, room: str, number: signal.Signals, code: int
) -> None:
    with screen(member, server) as alice:
        enter(alice)
        alice.types("half a line")
        alice.process.send_signal(number)
        assert alice.ends() == code
        assert alice.cursor
        assert alice.screen.rindex("\x1b[?1049l") > alice.screen.rindex("\x1b[?1049h")
        assert "Traceback" not in alice.screen


def test_a_suspended_chat_gives_the_terminal_back_and_takes_it_again(
    member: Home, server: ServerProgram, room: str
) -> None:
    shell = Home(member.directory)
    shell.command = ("/bin/bash", "--norc", "-i")
    shell.env["PS1"] = "prompt> "
    line = f"{' '.join(member.command)} chat {server.address} --room '{ROOM}' --nick alice"
    with ScreenTerminal(shell) as terminal:
        terminal.shows(r"^prompt>$")
        terminal.types(f"{line}\n")
        enter(terminal)
        terminal.types("a draft")
        terminal.shows(r"^ a draft$")
        terminal.types("\x1a")
        terminal.shows(r"Stopped")
        assert terminal.cursor
        terminal.types("fg\n")
        terminal.sees(r"1049h(.|\n)*1049l(.|\n)*1049h(.|\n)*connected")
        terminal.shows(r"^ a draft$")
        terminal.shows(_CONNECTED)
        terminal.types(f"{_CTRL_C}{_CTRL_D}")
        terminal.sees(r"1049h(.|\n)*1049l(.|\n)*1049h(.|\n)*1049l(.|\n)*prompt>")
        terminal.types("exit\n")
        assert terminal.process.wait(PATIENCE) == 0


def test_a_terminal_that_is_closed_ends_the_chat_even_if_sighup_is_ignored(
    member: Home, server: ServerProgram, room: str
) -> None:
    command = ("/bin/sh", "-c", 'trap "" HUP; exec "$@"', "sh", *member.command)
    home = Home(member.directory)
    home.command = command
    with screen(home, server) as terminal:
        enter(terminal)
        assert terminal.hangs_up() == 129


@pytest.mark.parametrize("where", ["panels.status", "room.view_of"])
def test_a_crash_restores_the_terminal_and_shows_no_message(
    member: Home, server: ServerProgram, room: str, where: str
) -> None:
    module, name = where.split(".")
    broken = (
        "import sys\n"
        f"from securechat.ui.tui import {module} as module\n"
        f"original = module.{name}\n"
        "def fail(first, *rest, **settings):\n"
        "    if any('boom' in message.text for message in (getattr(first, 'unsent', None) or ())):\n"
        "        raise ZeroDivisionError\n"
        "    return original(first, *rest, **settings)\n"
        f"module.{name} = fail\n"
        "from securechat.__main__ import main\n"
        "main()\n"
    )
    home = Home(member.directory)
    home.command = (sys.executable, "-c", broken)
    with screen(home, server) as alice:
        enter(alice)
        os.kill(server.process.pid, signal.SIGSTOP)  # what is typed stays pending
        try:
            alice.types(f"boom and a secret{_ENTER}")
            assert alice.ends() == 1
        finally:
            os.kill(server.process.pid, signal.SIGCONT)
        assert alice.cursor
        after = alice.screen[alice.screen.rindex("\x1b[?1049l") :]
        assert "internal error (ZeroDivisionError" in after
        assert "--debug" in after
        assert "secret" not in after
        assert "Traceback" not in after


def test_the_old_mode_says_that_it_is_not_encrypted_all_the_time(tmp_path: Path, box: Home) -> None:
    home = Home(tmp_path)
    with box.serve("--compat", "127.0.0.1:0") as server:
        port = server.wait_for(r"127\.0\.0\.1:(\d+).*NOT ENCRYPTED|NOT ENCRYPTED.*127\.0\.0\.1:(\d+)", "err")
        number = port[1] or port[2]
        arguments = ("chat", f"127.0.0.1:{number}", "--compat", "--no-tls", "--room", "old", "--nick", "alice")
        with ScreenTerminal(home, *arguments) as alice:
            enter(alice)
            alice.types(f"hello{_ENTER}")
            alice.shows(r"\N{CHECK MARK} +alice .* hello$")
            assert "NOT ENCRYPTED" in alice.rows[0]
            assert "NOT ENCRYPTED" in alice.rows[-2]
            alice.types(_CTRL_D)
            assert alice.ends() == 0


def test_what_is_loaded_can_be_saved_for_ones_own_eyes(member: Home, server: ServerProgram, room: str) -> None:
    path = member.directory / "talk.txt"
    with screen(member, server) as alice:
        enter(alice)
        alice.types(f"/save {path}{_ENTER}")
        alice.shows(r"readable for you alone")
        assert path.stat().st_mode & 0o777 == 0o600
        assert re.search(r"founder(~\w{4})?: the first message\n", path.read_text())
        alice.types(f"/save {path}{_ENTER}")
        alice.shows(r"cannot be written")
        alice.types(f"/clear{_ENTER}")
        alice.types(f"/theme light{_ENTER}/nonsense{_ENTER}")
        alice.shows(r"There is no command /nonsense")
        assert "the first message" not in "\n".join(alice.rows)
        alice.types(_CTRL_D)
        assert alice.ends() == 0


# Without the full screen


def test_plain_lines_are_edited_while_others_are_printed_above(
    tmp_path: Path, member: Home, server: ServerProgram, room: str
) -> None:
    other = member_home(tmp_path / "other", server)
    with screen(member, server, "--plain") as alice:
        alice.shows(r"-- Here: alice")
        alice.types(f"helo\x02l{_ENTER}")
        alice.shows(r" alice: hello$")
        alice.types("half a line")
        alice.shows(r"^half a line$")
        assert other.send(server, "--nick", "bob", "meanwhile").code == 0
        alice.shows(r" bob~\w{4}: meanwhile\nhalf a line$")
        alice.types("\x15\x1b[A")
        alice.shows(r"^hello$")
        alice.types("\x15")
        alice.types(_CTRL_D)
        assert alice.ends() == 0


def test_an_interrupt_in_plain_mode_is_130(member: Home, server: ServerProgram, room: str) -> None:
    with screen(member, server, "--plain") as alice:
        alice.shows(r"-- Here: alice")
        alice.types(f"half a line{_CTRL_C}")
        assert alice.ends() == 130
        assert "Traceback" not in alice.screen


def test_without_a_terminal_nothing_is_asked(tmp_path: Path, server: ServerProgram) -> None:
    home = Home(tmp_path)
    result = subprocess.run(
        (*home.command, "chat"), env=home.env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert "No server was named." in result.stderr
    assert "Traceback" not in result.stderr
    assert PASSPHRASE not in result.stderr
