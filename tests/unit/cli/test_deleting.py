"""Rooms are deleted whatever the server does meanwhile, and what is reported is what is known."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec
import pytest
import trio

from securechat import limits
from securechat.cli.deleting import delete
from securechat.cli.directory import only_server
from securechat.errors import SecurechatError
from securechat.history.sqlite import HISTORY_FILE, SqliteLog
from securechat.server.control import GO, READY, Answer, Doomed
from securechat.server.rooms import Fate

ROOMS = [Doomed(bytes([number]) * 32, bytes([number]) * 16) for number in range(3)]


def with_log(data: Path, action: str) -> int:
    """Do something to all rooms of a history, and return how many there are then."""

    async def act() -> int:
        log = SqliteLog.open(data / HISTORY_FILE)
        try:
            for room in ROOMS:
                if action == "create":
                    await log.open_room(room.address, room.log_id)
                elif action == "delete":
                    await log.delete_room(room.address)
            return await log.count_rooms()
        finally:
            await log.aclose()

    return trio.run(act)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(limits, "CONTROL_PATIENCE", 0.3)
    monkeypatch.setattr(limits, "CONTROL_DELETION_PATIENCE", 0.3)
    monkeypatch.setattr(limits, "CONTROL_POLL", 0.01)
    with_log(tmp_path, "create")
    return tmp_path


class FakeServer:
    """Has the lock of the directory, and answers as it is told.

    Attributes:
        asked: What commands have said.
    """

    def __init__(self, data: Path, answer: Callable[["FakeServer", socket.socket], None]) -> None:
        self.data = data
        self.asked: list[bytes] = []
        self._answer = answer
        self._stack = ExitStack()
        self._stack.enter_context(only_server(data))
        self._listener = self._stack.enter_context(socket.socket(socket.AF_UNIX))
        self._listener.bind(str(data / "control"))
        self._listener.listen()

    def run(self) -> None:
        """Serve one command, until the connection ends."""
        with self._listener.accept()[0] as connection:
            self._answer(self, connection)

    def hear(self, connection: socket.socket) -> bytes:
        """Return what a command says next."""
        line = connection.makefile("rb", buffering=0).readline().rstrip(b"\n")
        self.asked.append(line)
        return line

    def die(self) -> None:
        """End as a killed process does: the lock is free, and the socket stays."""
        self._stack.close()


@contextmanager
def served(data: Path, answer: Callable[[FakeServer, socket.socket], None]) -> Iterator[FakeServer]:
    server = FakeServer(data, answer)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield server
    finally:
        thread.join()
        server.die()


def grant(server: FakeServer, connection: socket.socket, answer: Answer) -> None:
    """Let a command have its way for one room."""
    server.hear(connection)
    connection.sendall(READY + b"\n")
    assert server.hear(connection) == GO
    connection.sendall(msgspec.json.encode(answer) + b"\n")


def test_what_the_server_answers_is_reported(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def answer(server: FakeServer, connection: socket.socket) -> None:
        for fate in (Fate.DELETED, Fate.IN_USE, Fate.ABSENT):
            grant(server, connection, Answer(fate))

    with served(data, answer):
        delete(data, ROOMS)
    assert capsys.readouterr().err == "Deleted: 1.\nKept, because in use: 1.\nAlready gone: 1.\n"


def test_what_fails_is_reported_with_the_reason(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def answer(server: FakeServer, connection: socket.socket) -> None:
        grant(server, connection, Answer(None, "The disk is full. Make room on it."))
        grant(server, connection, Answer(Fate.DELETED))
        grant(server, connection, Answer(None, "The disk is full. Make room on it."))

    with served(data, answer), pytest.raises(SecurechatError, match=r"^Not deleted: 2\. The disk is full\. Make room"):
        delete(data, ROOMS)
    assert capsys.readouterr().err == "Deleted: 1.\n"


def test_a_server_that_does_not_answer_is_not_told_to_delete(data: Path) -> None:
    def answer(server: FakeServer, connection: socket.socket) -> None:
        server.hear(connection)
        assert server.hear(connection) == b"", "the command gave up"

    with served(data, answer) as server, pytest.raises(SecurechatError, match=r"^Not deleted: 3\. The server does not"):
        delete(data, ROOMS)
    assert GO not in server.asked


def test_a_deletion_that_hangs_is_not_called_undone(data: Path) -> None:
    def answer(server: FakeServer, connection: socket.socket) -> None:
        grant(server, connection, Answer(Fate.DELETED))
        server.hear(connection)
        connection.sendall(READY + b"\n")
        assert server.hear(connection) == GO
        assert server.hear(connection) == b"", "the command gave up"

    expected = r"^Not deleted: 1\. The server began to delete 01010101 and does not answer: it may still do so\."
    with served(data, answer), pytest.raises(SecurechatError, match=expected):
        delete(data, ROOMS)


@pytest.mark.parametrize("when", ["before", "ready", "go", "done"])
def test_what_a_killed_server_left_is_deleted_by_hand(
    data: Path, capsys: pytest.CaptureFixture[str], when: str
) -> None:
    def answer(server: FakeServer, connection: socket.socket) -> None:
        if when != "before":
            server.hear(connection)
            connection.sendall(READY + b"\n")
        if when in {"go", "done"}:
            server.hear(connection)
        if when == "done":
            with_log(data, "delete")
        server.die()

    with served(data, answer):
        delete(data, ROOMS)
    assert capsys.readouterr().err == ("Deleted: 1.\nAlready gone: 2.\n" if when == "done" else "Deleted: 3.\n")
    assert with_log(data, "count") == 0


def test_a_server_that_stops_may_take_its_time(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It has the lock and no socket yet, or no more."""
    with ExitStack() as stack:
        stack.enter_context(only_server(data))
        thread = threading.Timer(0.1, stack.close)
        thread.start()
        delete(data, ROOMS)
        thread.join()
    assert capsys.readouterr().err == "Deleted: 3.\n"
