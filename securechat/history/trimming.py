"""What makes a durable room log smaller: functions of an open connection, each one short commit at most."""

import os
import sqlite3
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from securechat import limits
from securechat.database import transaction
from securechat.errors import StorageFullError
from securechat.history.log import Retention, fair_share
from securechat.history.schema import STAMP

_FREE_PART: Final = 8  # of a file may be free: what comes next needs it again
_RESERVED_PART: Final = 16  # of a small disk is as much as is reserved
_RESERVE_PARTS: Final = 16  # after each of which the disk is looked at
_RESERVE_SECONDS: Final = 1.0
_WAL_PART: Final = 32  # of the disk
_PAGE_BYTES: Final = 4096
_CROWDED_PART: Final = 8  # of what is kept goes when the file itself is at its limit
_HEADS: Final = """
SELECT room, coalesce((SELECT min(sequence) FROM messages WHERE room = rooms.room), newest + 1), newest, bytes
FROM rooms WHERE newest > 0"""
_KEPT: Final = f"SELECT min(sequence) FROM messages WHERE room = ? AND sequence >= ? AND {STAMP} >= ?"  # noqa: S608


def find_expired(connection: sqlite3.Connection, retention: Retention, cutoff: int, is_crowded: bool) -> dict[int, int]:
    """Return the new oldest sequence by room, of those where it changes.

    Args:
        connection: One that may be used for reading.
        retention: What is kept.
        cutoff: The stamp of the age clock before which everything is too old.
        is_crowded: Whether the file has reached its limit, whatever the envelopes in it add up to.
    """
    heads = connection.execute(_HEADS).fetchall()
    sizes = [size for *_, size in heads]
    total = retention.total_bytes
    if is_crowded:
        total = min(total, sum(sizes) - sum(sizes) // _CROWDED_PART)
    most = min(retention.room_bytes, fair_share(sizes, total))
    due = {}
    for room, oldest, newest, size in heads:
        (kept,) = connection.execute(_KEPT, (room, max(oldest, retention.fewest(newest)), cutoff)).fetchone()
        fitting = _fitting(connection, room, newest, size - most) if size > most else oldest
        kept = max(kept or newest + 1, fitting)
        if kept > oldest:
            due[room] = kept
    return due


def _fitting(connection: sqlite3.Connection, room: int, newest: int, excess: int) -> int:
    """Return the oldest sequence that may stay so that ``excess`` bytes go."""
    query = "SELECT sequence, length(envelope) FROM messages WHERE room = ? ORDER BY sequence"
    for sequence, size in connection.execute(query, (room,)):
        excess -= size
        if excess <= 0:
            return int(sequence) + 1
    return newest + 1


def delete_some(connection: sqlite3.Connection, room: int, oldest: int, size: int) -> bool:
    """Delete some messages of a room before ``oldest``, at least one; return whether there are more.

    Args:
        connection: The one that writes.
        room: The log's number of the room.
        oldest: The sequence before which everything goes.
        size: How many bytes of envelopes to delete at most, but for the first message.
    """
    query = "SELECT sequence, length(envelope) FROM messages WHERE room = ? AND sequence < ? ORDER BY sequence LIMIT ?"
    with transaction(connection):
        rows = connection.execute(query, (room, oldest, limits.EXPIRE_MESSAGES + 1)).fetchall()
        count, freed = _first_of([length for _, length in rows], size)
        if count:
            condition = "WHERE room = ? AND sequence <= ?"
            connection.execute(f"DELETE FROM messages {condition}", (room, rows[count - 1][0]))  # noqa: S608
            connection.execute("UPDATE rooms SET bytes = bytes - ? WHERE room = ?", (freed, room))
    return count < len(rows)


def _first_of(sizes: list[int], most: int) -> tuple[int, int]:
    """Return how many of the first fit into one commit, at least one if there is one, and their bytes."""
    total = 0
    for count, size in enumerate(sizes):
        if count == limits.EXPIRE_MESSAGES or (count and total + size > most):
            return count, total
        total += size
    return len(sizes), total


def forget_empty(connection: sqlite3.Connection, addresses: Iterable[bytes]) -> int:
    """Delete the rooms that never held a message; return how many they were."""
    with transaction(connection):
        rows = [(address,) for address in addresses]
        return connection.executemany("DELETE FROM rooms WHERE address = ? AND newest = 0", rows).rowcount


def give_back(connection: sqlite3.Connection, is_all: bool, size: int) -> bool:
    """Give some of the free pages back to the disk, in one commit; return whether there are more to give.

    The pages at the end of the file move to where free ones are.

    Args:
        connection: The one that writes.
        is_all: Whether the file is to have no free page in the end; if not, an eighth of it may be free, because the
            next messages need that space again.
        size: How many bytes to give at most, but for the first page.
    """
    free, pages = _pragma(connection, "freelist_count"), _pragma(connection, "page_count")
    excess = free if is_all else free - pages // _FREE_PART - limits.FREE_PAGES
    if excess <= 0 or not is_shrinkable(connection):
        return False
    given = min(excess, max(1, size // _pragma(connection, "page_size")))
    # As a script: ``execute`` does only the first step of a statement without columns, here one page.
    connection.executescript(f"PRAGMA incremental_vacuum({given})")
    return excess > given


def is_shrinkable(connection: sqlite3.Connection) -> bool:
    """Tell whether pages can be given back one by one; a file that version 1 made has to be rewritten first."""
    return _pragma(connection, "auto_vacuum") == 2


def checkpoint(connection: sqlite3.Connection) -> None:
    """Bring what the write-ahead log holds into the file, so that the next commit may begin at its start.

    It waits for no reader. What the write-ahead log has taken of the disk stays its own: on a full disk that is all the
    space that there is.
    """
    connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()


def fit_wal(connection: sqlite3.Connection, directory: str) -> None:
    """Let the write-ahead log grow to a part of its disk before it is brought into the file.

    With less than that left, a checkpoint can always make the file as long as it has to be.
    """
    size, _ = _disk_of(directory)
    usual = _pragma(connection, "wal_autocheckpoint")
    connection.execute(f"PRAGMA wal_autocheckpoint = {max(1, min(usual, size // _WAL_PART // _PAGE_BYTES))}")


class Reserve:
    """The part of a disk that is left to deletions: what makes a file larger asks first.

    Asking the system each time would cost a tenth of a small commit, so it is asked once a second, and for each part of
    the reserve that may have been written since.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._directory = str(path.parent)
        self._allowance = 0
        self._until = 0.0

    def spend(self, size: int) -> None:
        """Refuse to write ``size`` bytes more while so little is left that deletions need it.

        Raises:
            StorageFullError: That is so.
        """
        self._allowance -= size
        now = time.monotonic()
        if self._allowance < 0 or now >= self._until:
            self._allowance = 0
            self._allowance = self._check() // _RESERVE_PARTS
            self._until = now + _RESERVE_SECONDS

    @property
    def is_touched(self) -> bool:
        """Whether less than the reserve is left."""
        size, free = self._look()
        return free < size

    def _look(self) -> tuple[int, int]:
        """Return the size of the reserve and what is free, in bytes."""
        try:
            size, free = _disk_of(self._directory)
        except OSError:  # the write itself will say what is wrong
            return 0, 0
        return min(limits.DISK_RESERVE, size // _RESERVED_PART), free

    def _check(self) -> int:
        """Return the size of the reserve in bytes."""
        reserve, free = self._look()
        if free < reserve:
            raise StorageFullError(
                f"The disk that holds {self._path} has less than {reserve / limits.MIB:.3g} MiB left.",
                "Make room on it; nothing was lost.",
            )
        return reserve


def _disk_of(directory: str) -> tuple[int, int]:
    """Return the size of a disk and what is free of it, in bytes."""
    disk = os.statvfs(directory)
    return disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize


def make_way(connection: sqlite3.Connection, reserve: Reserve) -> bool:
    """Prepare deletions on a full disk, if it is one; return whether it is.

    What waits in the write-ahead log goes into the file first: that may need a part of the reserve, and deletions
    would take all of it.
    """
    is_full = reserve.is_touched
    if is_full:
        checkpoint(connection)
    return is_full


def is_at_limit(connection: sqlite3.Connection) -> bool:
    """Tell whether the next commit may not fit into what ``max_page_count`` allows."""
    used = _pragma(connection, "page_count") - _pragma(connection, "freelist_count")
    return used + 2 * limits.COMMIT_BYTES // _pragma(connection, "page_size") >= _pragma(connection, "max_page_count")


def rewrite(connection: sqlite3.Connection, most: int) -> None:
    """Rewrite a file that cannot give pages back, if it is no larger than ``most`` bytes, so that it can.

    It needs as much space as the file has, for a while.
    """
    if not is_shrinkable(connection) and _pragma(connection, "page_count") * _pragma(connection, "page_size") <= most:
        connection.execute("VACUUM")


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    (value,) = connection.execute(f"PRAGMA {name}").fetchone()
    return int(value)
