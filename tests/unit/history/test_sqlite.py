"""What only the durable log does: it survives, and what goes wrong with its file is said in a sentence."""

import hashlib
import os
import shutil
import sqlite3
import stat
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio

from securechat import database
from securechat.errors import LogFullError, StorageError, StorageFullError
from securechat.history import schema, trimming
from securechat.history.age import Clocks
from securechat.history.log import Append, Retention
from securechat.history.sqlite import SqliteLog
from securechat.protocol import chain
from securechat.protocol.messages import Direction

ADDRESS = bytes(range(32))
LOG_ID = b"log id, 16 bytes"
VERSION = len(schema.migrations())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.sqlite"


@pytest.fixture
async def log(path: Path) -> AsyncIterator[SqliteLog]:
    opened = SqliteLog.open(path)
    yield opened
    await opened.aclose()


async def make_room(log: SqliteLog, address: bytes = ADDRESS) -> int:
    opened = await log.open_room(address, LOG_ID)
    assert opened is not None
    return opened[0].room


def edit(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path)
    try:
        for statement in statements:
            connection.execute(statement)
        connection.commit()
    finally:
        connection.close()


def damage(path: Path) -> None:
    """Overwrite what a database has beside its schema, the roots of its tables and their first pages."""
    content = path.read_bytes()
    path.write_bytes(content[: 12 * 4096].ljust(len(content), b"\xff"))


def one(connection: sqlite3.Connection, query: str) -> object:
    """Return the one value of the one row."""
    (value,) = connection.execute(query).fetchone()
    return value


async def test_everything_survives_reopening(path: Path) -> None:
    log = SqliteLog.open(path)
    room = await make_room(log)
    await log.append([Append(room, 1000 + number, b"envelope %d" % number) for number in range(5)])
    await log.expire(Retention(None, 3))
    head = await log.open_room(ADDRESS, None)
    page = await log.read(room, Direction.FORWARD, 1, 10)
    await log.aclose()

    again = SqliteLog.open(path)
    try:
        assert await again.open_room(ADDRESS, b"another 16 bytes") == head
        assert await again.read(room, Direction.FORWARD, 1, 10) == page
        resent, new = await again.append([Append(room, 9000, b"envelope 4"), Append(room, 9001, b"new")])
        assert resent == (5, 1004, b"")
        assert head is not None
        assert new == (6, 9001, chain.link(head[0].hash, 6, hashlib.sha256(b"new").digest()))
    finally:
        await again.aclose()


async def test_an_append_is_in_the_file_when_it_returns(log: SqliteLog, path: Path) -> None:
    room = await make_room(log)
    await log.append([Append(room, 1, b"first")])
    other = sqlite3.connect(path)
    try:
        assert one(other, "SELECT envelope FROM messages") == b"first"
    finally:
        other.close()


async def test_two_rooms_keep_their_numbers_over_reopening(path: Path) -> None:
    log = SqliteLog.open(path)
    numbers = [await make_room(log, bytes([at]) * 32) for at in range(3)]
    await log.aclose()
    again = SqliteLog.open(path)
    assert [await make_room(again, bytes([at]) * 32) for at in range(3)] == numbers
    await again.aclose()


async def test_commits_are_durable_and_readers_do_not_block_them(log: SqliteLog) -> None:
    assert one(log._writer, "PRAGMA journal_mode") == "wal"
    assert one(log._writer, "PRAGMA synchronous") == 2, "FULL: the WAL is synced at each commit"


async def test_what_is_deleted_is_overwritten(log: SqliteLog, path: Path) -> None:
    assert one(log._writer, "PRAGMA secure_delete") == 1
    room = await make_room(log)
    await log.append([Append(room, 1, b"to be forgotten " * 100)])
    await log.expire(Retention(0, 0))
    log._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert b"to be forgotten" not in await trio.Path(path).read_bytes()


async def test_a_reader_cannot_write(log: SqliteLog) -> None:
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        log._reader.execute("DELETE FROM rooms")


