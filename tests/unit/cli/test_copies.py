"""A restore that is cut off at any step leaves the old state or the new one."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from securechat.cli import copies
from securechat.cli.copies import INCOMPLETE, commit, incomplete, refuse_unsettled, settle
from securechat.cli.directory import LOCK_FILE, only_server
from securechat.errors import StorageError

OLD = {
    "history.sqlite": "old",
    "history.sqlite-wal": "old",
    "history.sqlite-generation": "old",
    "key.pem": "old",
    "cert.pem": "old",
    "access.log": "kept",
}
NEW = {"history.sqlite": "new", "history.sqlite-generation": "new", "key.pem": "new", "cert.pem": "new"}


def fill(directory: Path, files: dict[str, str]) -> Path:
    directory.mkdir(parents=True)
    for name, text in files.items():
        (directory / name).write_text(text)
    return directory


def files_in(directory: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in directory.iterdir() if path.is_file() and path.name != LOCK_FILE}


def before_of(directory: Path) -> dict[str, str]:
    (before,) = directory.glob("before-restore-*")
    return files_in(before)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory in which a restore is staged."""
    data = fill(tmp_path / "data", OLD)
    fill(data / "restoring.incomplete-12345678", NEW)
    return data


@pytest.fixture
def staged(data: Path) -> Path:
    return data / "restoring.incomplete-12345678"


def test_what_is_restored_replaces_what_was_there(data: Path, staged: Path) -> None:
    commit(data, staged)
    before = settle(data)
    assert files_in(data) == {**NEW, "access.log": "kept"}
    assert before is not None
    assert files_in(before) == {name: text for name, text in OLD.items() if text == "old"}
    assert settle(data) is None
    assert len(list(data.iterdir())) == len(NEW) + 2


def test_what_is_not_restored_stays(data: Path, staged: Path) -> None:
    for name in ("history.sqlite", "history.sqlite-generation"):
        (staged / name).unlink()
    commit(data, staged)
    settle(data)
    assert files_in(data)["history.sqlite-wal"] == "old"
    assert files_in(data)["key.pem"] == "new"
    assert before_of(data) == {"key.pem": "old", "cert.pem": "old"}


def test_a_restore_into_an_empty_directory_keeps_nothing(tmp_path: Path) -> None:
    staged = fill(tmp_path / "data" / "restoring.incomplete-1", NEW)
    commit(tmp_path / "data", staged)
    assert settle(tmp_path / "data") is None
    assert files_in(tmp_path / "data") == NEW


def test_two_restores_within_a_second_keep_both_states(data: Path, staged: Path) -> None:
    commit(data, staged)
    settle(data)
    commit(data, fill(staged, NEW))
    settle(data)
    assert len(list(data.glob("before-restore-*"))) == 2


def test_a_cut_at_any_step_is_carried_through(
    data: Path, staged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step is a rename: the directory is copied before each, and settled there."""
    states: list[Path] = []
    rename = Path.rename

    def watch(path: Path, target: Path) -> Path:
        states.append(tmp_path / f"state{len(states)}")
        shutil.copytree(data, states[-1])
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", watch)
        commit(data, staged)
        settle(data)
    assert len(states) == 1 + 5 + 1 + 4
    assert files_in(states[0]) == OLD, "before the first rename nothing has changed"
    for state in states[1:]:
        with pytest.raises(StorageError, match=r"is running or was interrupted\. Start the server"):
            refuse_unsettled(state)
        with only_server(state):
            assert files_in(state) == {**NEW, "access.log": "kept"}, state
        assert before_of(state) == {name: text for name, text in OLD.items() if text == "old"}, state
        refuse_unsettled(state)


def test_what_cannot_be_carried_through_is_said(data: Path, staged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit(data, staged)

    def fail(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    failing: list[Callable[..., None]] = [fail]
    with monkeypatch.context() as patch:
        patch.setattr(copies, "sync", failing[0])
        with pytest.raises(StorageError, match=r"cannot be completed: Read-only file system\. Check the disk"):
            settle(data)
    settle(data)
    assert files_in(data) == {**NEW, "access.log": "kept"}


@pytest.mark.parametrize("name", ["restoring-notes", "restored-20260101", "before-restore-x", "restoring.incomplete-1"])
def test_names_that_look_like_it_are_left_alone(tmp_path: Path, name: str) -> None:
    fill(tmp_path / name, NEW)
    refuse_unsettled(tmp_path)
    assert settle(tmp_path) is None
    assert files_in(tmp_path / name) == NEW
    assert os.listdir(tmp_path) == [name]  # noqa: PTH208


@pytest.mark.parametrize("by", ["file", "name"])
def test_an_interrupted_backup_is_no_data_directory(tmp_path: Path, by: str) -> None:
    directory = fill(incomplete(tmp_path / "copy") if by == "name" else tmp_path / "copy", {})
    if by == "file":
        (directory / INCOMPLETE).touch()
    with (
        pytest.raises(StorageError, match=r"is an incomplete backup: .* Use another"),
        only_server(directory),
    ):
        raise AssertionError("a server on half of a backup")
