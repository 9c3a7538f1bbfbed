"""A server's log as its operator sees it, from outside of the server: running or not, nothing is written."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from securechat.database import reported
from securechat.errors import StorageError
from securechat.files import make_private_directory
from securechat.history.schema import load_reckoning


class Summary(NamedTuple):
    """One room.

    Attributes:
        address: Its address, 32 bytes.
        messages: How many messages are kept.
        size: Bytes of their envelopes.
        used: When the last message came, somebody was in the room, or it was created, in ms since 1970 UTC.
    """

    address: bytes
    messages: int
    size: int
    used: int


def summarise(path: Path) -> list[Summary]:
    """Return the rooms of the log at ``path``, the last used first.

    The log has stamps of its age clock (``securechat.history.age``); they are told by today's wall clock.

    Raises:
        StorageError: There is none, or it cannot be read.
    """
    query = """SELECT address, (SELECT count(*) FROM messages WHERE room = rooms.room), bytes, used
               FROM rooms ORDER BY used DESC, room"""
    with _reading(path) as connection:
        reckoning = load_reckoning(connection)
        rows = connection.execute(query).fetchall()
        return [Summary(address, count, size, reckoning.wall_of(used)) for address, count, size, used in rows]


def copy(path: Path, target: Path) -> None:
    """Copy the log at ``path``, as it is at one moment, to the new file ``target``; its directory is made (0700).

    Raises:
        StorageError: There is none, it cannot be read, or ``target`` cannot be written.
    """
    with _reading(path) as connection, reported(target):
        make_private_directory(target.parent)
        target.touch(mode=0o600, exist_ok=False)
        copied = sqlite3.connect(target)
        try:
            connection.backup(copied)
        finally:
            copied.close()


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    if not path.exists():
        raise StorageError(f"There is no history in {path.parent}.", "Name the server's directory with --data.")
    with reported(path):
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            yield connection
        finally:
            connection.close()
