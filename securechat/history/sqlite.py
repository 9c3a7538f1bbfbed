"""The durable room log: one SQLite file in WAL mode, ``synchronous = FULL``.

One connection writes and one reads, each used by one thread at a time: a long page does not hold a
commit up, and there is never a second writer. What one pass of the server brought in is one commit.

Each row has the H *before* its message, so that a page can say from where its chain goes on, also
when retention has removed what came before.
"""

import sqlite3
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple, Self

import trio

from securechat import limits
from securechat.database import open_database, reported, transaction
from securechat.history.generation import prepare, renew
from securechat.history.log import Append, Appended, Head, Page, Retention, fair_share
from securechat.history.worker import Worker
from securechat.protocol import chain
from securechat.protocol.messages import Direction, Record

HISTORY_FILE: Final = "history.sqlite"  # in a server's data directory
APPLICATION_ID: Final = 0x53434C47  # "SCLG"
VERSION: Final = 1
_SCHEMA: Final = """
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
_PAGE_BYTES: Final = 4096
_FILE_FACTOR: Final = 2  # a file is so much larger than its envelopes, with small ones
_LEAST_PAGES: Final = 16_384
_HEAD: Final = """
SELECT room, log_id, coalesce((SELECT min(sequence) FROM messages WHERE room = rooms.room), newest + 1),
       newest, hash
