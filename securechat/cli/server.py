"""``securechat server``: its options."""

from typing import Any

import click

from securechat import limits
from securechat.cli.limiting import parse_limits, print_limits
from securechat.cli.options import FILE, Origins, host, option, place
from securechat.cli.retaining import read_count, read_time
from securechat.errors import InputError


@click.command()
@option("--host", type=host, help="Name or address to listen on; by default all addresses.")
@option(
    "--port",
    type=click.IntRange(0, 65535),
    default=7443,
    show_default=True,
    help="TCP port; 0 picks a free one.",
)
@option(
    "--cert",
    type=FILE,
    help="Certificate (PEM); by default a self-signed one in --data.",
)
@option("--key", type=FILE, help="Key of --cert (PEM); by default in the same file.")
@option("--data", type=FILE, help="Directory of history and own certificate.")
@option("--memory", is_flag=True, help="Keep messages in memory only.")
@option(
    "--retain",
    type=read_time,
    default="7d",
    show_default=True,
    metavar="TIME",
    help="How long to keep messages, as in 7d, or 'forever'.",
)
@option(
    "--retain-messages",
    type=read_count,
    default=limits.RETAIN_MESSAGES,
    show_default=True,
    metavar="COUNT",
    help="How many messages of each room to keep, or 'all'.",
)
@option(
    "--rooms",
    type=click.Choice(["open", "closed"]),
    default="open",
    help="Whether new rooms may be created.",
)
@click.option(
    "--compat",
    is_flag=False,
    flag_value="0.0.0.0:12345",
    type=place("0.0.0.0"),  # noqa: S104
    metavar="[[HOST:]PORT]",
    help="Serve old programs too, in rooms of their own, NOT ENCRYPTED.",
)
@option("--access-log", type=FILE, help="Log joins and leaves to this file too.")
@option(
    "--metrics",
    type=place("127.0.0.1"),
    metavar="[HOST:]PORT",
    help="Serve Prometheus metrics there; by default on loopback.",
)
@option(
    "--limit",
    multiple=True,
    callback=parse_limits,
    metavar="NAME=VALUE",
    help="Change a limit; may be given more than once.",
)
@click.option(
    "--show-limits",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=print_limits,
    help="Print all limits with their defaults, and exit.",
)
@option("--log-json", is_flag=True, help="Log one JSON object a line.")
def server(**given: Any) -> None:
    """Run a server: it routes ciphertext, and cannot read, name or size up what it carries."""
    if given["key"] and not given["cert"]:
        raise InputError("--key needs --cert.", "Give both, or neither.", option="--key")
    from securechat.cli.operate import operate

    operate(given, click.get_current_context().ensure_object(Origins).notices)
