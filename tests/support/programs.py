"""The real program in real processes, as people and scripts run it."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple, Self

from securechat.client.profile import Profile
from securechat.client.state import State
from securechat.sealing.keys import RoomSecret, derive_secret
from securechat.sealing.names import normalise_room
from securechat.transport.known_hosts import Entry, KnownHosts
from securechat.transport.pins import parse_pin
from tests.support.patience import PATIENCE

ROOM = "Tea House"
PASSPHRASE = "plaza unmolded tipper squash gallery oxidant"
SECURECHAT = (sys.executable, "-m", "securechat")
READY = re.compile(r"^ready (\S+):(\d+) (sha256:\S{43})$", re.MULTILINE)


class Result(NamedTuple):
    """How a program ended."""

    code: int
    out: str
    err: str


class Program:
    """A program that runs; what it prints is collected while it runs.

    Args:
        arguments: Its command line.
        env: Its environment.
        settings: More for ``subprocess.Popen``.

    Attributes:
        is_read: Cleared, nobody reads what it prints.
    """

    def __init__(self, arguments: Sequence[str], env: dict[str, str], **settings: Any) -> None:
        self.process = subprocess.Popen(
            arguments,
            env=env,
            **{"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **settings},
        )
        self._changed = threading.Condition()
        self.is_read = threading.Event()
        self.is_read.set()
        self._texts = {"out": b"", "err": b""}
        self._readers = [
            threading.Thread(target=self._read, args=(name, stream), daemon=True)
            for name, stream in (("out", self.process.stdout), ("err", self.process.stderr))
            if stream is not None
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, name: str, stream: IO[bytes]) -> None:
        with stream:
            while self.is_read.wait() and (data := os.read(stream.fileno(), 65536)):
                with self._changed:
                    self._texts[name] += data
                    self._changed.notify_all()

    @property
    def raw(self) -> bytes:
        """All that it wrote, as bytes."""
        return self._texts["out"] + self._texts["err"]

    @property
    def out(self) -> str:
        """What it has printed on standard output."""
        return self._texts["out"].decode()

    @property
    def err(self) -> str:
        """What it has printed on standard error."""
        return self._texts["err"].decode()

    def wait_for(self, pattern: str, stream: str = "out") -> re.Match[str]:
        """Return the first match in what it prints; fail when it does not come in time."""
        deadline = time.monotonic() + PATIENCE
        with self._changed:
            while True:
                match = re.search(pattern, self._texts[stream].decode(errors="replace"), re.MULTILINE)
                if match:
                    return match
                left = deadline - time.monotonic()
                if left <= 0 or (self.process.poll() is not None and not any(r.is_alive() for r in self._readers)):
                    raise AssertionError(f"no {pattern!r}; printed: {self.out!r}; complained: {self.err!r}")
                self._changed.wait(min(left, 0.2))

    def write(self, text: str | bytes) -> None:
        """Write to its standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(text if isinstance(text, bytes) else text.encode())
        self.process.stdin.flush()

    def end_input(self) -> None:
        """Close its standard input."""
        if self.process.stdin is not None and not self.process.stdin.closed:
            self.process.stdin.close()

    def finish(self) -> Result:
        """Close its input, wait for its end, and return how it ended."""
        self.end_input()
        self.process.wait(PATIENCE)
        for reader in self._readers:
            reader.join(PATIENCE)
        return Result(self.process.returncode, self.out, self.err)

    def stop(self, number: int = signal.SIGTERM) -> Result:
        """Send it a signal, wait for its end, and return how it ended."""
        self.process.send_signal(number)
        return self.finish()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.is_read.set()
        if self.process.poll() is None:
            self.process.kill()
        self.end_input()
        self.process.wait(PATIENCE)
        for reader in self._readers:
            reader.join(PATIENCE)


