"""A log file: found by its path for each write, private, and never a reason to wait."""

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from securechat.server.destinations import LogFile, Stream


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "logs").mkdir()
    return tmp_path / "logs" / "access.log"


@pytest.fixture
def file(path: Path) -> Iterator[LogFile]:
    file = LogFile("access-log", "the access log", path)
    yield file
    file.close()


def write(file: LogFile, text: str) -> bool:
    is_new = file.refresh()
    assert file.write(text.encode()) == len(text)
    return is_new


def is_followed(file: LogFile) -> bool:
    return file.fault is None


def test_a_file_is_made_for_its_owner_alone(path: Path, file: LogFile) -> None:
    write(file, "one\n")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not write(file, "two\n")
    assert path.read_text() == "one\ntwo\n"


def test_what_was_there_stays(path: Path, file: LogFile) -> None:
    path.write_text("before\n")
    write(file, "one\n")
    assert path.read_text() == "before\none\n"


@pytest.mark.parametrize("is_created", [False, True], ids=["moved", "replaced"])
def test_rotation_is_noticed_without_a_signal(path: Path, file: LogFile, is_created: bool) -> None:
    write(file, "one\n")
    path.rename(path.with_name("access.log.1"))
    if is_created:
        path.touch()
    assert write(file, "two\n")
    assert path.with_name("access.log.1").read_text() == "one\n"
    assert path.read_text() == "two\n"


def test_a_file_cut_in_place_is_written_from_its_start(path: Path, file: LogFile) -> None:
    write(file, "one\n")
    path.write_bytes(b"")
    assert not write(file, "two\n")
    assert path.read_text() == "two\n"


def test_the_old_file_is_written_while_its_directory_is_away(path: Path, file: LogFile) -> None:
    write(file, "one\n")
    away = path.parent.with_name("away")
    path.parent.rename(away)
    assert not write(file, "two\n")
    assert not is_followed(file)
    away.rename(path.parent)
    write(file, "three\n")
    assert is_followed(file)
    assert path.read_text() == "one\ntwo\nthree\n"


def test_a_deleted_file_is_not_written(path: Path, file: LogFile) -> None:
    write(file, "one\n")
    shutil.rmtree(path.parent)
    for _ in range(2):
        with pytest.raises(FileNotFoundError):
            file.refresh()
    path.parent.mkdir()
    assert write(file, "two\n")
    assert path.read_text() == "two\n"


def test_a_fifo_without_a_reader_keeps_nobody_waiting(path: Path, file: LogFile) -> None:
    os.mkfifo(path)
    with pytest.raises(OSError, match="No such device") as caught:
        file.refresh()
    assert caught.value.errno == errno.ENXIO
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    write(file, "one\n")
    assert os.read(reader, 100) == b"one\n"
    os.close(reader)
    with pytest.raises(BrokenPipeError):
        write(file, "two\n")


def test_a_fifo_that_is_full_keeps_nobody_waiting(path: Path, file: LogFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("securechat.limits.LOG_RETRY", 0.001)
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    file.refresh()
    written = 0
    with suppress(BlockingIOError):
        while written < 100_000_000:
            written += file.write(bytes(4096))
    assert written < 100_000_000
    os.close(reader)


def test_a_pipe_is_lost_for_good_and_a_file_is_not(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    number = os.open(tmp_path / "out", os.O_CREAT | os.O_WRONLY, 0o600)
    assert not Stream("stderr", "standard error", writer).may_recover
    assert Stream("stderr", "standard error", number).may_recover
    for descriptor in (reader, writer, number):
        os.close(descriptor)


def test_what_is_discarded_goes_nowhere() -> None:
    reader, writer = os.pipe()
    stream = Stream("stderr", "standard error", writer)
    stream.discard()
    stream.write(bytes(1_000_000))  # the pipe would be full
    assert os.read(reader, 100) == b""
    os.close(reader)
    os.close(writer)
