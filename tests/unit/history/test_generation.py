"""What a crash left is joined with the history to which it belongs, and with no other one."""

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from securechat.errors import CorruptError, StorageError
from securechat.history import generation
from securechat.history.generation import StrangeWalError
from securechat.history.log import Append
from securechat.history.sqlite import SqliteLog
from securechat.protocol.messages import Direction

ADDRESS = bytes(range(32))
LOG_ID = b"log id, 16 bytes"
PAGE = 4096


async def say(log: SqliteLog, count: int) -> None:
    opened = await log.open_room(ADDRESS, LOG_ID)
    assert opened is not None
    batch = [Append(opened[0].room, 0, b"%d" % number * 150) for number in range(opened[0].newest, count)]
    await log.append(batch)


async def count(path: Path) -> int:
    """Open a history, read all of it, and return how many messages it has."""
    log = SqliteLog.open(path)
    try:
        opened = await log.open_room(ADDRESS, None)
        assert opened is not None
        found, sequence = 0, 1
        while records := (await log.read(opened[0].room, Direction.FORWARD, sequence, 1000)).records:
            found, sequence = found + len(records), sequence + len(records)
        return found
    finally:
        await log.aclose()


def freeze(directory: Path, copy: Path) -> Path:
    """Copy what a crash would leave at this moment."""
    shutil.copytree(directory, copy)
    return copy / "history.sqlite"


async def crashed(tmp_path: Path, messages: int) -> Path:
    """Return a history whose server was killed."""
    (tmp_path / "running").mkdir()
    log = SqliteLog.open(tmp_path / "running" / "history.sqlite")
    await say(log, messages)
    left = freeze(tmp_path / "running", tmp_path / "crashed")
    await log.aclose()
    return left


async def test_what_was_committed_before_a_crash_is_there_after_it(tmp_path: Path) -> None:
    path = await crashed(tmp_path, 300)
    assert generation.has_wal(path)
    assert await count(path) == 300
    assert await count(path) == 300, "and again"


@pytest.mark.parametrize("messages", [300, 5000])
async def test_a_copy_over_what_a_crash_left_is_refused(tmp_path: Path, messages: int) -> None:
    other = SqliteLog.open(tmp_path / "backup.sqlite")
    await say(other, 200)
    await other.aclose()
    path = await crashed(tmp_path, messages)
    shutil.copy(tmp_path / "backup.sqlite", path)
    for _ in range(2):
        with pytest.raises(StrangeWalError, match=r"was replaced, and history\.sqlite-wal .* one before\. .*move "):
            SqliteLog.open(path)
    assert path.read_bytes() == (tmp_path / "backup.sqlite").read_bytes(), "the copy is as it was"
    generation.wal_of(path).unlink()
    assert await count(path) == 200


async def test_a_copy_from_before_the_last_restart_is_refused(tmp_path: Path) -> None:
    (tmp_path / "running").mkdir()
    path = tmp_path / "running" / "history.sqlite"
    log = SqliteLog.open(path)
    await say(log, 200)
    await log.aclose()
    shutil.copy(path, tmp_path / "copy.sqlite")
    log = SqliteLog.open(path)
    await say(log, 201)
    left = freeze(path.parent, tmp_path / "crashed")
    await log.aclose()
    shutil.copy(tmp_path / "copy.sqlite", left)
    with pytest.raises(StrangeWalError):
        SqliteLog.open(left)


async def test_a_copy_with_an_empty_wal_is_opened(tmp_path: Path) -> None:
    other = SqliteLog.open(tmp_path / "backup.sqlite")
    await say(other, 200)
    await other.aclose()
    path = await crashed(tmp_path, 300)
    shutil.copy(tmp_path / "backup.sqlite", path)
    generation.wal_of(path).write_bytes(b"")
    assert await count(path) == 200


async def test_a_wal_without_its_database_is_not_lost(tmp_path: Path) -> None:
    path = await crashed(tmp_path, 300)
    path.rename(tmp_path / "away")
    with pytest.raises(StrangeWalError, match=r"and no history\.sqlite to which it belongs"):
        SqliteLog.open(path)
    (tmp_path / "away").rename(path)
    assert await count(path) == 300


async def test_files_that_moved_together_without_a_record_are_opened(tmp_path: Path) -> None:
    path = await crashed(tmp_path, 300)
    generation.record_of(path).unlink()
    assert await count(path) == 300


