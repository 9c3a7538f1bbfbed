"""What is found out before anything is connected: server, room, nickname, passphrase.

It imports little, so that the question for the passphrase comes at once.
"""

import getpass
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from securechat import limits
from securechat.cli.options import PASSPHRASE_VARIABLE, Origins, default_directory, judging
from securechat.client.address import ServerAddress, parse_server
from securechat.client.recent import recent
from securechat.client.state import State
from securechat.errors import InputError
from securechat.files import make_private_directory, profile_directory
from securechat.sealing.names import normalise_nick, normalise_passphrase, normalise_room
from securechat.ui import terminal


@dataclass(frozen=True)
class Entrance:
    """Where to go, and with what.

    Attributes:
        server: The server, with the pin that was given, if any.
        room: The room's name, normalised.
        nick: The nickname, normalised.
        profile: The profile's directory.
        state: The profile's database, open.
        secret: The remembered room secret, 32 bytes; empty for none.
        passphrase: The passphrase, normalised; empty where the secret is remembered.
    """

    server: ServerAddress
    pin: bytes
    room: str
    nick: str
    profile: Path
    state: State
    secret: bytes = field(repr=False)
    passphrase: str = field(repr=False)


def profile_path(given: Path | None) -> Path:
    """Return the profile's directory.

    Raises:
        InputError: None was given, and this user has no home directory.
    """
    return given or default_directory(profile_directory(), "--profile")


@contextmanager
def enter(given: dict[str, Any]) -> Iterator[Entrance]:
    """Check what was given and ask for the passphrase; the profile is closed at the end.

    Raises:
        SecurechatError: Something given is unusable.
    """
    if given["create"] and given["must_exist"]:
        raise InputError("--create and --must-exist exclude each other.", "Give one of them.")
    asks = given["server"] is None
    if asks and not terminal.has_terminal():
        raise InputError("No server was named.", "Give SERVER: HOST[:PORT], or the securechat:// line that it prints.")
    profile = make_private_directory(profile_path(given["profile"]), "--profile")
    state = State.open(profile / "state.sqlite")
    try:
        yield _ask(given, profile, state) if asks else _look(given, profile, state)
    finally:
        state.close()


def _look(given: dict[str, Any], profile: Path, state: State) -> Entrance:
    """Find everything in what was given and in the profile, but for a passphrase that is asked for."""
    server = parse_server(given["server"])
    room = _choose_room(given["room"], server.room, state)
    nick = choose_nick(given["nick"], state)
    raw = _given_passphrase(given)
    secret = state.secret(room) if raw is None else None
    passphrase = "" if secret else normalise_passphrase(_prompt(room) if raw is None else raw)
    return Entrance(server, given["pin"] or server.pin, room, nick, profile, state, secret or b"", passphrase)


def _ask(given: dict[str, Any], profile: Path, state: State) -> Entrance:
    """Ask the person for what was not given; whoever has a passphrase made has a new room in mind."""
    from securechat.cli import asking

    server = asking.ask_server(recent(state))
    named = server.room or (asking.ask_room() if given["room"] is None else "")
    room = _choose_room(given["room"], named, state)
    nick = choose_nick(asking.ask_nick(choose_nick(None, state)) if given["nick"] is None else given["nick"], state)
    raw = _given_passphrase(given)
    secret = state.secret(room) if raw is None else None
    passphrase = "" if raw is None else normalise_passphrase(raw)
    if not passphrase and not secret:
        passphrase, is_new = asking.ask_passphrase(room)
        given["create"] = given["create"] or (is_new and not given["must_exist"])
    return Entrance(server, given["pin"] or server.pin, room, nick, profile, state, secret or b"", passphrase)


def _choose_room(given: str | None, named: str, state: State) -> str:
    """Return the room that was given, or was named elsewhere, or the last one, normalised."""
    room = (named or state.setting("room")) if given is None else given
    if room is None:
        raise InputError("No room was named.", "Give it with --room.")
    with judging("--room", given):
        return normalise_room(room)


def choose_nick(given: str | None, state: State) -> str:
    """Return the nickname that was given, or the last one, or the user's name, normalised.

    Raises:
        InputError: What was given is none.
    """
    if given is not None:
        with judging("--nick", given):
            return normalise_nick(given)
    if last := state.setting("nick"):
        return last
    try:
        return normalise_nick(getpass.getuser())
    except (InputError, OSError, KeyError):
        return "guest"


def _given_passphrase(given: dict[str, Any]) -> str | None:
    """Return the passphrase of a file, a descriptor or the environment, in this order; None for none."""
    of_environment = click.get_current_context().ensure_object(Origins).pop_passphrase()
    if given["passphrase_file"] is not None:
        return _first_line(given["passphrase_file"])
    if given["passphrase_fd"] is not None:
        return _first_line(given["passphrase_fd"])
    return of_environment


def _first_line(source: Path | int) -> str:
    """Return the first line of a file or an open file descriptor, without its end."""
    option = "--passphrase-fd" if isinstance(source, int) else "--passphrase-file"
    try:
        if isinstance(source, int):
            return _read_line(source).decode()
        with source.open("rb") as file:
            others = stat.S_IRWXG | stat.S_IRWXO
            if os.name == "posix" and os.fstat(file.fileno()).st_mode & others:
                sys.stderr.write(f"securechat: others can read {source}; run: chmod 600 {source}\n")
            return file.readline(limits.INPUT_LINE_BYTES).rstrip(b"\r\n").decode()
    except OSError as error:
        raise InputError(
            f"The passphrase cannot be read from {source}: {error.strerror}.", "Check it.", option=option
        ) from error
    except UnicodeDecodeError:
        raise InputError(f"The passphrase in {source} is not UTF-8.", "Save it as UTF-8.", option=option) from None


def _read_line(descriptor: int) -> bytes:
    """Read one line and not a byte more: what follows it may be the messages to send."""
    line = b""
    while len(line) < limits.INPUT_LINE_BYTES and (byte := os.read(descriptor, 1)) and byte != b"\n":
        line += byte
    return line.rstrip(b"\r")


def _prompt(room: str) -> str:
    if not terminal.has_terminal():
        raise InputError(
            "There is no passphrase, and no terminal to ask for it.",
            f"Give --passphrase-file, --passphrase-fd or {PASSPHRASE_VARIABLE}.",
        )
    return terminal.ask_hidden(f"Passphrase of room {room}: ")
