"""A log as its operator sees it from outside: what is wrong with it is one sentence, and nothing is written."""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from securechat.errors import StorageError
from securechat.history import survey
from securechat.history.generation import StrangeWalError, refuse_strange_wal
from securechat.history.sqlite import SqliteLog
from securechat.history.survey import summarise

ADDRESS = bytes(range(32))
LOG_ID = b"log id, 16 bytes"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a log with a room."""

    async def fill() -> None:
        log = SqliteLog.open(made)
        await log.open_room(ADDRESS, LOG_ID)
        await log.aclose()

    made = tmp_path / "history.sqlite"
    trio.run(fill)
    return made


def test_a_room_has_what_tells_it_from_a_later_one(path: Path) -> None:
    (room,) = summarise(path)
    assert (room.address, room.log_id, room.newest, room.messages) == (ADDRESS, LOG_ID, 0, 0)


def test_where_nothing_can_be_written_a_whole_log_is_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sorted(path.parent.iterdir())
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert len(summarise(path)) == 1
    assert sorted(path.parent.iterdir()) == before
    path.with_name("history.sqlite-wal").write_bytes(bytes(5000))
    path.with_name("history.sqlite-generation").unlink()
    with pytest.raises(StorageError, match=r"joined with history\.sqlite-wal, and its directory cannot be written\. C"):
        summarise(path)


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("absent", "There is no history in"),
        ("empty", "is empty: it was copied only in part"),
        ("directory", "is no regular file"),
        ("fifo", "is no regular file"),
        ("garbage", "is corrupt or no database"),
        ("another", "is a database of another program"),
        ("no directory", "There is no history in"),
    ],
)
def test_what_is_no_log_is_one_sentence(path: Path, tmp_path: Path, kind: str, sentence: str) -> None:
    path.unlink()
    match kind:
        case "empty":
            path.touch()
        case "directory":
            path.mkdir()
        case "fifo":
            os.mkfifo(path)
        case "garbage":
            path.write_bytes(os.urandom(5000))
        case "another":
            with sqlite3.connect(path) as connection:
                connection.execute("CREATE TABLE theirs (x)")
            connection.close()
        case "no directory":
            (tmp_path / "file").touch()
            path = tmp_path / "file" / "history.sqlite"
    with pytest.raises(StorageError, match=sentence):
        summarise(path)


def test_a_server_that_starts_meanwhile_is_waited_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two looks, the database and the record of its generation may be of different moments."""
    answers: Iterator[bool] = iter([True, False])

    def look(path: Path) -> None:
        if next(answers):
            raise StrangeWalError("It was replaced.")
        refuse_strange_wal(path)

    monkeypatch.setattr(survey, "refuse_strange_wal", look)
    monkeypatch.setattr(survey, "_MOMENT", 0)
    assert len(summarise(path)) == 1


def test_a_copy_is_another_generation(path: Path, tmp_path: Path) -> None:
    copied = tmp_path / "copy.sqlite"
    survey.copy(path, copied)
    assert sorted(file.name for file in tmp_path.glob("copy*")) == ["copy.sqlite"]
    assert summarise(copied) == summarise(path)
    shutil.copy(path.with_name("history.sqlite-generation"), tmp_path / "copy.sqlite-generation")
    (tmp_path / "copy.sqlite-wal").write_bytes(bytes(5000))
    with pytest.raises(StrangeWalError):
        summarise(copied)
