"""What a person is asked who has not said where to go: server, room, nickname, passphrase; each checked at once."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, TypeVar

import click

from securechat import limits
from securechat.client.address import ServerAddress, parse_server
from securechat.client.strength import generated_bits
from securechat.errors import InputError
from securechat.sealing.names import normalise_nick, normalise_passphrase, normalise_room
from securechat.sealing.words import generate_passphrase

T = TypeVar("T")


class Passphrase(NamedTuple):
    """A passphrase, normalised, and whether it was made just now, for a room that is new."""

    text: str
    is_new: bool

    def __repr__(self) -> str:
        return "<Passphrase>"


def ask_server(recent: Sequence[ServerAddress]) -> ServerAddress:
    """Ask for a server, and offer those of last time: an answer with a room in it names that too."""
    if not recent:
        click.echo("A server is HOST, HOST:PORT, or the securechat:// line that it printed.", err=True)
        return _ask("Server", parse_server)
    for number, known in enumerate(recent, 1):
        click.echo(f"{number:>3}  {known.room} on {known}", err=True)
    return _ask("Number, or another server", partial(_choose, recent), default="1")


def _choose(recent: Sequence[ServerAddress], answer: str) -> ServerAddress:
    if not answer.isascii() or not answer.isdigit():
        return parse_server(answer)
    if not 1 <= int(answer[:3]) <= len(recent):
        raise InputError(f"There is no number {answer}.", f"Take 1 to {len(recent)}, or name a server.")
    return recent[int(answer) - 1]


def ask_room() -> str:
    """Ask for the name of a room."""
    return _ask("Room (any name; who has the same name and passphrase is in it)", normalise_room)


def ask_nick(last: str) -> str:
    """Ask for a nickname, and offer the last one."""
    return _ask("Your nickname", normalise_nick, default=last)


def ask_passphrase(room: str) -> Passphrase:
    """Ask for the passphrase of a room, which is not shown; or make one, which is."""
    click.echo("The passphrase is the key of the room. For a new room, press Enter: one is made for you.", err=True)
    typed = _ask(f"Passphrase of room {room}", _empty_or_passphrase, default="", hide_input=True)
    if typed:
        return Passphrase(typed, is_new=False)
    made = generate_passphrase(limits.GENERATED_WORDS)
    bits = generated_bits(limits.GENERATED_WORDS)
    click.echo(f"\n    {made}\n\nWrite it down, and hand it to your friends in private: nobody can guess", err=True)
    click.echo(f"it ({bits:.0f} bits), and nobody can bring it back.", err=True)
    click.prompt("Enter when you have it", default="", show_default=False, err=True)
    return Passphrase(normalise_passphrase(made), is_new=True)


def _empty_or_passphrase(typed: str) -> str:
    return normalise_passphrase(typed) if typed else ""


def _ask(question: str, check: Callable[[str], T], *, default: str | None = None, hide_input: bool = False) -> T:
    """Ask until the answer passes a check; what is wrong with one is told.

    Raises:
        click.Abort: Ctrl-C, or the end of input.
    """

    def checked(answer: str) -> T:
        try:
            return check(answer)
        except InputError as error:
            raise click.UsageError(str(error)) from error

    answer: T = click.prompt(
        question, default=default, value_proc=checked, err=True, hide_input=hide_input, show_default=bool(default)
    )
    return answer