async def test_a_history_of_before_generations_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("securechat.history.sqlite.renew", lambda *_: None)
        path = await crashed(tmp_path, 300)
    assert not generation.record_of(path).exists()
    assert await count(path) == 300
    assert generation.record_of(path).exists()


@pytest.mark.parametrize("size", [0, PAGE, 3 * PAGE])
async def test_a_database_that_was_copied_in_part_is_refused(tmp_path: Path, size: int) -> None:
    path = tmp_path / "history.sqlite"
    log = SqliteLog.open(path)
    await say(log, 300)
    await log.aclose()
    part = path.read_bytes()[:size]
    path.write_bytes(part)
    with pytest.raises(StorageError, match=r"is empty: it was copied only in part|is corrupt or no database"):
        SqliteLog.open(path)
    assert path.read_bytes() == part


async def states_of_opening(path: Path, keep: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Open a history, and return what a crash may leave before and after each step of that."""
    states: list[Path] = []

    def watched(step: Callable[..., object]) -> Callable[..., object]:
        def run(*arguments: object) -> object:
            states.append(freeze(path.parent, keep / f"{len(states)}"))
            result = step(*arguments)
            states.append(freeze(path.parent, keep / f"{len(states)}"))
            return result

        return run

    with monkeypatch.context() as patch:
        for step in ("_record", "write_name", "_empty_wal"):
            patch.setattr(generation, step, watched(getattr(generation, step)))
        log = SqliteLog.open(path)
    await log.aclose()
    return states


@pytest.mark.parametrize("before", ["of a generation", "older"])
async def test_a_crash_at_any_step_of_opening_leaves_a_history(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    with monkeypatch.context() as patch:
        if before == "older":
            patch.setattr("securechat.history.sqlite.renew", lambda *_: None)
        path = await crashed(tmp_path, 300)
    states = await states_of_opening(path, tmp_path, monkeypatch)
    assert len(states) == 8
    random = Random(1)
    for number, state in enumerate(states):
        copy = tmp_path / f"copy{number}" / "history.sqlite"
        shutil.copytree(state.parent, copy.parent)
        assert await count(copy) == 300, f"step {number}"
    emptying, emptied = states[4], states[5]
    assert generation.has_wal(emptying)
    assert not generation.has_wal(emptied)
    old, new = emptying.read_bytes(), emptied.read_bytes()
    for number in range(30):  # a crash while pages are written back: any of them may be the new one
        copy = tmp_path / f"mixed{number}" / "history.sqlite"
        shutil.copytree(emptying.parent, copy.parent)
        pages = [random.choice([old, new])[at : at + PAGE] or bytes(PAGE) for at in range(0, len(new), PAGE)]
        copy.write_bytes(b"".join(pages))
        assert await count(copy) == 300, f"mixture {number}"


async def test_opening_does_not_wait_long_for_a_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generation, "_CHECKPOINT_MS", 1)
    path = await crashed(tmp_path, 300)
    log = SqliteLog.open(path)
    await log.aclose()
    reader = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM messages").fetchone()
    log = SqliteLog.open(path)
    await say(log, 301)
    left = freeze(path.parent, tmp_path / "left")
    reader.close()
    await log.aclose()
    assert await count(left) == 301


@pytest.mark.parametrize("step", ["_record", "write_name", "_empty_wal"])
async def test_a_full_disk_is_no_reason_not_to_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    path = await crashed(tmp_path, 300)
    with monkeypatch.context() as patch:
        patch.setattr(generation, step, fail)
        log = SqliteLog.open(path)
        await say(log, 301)
        left = freeze(path.parent, tmp_path / "left")
        await log.aclose()
    assert await count(left) == 301
    assert await count(path) == 301


async def test_damage_that_is_found_while_opening_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        error = sqlite3.DatabaseError("malformed")
        error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise error

    path = await crashed(tmp_path, 300)
    monkeypatch.setattr(generation, "write_name", fail)
    with pytest.raises(CorruptError, match=r"is corrupt or no database\. Move it away together with"):
        SqliteLog.open(path)


async def test_a_first_start_that_was_cut_is_begun_again(tmp_path: Path) -> None:
    for name in ("history.sqlite.new", "history.sqlite.new-wal", "history.sqlite.new-shm"):
        (tmp_path / name).write_bytes(b"half of it")
    log = SqliteLog.open(tmp_path / "history.sqlite")
    await say(log, 1)
    await log.aclose()
    assert not (tmp_path / "history.sqlite.new").exists()
