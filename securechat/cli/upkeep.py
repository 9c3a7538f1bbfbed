"""``securechat rooms``, ``backup`` and ``restore``: a server's data in its operator's hands, running or not."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from securechat.cli.options import FILE, duration, option

if TYPE_CHECKING:
    from collections.abc import Iterable

    from securechat.history.survey import Summary

_PREFIX: Final = re.compile(r"[0-9a-fA-F]{8,64}")

_data = option("--data", type=FILE, help="The server's directory.")


@click.group()
def rooms() -> None:
    """List or delete the rooms of a server on this machine, running or not."""


@rooms.command("list")
@_data
@click.option("--sort", type=click.Choice(["age", "size", "address"]), default="age", show_default=True)
def list_rooms(data: Path | None, sort: str) -> None:
    """List rooms: address, messages, bytes, last use."""
    keys = {"age": lambda r: -r.used, "size": lambda r: -r.size, "address": lambda r: r.address}
    for room in sorted(_summaries(data), key=keys[sort]):
        click.echo(f"{room.address.hex()} {room.messages:>8} {room.size:>12} {_when(room.used)}")


@rooms.command("delete")
@click.argument("addresses", nargs=-1)
@_data
@click.option("--larger", type=click.IntRange(min=0), metavar="BYTES", help="Rooms that hold more than that.")
@click.option("--older", type=duration, metavar="AGE", help="Rooms unused for that long, as in 30d.")
@click.option("--empty", is_flag=True, help="Rooms without messages.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def delete_rooms(
    addresses: tuple[str, ...], data: Path | None, larger: int | None, older: int | None, *, empty: bool, yes: bool
) -> None:
    """Delete rooms by address, size or age.

    ADDRESSES are 8 digits or more of what 'rooms list' prints. A room is deleted if it meets all conditions.
    --older and --empty keep rooms with members in them. Without them, the server sends the members away.
    """
    from securechat.cli.deleting import delete
    from securechat.cli.directory import data_path
    from securechat.server.control import Doomed

    if not addresses and larger is None and older is None and not empty:
        raise click.UsageError("Say which rooms: give ADDRESSES, --larger, --older or --empty.")
    chosen = [
        room for room in _summaries(data) if _is_meant(room, addresses, larger, older) and not (empty and room.messages)
    ]
    for room in chosen:
        click.echo(f"{room.address.hex()} {room.messages:>8} {room.size:>12} {_when(room.used)}")
    if not chosen:
        click.echo("No rooms match; nothing deleted.", err=True)
    elif yes or click.confirm(f"Delete {len(chosen)} room(s) with all messages?", err=True):
        spares_used = empty or older is not None
        delete(
            data_path(data),
            [Doomed(room.address, room.log_id, room.newest if spares_used else None) for room in chosen],
        )


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
    from securechat.cli.copies import refuse_unsettled
    from securechat.cli.directory import data_path
    from securechat.history.sqlite import HISTORY_FILE
    from securechat.history.survey import summarise

    directory = data_path(data)
    refuse_unsettled(directory)
    return summarise(directory / HISTORY_FILE)


@click.command()
@click.argument("target", type=FILE)
@_data
def backup(target: Path, data: Path | None) -> None:
    """Copy history, certificate and key of a server to TARGET, a new directory.

    The server may be running. To restore the copy, run 'securechat restore TARGET'. To serve it where it is, run
    'securechat server --data TARGET'.
    """
    from securechat.cli.backup import back_up
    from securechat.cli.copies import KEY_FILE
    from securechat.cli.directory import data_path
    from securechat.cli.interrupt import raising

    with raising():
        names = back_up(data_path(data), target)
    click.echo(f"Copied to {target}: {', '.join(names)}.", err=True)
    if KEY_FILE in names:
        click.echo("With the key, anybody can pretend to be this server: keep the copy safe.", err=True)


@click.command()
@click.argument("source", type=FILE, metavar="BACKUP")
@_data
def restore(source: Path, data: Path | None) -> None:
    """Replace the data of a stopped server by BACKUP.

    The files that it replaces are kept in a new directory beside them, before-restore-TIME.
    """
    from securechat.cli.directory import data_path
    from securechat.cli.interrupt import raising
    from securechat.cli.restore import restore as put_back

    directory = data_path(data)
    with raising():
        names, before = put_back(source, directory)
    click.echo(f"Restored to {directory}: {', '.join(names)}.", err=True)
    if before:
        click.echo(f"The replaced files are in {before}.", err=True)
