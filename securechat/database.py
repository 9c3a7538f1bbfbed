"""SQLite files with a schema version, and their errors in words (https://sqlite.org/rescode.html)."""

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, TypeAlias

from securechat import limits
from securechat.errors import CorruptError, StorageError, StorageFullError
from securechat.files import create_private

_BUSY_SECONDS: Final = 10.0
_LEAST_FREE: Final = 64 * 1024  # bytes that SQLite needs to begin with
_PRAGMAS: Final = (
    "auto_vacuum = INCREMENTAL",  # first: it is fixed when a new file gets its first page, and ignored afterwards
    "journal_mode = WAL",
    f"journal_size_limit = {limits.WAL_BYTES}",
    "synchronous = FULL",
    "secure_delete = ON",
    "foreign_keys = ON",
)

Migration: TypeAlias = str | Callable[[sqlite3.Connection], None]  # statements, or what changes the file


def open_database(path: Path, *, application_id: int, migrations: Sequence[Migration]) -> sqlite3.Connection:
    """Open or create the database at ``path``, mode 0600, in WAL mode with durable commits.

    The connection is in autocommit mode and may be used by one thread at a time. What is deleted is
    overwritten (``secure_delete``), and ``PRAGMA incremental_vacuum`` gives free pages of a new file back.

    Args:
        path: The file; its directory exists.
        application_id: Marks the file as ours.
        migrations: What makes an empty file one of version 1, then what makes one of each version one of the next.
            A new file goes through all of them, so that there is one description of the newest schema.

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
            _check(connection, path, application_id, len(migrations))
            for pragma in _PRAGMAS:
                connection.execute(f"PRAGMA {pragma}")
            while not _migrate_once(connection, application_id, migrations):
                pass
        except BaseException:
            connection.close()
            raise
    return connection


def _migrate_once(connection: sqlite3.Connection, application_id: int, migrations: Sequence[Migration]) -> bool:
    """Bring the file to its next version in one transaction; return whether it was of the newest one.

    The version is read inside the transaction, because another program may migrate the same file, and it is
    written with the change it stands for: after a crash between two versions the next start continues there. It is
    written also when nothing changes, so that a file that cannot be written is found out now.
    """
    with transaction(connection):
        version = 0 if _is_empty(connection) else _version(connection)
        is_newest = version >= len(migrations)
        if not is_newest:
            migration = migrations[version]
            if callable(migration):
                migration(connection)
            else:
                run_statements(connection, migration)
            connection.execute(f"PRAGMA application_id = {application_id}")
            version += 1
        connection.execute(f"PRAGMA user_version = {version}")
    return is_newest


def run_statements(connection: sqlite3.Connection, statements: str) -> None:
    """Run statements that are separated by semicolons, inside of the transaction that is open."""
    for statement in filter(str.strip, statements.split(";")):
        connection.execute(statement)


def _version(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def _is_empty(connection: sqlite3.Connection) -> bool:
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return not tables


def _check(connection: sqlite3.Connection, path: Path, application_id: int, version: int) -> None:
    """Refuse a file that is not ours to use, before anything is changed in it."""
    (found_id,) = connection.execute("PRAGMA application_id").fetchone()
    found = _version(connection)
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
