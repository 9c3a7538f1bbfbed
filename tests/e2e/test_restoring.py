"""A server's data copied and put back, by command and by hand, after a crash and in the middle of one."""

import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.programs import Home, Program, ServerProgram, member_home

# Runs a command that stops half-way, when the key was copied.
HALF = """
import sys, time
from securechat.cli import backup, run

def copy(*_):
    print("half", flush=True)
    time.sleep(60)

backup.copy = copy
sys.exit(run(sys.argv[1:]))
"""


class Box(Home):
    """The machine of a server, with a member who writes to it."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.data = directory / "server"
        self.copy = directory / "copy"
        self._member: Home | None = None
        self._said = 0

    def say(self, server: ServerProgram, count: int) -> None:
        """Let the member write so many lines, and read them."""
        if self._member is None:
            self._member = member_home(self.directory / "member", server)
        self._member.trust(server)
        lines = "".join(f"line {number}\n" for number in range(self._said, self._said + count))
        assert self._member.send(server, "--create", typed=lines).code == 0
        self._said += count

    def back_up(self) -> None:
        """Make a backup at ``copy``."""
        result = self.run("backup", str(self.copy), "--data", str(self.data))
        assert (result.code, result.out) == (0, ""), result

    def restore(self, source: Path | None = None) -> None:
        """Restore it."""
        result = self.run("restore", str(source or self.copy), "--data", str(self.data))
        assert (result.code, result.out) == (0, ""), result

    def heard(self, server: ServerProgram) -> int:
        """Return how many lines a newcomer reads."""
        newcomer = member_home(self.directory / "newcomer", server)
        lines = newcomer.tail(server).out.splitlines()
        shutil.rmtree(newcomer.directory)
        return len([line for line in lines if ": line " in line])


@pytest.fixture
def box(tmp_path: Path) -> Box:
    (tmp_path / "box").mkdir()
    return Box(tmp_path / "box")


@pytest.fixture
def pin(box: Box) -> str:
    """A server that was backed up after 20 lines, and killed after as many more; its pin."""
    with box.serve() as server:
        box.say(server, 20)
        box.back_up()
        box.say(server, 20)
        server.stop(signal.SIGKILL)
        return server.pin


def modes(directory: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()}


def test_a_backup_of_a_running_server_is_a_server(box: Box) -> None:
    with box.serve() as server:
        box.say(server, 200)
        box.back_up()
        names = ("cert.pem", "history.sqlite", "history.sqlite-wal", "key.pem")
        assert modes(box.copy) == dict.fromkeys(names, 0o600)
        assert stat.S_IMODE(box.copy.stat().st_mode) == 0o700
        result = box.run("backup", str(box.copy), "--data", str(box.data))
        assert (result.code, "exists already" in result.err) == (1, True), "nothing is overwritten"
        assert server.stop().code == 0
    with box.serve("--data", str(box.copy)) as restored:
        assert restored.pin == server.pin
        assert box.heard(restored) == 200


def test_a_backup_is_restored_over_what_a_crash_left(box: Box, pin: str) -> None:
    box.restore()
    with box.serve() as server:
        assert server.pin == pin
        assert box.heard(server) == 20
        box.say(server, 1)
        server.stop()
    (before,) = box.data.glob("before-restore-*")
    assert {"cert.pem", "history.sqlite", "history.sqlite-wal", "key.pem"} <= {path.name for path in before.iterdir()}
    shutil.rmtree(box.copy)
    box.restore(before)
    with box.serve() as server:
        assert box.heard(server) == 40, "what was replaced is whole too"


def test_a_backup_is_restored_to_an_absent_directory(box: Box, pin: str) -> None:
    shutil.rmtree(box.data)
    box.restore()
    with box.serve() as server:
        assert server.pin == pin
        assert box.heard(server) == 20


def test_a_backup_on_a_read_only_medium_is_restored(box: Box, pin: str) -> None:
    for path in (box.copy, *box.copy.iterdir()):
        path.chmod(0o500 if path.is_dir() else 0o400)
    box.restore()
    with box.serve() as server:
        assert box.heard(server) == 20


def test_a_server_that_runs_is_not_restored_over(box: Box) -> None:
    with box.serve() as server:
        box.say(server, 20)
        box.back_up()
        result = box.run("restore", str(box.copy), "--data", str(box.data))
        assert result.code == 1
        assert f"A securechat server (process {server.process.pid}) uses" in result.err
        result = box.run("restore", str(box.data), "--data", str(box.directory / "other"))
        assert "is the directory of a server that runs. Make a backup" in result.err
        assert box.heard(server) == 20
    assert not (box.directory / "other").exists()


@pytest.mark.parametrize("how", ["cp -r", "mv"])
def test_a_copy_of_all_by_hand_restores(box: Box, pin: str, how: str) -> None:
    script = {
        "cp -r": 'cp -r "$1"/. "$2"/',
        "mv": 'mv "$1"/* "$2"/',
    }[how]
    subprocess.run(["sh", "-c", script, "sh", str(box.copy), str(box.data)], check=True)
    with box.serve() as server:
        assert server.pin == pin
        assert box.heard(server) == 20


@pytest.mark.parametrize("more", [0, 1000])
def test_a_copy_of_the_history_alone_is_noticed(box: Box, pin: str, more: int) -> None:
    if more:
        with box.serve() as server:
            box.say(server, more)
            server.stop(signal.SIGKILL)
    shutil.copy(box.copy / "history.sqlite", box.data)
    for command in (("server", "--port", "0"), ("rooms", "list"), ("backup", str(box.directory / "other"))):
        result = box.run(*command, "--data", str(box.data))
        assert result.code == 1
        assert "history.sqlite was replaced, and history.sqlite-wal beside it still belongs to the one" in result.err
        assert result.err.count("\n") == 1
    assert not (box.directory / "other").exists()
    (box.data / "history.sqlite-wal").rename(box.directory / "wal")
    with box.serve() as server:
        assert box.heard(server) == 20, "as it was told"


def test_what_is_no_backup_changes_nothing(box: Box, pin: str) -> None:
    path = box.copy / "history.sqlite"
    content = path.read_bytes()
    with sqlite3.connect(box.directory / "theirs.sqlite") as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    before = sorted(modes(box.data))
    for wrong in (
        b"",
        content[: len(content) // 2],
        content[:8192] + os.urandom(len(content) - 8192),
        (box.directory / "theirs.sqlite").read_bytes(),
    ):
        path.write_bytes(wrong)
        result = box.run("restore", str(box.copy), "--data", str(box.data))
        assert result.code == 1
        assert str(path) in result.err
        assert result.err.count("\n") == 1
        assert sorted(modes(box.data)) == before
    with box.serve() as server:
        assert box.heard(server) == 40


def test_where_there_is_no_backup_it_is_said(box: Box) -> None:
    for source in (box.directory / "absent", box.directory):
        result = box.run("restore", str(source), "--data", str(box.data))
        assert (result.code, "There is no backup in" in result.err) == (1, True)
    assert not box.data.exists()


def test_a_server_without_a_history_has_a_backup_of_its_key(box: Box) -> None:
    with box.serve("--memory") as server:
        box.back_up()
        pin = server.pin
    assert sorted(modes(box.copy)) == ["cert.pem", "key.pem"]
    shutil.rmtree(box.data)
    box.restore()
    with box.serve("--memory") as server:
        assert server.pin == pin


@pytest.fixture
def half(box: Box) -> Iterator[Program]:
    """A backup that has copied the key, and waits."""
    with box.serve() as server:
        box.say(server, 1)
        server.stop()
    line = (sys.executable, "-c", HALF, "backup", str(box.copy), "--data", str(box.data))
    with Program(line, box.env) as program:
        program.wait_for("half")
        yield program


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_an_interrupted_backup_leaves_nothing(box: Box, half: Program, number: signal.Signals, code: int) -> None:
    assert [path.name for path in box.directory.glob("copy*")] != []
    assert half.stop(number).code == code
    assert [path.name for path in box.directory.glob("copy*")] == []


def test_a_killed_backup_is_no_server(box: Box, half: Program) -> None:
    half.stop(signal.SIGKILL)
    (left,) = box.directory.glob("copy*")
    assert left.name.startswith("copy.incomplete-")
    left.rename(box.copy)  # as somebody does who does not read names
    for command in (("server", "--port", "0"), ("rooms", "list"), ("backup", str(box.directory / "other"))):
        result = box.run(*command, "--data", str(box.copy))
        assert (result.code, result.err.count("\n")) == (1, 1)
        assert "is an incomplete backup: making it was interrupted. Use another backup" in result.err
    result = box.run("restore", str(box.copy), "--data", str(box.data))
    assert "is an incomplete backup" in result.err
    assert "history.sqlite" not in modes(box.copy), "nothing was begun there"
    shutil.rmtree(box.copy)
    box.back_up()
