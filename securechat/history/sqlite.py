"""The durable room log: one SQLite file in WAL mode, ``synchronous = FULL``.

One connection writes and one reads, each used by one thread at a time: a long page does not hold a
commit up, and there is never a second writer. What one pass of the server brought in is one commit.

Each row has the H *before* its message, so that a page can say from where its chain goes on, also
when retention has removed what came before.
"""

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

import trio

from securechat import limits
from securechat.database import open_database, reported, transaction
from securechat.history.log import Append, Appended, Head, Page, Retention
from securechat.history.worker import Worker
from securechat.protocol import chain
from securechat.protocol.messages import Direction, Record

APPLICATION_ID: Final = 0x53434C47  # "SCLG"
VERSION: Final = 1
_SCHEMA: Final = """
CREATE TABLE rooms (
    room INTEGER PRIMARY KEY,
    address BLOB NOT NULL UNIQUE,
    log_id BLOB NOT NULL,
    newest INTEGER NOT NULL,
    hash BLOB NOT NULL
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
_HEAD: Final = """
SELECT room, log_id, coalesce((SELECT min(sequence) FROM messages WHERE room = rooms.room), newest + 1),
       newest, hash
FROM rooms WHERE """
_INSERT: Final = "INSERT INTO messages (room, sequence, clock, id, before, envelope) VALUES (?, ?, ?, ?, ?, ?)"
_UPDATE: Final = "UPDATE rooms SET newest = ?, hash = ? WHERE room = ?"


class SqliteLog:
    """See ``RoomLog``. Made by ``open``; one process at a time."""

    def __init__(self, path: Path, writer: sqlite3.Connection, reader: sqlite3.Connection) -> None:
        self._path = path
        self._writer = writer
        self._reader = reader
        self._write_worker = Worker("history writer")
        self._read_worker = Worker("history reader")

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open or create the log at ``path``.

        Raises:
            StorageError: It is corrupt, of another program, newer than this one, or unwritable.
        """
        writer = open_database(path, application_id=APPLICATION_ID, version=VERSION, schema=_SCHEMA)
        try:
            with reported(path):
                reader = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
                reader.execute("PRAGMA query_only = ON")
        except BaseException:
            writer.close()
            raise
        return cls(path, writer, reader)

    async def open_room(self, address: bytes, new_log_id: bytes | None) -> tuple[Head, bool] | None:
        """See ``RoomLog.open_room``."""
        if new_log_id is None:
            head = await self._read_worker.run(self._find, self._reader, address)
            return (head, False) if head else None
        return await self._write_worker.run(self._create, address, new_log_id)

    def _find(self, connection: sqlite3.Connection, address: bytes) -> Head | None:
        with reported(self._path):
            row = connection.execute(_HEAD + "address = ?", (address,)).fetchone()
        return Head(*row) if row else None

    def _create(self, address: bytes, log_id: bytes) -> tuple[Head, bool]:
        with reported(self._path), transaction(self._writer):
            cursor = self._writer.execute(
                "INSERT INTO rooms (address, log_id, newest, hash) VALUES (?, ?, 0, ?) ON CONFLICT DO NOTHING",
                (address, log_id, chain.root(address, log_id)),
            )
            created = cursor.rowcount == 1
            head = self._find(self._writer, address)
        assert head is not None
        return head, created

    async def append(self, batch: Sequence[Append]) -> list[Appended]:
        """See ``RoomLog.append``."""
        return await self._write_worker.run(self._append_all, batch)

    def _append_all(self, batch: Sequence[Append]) -> list[Appended]:
        with reported(self._path):
            try:
                with transaction(self._writer):
                    return self._append_new(batch)
            except sqlite3.IntegrityError:  # the log holds one of them: a resend, which is rare
                with transaction(self._writer):
                    return [self._append(*item) for item in batch]

    def _append_new(self, batch: Sequence[Append]) -> list[Appended]:
        """Append a batch of which the log holds nothing: one statement for all, a third of the time for each."""
        rows, appended = [], []
        heads: dict[int, tuple[int, bytes]] = {}
        for room, clock, envelope in batch:
            newest, before = heads.get(room) or self._head(room)
            sequence, digest = newest + 1, chain.digest(envelope)
            head = chain.link(before, sequence, digest)
            heads[room] = sequence, head
            rows.append((room, sequence, clock, digest[: chain.ENVELOPE_ID_BYTES], before, envelope))
            appended.append(Appended(sequence, clock, head))
        self._writer.executemany(_INSERT, rows)
        self._writer.executemany(_UPDATE, [(newest, head, room) for room, (newest, head) in heads.items()])
        return appended

    def _append(self, room: int, clock: int, envelope: bytes) -> Appended:
        """Append one message, unless the log holds it."""
        query = "SELECT sequence, clock FROM messages WHERE room = ? AND id = ?"
        known = self._writer.execute(query, (room, chain.envelope_id(envelope))).fetchone()
        if known:
            sequence, first = known
            return Appended(sequence, first, b"")
        return self._append_new([Append(room, clock, envelope)])[0]

    def _head(self, room: int) -> tuple[int, bytes]:
        newest, head = self._writer.execute("SELECT newest, hash FROM rooms WHERE room = ?", (room,)).fetchone()
        return newest, head

    async def read(self, room: int, direction: Direction, sequence: int, most: int) -> Page:
        """See ``RoomLog.read``."""
        return await self._read_worker.run(self._read, room, direction, sequence, min(most, limits.PAGE_ENTRIES))

    def _read(self, room: int, direction: Direction, sequence: int, most: int) -> Page:
        with reported(self._path):
            self._reader.execute("BEGIN")  # one snapshot for all that follows
            try:
                head = Head(*self._reader.execute(_HEAD + "room = ?", (room,)).fetchone())
                rows = self._rows(room, direction, sequence, most)
                first = rows[0][0] if rows else head.newest + 1
                if not rows and direction is Direction.BACKWARD:
                    first = head.oldest
                before = self._before(head, first)
            finally:
                self._reader.execute("ROLLBACK")
        records = tuple(Record(clock, envelope) for _, clock, envelope in rows)
        return Page(head.oldest, head.newest, first, before, records)

    def _before(self, head: Head, sequence: int) -> bytes:
        if sequence > head.newest:
            return head.hash
        query = "SELECT before FROM messages WHERE room = ? AND sequence = ?"
        before: bytes = self._reader.execute(query, (head.room, sequence)).fetchone()[0]
        return before

    def _rows(self, room: int, direction: Direction, sequence: int, most: int) -> list[tuple[int, int, bytes]]:
        """Return sequence, clock and envelope of a page's messages, in log order."""
        forward = direction is Direction.FORWARD
        where, order = ("sequence >= ?", "ASC") if forward else ("sequence < ?", "DESC")
        cursor = self._reader.execute(
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

    async def expire(self, retention: Retention, clock: int) -> dict[int, int]:
        """See ``RoomLog.expire``."""
        return await self._write_worker.run(self._expire, retention, clock)

    def _expire(self, retention: Retention, clock: int) -> dict[int, int]:
        cutoff = clock - int(retention.seconds * 1000)
        with reported(self._path), transaction(self._writer):
            execute = self._writer.execute
            heads = [Head(*row) for row in execute(_HEAD + "newest > 0").fetchall()]
            changed = {}
            for head in heads:
                # Only ever the beginning of the log, also when the clock was set back meanwhile.
                query = "SELECT min(sequence) FROM messages WHERE room = ? AND sequence >= ? AND clock >= ?"
                fewest = head.newest + 1 - retention.messages
                (kept,) = execute(query, (head.room, fewest, cutoff)).fetchone()
                oldest = kept or head.newest + 1
                if oldest > head.oldest:
                    execute("DELETE FROM messages WHERE room = ? AND sequence < ?", (head.room, oldest))
                    changed[head.room] = oldest
        return changed

    async def aclose(self) -> None:
        """See ``RoomLog.aclose``."""
        with trio.CancelScope(shield=True):  # bounded: closing waits for nothing but the disk
            await self._read_worker.run(self._reader.close)
            await self._write_worker.run(self._writer.close)
        self._read_worker.close()
        self._write_worker.close()