async def test_the_files_are_private(path: Path) -> None:
    before = os.umask(0)
    try:
        log = SqliteLog.open(path)
        await make_room(log)
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
        await log.aclose()
    finally:
        os.umask(before)
    assert modes == {path.name + suffix: 0o600 for suffix in ("", "-generation", "-shm", "-wal")}


async def test_the_file_is_marked_as_ours(log: SqliteLog) -> None:
    assert one(log._writer, "PRAGMA application_id") == int.from_bytes(b"SCLG", "big")
    assert one(log._writer, "PRAGMA user_version") == VERSION


async def test_a_newer_log_is_refused(path: Path) -> None:
    await SqliteLog.open(path).aclose()
    edit(path, f"PRAGMA user_version = {VERSION + 1}")
    with pytest.raises(StorageError, match=r"newer securechat \(schema 3, this one knows 2\)\. Upgrade"):
        SqliteLog.open(path)
    edit(path, f"PRAGMA user_version = {VERSION}")
    await SqliteLog.open(path).aclose()


def test_another_programs_database_is_refused_and_keeps_its_content(path: Path) -> None:
    edit(path, "CREATE TABLE theirs (x)", "INSERT INTO theirs VALUES (7)")
    with pytest.raises(StorageError, match=r"is a database of another program\. Name another"):
        SqliteLog.open(path)
    connection = sqlite3.connect(path)
    try:
        assert one(connection, "SELECT x FROM theirs") == 7
        assert one(connection, "SELECT count(*) FROM sqlite_master") == 1
        assert one(connection, "PRAGMA application_id") == 0
    finally:
        connection.close()


def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    path.write_bytes(b"my diary\n" * 1000)
    with pytest.raises(StorageError, match=r"log\.sqlite is corrupt or no database\. Move it away"):
        SqliteLog.open(path)
    assert path.read_bytes() == b"my diary\n" * 1000


async def test_a_corrupt_page_is_an_error_of_the_request_that_meets_it(path: Path) -> None:
    log = SqliteLog.open(path)
    room = await make_room(log)
    await log.append([Append(room, 1, bytes([number]) * 10_000) for number in range(20)])
    await log.aclose()
    damage(path)
    damaged = SqliteLog.open(path)
    try:
        for _ in range(2):  # and the snapshot of the first was given back
            with pytest.raises(StorageError, match="is corrupt or no database"):
                await damaged.read(room, Direction.FORWARD, 1, 10)
        with pytest.raises(StorageError, match="is corrupt or no database"):
            await damaged.append([Append(room, 1, b"new")])
        with pytest.raises(StorageError, match="is corrupt or no database"):
            await damaged.expire(Retention(0, 0))
    finally:
        await damaged.aclose()


def test_a_directory_in_place_of_the_file_is_an_error(path: Path) -> None:
    path.mkdir()
    with pytest.raises(StorageError, match=r"log\.sqlite cannot be written\. Check the rights"):
        SqliteLog.open(path)


def test_a_directory_that_is_absent_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"cannot be used: No such file or directory\. Check"):
        SqliteLog.open(tmp_path / "absent" / "log.sqlite")


def test_a_file_in_place_of_the_directory_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot be used: Not a directory"):
        SqliteLog.open(tmp_path / "file" / "log.sqlite")


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_directory_without_the_right_to_write_is_an_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(StorageError, match="cannot be used: Permission denied"):
            SqliteLog.open(tmp_path / "log.sqlite")
    finally:
        tmp_path.chmod(0o700)


