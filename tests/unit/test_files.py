"""Private files: whole or not at all."""

import os
import stat
from pathlib import Path

import pytest

from securechat.errors import StorageError
from securechat.files import create_private, make_private_directory, write_private
from tests.support.service import USER, needs_root


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_file_is_written_whole_and_private(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        write_private(tmp_path / "file", b"content" * 10_000)
    finally:
        os.umask(before)
    assert (tmp_path / "file").read_bytes() == b"content" * 10_000
    assert mode_of(tmp_path / "file") == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["file"], "nothing temporary stays"


def test_a_file_that_was_open_to_all_is_private_when_written_again(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o666)
    write_private(path, b"")
    assert path.read_bytes() == b""
    assert mode_of(path) == 0o600


def test_who_has_the_old_file_open_still_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_private(path, b"old")
    with path.open("rb") as old:
        write_private(path, b"new")
        assert old.read() == b"old"
    assert path.read_bytes() == b"new"


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_bytes(b"theirs")
    (tmp_path / "file").symlink_to(tmp_path / "theirs")
    write_private(tmp_path / "file", b"mine")
    assert (tmp_path / "theirs").read_bytes() == b"theirs"
    assert not (tmp_path / "file").is_symlink()


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failing_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "file"
    write_private(path, b"old")

    def fail(*args: object) -> None:
        raise OSError(28, "No space left on device")

    if step == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    else:
        monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="No space left"):
        write_private(path, b"new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"old"


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_private(path, b"old")

    def interrupt(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_private(path, b"new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"old"


def test_the_content_is_on_the_disk_before_it_takes_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_private(path, b"old")
    seen: list[tuple[int, bytes]] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: seen.append((os.fstat(descriptor).st_size, path.read_bytes())))
    write_private(path, b"brand new")
    assert seen == [(9, b"old")]


def test_a_directory_in_place_of_the_file_stays(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(IsADirectoryError):
        write_private(tmp_path / "file", b"new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_directory_that_is_absent_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_private(tmp_path / "absent" / "file", b"new")


def test_a_private_directory_is_made_with_its_parents(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        made = make_private_directory(tmp_path / "a" / "b")
    finally:
        os.umask(before)
    assert made == tmp_path / "a" / "b"
    assert mode_of(made) == 0o700
    assert make_private_directory(made) == made, "it may exist"


def test_a_file_in_place_of_the_directory_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StorageError, match=r"cannot be made: .*\. Name another one, or check its rights\."):
            make_private_directory(path)


def test_a_file_may_be_for_all_to_read_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        write_private(tmp_path / "file", b"", 0o644)
    finally:
        os.umask(before)
    assert mode_of(tmp_path / "file") == 0o644


def test_a_new_file_takes_no_name_that_is_taken(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "file").write_bytes(b"theirs")
    for name in ("link", "file"):
        with pytest.raises(FileExistsError):
            create_private(tmp_path / name)
    assert not (tmp_path / "nowhere").exists()
    assert (tmp_path / "file").read_bytes() == b"theirs"


def owners(*paths: Path) -> set[tuple[int, int]]:
    return {(path.lstat().st_uid, path.lstat().st_gid) for path in paths}


@needs_root
def test_what_root_makes_belongs_to_the_owner_of_its_directory(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    os.chown(theirs, USER, USER)
    os.close(create_private(theirs / "file"))
    write_private(theirs / "written", b"")
    below = make_private_directory(theirs / "a" / "b")
    write_private(below / "file", b"")
    assert owners(*theirs.rglob("*")) == {(USER, USER)}
    mine = make_private_directory(tmp_path / "mine", owner=theirs)
    assert owners(mine) == {(USER, USER)}
    write_private(tmp_path / "file", b"")
    assert owners(tmp_path / "file") == {(os.geteuid(), os.getegid())}


@needs_root
def test_root_gives_away_nothing_that_was_there_before(tmp_path: Path) -> None:
    theirs, mine = tmp_path / "theirs", tmp_path / "mine"
    theirs.mkdir()
    (mine / "below").mkdir(parents=True)
    os.chown(theirs, USER, USER)
    (theirs / "link").symlink_to(mine)
    (theirs / "directory").mkdir()
    make_private_directory(theirs / "link")
    make_private_directory(theirs / "directory")
    assert owners(mine, theirs / "directory") == {(os.geteuid(), os.getegid())}
