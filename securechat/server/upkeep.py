"""What a server does besides: it removes what is kept no longer, and the rooms that its operator deletes.

An operator asks for a deletion by a file in the data directory, named by the room's address: whoever may
write there may ask, and the running server stays the only one that writes to the log.
"""

import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import trio

from securechat import limits
from securechat.errors import StorageError
from securechat.history.log import Retention, RoomLog
from securechat.server.rooms import Rooms

DELETIONS: Final = "deletions"  # the directory of such files
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
        data: The data directory; None for a log in memory.
    """

    def __init__(self, log: RoomLog, rooms: Rooms, retention: Retention, data: Path | None) -> None:
        self._log = log
        self._rooms = rooms
        self._retention = retention
        self._deletions = data / DELETIONS if data else None
        self._due = 0.0
        self._reported: dict[str, float] = {}

    async def run(self) -> None:
        """Run for ever."""
        self._due = trio.current_time() + limits.EXPIRY_INTERVAL
        while True:
            await trio.sleep(min(_TICK, limits.EXPIRY_INTERVAL))
            await self._attempt("rooms could not be deleted", self._delete)
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
                "the clock jumped by %+.0f s; messages expire by the time that this server runs: check the clock", jump
            )

    async def _attempt(self, failure: str, task: Callable[[], Awaitable[None]]) -> None:
        """Run one task; ``failure`` says what it means when it fails."""
        try:
            await task()
        except (StorageError, OSError) as error:
            if self._is_news(f"{failure}: {error}"):
                _logger.error("%s: %s", failure, error)
        except Exception:
            if self._is_news(failure):
                _logger.exception("%s, by a fault of this server; please report it", failure)

    def _is_news(self, text: str) -> bool:
        """Tell whether this was not said in the last minute."""
        now = trio.current_time()
        self._reported = {said: at for said, at in self._reported.items() if now - at < limits.EXPIRY_INTERVAL}
        return self._reported.setdefault(text, now) == now

    async def _delete(self) -> None:
        """Delete the rooms that the operator asks to be deleted."""
        for path in _listed(self._deletions):
            try:
                if await self._rooms.delete(bytes.fromhex(path.name)):
                    _logger.info("the room %s was deleted", path.name[:8])
            except (ValueError, StorageError) as error:
                _logger.error("a room could not be deleted: %s", error)
            path.unlink(missing_ok=True)  # also where that failed: who asked looks, and may ask again


def _listed(directory: Path | None) -> list[Path]:
    try:
        return sorted(directory.iterdir()) if directory else []
    except OSError:
        return []
