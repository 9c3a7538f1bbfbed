"""The real program in a real terminal: what is asked, what is echoed, and how it is left."""

import re
import signal
from pathlib import Path
from typing import Any

import pytest

from securechat.transport.pins import format_pin
from tests.support.programs import PASSPHRASE, ROOM, Home, ServerProgram, cpu_seconds, member_home
from tests.support.terminals import Terminal

_CTRL_C = "\x03"
_CTRL_D = "\x04"


@pytest.fixture
def stranger(tmp_path: Path) -> Home:
    """The machine of somebody who knows the room's secret and no server."""
    directory = tmp_path / "stranger"
    directory.mkdir()
    home = Home(directory)
    home.remember()
    return home


def chat(home: Home, server: ServerProgram, *arguments: str, **settings: Any) -> Terminal:
    """Start a chat in a terminal that can only print one line after another: line mode, edited by the terminal."""
    settings.setdefault("env", {"TERM": "dumb"})
    return Terminal(home, "chat", server.address, "--room", ROOM, "--nick", "alice", *arguments, **settings)


QUESTION = r"Trust it from now on\? \(yes, no, or paste the pin\) $"
CREATE = r"Create the room\? \(yes or no\) $"
PROMPT = r"Passphrase of room tea house: $"


# The passphrase


def test_the_passphrase_is_asked_for_at_once_and_not_shown(tmp_path: Path, server: ServerProgram, room: str) -> None:
    home = Home(tmp_path)
    home.trust(server)
    with chat(home, server) as terminal:
        terminal.sees(PROMPT)
        assert cpu_seconds(terminal.process.pid) < 2, "what takes long to import is imported later"
        terminal.types(f"{PASSPHRASE}\n")
        terminal.sees(r"-- You are in the room tea house")
        assert PASSPHRASE.split()[0] not in terminal.screen
        terminal.types("hello\n")
        terminal.sees(r" alice: hello$")
        terminal.types(_CTRL_D)
        assert terminal.ends() == 0
        assert "Traceback" not in terminal.screen


def test_a_mistyped_passphrase_opens_no_room_unnoticed(tmp_path: Path, server: ServerProgram, room: str) -> None:
    home = Home(tmp_path)
    home.trust(server)
    with chat(home, server) as terminal:
        terminal.answer(PROMPT, f"{PASSPHRASE}s\n")
        terminal.sees(r"^Nobody has used this room name and passphrase on 127\.0\.0\.1:\d+\.$")
        terminal.answer(CREATE, "\n")
        assert terminal.ends() == 5
        assert f"{PASSPHRASE}s" not in terminal.screen


def test_no_passphrase_is_a_usage_error_and_the_end_of_input_an_interrupt(
    tmp_path: Path, server: ServerProgram
) -> None:
    home = Home(tmp_path)
    home.trust(server)
    for typed, code, says in (("\n", 2, "The passphrase is empty."), (_CTRL_D, 130, "")):
        with chat(home, server) as terminal:
            terminal.answer(PROMPT, typed)
            assert terminal.ends() == code
            assert says in terminal.screen
            assert "Traceback" not in terminal.screen


def test_an_interrupt_at_the_passphrase_is_130(tmp_path: Path, server: ServerProgram) -> None:
    home = Home(tmp_path)
    home.trust(server)
    with chat(home, server) as terminal:
        terminal.answer(PROMPT, "half of it")
        assert terminal.is_interrupted() == 130
        assert "Traceback" not in terminal.screen


# The first contact


@pytest.mark.parametrize("typed", ["no\n", "\n", _CTRL_D])
def test_a_server_that_is_not_trusted_is_left(stranger: Home, server: ServerProgram, typed: str) -> None:
    with chat(stranger, server) as terminal:
        terminal.sees(rf"^First contact with {server.address}\. ")
        terminal.sees(rf"^Its pin is {server.pin}$")
        terminal.answer(QUESTION, typed)
        assert terminal.ends() == 4
        assert f"--pin {server.pin}" in terminal.screen
    assert stranger.run("known-hosts", "list").out == ""


