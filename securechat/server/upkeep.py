"""What a server does besides: it removes what is kept no longer."""

import logging
import time
from collections.abc import Callable
from typing import Final

import trio

from securechat import limits
from securechat.errors import StorageError
from securechat.history.log import Retention, RoomLog
from securechat.server.rooms import Rooms

_FOR_EVER: Final = 1e9  # seconds
_logger = logging.getLogger("securechat.server")


class Upkeep:
    """Keeps a room log within its bounds.

    Args:
        log: The log.
        rooms: The rooms in use.
        retention: What is kept.
        wall: Returns seconds since 1970 UTC.
    """

    def __init__(
        self,
        log: RoomLog,
        rooms: Rooms,
        retention: Retention,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._log = log
        self._rooms = rooms
        self._retention = retention
        self._wall = wall
        self._offset = wall() - trio.current_time()
        # A box may start with a wrong clock and be told the time later.
        self._trusted_from = trio.current_time() + limits.CLOCK_TRUST

    async def run(self) -> None:
        """Run for ever."""
        while True:
            await trio.sleep(limits.EXPIRY_INTERVAL)
            await self.expire()

    async def expire(self) -> None:
        """Remove what is kept no longer."""
        self._watch_clock()
        retention = self._retention
        if trio.current_time() < self._trusted_from:
            retention = retention._replace(seconds=_FOR_EVER)
        try:
            self._rooms.set_oldest(await self._log.expire(retention, int(self._wall() * 1000)))
        except StorageError as error:
            _logger.error("old messages could not be removed: %s", error)

    def _watch_clock(self) -> None:
        """Expire nothing by age for a while after the clock was set: it may have been set wrong."""
        offset = self._wall() - trio.current_time()
        jump, self._offset = offset - self._offset, offset
        if abs(jump) > limits.CLOCK_JUMP:
            self._trusted_from = trio.current_time() + limits.CLOCK_TRUST
            _logger.warning(
                "the clock jumped by %+.0f s; for the next %.0f s no message is removed for its age: check the clock",
                jump,
                limits.CLOCK_TRUST,
            )
