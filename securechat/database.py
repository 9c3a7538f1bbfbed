"""SQLite files with a schema version, and their errors in words (https://sqlite.org/rescode.html)."""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from securechat.errors import CorruptError, StorageError, StorageFullError
from securechat.files import create_private

_BUSY_SECONDS: Final = 10.0
_LEAST_FREE: Final = 64 * 1024  # bytes that SQLite needs to begin with


def open_database(path: Path, *, application_id: int, version: int, schema: str) -> sqlite3.Connection:
    """Open or create the database at ``path``, mode 0600, in WAL mode with durable commits.

    The connection is in autocommit mode and may be used by one thread at a time. What is deleted is
    overwritten (``secure_delete``).

    Args:
        path: The file; its directory exists.
        application_id: Marks the file as ours.
        version: The schema's version, from 1.
        schema: The statements that make an empty database one of ``version``.

    Raises:
        StorageError: The file is corrupt, of another program, newer than this one, or unwritable.
    """
    with reported(path):
        with suppress(FileExistsError):
            os.close(create_private(path))
        place = f"{path.absolute().as_uri()}?mode=rw"  # SQLite would follow a link, and make what it leads to
        connection = sqlite3.connect(
            place, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False, uri=True
        )
        try:
            _prepare(connection, path, application_id, version, schema)
        except BaseException:
            connection.close()
            raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path, application_id: int, version: int, schema: str) -> None:
    _check(connection, path, application_id, version)
    for pragma in (
        "journal_mode = WAL",
        "synchronous = FULL",
        "secure_delete = ON",
        "foreign_keys = ON",
    ):
        connection.execute(f"PRAGMA {pragma}")
    with transaction(connection):
        if _is_empty(connection):  # also now: another program may have been as fast
            for statement in filter(str.strip, schema.split(";")):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {application_id}")
        connection.execute(f"PRAGMA user_version = {version}")  # always: that nothing can be written is learnt now


def _is_empty(connection: sqlite3.Connection) -> bool:
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return not tables


def _check(connection: sqlite3.Connection, path: Path, application_id: int, version: int) -> None:
    """Refuse a file that is not ours to use, before anything is changed in it."""
    (found_id,) = connection.execute("PRAGMA application_id").fetchone()
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    if _is_empty(connection):
        return
    if found_id != application_id:
        raise StorageError(f"{path} is a database of another program.", "Name another directory.")
    if found > version:
        raise StorageError(
            f"{path} was written by a newer securechat (schema {found}, this one knows {version}).",
            "Upgrade securechat, or name another directory.",
        )


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit what is done inside, durably, or nothing of it."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def reported(path: Path) -> Iterator[None]:
    """Turn errors of SQLite and of the file system into StorageError, with the path and the next step."""
    try:
        yield
    except sqlite3.Error as error:
        raise _explain(path, error) from error
    except OSError as error:
        raise StorageError(
            f"{path} cannot be used: {error.strerror}.", "Check the directory and its rights."
        ) from error


def _is_full(path: Path) -> bool:
    try:
        return shutil.disk_usage(path.parent).free < _LEAST_FREE
    except OSError:
        return False


def _explain(path: Path, error: sqlite3.Error) -> StorageError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and _is_full(path)):
        return StorageFullError(f"The disk that holds {path} is full.", "Make room on it; nothing was lost.")
    if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
        return CorruptError(
            f"{path} is corrupt or no database.",
            f"Move it away together with {path.name}-wal and {path.name}-shm, and restore a backup.",
        )
    if code in {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}:
        return StorageError(f"{path} cannot be written.", "Check the rights of the file and its directory.")
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return StorageError(f"{path} is in use by another program.", "Stop that one first.")
    return StorageError(f"{path} cannot be used ({error}).", "Check the disk and its rights.")
