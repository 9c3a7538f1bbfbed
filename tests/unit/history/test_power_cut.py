"""What SQLite promises with ``synchronous = FULL``, held against what a power cut may leave of the files."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest

from securechat.history.log import Append
from securechat.history.sqlite import SqliteLog
from securechat.protocol import chain
from securechat.protocol.messages import Direction

ADDRESS = bytes(range(32))
LOG_ID = b"log id 16 bytes."
BATCHES = 25


class Written(NamedTuple):
    """The files of a log whose process was killed, and how long the WAL was after each append."""

    database: bytes
    wal: bytes
    lengths: list[int]
    envelopes: list[bytes]


@pytest.fixture
async def written(tmp_path: Path) -> Written:
    path = tmp_path / "history.sqlite"
    log = SqliteLog.open(path)
    opened = await log.open_room(ADDRESS, LOG_ID)
    assert opened is not None
    wal = path.with_name("history.sqlite-wal")
    lengths = [wal.stat().st_size]
    envelopes = [b"%d" % number * 150 for number in range(BATCHES)]
    for envelope in envelopes:
        await log.append([Append(opened[0].room, 0, envelope)])
        lengths.append(wal.stat().st_size)
    files = path.read_bytes(), wal.read_bytes()
    await log.aclose()
    return Written(*files, lengths, envelopes)


def leave(directory: Path, database: bytes, wal: bytes) -> Path:
    directory.mkdir()
    path = directory / "history.sqlite"
    path.write_bytes(database)
    path.with_name("history.sqlite-wal").write_bytes(wal)
    return path


async def open_after(directory: Path, written: Written, wal: bytes) -> list[bytes]:
    """Open what is left, and return the messages, which have to be the first that were appended."""
    path = leave(directory, written.database, wal)
    log = SqliteLog.open(path)
    try:
        opened = await log.open_room(ADDRESS, None)
        if opened is None:
            return []
        page = await log.read(opened[0].room, Direction.FORWARD, 1, 1000)
        found = [record.envelope for record in page.records]
        head = chain.root(ADDRESS, LOG_ID)
        for number, envelope in enumerate(found, 1):
            head = chain.link(head, number, chain.digest(envelope))
        assert found == written.envelopes[: opened[0].newest]
        assert opened[0].hash == head
        await log.append([Append(opened[0].room, 0, b"it goes on")])
    finally:
        await log.aclose()
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    return found


async def test_a_wal_cut_off_anywhere_holds_all_that_was_on_the_disk(written: Written, tmp_path: Path) -> None:
    random = Random(1)
    cuts = {random.randrange(len(written.wal)) for _ in range(60)}
    cuts |= {length + by for length in written.lengths for by in (-1, 0, 1)}
    for cut in sorted(cuts):
        found = await open_after(tmp_path / f"cut{cut}", written, written.wal[:cut])
        assert len(found) == max(0, sum(length <= cut for length in written.lengths) - 1)


def garbage(wal: bytes, start: int) -> bytes:
    return wal[:start] + Random(start).randbytes(len(wal) - start)


def zeros(wal: bytes, start: int) -> bytes:
    return wal[:start] + bytes(len(wal) - start)


def one_flipped_bit(wal: bytes, start: int) -> bytes:
    at = start + (len(wal) - start) // 2
    return wal[:at] + bytes([wal[at] ^ 4]) + wal[at + 1 :]


@pytest.mark.parametrize("spoil", [garbage, zeros, one_flipped_bit])
async def test_a_last_page_that_came_to_the_disk_as_something_else_is_not_taken(
    written: Written, tmp_path: Path, spoil: Callable[[bytes, int], bytes]
) -> None:
    for batch in range(1, BATCHES, 4):
        synced, end = written.lengths[batch], written.lengths[batch + 1]
        found = await open_after(tmp_path / f"batch{batch}", written, spoil(written.wal[:end], synced))
        assert len(found) == batch