async def test_a_log_that_another_connection_writes_to_is_in_use(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_BUSY_SECONDS", 0.0)
    await SqliteLog.open(path).aclose()
    other = sqlite3.connect(path, isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageError, match=r"in use by another program\. Stop that one first"):
            SqliteLog.open(path)
        other.execute("ROLLBACK")
    finally:
        other.close()
    await SqliteLog.open(path).aclose()


async def test_a_reader_that_cannot_be_opened_leaves_no_writer_behind(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await SqliteLog.open(path).aclose()
    opened: list[sqlite3.Connection] = []

    def connect_once(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        if opened:
            raise sqlite3.OperationalError("too many open files")
        connection: sqlite3.Connection = real_connect(*args, **kwargs)
        opened.append(connection)
        return connection

    real_connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", connect_once)
    with pytest.raises(StorageError, match=r"cannot be used \(too many open files\)\. Check the disk"):
        SqliteLog.open(path)
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        opened[0].execute("SELECT 1")


def fill_disk(log: SqliteLog) -> None:
    """Allow the file not one page more."""
    log._writer.execute(f"PRAGMA max_page_count = {one(log._writer, 'PRAGMA page_count')}")


def empty_disk(log: SqliteLog) -> None:
    log._writer.execute("PRAGMA max_page_count = 1000000")


async def test_a_full_log_appends_nothing_until_there_is_room(log: SqliteLog) -> None:
    room, other = await make_room(log), await make_room(log, bytes(32))
    await log.append([Append(room, 1, b"before")])
    heads = [await log.open_room(ADDRESS, None), await log.open_room(bytes(32), None)]
    batch = [Append(other, 2, b"small"), Append(room, 2, b"small"), Append(room, 3, b"large" * 10_000)]
    fill_disk(log)
    for _ in range(2):
        with pytest.raises(LogFullError, match=r"log\.sqlite has reached its limit\. .*raise --limit kept-bytes"):
            await log.append(batch)
    assert [await log.open_room(ADDRESS, None), await log.open_room(bytes(32), None)] == heads
    assert (await log.read(room, Direction.FORWARD, 1, 9)).records == ((1, b"before"),)
    assert (await log.read(other, Direction.FORWARD, 1, 9)).records == ()

    empty_disk(log)
    appended = await log.append(batch)
    assert [item.sequence for item in appended] == [1, 2, 3]
    assert all(item.is_new for item in appended)
    head = await log.open_room(ADDRESS, None)
    assert head is not None
    assert head[0].hash == appended[-1].hash


async def make_rooms(log: SqliteLog, count: int) -> None:
    for number in range(count):
        await make_room(log, hashlib.sha256(b"%d" % number).digest())


async def test_a_full_disk_makes_no_room(log: SqliteLog) -> None:
    fill_disk(log)
    with pytest.raises(StorageFullError):
        await make_rooms(log, 1000)
    missing = hashlib.sha256(b"999").digest()
    assert await log.open_room(missing, None) is None
    empty_disk(log)
    assert await log.open_room(missing, LOG_ID) is not None


async def test_reading_and_expiring_go_on_while_the_disk_is_full(log: SqliteLog) -> None:
    room = await make_room(log)
    await log.append([Append(room, 1, bytes([number]) * 10_000) for number in range(5)])
    fill_disk(log)
    with pytest.raises(StorageFullError):
        await log.append([Append(room, 2, b"x" * 60_000)])
    assert len((await log.read(room, Direction.FORWARD, 1, 10)).records) == 5
    assert await log.expire(Retention(0, 0)) == {room: 6}
    (new,) = await log.append([Append(room, 2, b"x" * 10_000)])
    assert new.sequence == 6, "what expired made room"


async def test_an_append_that_fails_half_way_leaves_no_transaction_open(log: SqliteLog) -> None:
    room = await make_room(log)
    with pytest.raises(StorageError, match="a row of it is missing"):
        await log.append([Append(room, 1, b"fine"), Append(room + 1, 2, b"there is no such room")])
    assert not log._writer.in_transaction
    assert (await log.append([Append(room, 3, b"next")]))[0].sequence == 1


async def test_a_page_of_a_room_that_is_gone_is_an_error(log: SqliteLog) -> None:
    with pytest.raises(StorageError, match="a row of it is missing"):
        await log.read(1, Direction.FORWARD, 1, 10)


async def test_an_expiry_that_was_cut_tells_later_what_it_has_deleted(
    log: SqliteLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    rooms = [await make_room(log, bytes([at]) * 32) for at in range(2)]
    await log.append([Append(room, 1, b"old") for room in rooms])
    delete = trimming.delete_some

    def fail_in_the_second(writer: sqlite3.Connection, room: int, oldest: int, size: int) -> bool:
        if room == rooms[1]:
            raise StorageError("The disk has gone.")
        return delete(writer, room, oldest, size)

    with monkeypatch.context() as patch:
        patch.setattr("securechat.history.sqlite.delete_some", fail_in_the_second)
        with pytest.raises(StorageError, match="has gone"):
            await log.expire(Retention(None, 0))
    assert await log.expire(Retention(None, 0)) == dict.fromkeys(rooms, 2)
    assert await log.expire(Retention(None, 0)) == {}


async def test_a_page_is_read_while_a_batch_is_being_written(log: SqliteLog) -> None:
    room = await make_room(log)
    await log.append([Append(room, 1, b"committed")])
    log._writer.execute("BEGIN IMMEDIATE")
    log._writer.execute("DELETE FROM messages")
    assert (await log.read(room, Direction.FORWARD, 1, 10)).records == ((1, b"committed"),)
    log._writer.execute("ROLLBACK")


async def test_a_join_does_not_wait_for_pages(log: SqliteLog, monkeypatch: pytest.MonkeyPatch) -> None:
    room = await make_room(log)
    go_on = threading.Event()
    monkeypatch.setattr("securechat.history.sqlite.read_page", lambda *_: go_on.wait(30))
    try:
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(log.read, room, Direction.FORWARD, 1, 1000)
            with trio.fail_after(20):
                assert await log.open_room(ADDRESS, None) is not None
                assert await log.count_rooms() == 1
                assert await log.list_empty(None, 9, ()) == [ADDRESS]
            go_on.set()
    finally:
        go_on.set()


async def test_an_idle_log_records_its_clock_now_and_then(path: Path) -> None:
    hands = [0.0]
    log = SqliteLog.open(path, clocks=Clocks(lambda: hands[0], lambda: hands[0]))
    room = await make_room(log)

    def recorded() -> object:
        return one(log._writer, "SELECT age FROM age")

    await log.record(())
    written = []
    for minute in range(1, 25):
        hands[0] = minute * 60.0
        if minute == 13:
            await log.append([Append(room, 1, b"said")])
        before = recorded()
        await log.record(())
        if recorded() != before:
            written.append(minute)
    assert written == [10, 13, 23]
    await log.aclose()


async def test_a_crash_loses_no_time_of_the_clock(path: Path) -> None:
    hands = [1000.0]
    clocks = Clocks(lambda: hands[0], lambda: 5.0)  # the wall clock stands still
    log = SqliteLog.open(path, clocks=clocks)
    room = await make_room(log)
    hands[0] += 5000
    await log.append([Append(room, 1, b"said")])
    copy = path.with_name("crashed.sqlite")
    for suffix in ("", "-wal"):
        shutil.copy(f"{path}{suffix}", f"{copy}{suffix}")
    await log.aclose()
    again = SqliteLog.open(copy, clocks=clocks)
    assert again.age.now() > 5_000_000
    await again.expire(Retention(seconds=1, messages=None))
    assert len((await again.read(room, Direction.FORWARD, 1, 9)).records) == 1
    hands[0] += 2
    assert await again.expire(Retention(seconds=1, messages=None)) == {room: 2}
    await again.aclose()


def test_the_schema_does_not_change_without_its_version() -> None:
    """Who changes the schema adds a migration; what older programs have run stays as it was."""
    digests = [hashlib.sha256(text.encode()).hexdigest()[:16] for text in (schema._VERSION_1, schema._VERSION_2)]
    assert (VERSION, digests) == (2, ["95822ee0e076f371", "fc78707a6c248c0c"])
