"""``securechat rooms`` and ``securechat backup``: a server's data in its operator's hands, running or not."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from securechat.cli.options import FILE, duration, option
from securechat.errors import SecurechatError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from securechat.history.survey import Summary

_PREFIX: Final = re.compile(r"[0-9a-fA-F]{8,64}")
_PATIENCE: Final = 15.0
_POLL: Final = 0.1

_data = option("--data", type=FILE, help="The server's directory.")


@click.group()
def rooms() -> None:
    """List or delete the rooms of a server on this machine, running or not."""


@rooms.command("list")
@_data
@click.option("--sort", type=click.Choice(["age", "size", "address"]), default="age", show_default=True)
def list_rooms(data: Path | None, sort: str) -> None:
    """Print one line for each room: address, messages, bytes, and when it was last used."""
    keys = {"age": lambda r: -r.used, "size": lambda r: -r.size, "address": lambda r: r.address}
    for room in sorted(_summaries(data), key=keys[sort]):
        click.echo(f"{room.address.hex()} {room.messages:>8} {room.size:>12} {_when(room.used)}")


@rooms.command("delete")
@click.argument("addresses", nargs=-1)
@_data
@click.option("--larger", type=int, metavar="BYTES", help="All rooms that hold more than so much.")
@click.option("--older", type=duration, metavar="AGE", help="All rooms that nobody has used for so long, as in 30d.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def delete_rooms(
    addresses: tuple[str, ...], data: Path | None, larger: int | None, older: int | None, yes: bool
) -> None:
    """Delete rooms by their ADDRESSES (the first 8 digits or more), by size, or by age; all conditions must hold."""
    if not addresses and larger is None and older is None:
        raise click.UsageError("Say which rooms: ADDRESSES, --larger or --older.")
    chosen = [room for room in _summaries(data) if _is_meant(room, addresses, larger, older)]
    for room in chosen:
        click.echo(f"{room.address.hex()} {room.messages:>8} {room.size:>12} {_when(room.used)}")
    if not chosen:
        click.echo("No room is meant; nothing was deleted.", err=True)
    elif yes or click.confirm(f"Delete {len(chosen)} room(s) with all messages?", err=True):
        _delete(data, [room.address for room in chosen])


def _is_meant(room: "Summary", addresses: "Iterable[str]", larger: int | None, older: int | None) -> bool:
    from securechat.client.clock import now_ms

    prefixes = tuple(map(_prefix, addresses))
    return (
        (not prefixes or room.address.hex().startswith(prefixes))
        and (larger is None or room.size > larger)
        and (older is None or room.used < now_ms() - older * 1000)
    )


def _prefix(address: str) -> str:
    if not _PREFIX.fullmatch(address):
        raise click.UsageError(f"{address!r} is no address: give 8 to 64 hexadecimal digits.")
    return address.lower()


def _when(used: int) -> str:
    import datetime

    return f"{datetime.datetime.fromtimestamp(used / 1000):%Y-%m-%d %H:%M:%S}" if used else "never"


def _summaries(data: Path | None) -> "list[Summary]":
    from securechat.cli.directory import data_path
    from securechat.history.sqlite import HISTORY_FILE
    from securechat.history.survey import summarise

    return summarise(data_path(data) / HISTORY_FILE)


def _delete(data: Path | None, addresses: "list[bytes]") -> None:
    """Delete rooms: by hand, or through the running server, which alone may write then."""
    from securechat.cli.directory import InUseError, data_path, only_server

    directory = data_path(data)
    try:
        with only_server(directory):
            _delete_by_hand(directory, addresses)
    except InUseError:
        _ask_server(directory, addresses)
    left = set(addresses) & {room.address for room in _summaries(data)}
    if left:
        raise SecurechatError(
            f"{len(left)} of the rooms are still there.", "Look at the server's log, or stop it and try again."
        )
    click.echo(f"Deleted: {len(addresses)}.", err=True)


def _delete_by_hand(directory: Path, addresses: "list[bytes]") -> None:
    import trio

    from securechat.history.sqlite import HISTORY_FILE, SqliteLog

    async def delete_all() -> None:
        log = SqliteLog.open(directory / HISTORY_FILE)
        try:
            for address in addresses:
                await log.delete_room(address)
            await log.compact()
        finally:
            await log.aclose()

    trio.run(delete_all)


def _ask_server(directory: Path, addresses: "list[bytes]") -> None:
    """Leave a request for each room, and wait until the server has taken all of them away."""
    import time

    from securechat.files import make_private_directory
    from securechat.server.upkeep import DELETIONS

    requests = [make_private_directory(directory / DELETIONS) / address.hex() for address in addresses]
    for request in requests:
        request.touch(mode=0o600)
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline and any(request.exists() for request in requests):
        time.sleep(_POLL)


@click.command()
@click.argument("target", type=FILE)
@_data
def backup(target: Path, data: Path | None) -> None:
    """Copy history, certificate and key of a server, running or not, to TARGET, a new directory.

    To restore it: 'securechat server --data TARGET', or copy TARGET to where the data was.
    """
    from securechat.cli.directory import data_path
    from securechat.files import write_private
    from securechat.history.sqlite import HISTORY_FILE
    from securechat.history.survey import copy

    directory = data_path(data)
    if target.exists():
        raise SecurechatError(f"{target} exists already.", "Name a new directory.")
    copy(directory / HISTORY_FILE, target / HISTORY_FILE)
    for name in ("cert.pem", "key.pem"):
        if (directory / name).exists():
            write_private(target / name, (directory / name).read_bytes())
    click.echo(f"Copied to {target}. Whoever has it can pretend to be this server: keep it safe.", err=True)
