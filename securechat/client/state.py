"""What a profile remembers between runs: one SQLite file, which several programs may use at once.

No message text is ever in it.
"""

import sqlite3
import time
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from securechat import limits
from securechat.database import open_database, reported, transaction

APPLICATION_ID: Final = 0x53435354  # "SCST"
_SCHEMA: Final = """
CREATE TABLE positions (
    address BLOB PRIMARY KEY,
    log_id BLOB NOT NULL,
    sequence INTEGER NOT NULL,
    head BLOB NOT NULL
) STRICT;
CREATE TABLE heard (
    address BLOB NOT NULL,
    identity BLOB NOT NULL,
    session BLOB NOT NULL,
    counter INTEGER NOT NULL,
    digest BLOB NOT NULL,
    log_id BLOB NOT NULL,
    sequence INTEGER NOT NULL,
    day INTEGER NOT NULL,
    PRIMARY KEY (address, identity, session, counter)
) STRICT, WITHOUT ROWID;
CREATE TABLE people (
    address BLOB NOT NULL,
    skeleton TEXT NOT NULL,
    identity BLOB NOT NULL,
    PRIMARY KEY (address, skeleton)
) STRICT, WITHOUT ROWID;
CREATE TABLE verified (identity BLOB PRIMARY KEY) STRICT, WITHOUT ROWID;
CREATE TABLE secrets (room TEXT PRIMARY KEY, secret BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
"""
_MIGRATIONS: Final = (_SCHEMA,)  # to version 1, then to each later one
VERSION: Final = len(_MIGRATIONS)


class Position(NamedTuple):
    """How far a room's log was followed: n and H_n of the log ``log_id`` (16 bytes)."""

    log_id: bytes
    sequence: int
    head: bytes


class Heard(NamedTuple):
    """One message that was heard.

    Attributes:
        identity: Its sender, 32 bytes.
        session: The sender's run, 16 bytes.
        counter: Its number in that run.
        digest: What it said, hashed, 32 bytes.
        log_id: The log in which it was first heard, 16 bytes.
        sequence: Its place there.
    """

    identity: bytes
    session: bytes
    counter: int
    digest: bytes
    log_id: bytes
    sequence: int


class State:
    """The profile's database.

    Args:
        path: Its file.
        connection: An open connection to it.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open or create the database at ``path``.

        Raises:
            StorageError: It is corrupt, newer than this program, or unwritable.
        """
        connection = open_database(path, application_id=APPLICATION_ID, migrations=_MIGRATIONS)
        with reported(path):
            connection.execute("PRAGMA synchronous = NORMAL")  # a lost second of it costs a repeated notice
        return cls(path, connection)

    def close(self) -> None:
        """Close the database."""
        self._connection.close()

    def position(self, address: bytes) -> Position | None:
        """Return how far the log of the room at ``address`` was followed."""
        row = self._one("SELECT log_id, sequence, head FROM positions WHERE address = ?", address)
        return Position(*row) if row else None

    def heard(self, address: bytes) -> list[Heard]:
        """Return what was heard in a room, in the order of each run's counters."""
        query = """SELECT identity, session, counter, digest, log_id, sequence FROM heard
                   WHERE address = ? ORDER BY identity, session, counter"""
        with reported(self._path):
            return [Heard(*row) for row in self._connection.execute(query, (address,))]

    def save(self, address: bytes, position: Position, heard: list[Heard]) -> None:
        """Remember how far a log was followed and what was heard on the way, all or nothing of it.

        Another program of this profile may be further in the same log; then its position stays.
        """
        today = int(time.time()) // 86400
        with reported(self._path), transaction(self._connection):
            self._connection.execute(
                """INSERT INTO positions VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE
                   SET log_id = excluded.log_id, sequence = excluded.sequence, head = excluded.head
                   WHERE log_id <> excluded.log_id OR sequence <= excluded.sequence""",
                (address, *position),
            )
            self._connection.executemany(
                "INSERT OR IGNORE INTO heard VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [(address, *row, today) for row in heard],
            )

    def reset_position(self, address: bytes) -> None:
        """Forget how far a log was followed, after its history was found restarted or rolled back."""
        self._do("DELETE FROM positions WHERE address = ?", address)

    def forget_old(self, address: bytes) -> None:
        """Forget what was heard in runs that ended 30 days ago, and what is below the window of the others."""
        oldest = (int(time.time()) - limits.REPLAY_FORGET_SECONDS) // 86400
        query = """DELETE FROM heard WHERE address = :address AND (identity, session, counter) IN (
            SELECT h.identity, h.session, h.counter FROM heard AS h JOIN (
                SELECT identity, session, max(counter) AS high, max(day) AS last
                FROM heard WHERE address = :address GROUP BY identity, session
            ) AS run ON h.identity = run.identity AND h.session = run.session
            WHERE h.address = :address AND (run.last < :oldest OR h.counter <= run.high - :window))"""
        with reported(self._path):
            self._connection.execute(query, {"address": address, "oldest": oldest, "window": limits.REPLAY_WINDOW})

    def owner(self, address: bytes, skeleton: str) -> bytes | None:
        """Return the identity, 32 bytes, that first had a nickname of this look in a room."""
        row = self._one("SELECT identity FROM people WHERE address = ? AND skeleton = ?", address, skeleton)
        return row[0] if row else None

    def set_owner(self, address: bytes, skeleton: str, identity: bytes) -> None:
        """Let a nickname of this look belong to ``identity``, 32 bytes."""
        self._do("INSERT OR REPLACE INTO people VALUES (?, ?, ?)", address, skeleton, identity)

    def is_verified(self, identity: bytes) -> bool:
        """Tell whether this profile's owner has compared words with the holder of ``identity``."""
        return self._one("SELECT 1 FROM verified WHERE identity = ?", identity) is not None

    def set_verified(self, identity: bytes) -> None:
        """Remember that words were compared with the holder of ``identity``, 32 bytes."""
        self._do("INSERT OR IGNORE INTO verified VALUES (?)", identity)

    def secret(self, room: str) -> bytes | None:
        """Return the remembered secret, 32 bytes, of a room by its normalised name."""
        row = self._one("SELECT secret FROM secrets WHERE room = ?", room)
        return row[0] if row else None

    def set_secret(self, room: str, secret: bytes) -> None:
        """Remember a room's secret, 32 bytes, by its normalised name."""
        self._do("INSERT OR REPLACE INTO secrets VALUES (?, ?)", room, secret)

    def setting(self, name: str) -> str | None:
        """Return a setting."""
        row = self._one("SELECT value FROM settings WHERE name = ?", name)
        return row[0] if row else None

    def set_setting(self, name: str, value: str) -> None:
        """Remember a setting."""
        self._do("INSERT OR REPLACE INTO settings VALUES (?, ?)", name, value)

    def _one(self, query: str, *values: object) -> tuple[Any, ...] | None:
        with reported(self._path):
            row: tuple[Any, ...] | None = self._connection.execute(query, values).fetchone()
        return row

    def _do(self, statement: str, *values: object) -> None:
        with reported(self._path):
            self._connection.execute(statement, values)
