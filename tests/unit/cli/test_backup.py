"""A backup is whole or is not there, whatever fails on the way."""

import errno
import os
import sqlite3
from pathlib import Path

import pytest
import trio

from securechat.cli import backup, run
from securechat.history.log import Append
from securechat.history.sqlite import HISTORY_FILE, SqliteLog

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory with a room, a key and a certificate."""

    async def fill() -> None:
        log = SqliteLog.open(made / HISTORY_FILE)
        opened = await log.open_room(bytes(32), bytes(16))
        assert opened is not None
        await log.append([Append(opened[0].room, 0, os.urandom(3000)) for _ in range(20)])
        await log.aclose()

    made = tmp_path / "data"
    made.mkdir()
    for name in ("key.pem", "cert.pem"):
        (made / name).write_text(name)
    trio.run(fill)
    return made


def back_up(data: Path) -> int:
    return run(["backup", str(data.parent / "copy"), "--data", str(data)])


@pytest.mark.parametrize("step", ["write_private", "copy", "create_private", "sync"])
def test_a_full_disk_leaves_nothing(data: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, step: str) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(backup, step, fail)
        assert back_up(data) == 1
    assert "No space left on device. Correct that, and try again." in capsys.readouterr().err
    assert [path.name for path in data.parent.iterdir()] == ["data"]
    assert back_up(data) == 0


def test_all_of_it_is_on_the_disk_before_it_has_its_name(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    fsync = os.fsync

    def watch(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", watch)
        assert back_up(data) == 0
    assert synced[-1] == data.parent, "its name"
    whole = synced[-2]
    assert whole.name.startswith("copy.incomplete-")
    last = {path.name.lstrip(".").rsplit(".", 1)[0] for path in synced if path.parent == whole}
    assert last >= {"key.pem", "cert.pem", "history"}
    assert not whole.exists()


@pytest.mark.parametrize("name", ["key.pem", "cert.pem", HISTORY_FILE])
def test_what_is_no_file_is_not_waited_for(data: Path, capsys: Capture, name: str) -> None:
    (data / name).unlink()
    os.mkfifo(data / name)
    assert back_up(data) == 1
    assert f"{name}: It is no regular file." in capsys.readouterr().err
    assert not (data.parent / "copy").exists()


def test_a_corrupt_history_is_not_called_a_backup(data: Path, capsys: Capture) -> None:
    path = data / HISTORY_FILE
    with sqlite3.connect(path) as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'messages'").fetchone()
    connection.close()
    content = bytearray(path.read_bytes())
    content[(page - 1) * 4096 : page * 4096] = os.urandom(4096)
    path.write_bytes(content)
    assert back_up(data) == 1
    assert f"{path} is corrupt. Restore a backup that was made earlier." in capsys.readouterr().err
    assert [path.name for path in data.parent.iterdir()] == ["data"]


def test_where_there_is_nothing_to_copy_it_is_said(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "data").mkdir()
    assert back_up(tmp_path / "data") == 1
    assert "There is no history in" in capsys.readouterr().err
    assert not (tmp_path / "copy").exists()
