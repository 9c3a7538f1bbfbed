"""Faults that come again and again: each is logged once a minute."""

import logging
import time
from collections.abc import Callable

from securechat import limits
from securechat.errors import StorageError

_logger = logging.getLogger("securechat.server")


class OnceAMinute:
    """Tells whether it is time to report something again.

    Args:
        clock: Returns the time in seconds.
        maximum: Subjects remembered at once. While that many are fresh, further ones are not due.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, maximum: int = limits.REPORTS) -> None:
        self._clock = clock
        self._maximum = maximum
        self._reported: dict[str, float] = {}

    def is_due(self, subject: str = "") -> bool:
        """Tell whether a subject was not reported within the last minute; if so, it counts as reported now."""
        now = self._clock()
        if now - self._reported.get(subject, -limits.REPORT_INTERVAL) < limits.REPORT_INTERVAL:
            return False
        if len(self._reported) >= self._maximum and subject not in self._reported:
            self._reported = {s: then for s, then in self._reported.items() if now - then < limits.REPORT_INTERVAL}
            if len(self._reported) >= self._maximum:
                return False
        self._reported[subject] = now
        return True


class FaultLog:
    """Logs faults of the operator's disk, however often members meet them.

    Args:
        clock: Returns the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._repeats = OnceAMinute(clock)

    def report(self, what: str, error: StorageError) -> None:
        """Log what could not be done, and why.

        Args:
            what: A clause such as "messages could not be stored".
            error: The fault.
        """
        if self._repeats.is_due(f"{what}: {error}"):
            _logger.error("%s: %s", what, error)