def test_a_server_that_is_trusted_is_remembered(stranger: Home, server: ServerProgram, room: str) -> None:
    with chat(stranger, server) as terminal:
        terminal.answer(QUESTION, "YES\n")
        terminal.sees(r"-- You are in the room")
        terminal.types("/quit\n")
        assert terminal.ends() == 0
    assert stranger.run("known-hosts", "list").out == f"{server.address} pin {server.pin}\n"
    with chat(stranger, server) as terminal:
        terminal.sees(r"-- You are in the room")
        terminal.types("esc\n")
        assert terminal.ends() == 0
        assert "First contact" not in terminal.screen


def test_the_pin_may_be_pasted(stranger: Home, server: ServerProgram, room: str) -> None:
    wrong = format_pin(bytes(32))
    for pasted, code in ((wrong, 4), (f" {server.pin} ", 0)):
        with chat(stranger, server) as terminal:
            terminal.answer(QUESTION, "perhaps\n")
            terminal.answer(r"This is not a pin\. .*\n" + QUESTION, f"{pasted}\n")
            if not code:
                terminal.sees(r"-- You are in the room")
                terminal.types(_CTRL_D)
            assert terminal.ends() == code
            assert "Traceback" not in terminal.screen
        assert bool(stranger.run("known-hosts", "list").out) is not bool(code)


# A new room


def test_a_room_is_created_only_when_it_is_said(member: Home, server: ServerProgram) -> None:
    with chat(member, server) as terminal:
        terminal.sees(r"the room words are: (?:[\w-]+ ){2}[\w-]+$")
        terminal.answer(CREATE, "no\n")
        assert terminal.ends() == 5
        assert "to open a new room, give --create" in terminal.screen
    assert member.tail(server, "--must-exist").code == 5
    with chat(member, server) as terminal:
        terminal.answer(CREATE, "y\n")
        terminal.sees(r"-- You opened the room tea house\.")
        terminal.sees(rf"securechat://{server.address}/tea%20house\?pin={server.pin}$")
        terminal.types(_CTRL_D)
        assert terminal.ends() == 0
    assert member.tail(server, "--must-exist").code == 0


# The end


@pytest.mark.parametrize("where", ["first contact", "creation", "chat"])
def test_an_interrupt_is_130_wherever_it_comes(stranger: Home, server: ServerProgram, where: str) -> None:
    if where == "chat":
        assert stranger.send(server, "--pin", server.pin, "--create", "hi").code == 0
    elif where == "creation":
        stranger.trust(server)
    question = {"first contact": QUESTION, "creation": CREATE, "chat": r"-- Here: alice \(you\)"}[where]
    with chat(stranger, server) as terminal:
        terminal.answer(question, f"half a line{_CTRL_C}")
        assert terminal.ends() == 130
        assert "Traceback" not in terminal.screen
        assert "internal error" not in terminal.screen


def test_what_was_typed_last_is_sent_before_it_leaves(
    tmp_path: Path, member: Home, server: ServerProgram, room: str
) -> None:
    with chat(member, server) as terminal:
        terminal.sees(r"-- Here: ")
        terminal.types(f"first\nsecond\n{_CTRL_D}")
        assert terminal.ends() == 0
    assert member.tail(server, "--last", "2").out.count("alice: ") == 2


def test_a_chat_whose_terminal_is_stopped_and_continued_goes_on(
    tmp_path: Path, server: ServerProgram, room: str
) -> None:
    member, other = (member_home(tmp_path / nick, server) for nick in ("one", "two"))
    with chat(member, server) as terminal:
        terminal.sees(r"-- Here: ")
        terminal.process.send_signal(signal.SIGSTOP)
        assert other.send(server, "--nick", "bob", "meanwhile").code == 0
        terminal.process.send_signal(signal.SIGCONT)
        terminal.sees(r" bob~\w{4}: meanwhile$")
        terminal.types(_CTRL_D)
        assert terminal.ends() == 0


