"""What is read of a durable room log: where a room stands, and its pages."""

import sqlite3
from typing import Any, Final

from securechat import limits
from securechat.history.log import Head, Page
from securechat.protocol.messages import Direction, Record

_HEAD: Final = """
SELECT room, log_id, coalesce((SELECT min(sequence) FROM messages WHERE room = rooms.room), newest + 1),
       newest, hash
FROM rooms WHERE """


def find_head(connection: sqlite3.Connection, address: bytes) -> Head | None:
    """Return where the log of the room at ``address`` (32 bytes) stands; None when there is no such room."""
    row = connection.execute(_HEAD + "address = ?", (address,)).fetchone()
    return Head(*row) if row else None


def read_page(connection: sqlite3.Connection, room: int, direction: Direction, sequence: int, most: int) -> Page:
    """See ``RoomLog.read``; all of it is of one moment."""
    connection.execute("BEGIN")
    try:
        head = Head(*one_row(connection, _HEAD + "room = ?", room))
        rows = _rows(connection, room, direction, sequence, most)
        first = rows[0][0] if rows else head.newest + 1
        if not rows and direction is Direction.BACKWARD:
            first = head.oldest
        before = _before(connection, head, first)
    finally:
        connection.execute("ROLLBACK")
    records = tuple(Record(clock, envelope) for _, clock, envelope in rows)
    return Page(head.oldest, head.newest, first, before, records)


def one_row(connection: sqlite3.Connection, query: str, *values: int) -> tuple[Any, ...]:
    """Return the one row of a query that finds one in every sound log.

    Raises:
        sqlite3.DatabaseError: There is none.
    """
    row: tuple[Any, ...] | None = connection.execute(query, values).fetchone()
    if row is None:
        raise sqlite3.DatabaseError("a row of it is missing")
    return row


def _before(connection: sqlite3.Connection, head: Head, sequence: int) -> bytes:
    if sequence > head.newest:
        return head.hash
    before: bytes
    (before,) = one_row(connection, "SELECT before FROM messages WHERE room = ? AND sequence = ?", head.room, sequence)
    return before


def _rows(
    connection: sqlite3.Connection, room: int, direction: Direction, sequence: int, most: int
) -> list[tuple[int, int, bytes]]:
    """Return sequence, clock and envelope of a page's messages, in log order."""
    forward = direction is Direction.FORWARD
    where, order = ("sequence >= ?", "ASC") if forward else ("sequence < ?", "DESC")
    cursor = connection.execute(
        f"SELECT sequence, clock, envelope FROM messages WHERE room = ? AND {where} "  # noqa: S608
        f"ORDER BY sequence {order} LIMIT ?",
        (room, sequence, most),
    )
    rows: list[tuple[int, int, bytes]] = []
    size = 0
    for row in cursor:
        size += len(row[2]) + limits.RECORD_BYTES
        if size > limits.PAGE_BYTES:
            break
        rows.append(row)
    return rows if forward else rows[::-1]
