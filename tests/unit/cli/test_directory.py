"""One server for one directory, whatever locks the file system has, and however the last one ended."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from securechat.cli.directory import LOCK_FILE, InUseError, is_in_use, only_server
from securechat.errors import SecurechatError

HOLDER = """
import fcntl, sys
from pathlib import Path
from securechat.cli.directory import only_server

def fail(*_):
    raise OSError(int(sys.argv[2]), "no such lock")

if int(sys.argv[2]):
    fcntl.flock = fail
with only_server(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(data: Path, code: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program that holds the lock; ``code`` is what flock(2) fails with, 0 for nothing."""
    line = [sys.executable, "-c", HOLDER, str(data), str(code)]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == b"locked\n"
        try:
            yield program
        finally:
            program.kill()


@pytest.fixture(params=[0, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK])
def code(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """What flock(2) fails with, in this process too."""
    number: int = request.param

    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    if number:
        monkeypatch.setattr(fcntl, "flock", fail)
    return number


def test_only_a_living_server_keeps_others_away(tmp_path: Path, code: int) -> None:
    with holder(tmp_path, code) as program:
        with (
            pytest.raises(InUseError, match=rf"A securechat server \(process {program.pid}\) uses"),
            only_server(tmp_path),
        ):
            raise AssertionError("two servers")
        assert is_in_use(tmp_path)
        program.send_signal(signal.SIGKILL)
        program.wait()
        assert not is_in_use(tmp_path)
        with only_server(tmp_path):
            assert (tmp_path / LOCK_FILE).read_text().strip() == str(os.getpid())


def test_where_there_are_no_locks_at_all_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", fail)
    monkeypatch.setattr(fcntl, "lockf", fail)
    with (
        pytest.raises(SecurechatError, match=r"has no locks: No locks available\. Name a directory on another"),
        only_server(tmp_path),
    ):
        raise AssertionError("without a lock")
    assert not is_in_use(tmp_path)


def test_the_lock_of_another_version_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / LOCK_FILE).write_text("12345\nsome.host.example\n")
    with only_server(tmp_path):
        assert (tmp_path / LOCK_FILE).read_text().split()[0] == str(os.getpid())


@pytest.mark.parametrize("kind", ["directory", "link", "fifo"])
def test_what_stands_in_place_of_the_lock_is_left_alone(tmp_path: Path, kind: str) -> None:
    path = tmp_path / LOCK_FILE
    match kind:
        case "directory":
            path.mkdir()
        case "link":
            path.symlink_to(tmp_path / "elsewhere")
        case _:
            os.mkfifo(path)
    with (
        pytest.raises(SecurechatError, match=r"lock cannot be opened: .*\. Check the rights of the directory"),
        only_server(tmp_path),
    ):
        raise AssertionError("without a lock")
    assert [entry.name for entry in tmp_path.iterdir()] == [LOCK_FILE]


def test_a_full_disk_is_no_reason_not_to_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", fail)
    with only_server(tmp_path):
        pass