def test_questions_come_to_the_terminal_when_the_input_is_a_pipe(
    stranger: Home, member: Home, server: ServerProgram, room: str
) -> None:
    """As in: echo hi | securechat send SERVER."""
    script = f"echo from a pipe | {' '.join(stranger.command)} send {server.address} --room '{ROOM}' --nick x"
    with Terminal(_shell(stranger), script) as terminal:
        terminal.answer(QUESTION, "yes\n")
        assert terminal.ends() == 0
    assert member.tail(server, "--last", "1").out.endswith(": from a pipe\n")


def _shell(home: Home) -> Home:
    shell = Home(home.directory)
    shell.command = ("/bin/sh", "-c")
    return shell


# The server


@pytest.mark.parametrize(("typed", "code"), [("nonsense\nstop\n", 0), (_CTRL_C, 0)])
def test_a_server_in_a_terminal_ends_when_stop_is_typed_or_at_an_interrupt(box: Home, typed: str, code: int) -> None:
    with Terminal(box, "server", "--host", "127.0.0.1", "--port", "0", "--data", str(box.directory / "data")) as server:
        server.sees(r"^Join with: securechat chat 'securechat://127\.0\.0\.1:\d+\?pin=sha256:\S+' --room ROOM$")
        server.types(typed)
        assert server.ends() == code
        assert re.search(r"stopped; connections ended: none$", server.screen, re.MULTILINE)
        assert "Traceback" not in server.screen


def test_a_server_whose_terminal_is_closed_ends_and_does_not_haunt(box: Home) -> None:
    data = ("--data", str(box.directory / "data"))
    with Terminal(box, "server", "--host", "127.0.0.1", "--port", "0", *data) as server:
        server.sees(r"^ready ")
        result = box.run("server", "--host", "127.0.0.1", "--port", "0", *data)
        assert f"A securechat server (process {server.process.pid}) uses" in result.err
        assert server.hangs_up() == 0
    with box.serve(*data) as again:
        assert again.port


def test_a_server_whose_terminal_input_ends_goes_on(box: Home) -> None:
    with Terminal(box, "server", "--host", "127.0.0.1", "--port", "0", "--data", str(box.directory / "data")) as server:
        port = server.sees(r"^ready 127\.0\.0\.1:(\d+) ")[1]
        server.types(_CTRL_D)
        assert box.run("doctor", f"127.0.0.1:{port}").code == 0
        server.process.send_signal(signal.SIGTERM)
        assert server.ends() == 0


def test_a_line_that_the_terminal_cut_is_not_sent(member: Home, server: ServerProgram, room: str) -> None:
    with chat(member, server) as terminal:
        terminal.sees(r"-- Here: ")
        terminal.types("START" + "x" * 6000 + "END\n")
        terminal.sees(r"nothing of it was sent")
        terminal.types("   \n")
        terminal.types("after\n")
        terminal.sees(r"alice: after")
        terminal.types("\x04")
        assert terminal.ends() == 0
    assert "START" not in member.tail(server).out
    assert len(member.tail(server).out.splitlines()) == 2


def test_a_server_that_is_sent_to_the_background_goes_on(box: Home, tmp_path: Path) -> None:
    shell_home = Home(box.directory)
    shell_home.command = ("/bin/bash", "--norc", "-i")
    with Terminal(shell_home) as shell:
        line = (*box.command, "server", "--host", "127.0.0.1", "--port", "0", "--data", str(tmp_path / "data"))
        shell.types(" ".join(line) + "\n")
        address = shell.sees(r"ready (127\.0\.0\.1:\d+) ")[1]
        shell.types("\x1a")
        shell.sees("Stopped")
        shell.types("bg\n")
        for _ in range(3):  # it reads the terminal now and then
            assert box.run("doctor", address).code == 0
        shell.types("fg\n")
        shell.types("stop\n")
        shell.sees("stopped; connections ended")
