"""``chat``, ``send`` and ``tail``: from options to a conversation."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from securechat import limits
from securechat.cli.options import DESCRIPTOR, FILE, duration, option, patience, pin

if TYPE_CHECKING:
    from securechat.cli.opening import Main, Make


def _shared(command: Callable[..., None], *, asks: bool = False) -> Callable[..., None]:
    """Add the argument and the options of every client command; ``asks`` if it asks for the server."""
    declared = (
        click.argument("server", required=not asks),
        option("--room", help="The room's name; case and spacing do not matter."),
        option("--nick", help="Your nickname here; by default the last one, or your user name."),
        click.option("--create", is_flag=True, help="Create the room if nobody has used it."),
        click.option("--must-exist", is_flag=True, help="Never create the room, and do not ask."),
        option("--profile", type=FILE, help="Directory of identity, known hosts and state."),
        option("--pin", type=pin, help="The server's pin, as it prints it: trust this key and no other."),
        option("--ca", type=FILE, help="Trust the authorities in this PEM file, and the server's name."),
        click.option("--weak-passphrase", is_flag=True, help="Create a room even with a weak passphrase."),
        option("--remember", is_flag=True, help="Keep the room's secret in the profile; ask no more."),
        option(
            "--passphrase-file",
            type=FILE,
            help="Read the passphrase from the first line of a file.",
        ),
        option("--passphrase-fd", type=DESCRIPTOR, help="Read the passphrase from an open file descriptor."),
        click.option("--compat", is_flag=True, help="Talk the old base64 mode, NOT ENCRYPTED; the port is 12345."),
        click.option("--no-tls", is_flag=True, help="With --compat: bare TCP, to an original server."),
    )
    for decorate in reversed(declared):
        command = decorate(command)
    return command


@click.command()
@partial(_shared, asks=True)
@option("--plain", variable=False, is_flag=True, help="Line mode: one line for each event.")
@option("--theme", type=click.Choice(["dark", "light", "high-contrast"]), default="dark", help="Colours.")
def chat(*, plain: bool, theme: str, **given: Any) -> None:
    """Talk in a room. SERVER is HOST[:PORT] or the line that the server prints; without it, you are asked."""
    from securechat.cli import talk

    if not plain and talk.has_screen():
        talk.on_screen(partial(_run, given), theme)
    else:
        talk.in_lines(partial(_run, given))


@click.command()
@_shared
@click.argument("text", nargs=-1)
@option("--json", "as_json", variable=False, is_flag=True, help="Print an object for each stored message.")
@option("--timeout", type=patience, default=limits.SEND_TIMEOUT, help="Seconds to keep trying.")
def send(*, text: tuple[str, ...], as_json: bool, timeout: float, **given: Any) -> None:
    """Send TEXT as one message, or each line of standard input, and wait until it is stored."""
    from securechat.sealing.names import check_text

    texts = [" ".join(text)] if text else []
    for message in texts:
        check_text(message)

    async def run(make: "Make") -> None:
        from securechat.client.transcript import Backlog
        from securechat.ui import lines

        opener = make(backlog=Backlog(messages=0, is_new=False), is_listed=False, remembers=False)
        await lines.send(opener, texts, patience=timeout, as_json=as_json)

    _run(given, run)


@click.command()
@_shared
@option("--json", "as_json", variable=False, is_flag=True, help="Print one JSON object for each event.")
@option("--since", variable=False, type=duration, help="Begin so long ago, for example 1h.")
@option("--last", variable=False, type=click.IntRange(min=0), help="Begin with the last N messages.")
@option("--no-follow", variable=False, is_flag=True, help="Print what is kept, then leave.")
def tail(*, as_json: bool, since: int | None, last: int | None, no_follow: bool, **given: Any) -> None:
    """Print the messages of a room, and follow it."""
    if since is not None and last is not None:
        raise click.UsageError("--since and --last exclude each other.")
    is_all = since is not None or (no_follow and last is None)

    async def run(make: "Make") -> None:
        from securechat.client.clock import now_ms
        from securechat.client.transcript import Backlog
        from securechat.ui import lines

        backlog = Backlog(limits.BACKLOG if last is None else last, is_new=False, is_all=is_all)
        start = 0 if since is None else now_ms() - since * 1000
        opener = make(backlog=backlog, is_reader=True, remembers=False)
        await lines.tail(opener, since=start, follows=not no_follow, as_json=as_json)

    _run(given, run)


def _run(given: dict[str, Any], main: "Main", **settings: Any) -> None:
    """Find out what is needed, ask for the passphrase, and run ``main``."""
    if given["compat"]:
        from securechat.cli import compat

        compat.run(main, given, **settings)
        return
    from securechat.cli.entrance import enter

    if given["no_tls"]:
        raise click.UsageError("--no-tls goes with --compat: an encrypted room is never joined without TLS.")
    with enter(given) as entrance:
        from securechat.cli import opening  # takes a while: the passphrase was asked for first

        opening.run(main, entrance, given, **settings)
