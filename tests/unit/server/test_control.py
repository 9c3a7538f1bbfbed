"""How the operator's commands and a running server agree on what is deleted."""

import logging
import os
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
import trio

from securechat import limits
from securechat.history.memory import MemoryLog
from securechat.server.control import GO, READY, Answer, Control, Doomed, connect
from securechat.server.rooms import Fate, Rooms

ADDRESS = bytes(range(32))
LOG_ID = b"log id, 16 bytes"
ASKED = msgspec.json.encode(Doomed(ADDRESS, LOG_ID)) + b"\n"


class Desk:
    """A server's side of it, with one room."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.log = MemoryLog()
        self.control = Control(Rooms(self.log), data)

    async def connect(self) -> trio.SocketStream:
        """Connect as a command does; it takes a moment until the server listens."""
        with trio.fail_after(10):
            while True:
                try:
                    plain = connect(self.data, 5)
                except (FileNotFoundError, ConnectionRefusedError, BlockingIOError):
                    await trio.sleep(0.01)
                else:
                    plain.setblocking(False)
                    return trio.SocketStream(trio.socket.from_stdlib_socket(plain))


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    desk = Desk(tmp_path)
    await desk.log.open_room(ADDRESS, LOG_ID)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.control.serve)
        yield desk
        nursery.cancel_scope.cancel()
    assert not (tmp_path / "control").exists()


async def receive(stream: trio.SocketStream) -> bytes:
    """Return a line, without its end; nothing at the end of what is said."""
    line = b""
    with trio.fail_after(10):
        while not line.endswith(b"\n"):
            data = await stream.receive_some(1)
            if not data:
                break
            line += data
    return line.rstrip(b"\n")


async def ask(stream: trio.SocketStream) -> Answer:
    await stream.send_all(ASKED)
    assert await receive(stream) == READY
    await stream.send_all(GO + b"\n")
    return msgspec.json.decode(await receive(stream), type=Answer)


async def test_a_room_is_deleted_and_the_command_is_told(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with await desk.connect() as command:
        assert await ask(command) == Answer(Fate.DELETED)
        assert await ask(command) == Answer(Fate.ABSENT)
    assert await desk.log.count_rooms() == 0
    assert "the room 00010203 was deleted" in caplog.messages


@pytest.mark.parametrize("waits", [False, True])
async def test_a_command_that_left_has_asked_for_nothing(desk: Desk, waits: bool) -> None:
    async with await desk.connect() as command:
        await command.send_all(ASKED)
        if waits:
            assert await receive(command) == READY
    async with await desk.connect() as other:  # the server has turned to others, and has dealt with the first
        await other.send_all(ASKED)
        assert await receive(other) == READY
        assert await desk.log.count_rooms() == 1


@pytest.mark.parametrize("line", [b"nonsense\n", b"{}\n", b"x" * 10_000, b'{"address":"AAAA","log_id":1}\n', b"\n"])
async def test_what_is_no_request_ends_the_command(desk: Desk, line: bytes) -> None:
    async with await desk.connect() as command:
        await command.send_all(line)
        with suppress(trio.BrokenResourceError):  # what the server did not read makes the end a reset
            assert await receive(command) == b""
    async with await desk.connect() as command:
        assert await ask(command) == Answer(Fate.DELETED)


async def test_no_more_commands_are_served_than_allowed(desk: Desk) -> None:
    served = [await desk.connect() for _ in range(limits.CONTROL_COMMANDS)]
    for command in served:
        await command.send_all(ASKED)
        assert await receive(command) == READY
    async with await desk.connect() as one_more:
        assert await receive(one_more) == b""
    for command in served:
        await command.aclose()


async def test_a_command_that_says_nothing_is_ended(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(limits, "CONTROL_TIMEOUT", 0.01)
    caplog.set_level(logging.INFO)
    async with await desk.connect() as command:
        assert await receive(command) == b""
    assert caplog.messages == ["a command of the operator was cut off: TooSlowError()"]


@pytest.mark.parametrize("kind", ["file", "directory", "link"])
async def test_what_stands_in_place_of_the_socket_is_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    path = tmp_path / "control"
    match kind:
        case "file":
            path.write_text("theirs")
        case "directory":
            path.mkdir()
        case _:
            path.symlink_to(tmp_path / "elsewhere")
    before = path.lstat()
    await Control(Rooms(MemoryLog()), tmp_path).serve()
    (message,) = caplog.messages
    assert message.startswith("'securechat rooms delete' cannot work while this server runs: ")
    assert os.path.samestat(before, path.lstat())


async def test_a_socket_that_a_crash_left_is_replaced(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as crashed:
        crashed.bind(str(tmp_path / "control"))
    desk = Desk(tmp_path)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.control.serve)
        with trio.fail_after(10):
            while True:
                try:
                    connect(tmp_path, 5).close()
                    break
                except ConnectionRefusedError:
                    await trio.sleep(0.01)
        nursery.cancel_scope.cancel()


async def test_the_path_of_the_directory_may_be_long(tmp_path: Path) -> None:
    data = tmp_path / ("d" * 120) / ("e" * 120)
    data.mkdir(parents=True)
    desk = Desk(data)
    await desk.log.open_room(ADDRESS, LOG_ID)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.control.serve)
        async with await desk.connect() as command:
            assert await ask(command) == Answer(Fate.DELETED)
        assert (data / "control").stat().st_mode & 0o777 == 0o600
        nursery.cancel_scope.cancel()
