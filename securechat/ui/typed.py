"""What people type, read without holding the event loop up."""

import os
import sys
from collections.abc import AsyncGenerator, Callable
from typing import Final

import trio

from securechat import limits
from securechat.errors import InputError
from securechat.ui.terminal import read_line

_READ_BYTES: Final = 64 * 1024
_TERMINAL_LINE_BYTES: Final = 4095  # of a line that is edited in the terminal itself, termios(3)


async def ask(prompt: str) -> str:
    """Ask a question and return the line typed, stripped; empty at the end of input."""
    sys.stderr.write(prompt)
    sys.stderr.flush()
    return await trio.to_thread.run_sync(read_line, abandon_on_cancel=True)


def _raise(error: InputError) -> None:
    raise error


async def input_lines(complain: Callable[[InputError], None] = _raise) -> AsyncGenerator[str, None]:
    """Yield the lines of standard input, without their ends, as they come.

    Args:
        complain: Called for a line that is left out, because it is above 64 KiB, not UTF-8, or cut by the
            terminal; where it raises, that is the end.

    Raises:
        InputError: As ``complain``.
    """
    rest = b""
    number = 0
    is_skipping = False  # the beginning of this line was too long already
    most = _TERMINAL_LINE_BYTES - 1 if sys.stdin.isatty() else limits.INPUT_LINE_BYTES
    while True:
        data = await trio.to_thread.run_sync(os.read, sys.stdin.fileno(), _READ_BYTES, abandon_on_cancel=True)
        *lines, rest = (rest + data).split(b"\n")
        if not data and rest:
            lines.append(rest)
        for line in lines:
            number += 1
            text = None if is_skipping else _decode(line, number, most, complain)
            is_skipping = False
            if text is not None:
                yield text
        if not data:
            return
        if len(rest) > limits.INPUT_LINE_BYTES:
            if not is_skipping:
                complain(_too_long(number + 1))
            is_skipping, rest = True, b""


def _decode(line: bytes, number: int, most: int, complain: Callable[[InputError], None]) -> str | None:
    """Return a line of at most ``most`` bytes as text, or None for one that was complained about."""
    if len(line) > most and most < limits.INPUT_LINE_BYTES:
        complain(
            InputError(
                f"This line fills the {_TERMINAL_LINE_BYTES} bytes that a terminal passes on, and its end may be "
                "missing: nothing of it was sent.",
                "Send it in parts, or a file: securechat send SERVER < FILE",
            )
        )
    elif len(line) > most:
        complain(_too_long(number))
    else:
        try:
            return line.decode().removesuffix("\r")
        except UnicodeDecodeError:
            complain(InputError(f"Line {number} of the input is not UTF-8, and was not sent.", "Send UTF-8."))
    return None


def _too_long(number: int) -> InputError:
    return InputError(f"Line {number} of the input is too long, and was not sent.", "Send it in parts.")
