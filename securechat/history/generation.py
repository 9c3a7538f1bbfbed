"""Whether the WAL beside a database is its own.

What was committed last is not in ``history.sqlite`` but in ``history.sqlite-wal``, and after a crash SQLite writes
it back, page by page. It does not look whether the pages belong together
(https://sqlite.org/howtocorrupt.html, section 1.4). Who copies a backup over what a crash left gets pages of the
lost history in the middle of the restored one: few of them undo the restore in silence, more of them destroy it.

So each time that a history is opened it becomes a new generation: a random name, which is written into the
database and, when the WAL is empty, into a file beside it. A WAL that is not empty was begun after that, on top
of that generation; if the database has another one by then, they are of two histories. A backup is a
generation of its own.

In the database the name is the text of a view, for the schema is on the first page, where it can be read without
opening the database, and a write-back that was cut leaves a first page of one generation in any case. While one
generation follows the other the file has the names of both: a crash may leave either.
"""

import os
import re
import secrets
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Final

from securechat.database import reported, transaction
from securechat.errors import CorruptError, StorageError
from securechat.files import sync, write_private

_VIEW: Final = "CREATE VIEW generation AS SELECT '{}' AS name"
_NAME: Final = re.compile(rb"CREATE VIEW generation AS SELECT '([0-9a-f]{32})' AS name")
_FIRST_PAGE_BYTES: Final = 65536  # of the largest page
_PAGE_SIZE: Final = slice(16, 18)  # of the database's header
_WAL_HEADER_BYTES: Final = 32
_CHECKPOINT_MS: Final = 1000
_NONE: Final = "none"  # what a database of an older version is recorded as


class StrangeWalError(StorageError):
    """A database and the WAL beside it are of two histories."""


def wal_of(path: Path) -> Path:
    """Return where SQLite keeps what was committed last."""
    return path.with_name(path.name + "-wal")


def record_of(path: Path) -> Path:
    """Return where the generation of a database is recorded."""
    return path.with_name(path.name + "-generation")


def refuse_strange_wal(path: Path) -> None:
    """Refuse a database together with a WAL that was written for another one, before SQLite joins them.

    Raises:
        StrangeWalError: They do not belong together.
        StorageError: They cannot be read.
    """
    with reported(path):
        if not has_wal(path):
            return
        if not path.exists():
            raise StrangeWalError(
                f"There is {wal_of(path)}, and no {path.name} to which it belongs.",
                "Put that back, or move the other away to begin a new history.",
            )
        recorded = _recorded(path)
        if recorded and _name_in(path) not in recorded:
            raise StrangeWalError(
                f"{path} was replaced, and {wal_of(path).name} beside it still belongs to the one before.",
                f"If you restored a backup, move {wal_of(path)} away and start again; "
                "'securechat restore' does all of it.",
            )


def prepare(path: Path, connect: Callable[[Path], sqlite3.Connection]) -> None:
    """Look at what is there before a history is opened, and create one that is absent.

    It is created under another name first: a file that is empty, or a WAL without its database, is then what is left
    of a history that was copied or moved only in part, and never a new one.

    Args:
        path: The history.
        connect: Opens or creates a database.

    Raises:
        StorageError: What is there is not whole, or it cannot be created.
    """
    refuse_strange_wal(path)
    with reported(path):
        if os.path.lexists(path):
            _refuse_empty(path)
            return
        new = path.with_name(path.name + ".new")
        for leftover in (new, wal_of(new), new.with_name(new.name + "-shm")):
            leftover.unlink(missing_ok=True)
        connect(new).close()
        new.rename(path)
        sync(path.parent)


def _refuse_empty(path: Path) -> None:
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True)
    try:
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    finally:
        connection.close()
    if not tables:
        raise StorageError(
            f"{path} is empty: it was copied only in part.",
            "Restore a backup, or delete the file to begin a new history.",
        )


def renew(connection: sqlite3.Connection, path: Path) -> None:
    """Make the open database a new generation; on a full disk it stays the one that it is.

    Raises:
        CorruptError: The database is damaged.
    """
    try:
        _renew(connection, path)
    except CorruptError:
        raise
    except StorageError:
        pass  # nothing is wrong with the files after any of the steps


def _renew(connection: sqlite3.Connection, path: Path) -> None:
    name = secrets.token_hex(16)
    with reported(path):
        before = _name_in(path)
        _record(path, [name, before])
        write_name(connection, name)
        # Not possible while another program reads: then both names stay, which is less strict and not wrong.
        if _empty_wal(connection):
            _record(path, [name] if _name_in(path) == name else [])


def write_name(connection: sqlite3.Connection, name: str) -> None:
    """Write the name of a generation into an open database."""
    with transaction(connection):
        connection.execute("DROP VIEW IF EXISTS generation")
        connection.execute(_VIEW.format(name))


def has_wal(path: Path) -> bool:
    """Tell whether a WAL holds anything that SQLite would write back."""
    try:
        return wal_of(path).stat().st_size > _WAL_HEADER_BYTES
    except (FileNotFoundError, NotADirectoryError):
        return False


def _name_in(path: Path) -> str:
    """Return the generation of the database file itself, whatever its WAL says."""
    with path.open("rb") as file:
        page = file.read(_FIRST_PAGE_BYTES)
    size = int.from_bytes(page[_PAGE_SIZE], "big")
    match = _NAME.search(page[: size if size > 1 else _FIRST_PAGE_BYTES])
    return match[1].decode() if match else _NONE


def _empty_wal(connection: sqlite3.Connection) -> bool:
    """Write the WAL back and empty it; tell whether that was possible within a second."""
    (patience,) = connection.execute("PRAGMA busy_timeout").fetchone()
    connection.execute(f"PRAGMA busy_timeout = {_CHECKPOINT_MS}")
    try:
        (is_busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        connection.execute(f"PRAGMA busy_timeout = {patience}")
    return not is_busy


def _recorded(path: Path) -> list[str]:
    try:
        return record_of(path).read_text(encoding="utf-8", errors="replace").split()
    except FileNotFoundError:
        return []


def _record(path: Path, names: list[str]) -> None:
    write_private(record_of(path), "".join(f"{name}\n" for name in names).encode())
    sync(path.parent)