FROM rooms WHERE """
_INSERT: Final = "INSERT INTO messages (room, sequence, clock, id, before, envelope) VALUES (?, ?, ?, ?, ?, ?)"
_UPDATE: Final = "UPDATE rooms SET newest = ?, hash = ?, bytes = bytes + ?, used = ? WHERE room = ?"


class _Standing(NamedTuple):
    """What a batch knows of a room: newest and H, bytes added, clock of the last."""

    newest: int
    hash: bytes
    added: int = 0
    used: int = 0


class SqliteLog:
    """See ``RoomLog``. Made by ``open``; one process at a time."""

    def __init__(self, path: Path, writer: sqlite3.Connection, reader: sqlite3.Connection) -> None:
        self._path = path
        self._writer = writer
        self._reader = reader
        self._write_worker = Worker("history writer")
        self._read_worker = Worker("history reader")

    @classmethod
    def open(cls, path: Path, most: int = limits.SERVER.kept_bytes) -> Self:
        """Open or create the log at ``path``.

        Args:
            path: The file.
            most: Bytes of envelopes to be kept. What expires them runs once a minute; a file that grows
                far beyond in between refuses messages.

        Raises:
            StorageError: It is corrupt, of another program, newer than this one, or unwritable; or what a crash
                left beside it belongs to another log.
        """
        connect = partial(open_database, application_id=APPLICATION_ID, version=VERSION, schema=_SCHEMA)
        prepare(path, connect)
        writer = connect(path)
        try:
            with reported(path):
                pages = most * _FILE_FACTOR // _PAGE_BYTES + _LEAST_PAGES
                writer.execute(f"PRAGMA max_page_count = {pages}")
                renew(writer, path)
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
                """INSERT INTO rooms (address, log_id, newest, hash, bytes, used) VALUES (?, ?, 0, ?, 0, ?)
                   ON CONFLICT DO NOTHING""",
                (address, log_id, chain.root(address, log_id), time.time_ns() // 1_000_000),
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
        """Append a batch of which the log holds nothing: one statement for all, at two thirds of the time for each."""
        rows, appended = [], []
        rooms: dict[int, _Standing] = {}
        for room, clock, envelope in batch:
            before = rooms.get(room) or self._standing(room)
            sequence, digest = before.newest + 1, chain.digest(envelope)
            head = chain.link(before.hash, sequence, digest)
            rows.append((room, sequence, clock, digest[: chain.ENVELOPE_ID_BYTES], before.hash, envelope))
            rooms[room] = _Standing(sequence, head, before.added + len(envelope), clock)
            appended.append(Appended(sequence, clock, head))
        self._writer.executemany(_INSERT, rows)
        self._writer.executemany(_UPDATE, [(*standing, room) for room, standing in rooms.items()])
        return appended

    def _append(self, room: int, clock: int, envelope: bytes) -> Appended:
        """Append one message, unless the log holds it."""
        query = "SELECT sequence, clock FROM messages WHERE room = ? AND id = ?"
        known = self._writer.execute(query, (room, chain.envelope_id(envelope))).fetchone()
        if known:
            sequence, first = known
            return Appended(sequence, first, b"")
        return self._append_new([Append(room, clock, envelope)])[0]

    def _standing(self, room: int) -> _Standing:
        return _Standing(*self._writer.execute("SELECT newest, hash FROM rooms WHERE room = ?", (room,)).fetchone())

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

    async def delete_room(self, address: bytes) -> bool:
        """See ``RoomLog.delete_room``."""
        found = await self._read_worker.run(self._find, self._reader, address)
        if found is None:
            return False
        await self._delete_all(found.room, found.newest + 1)
        await self._write_worker.run(self._forget, found.room)
        return True

    def _forget(self, room: int) -> None:
        with reported(self._path), transaction(self._writer):
            self._writer.execute("DELETE FROM rooms WHERE room = ?", (room,))

    async def count_rooms(self) -> int:
        """See ``RoomLog.count_rooms``."""
        return await self._read_worker.run(self._count_rooms)

    def _count_rooms(self) -> int:
        with reported(self._path):
            count: int = self._reader.execute("SELECT count(*) FROM rooms").fetchone()[0]
        return count

    async def expire(self, retention: Retention, clock: int) -> dict[int, int]:
        """See ``RoomLog.expire``. Appends go on in between: a long expiry is many short commits."""
        due = await self._read_worker.run(self._find_expired, retention, clock)
        for room, oldest in due.items():
            await self._delete_all(room, oldest)
        return due

    async def _delete_all(self, room: int, oldest: int) -> None:
        """Delete the messages before ``oldest``."""
        is_done = False
        while not is_done:
            is_done = await self._write_worker.run(self._delete, room, oldest)

    def _find_expired(self, retention: Retention, clock: int) -> dict[int, int]:
        """Return the new oldest sequence by room, of those where it changes."""
        cutoff = clock - int(retention.seconds * 1000)
        with reported(self._path):
            heads = [Head(*row) for row in self._reader.execute(_HEAD + "newest > 0").fetchall()]
            sizes = dict(self._reader.execute("SELECT room, bytes FROM rooms WHERE newest > 0").fetchall())
            most = min(retention.room_bytes, fair_share(sizes.values(), retention.total_bytes))
            due = {}
            for head in heads:
                # Only ever the beginning of the log, also when the clock was set back meanwhile.
                query = "SELECT min(sequence) FROM messages WHERE room = ? AND sequence >= ? AND clock >= ?"
                fewest = head.newest + 1 - retention.messages
                (kept,) = self._reader.execute(query, (head.room, fewest, cutoff)).fetchone()
                oldest = max(kept or head.newest + 1, self._fitting(head, sizes.get(head.room, 0) - most))
                if oldest > head.oldest:
                    due[head.room] = oldest
        return due

    def _fitting(self, head: Head, excess: int) -> int:
        """Return the oldest sequence that may stay so that ``excess`` bytes go."""
        if excess <= 0:
            return head.oldest
        query = "SELECT sequence, length(envelope) FROM messages WHERE room = ? ORDER BY sequence"
        for sequence, size in self._reader.execute(query, (head.room,)):
            excess -= size
            if excess <= 0:
                return int(sequence) + 1
        return head.newest + 1

    def _delete(self, room: int, oldest: int) -> bool:
        """Delete some messages before ``oldest``; tell whether those were all."""
        condition = "room = ? AND sequence < ?"
        with reported(self._path), transaction(self._writer):
            execute = self._writer.execute
            query = f"SELECT sequence + 1 FROM messages WHERE {condition} ORDER BY sequence LIMIT 1 OFFSET ?"  # noqa: S608
            row = execute(query, (room, oldest, limits.EXPIRE_MESSAGES)).fetchone()
            bounds = (room, row[0] if row else oldest)
            freed = f"(SELECT coalesce(sum(length(envelope)), 0) FROM messages WHERE {condition})"  # noqa: S608
            execute(f"UPDATE rooms SET bytes = bytes - {freed} WHERE room = ?", (*bounds, room))  # noqa: S608
            execute(f"DELETE FROM messages WHERE {condition}", bounds)  # noqa: S608
        return row is None

    async def aclose(self) -> None:
        """See ``RoomLog.aclose``."""
        with trio.CancelScope(shield=True):  # bounded: closing waits for nothing but the disk
            await self._read_worker.run(self._reader.close)
            await self._write_worker.run(self._writer.close)
        self._read_worker.close()
        self._write_worker.close()
