"""What an operator learns of addresses that are held back: one line a minute, and no more."""

import logging
from collections import Counter

import trio

from securechat import limits
from securechat.server.repeats import OnceAMinute

_logger = logging.getLogger("securechat.server")


class HeldBack:
    """Counts who is held back, and logs it once a minute.

    Args:
        what: What is held back, for the log.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._counts: Counter[str] = Counter()
        self._others = 0  # of addresses that are not counted one by one
        self._repeats = OnceAMinute(trio.current_time)

    def report(self, network: str, why: str) -> None:
        """Count one event; log what was counted if the last line is a minute old.

        Args:
            network: The address.
            why: The limit that it is over.
        """
        if network in self._counts or len(self._counts) < limits.HELD_BACK_ADDRESSES:
            self._counts[network] += 1
        else:
            self._others += 1
        if not self._repeats.is_due():
            return
        (busiest, count), *_ = self._counts.most_common(1)
        others = self._counts.total() + self._others - count
        line = "%s of %s are held back (%s): %d since the last such line, and %d of other addresses"
        _logger.info(line, self._what, busiest, why, count, others)
        self._counts.clear()
        self._others = 0
