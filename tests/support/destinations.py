"""A destination of log lines that fails, stalls and tears lines as a test says."""

import errno
import threading
from collections.abc import Callable

PATIENCE = 20.0


class FakeDestination:
    """Takes what is written, in the order in which the test lets it.

    Args:
        may_recover: As of ``Destination``.

    Attributes:
        text: All that was written.
        outcomes: What the next writes do: raise an error, or take so many bytes; afterwards they take all.
        refreshes: What it answers next when it is to be ready, the start included; afterwards that nothing moved.
        is_open: Clear while a write is to hang.
        is_hanging: Set when one does.
        has_failed: Set when one has failed.
    """

    label = "fake"
    name = "the fake log"

    def __init__(self, *, may_recover: bool = True) -> None:
        self.may_recover = may_recover
        self.fault: OSError | None = None
        self.text = ""
        self.outcomes: list[OSError | int] = []
        self.refreshes: list[bool] = []
        self.is_open = threading.Event()
        self.is_open.set()
        self.is_hanging = threading.Event()
        self.has_failed = threading.Event()
        self._changed = threading.Condition()

    def refresh(self) -> bool:
        """Answer what comes next."""
        return self.refreshes.pop(0) if self.refreshes else False

    def write(self, data: bytes) -> int:
        """Do what comes next."""
        if not self.is_open.is_set():
            self.is_hanging.set()
            assert self.is_open.wait(PATIENCE)
        outcome = self.outcomes.pop(0) if self.outcomes else len(data)
        if isinstance(outcome, OSError):
            self.has_failed.set()
            raise outcome
        with self._changed:
            self.text += data[:outcome].decode()
            self._changed.notify_all()
        return outcome

    def wait_for(self, holds: Callable[[str], bool]) -> None:
        """Wait until something holds of what was written."""
        with self._changed:
            assert self._changed.wait_for(lambda: holds(self.text), PATIENCE), self.text


def full() -> OSError:
    """Return what a write to a full disk raises."""
    return OSError(errno.ENOSPC, "No space left on device")


def hung_up() -> OSError:
    """Return what a write raises that nobody will read."""
    return BrokenPipeError(errno.EPIPE, "Broken pipe")
