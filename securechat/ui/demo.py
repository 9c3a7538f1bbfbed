"""The demonstration: real processes on loopback, in a temporary directory, gone at the end."""

import os
import re
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import trio

from securechat import limits
from securechat.errors import SecurechatError
from securechat.sealing.words import generate_passphrase

Tell = Callable[[str], None]

_ROOM: Final = "Tea House"
_DEADLINE: Final = 60.0
_HEX_BYTES: Final = 24
_READY: Final = re.compile(r"ready (\S+):(\d+) (sha256:\S+)")
_TALK: Final = (
    ("alice", "hello bob, is this private?"),
    ("bob", "only you and I can read it, alice"),
    ("alice", "and the server?"),
)
_TYPED_WHILE_DOWN: Final = ("bob", "it carries this, and cannot tell what it is")


class _Program:
    """A running ``securechat``: what it prints is kept, and can be waited for."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self._lines: list[str] = []
        self._news = trio.Event()

    async def listen(self, stream: trio.abc.ReceiveStream) -> None:
        """Run until the end of a stream: keep its lines."""
        rest = b""
        async for data in stream:
            *lines, rest = (rest + data).split(b"\n")
            self._lines += [line.decode(errors="replace") for line in lines]
            self._news.set()

    async def wait_for(self, pattern: str) -> re.Match[str]:
        """Return the first match in what is printed, from now on or before."""
        while True:
            for line in self._lines:
                if match := re.search(pattern, line):
                    return match
            self._news = trio.Event()
            await self._news.wait()

    async def type(self, line: str) -> None:
        """Type a line."""
        assert self.process.stdin is not None
        await self.process.stdin.send_all(line.encode() + b"\n")

    async def end(self) -> None:
        """Close its input, and wait for it."""
        assert self.process.stdin is not None
        await self.process.stdin.aclose()
        await self.process.wait()


class _Stage:
    """A directory, a passphrase, and the programs that run with them."""

    def __init__(self, nursery: trio.Nursery, directory: Path) -> None:
        self._nursery = nursery
        self._directory = directory
        self._environment = {k: v for k, v in os.environ.items() if not k.startswith("SECURECHAT_")}
        self._secret = {"SECURECHAT_PASSPHRASE": generate_passphrase(limits.GENERATED_WORDS)}
        self._environment["XDG_CONFIG_HOME"] = str(directory)
        self._programs: list[_Program] = []

    @property
    def history(self) -> Path:
        """Where the server keeps its log."""
        return self._directory / "server" / "history.sqlite"

    async def _start(self, *arguments: str, **environment: str) -> _Program:
        """Start ``securechat`` with arguments, and with more in its environment."""
        process = await trio.lowlevel.open_process(
            [sys.executable, "-m", "securechat", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self._environment | environment,
        )
        program = _Program(process)
        assert process.stdout is not None
        assert process.stderr is not None
        self._nursery.start_soon(program.listen, process.stdout)
        self._nursery.start_soon(program.listen, process.stderr)
        self._programs.append(program)
        return program

    async def start_server(self, port: str = "0") -> _Program:
        """Start the server on loopback; nothing tells it the passphrase."""
        data = str(self._directory / "server")
        return await self._start("server", "--host", "127.0.0.1", "--port", port, "--data", data)

    async def start_member(self, nick: str, server: str, pin: str) -> _Program:
        """Start a member's client, with a profile of its own."""
        room = ("--room", _ROOM, "--nick", nick, "--profile", str(self._directory / nick))
        return await self._start("chat", server, "--plain", "--create", "--pin", pin, *room, **self._secret)

    def kill_all(self) -> None:
        """End what still runs."""
        for program in self._programs:
            if program.process.poll() is None:
                program.process.kill()


def _temporary_directory() -> tempfile.TemporaryDirectory[str]:
    try:
        return tempfile.TemporaryDirectory(prefix="securechat-demo-")
    except OSError as error:
        raise SecurechatError(
            f"The demonstration has no place for its files: {error.strerror}.", "Set TMPDIR to a directory."
        ) from error


@asynccontextmanager
async def _open_stage() -> AsyncIterator[_Stage]:
    with _temporary_directory() as directory:
        async with trio.open_nursery() as nursery:
            stage = _Stage(nursery, Path(directory))
            try:
                with trio.fail_after(_DEADLINE):
                    yield stage
            except trio.TooSlowError:
                raise SecurechatError("The demonstration takes too long on this machine.", "Try it again.") from None
            finally:
                stage.kill_all()
                nursery.cancel_scope.cancel()


async def play(tell: Tell) -> None:
    """Play the demonstration.

    Args:
        tell: Shows one line.

    Raises:
        SecurechatError: It did not end within a minute.
    """
    async with _open_stage() as stage:
        tell("1. A server starts, with a fresh certificate, on a free port of this machine.")
        server = await stage.start_server()
        _, port, pin = (await server.wait_for(_READY.pattern)).groups()
        tell(f"   It prints its pin, {pin}")
        tell(f"2. alice and bob join the room {_ROOM!r}; both know its passphrase, the server does not.")
        address = f"127.0.0.1:{port}"
        members = {"alice": await stage.start_member("alice", address, pin)}
        await server.wait_for(r"created 127\.0\.0\.1")
        members["bob"] = await stage.start_member("bob", address, pin)
        await members["alice"].wait_for(r"bob\S* joined")
        for nick, text in _TALK:
            await _say(members, nick, text)
            tell(f"   {nick}: {text}")
        tell("3. The server is killed (kill -9). bob goes on typing.")
        server.process.kill()
        await server.process.wait()
        await members["bob"].wait_for("connection lost")
        await members["bob"].type(_TYPED_WHILE_DOWN[1])
        tell("4. The server is started again; both reconnect by themselves, and bob's message arrives, once.")
        server = await stage.start_server(port)
        read = [(await _read_by_other(members, nick, text)) for nick, text in (*_TALK, _TYPED_WHILE_DOWN)]
        for member in members.values():
            await member.end()
        _compare(tell, read, _stored(stage.history))
        server.process.terminate()
        await server.process.wait()


async def _say(members: dict[str, _Program], nick: str, text: str) -> None:
    await members[nick].type(text)
    await _read_by_other(members, nick, text)


async def _read_by_other(members: dict[str, _Program], nick: str, text: str) -> str:
    """Return the line in which the other member read a message, without its time."""
    other = members["bob" if nick == "alice" else "alice"]
    match = await other.wait_for(rf"{nick}\S*: {re.escape(text)}$")
    return match[0]


def _stored(history: Path) -> list[bytes]:
    connection = sqlite3.connect(f"file:{history}?mode=ro", uri=True)
    try:
        return [row[0] for row in connection.execute("SELECT envelope FROM messages ORDER BY sequence")]
    finally:
        connection.close()


def _compare(tell: Tell, read: list[str], stored: list[bytes]) -> None:
    tell("5. What was typed, what the server stored of it, and what the other one read:")
    for (nick, text), envelope, line in zip((*_TALK, _TYPED_WHILE_DOWN), stored, read, strict=True):
        tell("")
        tell(f"   {nick} typed    {text}")
        tell(f"   server stored  {envelope[:_HEX_BYTES].hex()}... ({len(envelope)} bytes)")
        tell(f"   read           {line}")
