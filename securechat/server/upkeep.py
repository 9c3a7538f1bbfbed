"""Upkeep of a running server: it removes what is kept no longer."""

import logging
from collections.abc import Awaitable, Callable
from math import inf
from typing import Final

import trio

from securechat import limits
from securechat.errors import StorageError
from securechat.history.log import Retention, RoomLog
from securechat.server.repeats import OnceAMinute
from securechat.server.rooms import Rooms

_TICK: Final = 1.0
_logger = logging.getLogger("securechat.server")


class Upkeep:
    """Keeps a room log within its bounds.

    Whatever goes wrong in one task of it (a full disk, a foreign file, a clock out of any range) ends neither the
    server nor the other tasks: it is logged, the same once a minute, and the task is tried again when it is due.

    Args:
        log: The log.
        rooms: The rooms in use.
        retention: What is kept.
    """

    def __init__(self, log: RoomLog, rooms: Rooms, retention: Retention) -> None:
        self._log = log
        self._rooms = rooms
        self._retention = retention
        self._due = inf
        self._repeats = OnceAMinute(trio.current_time)

    async def prepare(self) -> None:
        """Expire before anybody joins. ``run`` continues with what takes long, so that a start never does."""
        with trio.move_on_after(limits.FIRST_EXPIRY) as scope:
            await self.expire()
        if scope.cancelled_caught:
            self.hasten()

    async def run(self) -> None:
        """Run for ever."""
        self._due = min(self._due, trio.current_time() + limits.EXPIRY_INTERVAL)
        while True:
            await trio.sleep(min(_TICK, limits.EXPIRY_INTERVAL))
            if trio.current_time() >= self._due:
                self._due = trio.current_time() + limits.EXPIRY_INTERVAL
                await self.expire()
                await self._attempt("free space could not be given back", self._log.shrink)

    def hasten(self) -> None:
        """Expire at the next tick: the log is full."""
        self._due = 0.0

    async def expire(self) -> None:
        """Remove what is kept no longer, and record what is in use."""
        self._watch_clock()
        await self._attempt("old messages could not be removed", self._expire_messages)
        await self._attempt("empty rooms could not be removed", self._rooms.forget_empty)
        await self._attempt("the use of rooms could not be recorded", self._rooms.record_use)

    async def _expire_messages(self) -> None:
        self._rooms.set_oldest(await self._log.expire(self._retention))

    def _watch_clock(self) -> None:
        if jump := self._log.age.look():
            _logger.warning(
                "the clock jumped by %+.0f s: check it; messages expire by the running time of this server", jump
            )

    async def _attempt(self, failure: str, task: Callable[[], Awaitable[None]]) -> None:
        """Run one task; ``failure`` says what it means when it fails. Whatever it raises, the other tasks go on."""
        try:
            await task()
        except (StorageError, OSError) as error:
            if self._repeats.is_due(f"{failure}: {error}"):
                _logger.error("%s: %s", failure, error)
        except Exception:
            if self._repeats.is_due(failure):
                _logger.exception("%s, by a fault of this server; please report it", failure)
