"""Readers that are behind: the memory that waits for all of them together is bounded."""

from typing import Protocol

import trio

from securechat import limits
from securechat.protocol.messages import Reason


class Laggard(Protocol):
    """What is needed of a session that is behind."""

    @property
    def backlog(self) -> int:
        """Bytes that wait for its reader."""

    def end(self, reason: Reason, retry_after: int) -> None:
        """End it."""


class Laggards:
    """The sessions whose socket is full.

    Members of a room share the bytes that wait for them, so what is counted here is more than what is
    held; what one asked for itself (pages, answers) is its own.

    Args:
        most: Bytes that may wait for all of them together.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._sessions: set[Laggard] = set()
        self._some = trio.Event()

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._sessions)

    @property
    def backlog(self) -> int:
        """Bytes that wait for all readers."""
        return sum(session.backlog for session in self._sessions)

    def add(self, session: Laggard) -> None:
        """Note that a session is behind."""
        self._sessions.add(session)
        self._some.set()

    def remove(self, session: Laggard) -> None:
        """Note that it is no more."""
        self._sessions.discard(session)

    async def watch(self) -> None:
        """Run for ever: while too much waits, send away who is furthest behind."""
        while True:
            await self._some.wait()
            self._relieve()
            if not self._sessions:
                self._some = trio.Event()
            await trio.sleep(limits.OUTBOX_CHECK)

    def _relieve(self) -> None:
        excess = self.backlog - self._most
        for session in sorted(self._sessions, key=lambda s: s.backlog, reverse=True):
            if excess <= 0:
                break
            excess -= session.backlog
            session.end(Reason.SLOW, 1)
