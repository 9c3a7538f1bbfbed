"""The durable room log: one SQLite file in WAL mode, ``synchronous = FULL``.

One connection writes, one reads pages and one looks rooms up, each in a thread of its own: a long page holds up
neither a commit nor somebody who joins, and there is never a second writer. What one pass of the server brought in
is one commit.

What takes long (an expiry, a deletion, giving space back) is many short commits, bounded in messages and in bytes, and
appends go in between. On a full disk they become shorter still: a deletion overwrites what it deletes, and all of
that has to fit into what the write-ahead log can still take. Appends stop while a reserve of the disk is left, so
that there is something to take.

Each row has the H *before* its message, so that a page can say from where its chain goes on, also
when retention has removed what came before.
"""

import sqlite3
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from math import inf
from pathlib import Path
from typing import Any, Final, NamedTuple, Self, TypeVar

import trio

from securechat import limits
from securechat.database import open_database, reported, transaction
from securechat.errors import LogFullError, StorageError, StorageFullError
from securechat.history.age import AgeClock, Clocks, Reckoning
from securechat.history.generation import prepare, renew
from securechat.history.log import Append, Appended, Head, Page, Retention
from securechat.history.pages import find_head, one_row, read_page
from securechat.history.schema import APPLICATION_ID, load_reckoning, migrations, save_reckoning
from securechat.history.trimming import (
    Reserve,
    checkpoint,
    delete_some,
    find_expired,
    fit_wal,
    forget_empty,
    give_back,
    is_at_limit,
    make_way,
    rewrite,
)
from securechat.history.worker import Worker
from securechat.protocol import chain
from securechat.protocol.messages import Direction

