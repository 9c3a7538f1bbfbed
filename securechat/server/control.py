"""How commands of the operator ask the running server, which alone may write to the log.

The server listens on a socket in its data directory: who may use that may ask. A command asks for one room at a
time, in lines of JSON::

    command: what is to be deleted      server: "ready"
    command: "go"                       server: what became of it

The two steps are what makes an answer that does not come mean something. The server deletes only after "go", which
a command says only while it waits: one that gave up before, or was killed, has asked for nothing, however long
its words lie in the socket of a server that hangs. After "go" a command that hears nothing knows that it knows
nothing, and says so. No file waits to be carried out: a crash leaves nothing to be cleaned up, a full disk does not
prevent a deletion, and what else stands in the directory is never looked at.
"""

import logging
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec
import trio

from securechat import limits
from securechat.errors import SecurechatError
from securechat.server.rooms import Fate, Rooms

READY: Final = b'"ready"'
GO: Final = b'"go"'
_CONTROL_FILE: Final = "control"
_ADDRESS_BYTES: Final = 100  # of a socket's name; systems differ between 103 and 107
_logger = logging.getLogger("securechat.server")


class Doomed(msgspec.Struct, frozen=True):
    """A room to be deleted, as the operator saw it; see ``Rooms.delete``."""

    address: bytes
    log_id: bytes
    newest: int | None = None


class Answer(msgspec.Struct, frozen=True):
    """What became of it; ``fate`` is None where it failed, and ``reason`` says why."""

    fate: Fate | None
    reason: str = ""


class Control:
    """Obeys the commands of the operator.

    Args:
        rooms: The rooms.
        data: The data directory.
    """

    def __init__(self, rooms: Rooms, data: Path) -> None:
        self._rooms = rooms
        self._path = data / _CONTROL_FILE
        self._commands = 0

    async def serve(self) -> None:
        """Run for ever; where there can be no socket, say so once."""
        try:
            listener = await trio.to_thread.run_sync(_listen, self._path)
        except OSError as error:
            _logger.warning(
                "'securechat rooms delete' cannot work while this server runs: %s cannot be made: %s",
                self._path,
                error.strerror or error,
            )
            return
        try:
            await trio.serve_listeners(self._obey, [trio.SocketListener(trio.socket.from_stdlib_socket(listener))])
        finally:
            _remove(self._path)

    async def _obey(self, stream: trio.SocketStream) -> None:
        """Serve one command: the one place where whatever goes wrong ends that command alone."""
        self._commands += 1
        try:
            if self._commands <= limits.CONTROL_COMMANDS:
                lines = _Lines(stream)
                while line := await lines.receive():
                    await self._delete(lines, msgspec.json.decode(line, type=Doomed))
        except (OSError, msgspec.DecodeError, trio.BrokenResourceError, trio.TooSlowError) as error:
            _logger.info("a command of the operator was cut off: %r", error)
        except Exception:
            _logger.exception("a fault of this server ended a command; please report it")
        finally:
            self._commands -= 1
            stream.socket.close()

    async def _delete(self, lines: "_Lines", doomed: Doomed) -> None:
        await lines.send(READY)
        if await lines.receive() != GO:
            return
        try:
            answer = Answer(await self._rooms.delete(doomed.address, doomed.log_id, doomed.newest))
        except SecurechatError as error:
            answer = Answer(None, str(error))
            _logger.error("a room could not be deleted: %s", error)
        if answer.fate is Fate.DELETED:
            _logger.info("the room %s was deleted", doomed.address.hex()[:8])
        await lines.send(msgspec.json.encode(answer))


class _Lines:
    """What a command says, line by line; every wait has a deadline."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._received = b""

    async def receive(self) -> bytes:
        """Return the next line without its end; nothing when the command has left."""
        with trio.fail_after(limits.CONTROL_TIMEOUT):
            while b"\n" not in self._received:
                if len(self._received) > limits.CONTROL_LINE_BYTES:
                    raise OSError("it says too much")
                data = await self._stream.receive_some(limits.CONTROL_LINE_BYTES)
                if not data:
                    return b""
                self._received += data
        line, _, self._received = self._received.partition(b"\n")
        return line

    async def send(self, line: bytes) -> None:
        """Write a line."""
        with trio.fail_after(limits.CONTROL_TIMEOUT):
            await self._stream.send_all(line + b"\n")


def _listen(path: Path) -> socket.socket:
    """Make the socket, in place of one that a crash left; nothing else is replaced."""
    _remove(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with suppress(OSError):  # Linux makes the file with these rights; elsewhere the directory's have to do
            os.fchmod(listener.fileno(), 0o600)
        with _short(path) as name:
            listener.bind(name)
        listener.listen(limits.CONTROL_COMMANDS)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def connect(data: Path, seconds: float) -> socket.socket:
    """Connect a command to the server that runs in ``data``.

    Args:
        data: The data directory.
        seconds: How long to wait for that.

    Raises:
        OSError: Nobody listens there, or not in time.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(seconds)
        with _short(data / _CONTROL_FILE) as name:
            connection.connect(name)
    except BaseException:
        connection.close()
        raise
    return connection


def _remove(path: Path) -> None:
    with suppress(OSError):
        if stat.S_ISSOCK(path.lstat().st_mode):
            path.unlink()


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """Yield a name of ``path`` that fits into a socket's address, where the system has a short one."""
    if len(os.fsencode(path)) <= _ADDRESS_BYTES:
        yield str(path)
        return
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{path.name}"
    finally:
        os.close(descriptor)