class ServerProgram(Program):
    """``securechat server`` that is ready.

    Attributes:
        port: Where it listens on 127.0.0.1.
        pin: Its pin, as printed.
    """

    def __init__(self, home: "Home", *arguments: str, port: int = 0, **settings: Any) -> None:
        self.data = home.directory / "server"
        line = (*home.command, "server", "--host", "127.0.0.1", "--port", str(port), "--data", str(self.data))
        super().__init__((*line, *arguments), home.env, **settings)
        try:
            match = self.wait_for(READY.pattern)
        except AssertionError:
            self.__exit__(None, None, None)
            raise
        self.port, self.pin = int(match[2]), match[3]

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return f"127.0.0.1:{self.port}"


def cpu_seconds(process: int) -> float:
    """Return the CPU time that a process has used. Unlike the time of day, it does not depend on the load."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


_secrets: dict[tuple[str, str], RoomSecret] = {}


def secret_of(room: str = ROOM, passphrase: str = PASSPHRASE) -> RoomSecret:
    """Return a room's secret, derived at the full cost once in a run of the tests."""
    key = normalise_room(room), passphrase
    if key not in _secrets:
        _secrets[key] = derive_secret(*key)
    return _secrets[key]


class Home:
    """A person's machine: a directory with everything that the program reads and writes."""

    command: tuple[str, ...] = SECURECHAT

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        base = {k: v for k, v in os.environ.items() if not k.startswith(("SECURECHAT_", "XDG_"))}
        self.env = {
            **base,
            "HOME": str(directory),
            "XDG_DATA_HOME": str(directory / "data"),
            "XDG_CONFIG_HOME": str(directory / "config"),
            "TZ": "UTC",
        }

    @property
    def profile(self) -> Profile:
        """The profile that commands use by default."""
        return Profile(self.directory / "data" / "securechat" / "profile")

    def trust(self, server: ServerProgram) -> None:
        """Know a server by its pin."""
        KnownHosts(self.profile.directory / "known-hosts").add(
            server.address, Entry(frozenset({parse_pin(server.pin)}))
        )

    def remember(self, room: str = ROOM, passphrase: str = PASSPHRASE) -> None:
        """Remember the secret of a room, as ``--remember`` does."""
        with self.open_state() as state:
            state.set_secret(normalise_room(room), secret_of(room, passphrase).bytes)

    @contextmanager
    def open_state(self) -> Iterator[State]:
        """Open what the profile remembers."""
        state = self.profile.open_state()
        try:
            yield state
        finally:
            state.close()

    def serve(self, *arguments: str, port: int = 0, **settings: Any) -> ServerProgram:
        """Start a server."""
        return ServerProgram(self, *arguments, port=port, **settings)

    def start(self, *arguments: str, env: dict[str, str] | None = None, **settings: Any) -> Program:
        """Start a command."""
        return Program((*self.command, *arguments), {**self.env, **(env or {})}, **settings)

    def run(self, *arguments: str, typed: str | bytes = b"", **settings: Any) -> Result:
        """Run a command to its end."""
        with self.start(*arguments, **settings) as program:
            try:
                program.write(typed)
                program.end_input()
            except BrokenPipeError:
                pass
            return program.finish()

    def chat(self, server: ServerProgram, nick: str, *arguments: str) -> Program:
        """Start ``chat`` in line mode, and wait until it is in the room."""
        program = self.start("chat", server.address, "--plain", "--room", ROOM, "--nick", nick, *arguments)
        try:
            program.wait_for(r"-- Here: ")
        except AssertionError:
            program.__exit__(None, None, None)
            raise
        return program

    def send(self, server: ServerProgram, *arguments: str, typed: str | bytes = b"") -> Result:
        """Run ``send``."""
        return self.run("send", server.address, "--room", ROOM, *arguments, typed=typed)

    def tail(self, server: ServerProgram, *arguments: str) -> Result:
        """Run ``tail`` for all that is kept."""
        return self.run("tail", server.address, "--room", ROOM, "--no-follow", *arguments)


def member_home(directory: Path, server: ServerProgram) -> Home:
    """Return the machine of somebody who knows the server and the room's secret."""
    directory.mkdir(parents=True, exist_ok=True)
    home = Home(directory)
    home.trust(server)
    home.remember()
    return home