HISTORY_FILE: Final = "history.sqlite"  # in a server's data directory
_PAGE_BYTES: Final = 4096
_MAX_PAGES: Final = 2**32 - 2  # https://sqlite.org/limits.html
_FILE_FACTOR: Final = 2  # a file is so much larger than its envelopes, with small ones
_LEAST_PAGES: Final = 16_384
_SHORTER: Final = 16  # times, the commits of a deletion after one for which the disk had no space
_SYSTEM: Final = Clocks()
_INSERT: Final = (
    "INSERT INTO messages (room, sequence, clock, id, before, envelope, stored) VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_UPDATE: Final = "UPDATE rooms SET newest = ?, hash = ?, bytes = bytes + ?, used = ? WHERE room = ?"
Returned = TypeVar("Returned")


class _Standing(NamedTuple):
    """What a batch knows of a room: newest and H, bytes added, stamp of the last."""

    newest: int
    hash: bytes
    added: int = 0
    used: int = 0


class _Connections(NamedTuple):
    """One that writes, one for pages, one that looks rooms up."""

    writer: sqlite3.Connection
    reader: sqlite3.Connection
    finder: sqlite3.Connection


class SqliteLog:
    """See ``RoomLog``. Made by ``open``; one process at a time."""

    def __init__(self, path: Path, connections: _Connections, age: AgeClock) -> None:
        self.age = age
        self._path = path
        self._reserve = Reserve(path)
        self._writer, self._reader, self._finder = connections
        self._write_worker = Worker("history writer")
        self._read_worker = Worker("history reader")
        self._find_worker = Worker("history finder")
        self._recorded: Reckoning | None = None
        self._has_appended = False  # since the last record
        self._is_crowded = False  # the file has reached its limit since the last expiry
        self._expired: dict[int, int] = {}  # the new oldest by room, of an expiry that did not get to its end

    @classmethod
    def open(cls, path: Path, most: int = limits.SERVER.kept_bytes, clocks: Clocks = _SYSTEM) -> Self:
        """Open or create the log at ``path``.

        Args:
            path: The file.
            most: Bytes of envelopes to be kept. A file that grows far beyond refuses messages until some are expired.
            clocks: Where time comes from.

        Raises:
            StorageError: It is corrupt, of another program, newer than this one, or unwritable; or what a crash
                left beside it belongs to another log.
        """
        connect = partial(open_database, application_id=APPLICATION_ID, migrations=migrations(clocks.wall))
        prepare(path, connect)
        with ExitStack() as opened:
            writer = connect(path)
            opened.callback(writer.close)
            with suppress(StorageError), reported(path):
                rewrite(writer, limits.COMPACT_BYTES)
            with reported(path):
                fit_wal(writer, str(path.parent))
                pages = min(most * _FILE_FACTOR // _PAGE_BYTES + _LEAST_PAGES, _MAX_PAGES)
                writer.execute(f"PRAGMA max_page_count = {pages}")
                renew(writer, path)
                age = AgeClock(clocks, load_reckoning(writer))
                readers = []
                for _ in range(2):
                    readers.append(sqlite3.connect(path, isolation_level=None, check_same_thread=False))
                    opened.callback(readers[-1].close)
                    readers[-1].execute("PRAGMA query_only = ON")
            opened.pop_all()
        return cls(path, _Connections(writer, *readers), age)

    async def _write(self, function: Callable[..., Returned], *arguments: Any) -> Returned:
        """Return what ``function(writer, *arguments)`` returns, in the thread that writes."""
        return await self._write_worker.run(self._reported, function, self._writer, *arguments)

    def _reported(self, function: Callable[..., Returned], *arguments: Any) -> Returned:
        with reported(self._path):
            return function(*arguments)

    async def _store(self, size: int, function: Callable[..., Returned], *arguments: Any) -> Returned:
        """Return what ``function(*arguments)`` returns, which makes the file larger by about ``size`` bytes."""
        return await self._write_worker.run(self._store_within, size, function, *arguments)

    def _store_within(self, size: int, function: Callable[..., Returned], *arguments: Any) -> Returned:
        self._reserve.spend(size)
        try:
            return self._reported(function, *arguments)
        except StorageFullError as error:
            self._is_crowded = self._reported(is_at_limit, self._writer)
            if self._is_crowded:
                raise LogFullError(
                    f"{self._path} has reached its limit.", "Expired messages make room; or raise --limit kept-bytes."
                ) from error
            raise

    async def open_room(self, address: bytes, new_log_id: bytes | None) -> tuple[Head, bool] | None:
        """See ``RoomLog.open_room``."""
        if new_log_id is None:
            head = await self._find(address)
            return (head, False) if head else None
        return await self._store(_PAGE_BYTES, self._create, address, new_log_id, self.age.now())

    async def _find(self, address: bytes) -> Head | None:
        return await self._find_worker.run(self._reported, find_head, self._finder, address)

    def _create(self, address: bytes, log_id: bytes, used: int) -> tuple[Head, bool]:
        with transaction(self._writer):
            cursor = self._writer.execute(
                """INSERT INTO rooms (address, log_id, newest, hash, bytes, used) VALUES (?, ?, 0, ?, 0, ?)
                   ON CONFLICT DO NOTHING""",
                (address, log_id, chain.root(address, log_id), used),
            )
            created = cursor.rowcount == 1
            head = find_head(self._writer, address)
        assert head is not None
        return head, created

    async def append(self, batch: Sequence[Append]) -> list[Appended]:
        """See ``RoomLog.append``."""
        size = sum(len(item.envelope) + _PAGE_BYTES for item in batch)  # its part of the indexes may be a page
        appended = await self._store(size, self._append_all, batch, self.age.now())
        self._has_appended = True
        return appended

    def _append_all(self, batch: Sequence[Append], stored: int) -> list[Appended]:
        try:
            with transaction(self._writer):
                return self._append_new(batch, stored)
        except sqlite3.IntegrityError:  # the log holds one of them: a resend, which is rare
            with transaction(self._writer):
                return [self._append(*item, stored) for item in batch]

    def _append_new(self, batch: Sequence[Append], stored: int) -> list[Appended]:
        """Append a batch of which the log holds nothing: one statement for all, at two thirds of the time for each."""
        rows, appended = [], []
        rooms: dict[int, _Standing] = {}
        for room, clock, envelope in batch:
            before = rooms.get(room) or self._standing(room)
            sequence, digest = before.newest + 1, chain.digest(envelope)
            head = chain.link(before.hash, sequence, digest)
            rows.append((room, sequence, clock, digest[: chain.ENVELOPE_ID_BYTES], before.hash, envelope, stored))
            rooms[room] = _Standing(sequence, head, before.added + len(envelope), stored)
            appended.append(Appended(sequence, clock, head))
        self._writer.executemany(_INSERT, rows)
        self._writer.executemany(_UPDATE, [(*standing, room) for room, standing in rooms.items()])
        return appended

    def _append(self, room: int, clock: int, envelope: bytes, stored: int) -> Appended:
        """Append one message, unless the log holds it."""
        query = "SELECT sequence, clock FROM messages WHERE room = ? AND id = ?"
        known = self._writer.execute(query, (room, chain.envelope_id(envelope))).fetchone()
        if known:
            sequence, first = known
            return Appended(sequence, first, b"")
        return self._append_new([Append(room, clock, envelope)], stored)[0]

    def _standing(self, room: int) -> _Standing:
        return _Standing(*one_row(self._writer, "SELECT newest, hash FROM rooms WHERE room = ?", room))

    async def read(self, room: int, direction: Direction, sequence: int, most: int) -> Page:
        """See ``RoomLog.read``."""
        return await self._read_worker.run(
            self._reported, read_page, self._reader, room, direction, sequence, min(most, limits.PAGE_ENTRIES)
        )

    async def delete_room(self, address: bytes) -> bool:
        """See ``RoomLog.delete_room``."""
        found = await self._find(address)
        if found is None:
            return False
        await self._delete_before(found.room, found.newest + 1)
        await self._write(self._forget_room, found.room)
        return True

    @staticmethod
    def _forget_room(writer: sqlite3.Connection, room: int) -> None:
        writer.execute("DELETE FROM rooms WHERE room = ?", (room,))

    async def count_rooms(self) -> int:
        """See ``RoomLog.count_rooms``."""
        return await self._find_worker.run(self._count_rooms)

    def _count_rooms(self) -> int:
        with reported(self._path):
            count: int = self._finder.execute("SELECT count(*) FROM rooms").fetchone()[0]
        return count

    async def list_empty(self, before: int | None, count: int, spared: Collection[bytes]) -> list[bytes]:
        """See ``RoomLog.list_empty``."""
        query = "SELECT address FROM rooms WHERE newest = 0 AND (?1 IS NULL OR used < ?1) ORDER BY used LIMIT ?2"
        found = await self._find_worker.run(self._list, query, (before, count + len(spared)))
        return [address for address in found if address not in spared][:count]

    def _list(self, query: str, values: tuple[int | None, ...]) -> list[bytes]:
        with reported(self._path):
            return [value for (value,) in self._finder.execute(query, values)]

    async def forget(self, addresses: Collection[bytes]) -> int:
        """See ``RoomLog.forget``."""
        return await self._write(forget_empty, addresses)

    async def expire(self, retention: Retention) -> dict[int, int]:
        """See ``RoomLog.expire``. Appends go on in between: a long expiry is many short commits."""
        is_crowded, self._is_crowded = self._is_crowded, False
        if is_crowded:  # an append may have failed while the last expiry was still making room
            is_crowded = await self._write(is_at_limit)
        cutoff = self.age.cutoff(retention.seconds)
        due: dict[int, int] = await self._read_worker.run(
            self._reported, find_expired, self._reader, retention, cutoff, is_crowded
        )
        for room, oldest in due.items():
            await self._delete_before(room, oldest)
            self._expired[room] = oldest
        expired, self._expired = self._expired, {}
        return expired

    async def _delete_before(self, room: int, oldest: int) -> None:
        """Delete the messages of a room before ``oldest``."""
        await self._in_pieces(limits.EXPIRE_BYTES, delete_some, room, oldest)

    async def _in_pieces(self, size: int, function: Callable[..., bool], *arguments: Any, steps: float = inf) -> None:
        """Call ``function(writer, *arguments, size)`` until it says that nothing is left, on a full disk with less.

        Args:
            size: Bytes for one call to begin with.
            function: Does one commit, and returns whether more is left.
            arguments: What it needs.
            steps: How often to call it at most.
        """
        has_failed, most = False, size
        with suppress(StorageError):
            if await self._write(make_way, self._reserve):
                size //= _SHORTER
        while steps > 0:
            steps -= 1
            try:
                if not await self._write(function, *arguments, size):
                    return
                has_failed, size = False, min(most, 2 * size + 1)
            except StorageFullError:
                if has_failed and not size:
                    raise
                has_failed = True
                size //= _SHORTER
                with suppress(StorageError):  # what was deleted shortens the file, what waits for it goes into it
                    await self._write(give_back, False, size)
                with suppress(StorageError):
                    await self._write(checkpoint)

    async def record(self, used: Collection[int]) -> None:
        """See ``RoomLog.record``."""
        reckoning = self.age.reckoning
        if not used and not self._has_appended and not self._is_record_due(reckoning):
            return
        self._has_appended = False
        rooms = list(used)
        for start in range(0, max(1, len(rooms)), limits.USED_ROOMS):
            await self._write(self._record, rooms[start : start + limits.USED_ROOMS], reckoning)

    def _is_record_due(self, now: Reckoning) -> bool:
        then = self._recorded
        return (
            then is None
            or now.age - then.age >= limits.AGE_INTERVAL * 1000
            or (now.ahead, now.trial, now.gaps) != (then.ahead, then.trial, then.gaps)
        )

    def _record(self, writer: sqlite3.Connection, rooms: Sequence[int], reckoning: Reckoning) -> None:
        with transaction(writer):
            save_reckoning(writer, reckoning, self._recorded)
            query = "UPDATE rooms SET used = ? WHERE room = ?"
            writer.executemany(query, [(reckoning.age, room) for room in rooms])
        self._recorded = reckoning

    async def shrink(self) -> None:
        """See ``RoomLog.shrink``."""
        await self._in_pieces(limits.SHRINK_BYTES, give_back, False, steps=limits.SHRINK_STEPS)
        await self._write(checkpoint)  # only now the file is shorter

    async def compact(self) -> None:
        """Make the file as small as it can be; what the disk has no space for is left as it is.

        For a log that no server uses: it takes as long as a copy of the file, and may need as much space.
        """
        with suppress(StorageError):
            await self._write(rewrite, _MAX_PAGES * _PAGE_BYTES)
        with suppress(StorageError):
            await self._in_pieces(limits.SHRINK_BYTES, give_back, True)
            await self._write(checkpoint)

    async def aclose(self) -> None:
        """See ``RoomLog.aclose``."""
        with trio.CancelScope(shield=True):  # bounded: closing waits for nothing but the disk
            with suppress(StorageError):  # what is lost is the time since the last record, which the wall clock claims
                await self._write(self._record, (), self.age.reckoning)
            await self._find_worker.run(self._finder.close)
            await self._read_worker.run(self._reader.close)
            await self._write_worker.run(self._writer.close)
        for worker in (self._find_worker, self._read_worker, self._write_worker):
            worker.close()
