"""The tables of the durable room log, and how each older version becomes the next (``securechat.database``)."""

import sqlite3
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from securechat import limits
from securechat.database import Migration, run_statements
from securechat.history.age import Gap, Reckoning, to_clock

APPLICATION_ID: Final = 0x53434C47  # "SCLG"
_VERSION_1: Final = """
CREATE TABLE rooms (
    room INTEGER PRIMARY KEY,
    address BLOB NOT NULL UNIQUE,
    log_id BLOB NOT NULL,
    newest INTEGER NOT NULL,
    hash BLOB NOT NULL,
    bytes INTEGER NOT NULL,
    used INTEGER NOT NULL
) STRICT;
CREATE TABLE messages (
    room INTEGER NOT NULL REFERENCES rooms,
    sequence INTEGER NOT NULL,
    clock INTEGER NOT NULL,
    id BLOB NOT NULL,
    before BLOB NOT NULL,
    envelope BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX messages_by_sequence ON messages (room, sequence);
CREATE UNIQUE INDEX messages_by_id ON messages (room, id);
"""
# ``stored`` and ``rooms.used`` are stamps of the age clock (``securechat.history.age``). ``age`` has one row; ``began``
# is where the clock began. A message that was stored before has no stamp: its ``clock`` stands for it, if that is
# within the year before ``began``. If it is not, one of the two is of a clock that was wrong, and the message ages from
# there. So the migration rewrites no messages, and takes no longer for many than for few.
_VERSION_2: Final = """
ALTER TABLE messages ADD COLUMN stored INTEGER;
CREATE INDEX rooms_without_messages ON rooms (used) WHERE newest = 0;
CREATE TABLE age (
    age INTEGER NOT NULL,
    ahead INTEGER NOT NULL,
    shown INTEGER NOT NULL,
    trial INTEGER,
    began INTEGER NOT NULL
) STRICT;
CREATE TABLE gaps (at INTEGER NOT NULL, length INTEGER NOT NULL) STRICT;
"""
STAMP: Final = f"""coalesce(stored, (
    SELECT iif(clock BETWEEN began - {limits.CLOCK_CLAIM * 1000:.0f} AND began, clock, began) FROM age))"""  # noqa: S608


def migrations(wall: Callable[[], float] = time.time) -> tuple[Migration, ...]:
    """Return what makes a file one of version 1, then of each later version.

    Args:
        wall: Returns seconds since 1970 UTC.
    """
    return (_VERSION_1, partial(_start_age, to_clock(wall())))


def _start_age(now: int, connection: sqlite3.Connection) -> None:
    """Start the age clock: in a file of version 1, whose ages went by the wall clock, at what was stored last.

    A time later than ``now`` (in ms since 1970 UTC) is one of a clock that was wrong; when all are, it is now that is
    wrong.
    """
    run_statements(connection, _VERSION_2)
    query = "SELECT max(used), max(used) FILTER (WHERE used <= ?) FROM rooms"
    last, past = connection.execute(query, (now,)).fetchone()
    began = next((used for used in (past, last) if used is not None), now)
    connection.execute("UPDATE rooms SET used = ? WHERE used > ?", (began, began))
    connection.execute("INSERT INTO age VALUES (?, 0, 0, NULL, ?)", (began, began))


def load_reckoning(connection: sqlite3.Connection) -> Reckoning:
    """Return where the age clock of a log stands.

    A stamp in the log may be later than the last record of the clock, after a crash: each room has its last one. The
    clock continues after all of them, so that what was stored before the server was off can be told from the rest.
    """
    if connection.execute("PRAGMA user_version").fetchone() == (1,):  # who only reads does not migrate
        return Reckoning(0)
    age, ahead, shown, trial = connection.execute("SELECT age, ahead, shown, trial FROM age").fetchone()
    (used,) = connection.execute("SELECT coalesce(max(used), 0) FROM rooms").fetchone()
    gaps = tuple(Gap(*row) for row in connection.execute("SELECT at, length FROM gaps ORDER BY at, length"))
    return Reckoning(max(age, used) + 1, ahead, shown, trial, gaps)


def save_reckoning(connection: sqlite3.Connection, reckoning: Reckoning, before: Reckoning | None) -> None:
    """Record where the age clock stands, inside of the transaction that is open; ``before`` is the last record."""
    connection.execute("UPDATE age SET age = ?, ahead = ?, shown = ?, trial = ?", reckoning[:4])
    if before is None or before.gaps != reckoning.gaps:
        connection.execute("DELETE FROM gaps")
        connection.executemany("INSERT INTO gaps VALUES (?, ?)", reckoning.gaps)
