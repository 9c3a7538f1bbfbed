"""A disk that is full, and the limit of a log's own: what still works, and what is said."""

import errno
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from securechat import limits
from securechat.errors import LogFullError, StorageFullError
from securechat.history import trimming
from securechat.history.log import Append, Retention
from securechat.history.sqlite import HISTORY_FILE, SqliteLog
from securechat.protocol.messages import Direction

MOUNT = shutil.which("mount")


class Disk:
    """A small file system, and a file of ballast that fills it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._ballast = directory / "ballast"

    @property
    def path(self) -> Path:
        return self.directory / HISTORY_FILE

    @property
    def taken(self) -> int:
        return self.path.stat().st_size

    def fill(self) -> None:
        with self._ballast.open("ab") as file:
            for size in (1 << 20, 1 << 16, 4096):
                try:
                    while True:
                        os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), size)
                except OSError as error:
                    assert error.errno == errno.ENOSPC  # noqa: PT017
        assert os.statvfs(self.directory).f_bavail == 0


@pytest.fixture(params=[4, 16], ids="{} MiB".format)
def disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Disk]:
    line = [MOUNT or "mount", "-t", "tmpfs", "-o", f"size={request.param}m", "tmpfs", str(tmp_path)]
    if MOUNT is None or os.geteuid() or subprocess.run(line, check=False, capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        yield Disk(tmp_path)
    finally:
        subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


async def make_rooms(log: SqliteLog) -> list[int]:
    opened = [await log.open_room(bytes([number]) * 32, bytes(16)) for number in range(3)]
    return [head.room for head, _ in filter(None, opened)]


async def append_until_full(log: SqliteLog, rooms: list[int], size: int, most: int = 10**9) -> int:
    """Append to the rooms in turn; return how many messages were stored."""
    stored = 0
    try:
        while stored * size < most:
            batch = [Append(room, stored, os.urandom(size)) for room in rooms]
            stored += len(await log.append(batch))
    except StorageFullError:
        pass
    return stored


@pytest.mark.parametrize("size", [2000, 60_000])
async def test_a_disk_that_messages_filled_is_emptied_by_deleting(disk: Disk, size: int) -> None:
    log = SqliteLog.open(disk.path)
    rooms = await make_rooms(log)
    stored = await append_until_full(log, rooms, size)
    with pytest.raises(StorageFullError, match=r"history\.sqlite has less than [\d.]+ MiB left\. Make room on it"):
        await log.append([Append(rooms[0], 1, b"one more")])
    before = disk.taken
    assert await log.delete_room(bytes(32))
    assert await log.expire(Retention(None, 3)) == dict.fromkeys(rooms[1:], stored // 3 - 2)
    await log.shrink()
    assert disk.taken < before / 2
    assert await log.append([Append(rooms[1], 1, b"there is room again")])
    await log.aclose()
    assert_sound(disk.path)


@pytest.mark.parametrize("is_stopped", [False, True])
@pytest.mark.parametrize("size", [2000, 60_000])
async def test_deleting_works_without_a_byte_left_on_the_disk(disk: Disk, size: int, is_stopped: bool) -> None:
    log = SqliteLog.open(disk.path)
    rooms = await make_rooms(log)
    half = os.statvfs(disk.directory).f_blocks * os.statvfs(disk.directory).f_frsize // 2
    await append_until_full(log, rooms, size, half)
    await log.shrink()  # as upkeep does once a minute: the write-ahead log is in the file, and its space is free
    disk.fill()
    if is_stopped:
        await log.aclose()
        log = SqliteLog.open(disk.path)
    before = disk.taken
    assert await log.delete_room(bytes(32))
    await log.expire(Retention(None, 3))
    await (log.compact() if is_stopped else log.shrink())
    assert disk.taken < before
    for room in rooms[1:]:
        assert len((await log.read(room, Direction.FORWARD, 1, 100)).records) == 3
    await log.aclose()
    assert_sound(disk.path)


def assert_sound(path: Path) -> None:
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    sizes = connection.execute("SELECT total(length(envelope)) FROM messages").fetchone()
    assert connection.execute("SELECT total(bytes) FROM rooms").fetchone() == sizes
    connection.close()


# Without a disk of its own


@pytest.fixture
async def log(tmp_path: Path) -> SqliteLog:
    return SqliteLog.open(tmp_path / HISTORY_FILE)


def count_pages(log: SqliteLog) -> int:
    (count,) = log._writer.execute("PRAGMA page_count").fetchone()
    return int(count)


async def test_a_file_gives_back_what_is_deleted_in_short_steps(
    log: SqliteLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SHRINK_STEPS", 2)
    rooms = await make_rooms(log)
    for _ in range(10):
        await log.append([Append(rooms[0], 1, os.urandom(60_000)) for _ in range(16)])
    full = count_pages(log)
    await log.delete_room(bytes(32))
    assert count_pages(log) == full
    await log.shrink()
    assert full - count_pages(log) == 2 * limits.SHRINK_BYTES // 4096, "no more in one call"
    for _ in range(10):
        await log.shrink()
    left = count_pages(log)
    assert left <= limits.FREE_PAGES * 8 // 7 + 20, "and something for what comes next"
    assert log._path.stat().st_size == left * 4096
    await log.compact()
    assert count_pages(log) < 20
    await log.aclose()
    assert_sound(log._path)


async def test_a_file_in_steady_use_keeps_its_free_pages(log: SqliteLog) -> None:
    rooms = await make_rooms(log)
    for _ in range(5):
        await log.append([Append(rooms[0], 1, os.urandom(60_000)) for _ in range(16)])
    await log.expire(Retention(None, 75))
    before = count_pages(log)
    await log.shrink()
    assert count_pages(log) == before
    await log.aclose()


async def test_what_is_deleted_by_one_commit_is_bounded_in_bytes(
    log: SqliteLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    rooms = await make_rooms(log)
    for _ in range(4):
        await log.append([Append(rooms[0], 1, os.urandom(60_000)) for _ in range(16)])
    await log.append([Append(rooms[0], 1, os.urandom(10)) for _ in range(1100)])
    deleted: list[tuple[int, int]] = []
    real = trimming.delete_some

    def watch(connection: sqlite3.Connection, *arguments: int) -> bool:
        query = "SELECT bytes, (SELECT count(*) FROM messages WHERE room = rooms.room) FROM rooms WHERE room = ?"
        before = connection.execute(query, (rooms[0],)).fetchone()
        is_more = real(connection, *arguments)
        after = connection.execute(query, (rooms[0],)).fetchone()
        deleted.append((before[0] - after[0], before[1] - after[1]))
        return is_more

    monkeypatch.setattr("securechat.history.sqlite.delete_some", watch)
    await log.expire(Retention(None, 1))
    assert sum(size for size, _ in deleted) == 64 * 60_000 + 1099 * 10
    assert max(size for size, _ in deleted) <= limits.EXPIRE_BYTES
    assert max(count for _, count in deleted) <= limits.EXPIRE_MESSAGES
    assert len(deleted) >= 10
    await log.aclose()


def failing(function: Callable[..., bool], times: int) -> Callable[..., bool]:
    """Return a function that the disk has no space for so many times between two that work."""
    left = times

    def fail(*arguments: object) -> bool:
        nonlocal left
        if left:
            left -= 1
            raise StorageFullError("The disk is full.")
        left = times
        return function(*arguments)

    return fail


@pytest.mark.parametrize(("times", "works"), [(1, True), (7, False)])
async def test_a_deletion_continues_after_a_commit_without_space(
    log: SqliteLog, monkeypatch: pytest.MonkeyPatch, times: int, works: bool
) -> None:
    rooms = await make_rooms(log)
    await log.append([Append(rooms[0], 1, os.urandom(1000)) for _ in range(50)])
    monkeypatch.setattr("securechat.history.sqlite.delete_some", failing(trimming.delete_some, times))
    if works:
        assert await log.delete_room(bytes(32))
    else:
        with pytest.raises(StorageFullError, match="The disk is full"):
            await log.delete_room(bytes(32))
    await log.aclose()
    assert_sound(log._path)


async def append_for_ever(log: SqliteLog, room: int) -> None:
    while True:
        await log.append([Append(room, 1, os.urandom(900)) for _ in range(40)])


async def test_a_log_at_its_limit_says_so_and_expiry_always_makes_room(log: SqliteLog) -> None:
    rooms = await make_rooms(log)
    await log.append([Append(rooms[0], 1, os.urandom(1000)) for _ in range(2000)])
    limit = count_pages(log) + 64
    log._writer.execute(f"PRAGMA max_page_count = {limit}")
    for attempt in range(3):
        with pytest.raises(LogFullError, match=r"has reached its limit\. .*kept-bytes"):
            await append_for_ever(log, rooms[1])
        assert await log.expire(Retention(None, None)), "whatever the envelopes add up to, some go"
        assert await log.append([Append(rooms[1], attempt, os.urandom(900)) for _ in range(40)])
        assert count_pages(log) <= limit
    await log.aclose()
    assert_sound(log._path)


async def test_an_append_that_fails_during_an_expiry_costs_nothing_more(
    log: SqliteLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    rooms = await make_rooms(log)
    await log.append([Append(rooms[0], 1, os.urandom(60_000)) for _ in range(400)])
    log._writer.execute(f"PRAGMA max_page_count = {count_pages(log) + 64}")
    with pytest.raises(LogFullError):
        await append_for_ever(log, rooms[1])
    fault: list[LogFullError] = []

    def delete_after_an_append(*arguments: Any) -> bool:
        if not fault:
            with pytest.raises(LogFullError) as caught:
                log._store_within(0, log._append_all, [Append(rooms[1], 1, bytes(limits.MIB))], 0)
            fault.append(caught.value)
        return trimming.delete_some(*arguments)

    monkeypatch.setattr("securechat.history.sqlite.delete_some", delete_after_an_append)
    assert await log.expire(Retention(None, None))
    assert fault
    assert await log.expire(Retention(None, None)) == {}
    await log.aclose()


@pytest.mark.parametrize("most", [1, 10**24])
async def test_a_limit_of_any_size_opens(tmp_path: Path, most: int) -> None:
    log = SqliteLog.open(tmp_path / "any.sqlite", most)
    rooms = await make_rooms(log)
    assert await log.append([Append(rooms[0], 1, b"said")])
    await log.aclose()
