"""What people type, read without holding the event loop up."""

import codecs
import os
import sys
from collections.abc import AsyncGenerator
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


async def input_lines() -> AsyncGenerator[str, None]:
    """Yield the lines of standard input, without their ends, as they come.

    Raises:
        InputError: The input is not UTF-8, or a line is above 64 KiB.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    rest = ""
    number = 0
    is_terminal = sys.stdin.isatty()
    while True:
        data = await trio.to_thread.run_sync(os.read, sys.stdin.fileno(), _READ_BYTES, abandon_on_cancel=True)
        try:
            *lines, rest = (rest + decoder.decode(data, final=not data)).split("\n")
        except UnicodeDecodeError:
            raise InputError(f"Line {number + 1} of the input or one after it is not UTF-8.", "Send UTF-8.") from None
        for line in lines:
            number += 1
            if is_terminal and len(line.encode()) >= _TERMINAL_LINE_BYTES:
                sys.stderr.write(
                    f"This line fills the {_TERMINAL_LINE_BYTES} bytes that a terminal passes on, and its end may be "
                    "missing: nothing of it was sent. Send it in parts, or a file: securechat send SERVER < FILE\n"
                )
                sys.stderr.flush()
            else:
                yield line.removesuffix("\r")
        if len(rest) > limits.INPUT_LINE_BYTES:
            raise InputError(f"Line {number + 1} of the input is too long.", "Send it in parts.")
        if not data:
            break
    if rest:
        yield rest.removesuffix("\r")
