"""A server's log as its operator sees it, from outside of the server: running or not, nothing is written."""

import os
import secrets
import sqlite3
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from securechat.database import reported
from securechat.errors import CorruptError, StorageError
from securechat.files import create_private
from securechat.history.generation import StrangeWalError, has_wal, refuse_strange_wal, wal_of, write_name
from securechat.history.schema import APPLICATION_ID, load_reckoning

_MOMENT: Final = 0.5  # s
_PAGES: Final = 256  # copied at once


class Summary(NamedTuple):
    """One room.

    Attributes:
        address: Its address, 32 bytes.
        messages: How many messages are kept.
        size: Bytes of their envelopes.
        used: When the last message came, somebody was in the room, or it was created, in ms since 1970 UTC.
        log_id: The id of its log, 16 bytes.
        newest: The sequence of its last message.
    """

    address: bytes
    messages: int
    size: int
    used: int
    log_id: bytes
    newest: int


def summarise(path: Path) -> list[Summary]:
    """Return the rooms of the log at ``path``, the last used first.

    The log has stamps of its age clock (``securechat.history.age``); they are told by today's wall clock.

    Raises:
        StorageError: There is none, or it cannot be read.
    """
    query = """SELECT address, (SELECT count(*) FROM messages WHERE room = rooms.room), bytes, used,
                      log_id, newest
               FROM rooms ORDER BY used DESC, room"""
    with _reading(path) as connection:
        reckoning = load_reckoning(connection)
        rows = connection.execute(query).fetchall()
        return [Summary(*row)._replace(used=reckoning.wall_of(row[3])) for row in rows]


def copy(path: Path, target: Path) -> None:
    """Copy the log at ``path``, as it is at one moment, to the new file ``target``, and check the copy.

    Python's handlers of signals run in between. Nothing is synced.

    Raises:
        StorageError: There is none, it cannot be read or is corrupt, or ``target`` cannot be written.
    """
    with _reading(path) as connection, reported(target):
        os.close(create_private(target))
        copied = sqlite3.connect(target, isolation_level=None)
        try:
            for pragma in ("locking_mode = EXCLUSIVE", "journal_mode = OFF", "synchronous = OFF"):
                copied.execute(f"PRAGMA {pragma}")
            with reported(path):
                connection.execute("BEGIN")  # or each commit of the server would begin the copy again
                connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            _copy_pages(connection, path, copied)
            write_name(copied, secrets.token_hex(16))
        finally:
            copied.close()
    try:
        check(target)
    except CorruptError as error:
        raise CorruptError(f"{path} is corrupt.", "Restore a backup that was made earlier.") from error


def _copy_pages(connection: sqlite3.Connection, path: Path, copied: sqlite3.Connection) -> None:
    try:
        connection.backup(copied, pages=_PAGES, progress=lambda *_: None)
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_CORRUPT:
            with reported(path):
                raise
        raise


def check(path: Path) -> None:
    """Look through all of a log that no server uses: 2 s for each GiB that is in the system's cache.

    Raises:
        StorageError: It cannot be read, or is corrupt (CorruptError).
    """
    refuse_strange_wal(path)
    with reported(path):
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None)
        try:
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")  # needs no shared memory, which not all disks have
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        finally:
            connection.close()
    if found != "ok":
        raise CorruptError(f"{path} is corrupt.", "Restore another backup.")


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a log for reading only, while its server runs or not."""
    with reported(path):
        _refuse_unreadable(path)
        connection = _connect(path)
        try:
            yield connection
        finally:
            connection.close()


def _refuse_unreadable(path: Path) -> None:
    """Say what is wrong with a log in our words, before SQLite says it in its own."""
    if not os.path.lexists(path) and not has_wal(path):
        raise StorageError(
            f"There is no history in {path.parent}.", "Name the server's directory with --data.", option="--data"
        )
    try:
        refuse_strange_wal(path)
    except StrangeWalError:
        time.sleep(_MOMENT)  # a server that starts just now makes it another generation
        refuse_strange_wal(path)
    if not stat.S_ISREG(path.stat().st_mode):
        raise StorageError(f"{path} is no regular file.", "Move it away.")
    with path.open("rb") as file:
        if not file.read(1):
            raise StorageError(f"{path} is empty: it was copied only in part.", "Restore a backup.")


def _connect(path: Path) -> sqlite3.Connection:
    """Connect without writing, also where nothing can be written: there SQLite may not look for a WAL."""
    place = f"{path.absolute().as_uri()}?mode=ro"
    if not os.access(path.parent, os.W_OK):
        if has_wal(path):
            raise StorageError(
                f"{path} has to be joined with {wal_of(path).name}, and its directory cannot be written.",
                "Copy the directory to another place, and name that with --data.",
                option="--data",
            )
        place += "&immutable=1"
    connection = sqlite3.connect(place, uri=True, isolation_level=None)
    try:
        (found,) = connection.execute("PRAGMA application_id").fetchone()
        if found != APPLICATION_ID:
            raise StorageError(
                f"{path} is a database of another program.",
                "Name the server's directory with --data.",
                option="--data",
            )
    except BaseException:
        connection.close()
        raise
    return connection
