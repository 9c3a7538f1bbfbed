"""What a log is written to: a stream that the process was started with, or a file that is found by its path."""

import os
import select
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

from securechat import limits
from securechat.files import create_private

_OPEN_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK | os.O_NOCTTY
_MODE: Final = 0o600  # there are network addresses in it


class Destination(Protocol):
    """What a sink writes to; only the thread of the sink calls its methods.

    Attributes:
        label: Its name in metrics.
        name: Its name in sentences.
        may_recover: Whether a write that failed may succeed later.
        fault: Why it is not written where it should be, while it can be written; None for no reason.
    """

    label: str
    name: str
    may_recover: bool
    fault: OSError | None

    def refresh(self) -> bool:
        """Be ready for a write; tell whether it goes somewhere else than the last one.

        Raises:
            OSError: It cannot be opened.
        """

    def write(self, data: bytes) -> int:
        """Write and return how many bytes were written.

        Raises:
            BlockingIOError: Nothing can be written now.
            OSError: Nothing can be written.
        """


class Stream:
    """A descriptor with which the process was started.

    A file on a full disk may have room later. A pipe or a terminal that fails has lost its reader for good.

    Args:
        label: Its name in metrics.
        name: Its name in sentences.
        number: The descriptor.
    """

    def __init__(self, label: str, name: str, number: int) -> None:
        self.label = label
        self.name = name
        self.may_recover = stat.S_ISREG(os.fstat(number).st_mode)
        self.fault: OSError | None = None
        self._number = number

    def refresh(self) -> bool:
        """See ``Destination``."""
        return False

    def write(self, data: bytes) -> int:
        """See ``Destination``."""
        return _write(self._number, data)

    def discard(self) -> None:
        """Let what is written to the descriptor go nowhere from now on."""
        with suppress(OSError):  # no descriptor is left
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._number)
            os.close(nowhere)


class LogFile:
    """A file that is found by its path for each write, so that it may be rotated with or without a signal.

    While the path cannot be opened, lines go to the file that had it before, unless that was deleted.

    Args:
        label: Its name in metrics.
        name: Its name in sentences.
        path: Where it is, or will be created with mode 0600. It may be a FIFO that nobody reads yet.
    """

    may_recover = True

    def __init__(self, label: str, name: str, path: Path) -> None:
        self.label = label
        self.name = name
        self.fault: OSError | None = None
        self._path = path
        self._number: int | None = None
        self._place = (0, 0)  # device and inode

    def refresh(self) -> bool:
        """See ``Destination``."""
        if self._number is not None and self._is_in_place():
            self.fault = None
            return False
        try:
            number = _open(self._path)
        except OSError as error:
            if self._number is not None and os.fstat(self._number).st_nlink:
                self.fault = error
                return False
            self.close()
            raise
        self.close()
        self.fault = None
        self._number = number
        opened = os.fstat(number)
        self._place = opened.st_dev, opened.st_ino
        return True

    def _is_in_place(self) -> bool:
        try:
            found = self._path.stat()
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == self._place

    def write(self, data: bytes) -> int:
        """See ``Destination``."""
        assert self._number is not None
        return _write(self._number, data)

    def close(self) -> None:
        """Close the file."""
        if self._number is not None:
            number, self._number = self._number, None
            os.close(number)


def _open(path: Path) -> int:
    with suppress(FileExistsError):
        return create_private(path, _MODE, _OPEN_FLAGS)
    return os.open(path, _OPEN_FLAGS, _MODE)


def _write(number: int, data: bytes) -> int:
    """Write to a descriptor; wait a moment for one that others have made non-blocking."""
    try:
        return os.write(number, data)
    except BlockingIOError:
        poll = select.poll()
        poll.register(number, select.POLLOUT)
        poll.poll(limits.LOG_RETRY * 1000)
        return os.write(number, data)
