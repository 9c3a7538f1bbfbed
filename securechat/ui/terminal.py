"""Questions on the terminal, also when standard input is a pipe."""

import getpass
import os
import select
import sys
from typing import Final

_READ_BYTES: Final = 64 * 1024


def has_terminal() -> bool:
    """Tell whether there is a person to ask."""
    if sys.stdin.isatty():
        return True
    return sys.stderr.isatty() and _opens_tty()


def _opens_tty() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR))
    except OSError:
        return False
    return True


def ask_hidden(prompt: str) -> str:
    """Ask for a secret, which is not shown. For use outside the event loop."""
    try:
        return getpass.getpass(prompt)
    except KeyboardInterrupt:
        sys.stderr.write("\n")  # for the shell's next prompt
        raise


def read_line() -> str:
    """Return the line that is typed next, stripped; empty at the end of input.

    It reads without Python's buffers: an abandoned thread holds no lock at exit.
    """
    if sys.stdin.isatty():
        return os.read(sys.stdin.fileno(), _READ_BYTES).decode(errors="replace").strip()
    descriptor = os.open("/dev/tty", os.O_RDONLY)
    try:
        return os.read(descriptor, _READ_BYTES).decode(errors="replace").strip()
    finally:
        os.close(descriptor)


def is_gone() -> bool:
    """Tell whether the terminal on standard input was closed, which a program that ignores SIGHUP is not told."""
    if not hasattr(select, "poll"):
        return False
    poller = select.poll()
    poller.register(sys.stdin.fileno(), 0)
    # Not POLLNVAL: macOS says that of every terminal.
    return any(what & select.POLLHUP for _, what in poller.poll(0))
