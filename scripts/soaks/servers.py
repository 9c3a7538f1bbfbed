"""A server in a process of its own, started, killed and watched from a trio program."""

import re
import signal
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from securechat.history.sqlite import HISTORY_FILE
from securechat.transport.pins import parse_pin
from tests.support.programs import READY, Home, Program, ServerProgram

KEEP_ALL = ("--retain-messages", "100000000")


class Machine:
    """The machine on which the server runs.

    Attributes:
        running: The server that runs now, or ran last.
        port: Where it listens, from its first start on.
    """

    def __init__(self, directory: Path, *arguments: str, env: dict[str, str] | None = None) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.home = Home(directory)
        self.home.env |= env or {}
        self._arguments = arguments
        self.port = 0
        self.running: ServerProgram

    @property
    def data(self) -> Path:
        """The server's data directory."""
        return self.home.directory / "server"

    @property
    def pin(self) -> bytes:
        """The server's pin, 32 bytes."""
        return parse_pin(self.running.pin)

    async def start(self) -> None:
        """Start the server and wait until it is ready."""
        self.running = await trio.to_thread.run_sync(self._start)
        self.port = self.running.port

    def _start(self) -> ServerProgram:
        return self.home.serve(*self._arguments, port=self.port)

    async def stop(self, number: int = signal.SIGTERM) -> None:
        """End it by a signal."""
        await trio.to_thread.run_sync(self.running.stop, number)

    async def start_and_kill(self, after: float) -> bool:
        """Start the server and kill it so many seconds later; tell whether it was ready by then."""
        line = (*self.home.command, "server", "--host", "127.0.0.1", "--port", str(self.port))
        program = Program((*line, "--data", str(self.data), *self._arguments), self.home.env)
        await trio.sleep(after)
        await trio.to_thread.run_sync(program.stop, signal.SIGKILL)
        return bool(re.search(READY, program.out))

    @property
    def resident(self) -> float:
        """The memory that the server has now, in MiB."""
        return self._status("VmRSS")

    @property
    def most_resident(self) -> float:
        """The most that it had, in MiB."""
        return self._status("VmHWM")

    def _status(self, name: str) -> float:
        text = Path(f"/proc/{self.running.process.pid}/status").read_text()
        match = re.search(rf"^{name}:\s+(\d+) kB$", text, re.MULTILINE)
        assert match is not None
        return int(match[1]) / 1024

    def faults(self) -> int:
        """Return how many faults of its own the server has logged."""
        return self.running.err.count("Traceback")

    def integrity(self) -> str:
        """Return what SQLite says of the history, ``ok`` when it is whole. The server is not running."""
        connection = sqlite3.connect(self.data / HISTORY_FILE)
        try:
            return str(connection.execute("PRAGMA integrity_check").fetchone()[0])
        finally:
            connection.close()


@asynccontextmanager
async def open_machine(directory: Path, *arguments: str, **settings: Any) -> AsyncIterator[Machine]:
    """Run a server while the context is open; it may be killed and started again inside."""
    machine = Machine(directory, *arguments, **settings)
    await machine.start()
    try:
        yield machine
    finally:
        machine.running.__exit__(None, None, None)
