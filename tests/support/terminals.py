"""The real program in a terminal of its own: what it writes there, and what a person would see of it."""

import os
import pty
import re
import select
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import pyte

from tests.support.patience import PATIENCE
from tests.support.programs import Home

# Takes the terminal on its standard input for its own, as a shell's login does, then becomes the program.
_TAKE_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)


_CTRL_C = "\x03"
# Sequences that pyte would print: keyboard protocols and questions of what the terminal can do.
_UNKNOWN = re.compile(rb"\x1b\[[<>=][0-9;]*u|\x1b\[\?[0-9;]*\$p|\x1b\[[0-9;]*t")


class Terminal:
    """A program in a terminal of its own; ``screen`` is all that it has shown.

    Args:
        home: The person's machine.
        arguments: Of ``securechat``.
        env: More for its environment.
        size: Columns and rows.
    """

    def __init__(
        self, home: Home, *arguments: str, env: dict[str, str] | None = None, size: tuple[int, int] = (80, 24)
    ) -> None:
        self._master, self._slave = pty.openpty()
        termios.tcsetwinsize(self._slave, (size[1], size[0]))
        self._end_reading = os.pipe()
        self.modes = termios.tcgetattr(self._slave)
        self.began = time.monotonic()
        line: Sequence[str] = (sys.executable, "-I", "-S", "-c", _TAKE_TERMINAL, *home.command, *arguments)
        self.process = subprocess.Popen(
            line,
            env={**home.env, "TERM": "xterm-256color", **(env or {})},
            stdin=self._slave,
            stdout=self._slave,
            stderr=self._slave,
            start_new_session=True,
        )
        self._changed = threading.Condition()
        self._shown = b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while self._master in select.select([self._master, self._end_reading[0]], [], [])[0]:
            try:
                data = os.read(self._master, 65536)
            except OSError:  # EIO: nobody has the other end open any more
                return
            if not data:
                return
            with self._changed:
                self._shown += data
                self.take(data)
                self._changed.notify_all()

    def take(self, data: bytes) -> None:
        """Take in what was written just now."""

    @property
    def screen(self) -> str:
        """What was shown so far, without carriage returns."""
        return self._shown.decode(errors="replace").replace("\r", "")

    def sees(self, pattern: str, within: float = PATIENCE) -> re.Match[str]:
        """Return the first match of what is shown; fail when it does not come in time."""
        deadline = time.monotonic() + within
        with self._changed:
            while True:
                if match := re.search(pattern, self.screen, re.MULTILINE):
                    return match
                left = deadline - time.monotonic()
                if left <= 0 or (self.process.poll() is not None and not self._changed.wait(0.2)):
                    raise AssertionError(f"no {pattern!r}; shown: {self.screen!r}")
                self._changed.wait(min(left, 0.2))

    def types(self, text: str) -> None:
        """Type something; a line ends with a line feed."""
        os.write(self._master, text.encode())

    def halt(self, is_halted: bool = True) -> None:
        """Halt the output, as Ctrl-S does, or let it go on, as Ctrl-Q does."""
        termios.tcflow(self._slave, termios.TCOOFF if is_halted else termios.TCOON)

    def answer(self, question: str, text: str) -> None:
        """Wait for a question, then type an answer."""
        self.sees(question)
        self.types(text)

    def is_interrupted(self) -> int:
        """Press Ctrl-C until the program ends, and return its exit code.

        Python can miss the first while a read is about to begin, and a person presses it again.
        """
        while self.process.poll() is None:
            self.types(_CTRL_C)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(1)
        return self.ends()

    def hangs_up(self) -> int:
        """Close the terminal, as its window's button does; wait for the end and return the exit code."""
        os.write(self._end_reading[1], b"x")
        self._reader.join(PATIENCE)
        for end in (self._slave, self._master):
            os.close(end)
        self._slave, self._master = -1, -1
        return self.process.wait(PATIENCE)

    def ends(self) -> int:
        """Wait for the end of the program; return its exit code, the terminal being as it was."""
        code = self.process.wait(PATIENCE)
        assert termios.tcgetattr(self._slave) == self.modes
        os.close(self._slave)
        self._reader.join(PATIENCE)
        self._slave = -1
        return code

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(PATIENCE)
        if self._slave >= 0:
            os.close(self._slave)
        os.write(self._end_reading[1], b"x")
        self._reader.join(PATIENCE)
        for end in (self._master, *self._end_reading):
            if end >= 0:
                os.close(end)


class ScreenTerminal(Terminal):
    """A program in a terminal whose screen is read as a person reads it."""

    def __init__(self, home: Home, *arguments: str, size: tuple[int, int] = (80, 24), **settings: Any) -> None:
        self._pyte = pyte.Screen(*size)
        self._stream = pyte.ByteStream(self._pyte)
        super().__init__(home, *arguments, size=size, **settings)

    def take(self, data: bytes) -> None:
        """Draw."""
        self._stream.feed(_UNKNOWN.sub(b"", data))

    @property
    def rows(self) -> list[str]:
        """What is on the screen now."""
        return [row.rstrip() for row in self._pyte.display]

    @property
    def cursor(self) -> bool:
        """Whether the cursor is shown."""
        return not self._pyte.cursor.hidden

    def shows(self, pattern: str, within: float = PATIENCE) -> re.Match[str]:
        """Return the first match of what is on the screen; fail when it does not come in time."""
        deadline = time.monotonic() + within
        with self._changed:
            while True:
                shown = "\n".join(self.rows)
                if match := re.search(pattern, shown, re.MULTILINE):
                    return match
                left = deadline - time.monotonic()
                if left <= 0 or (self.process.poll() is not None and not self._changed.wait(0.2)):
                    raise AssertionError(f"no {pattern!r} on the screen:\n{shown}")
                self._changed.wait(min(left, 0.2))

    def pages_up_to(self, pattern: str) -> None:
        """Press PgUp until something is shown."""
        deadline = time.monotonic() + PATIENCE
        while not re.search(pattern, "\n".join(self.rows), re.MULTILINE):
            assert time.monotonic() < deadline, f"no {pattern!r}"
            self.types("\x1b[5~")
            with self._changed:
                self._changed.wait(0.5)

    def resize(self, columns: int, rows: int) -> None:
        """Make the terminal larger or smaller."""
        with self._changed:
            self._pyte.resize(rows, columns)
        termios.tcsetwinsize(self._master, (rows, columns))
