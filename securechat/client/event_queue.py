"""Events on their way to the screen, and what is to be remembered once they were shown."""

from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Self

import trio

from securechat.client.clock import now_ms
from securechat.client.conversation import Event, Kind
from securechat.errors import StorageError

Item = Event | Callable[[], None]


class EventQueue:
    """A bounded queue of events, and of calls between them that write to the profile.

    A call is made when the screen asks for the next event: then it has shown all before it. So what was
    not shown is not remembered as heard, however the program ends. What the profile cannot take is
    tried again with the next call; the person is told, and the conversation goes on.

    Args:
        most: Items that wait; ``put`` waits with more.
    """

    def __init__(self, most: int) -> None:
        self._give, self._take = trio.open_memory_channel[Item](most)
        self._late: deque[Item] = deque()  # of a ``put`` that was cancelled
        self._calls: deque[Callable[[], None]] = deque(maxlen=most)
        self._has_told = False

    async def put(self, items: Iterable[Item]) -> None:
        """Put items at the end, in order.

        Cancellation:
            Nothing is lost: what did not find room goes first next time.
        """
        self._late.extend(items)
        while self._late:
            item = self._late.popleft()
            try:
                await self._give.send(item)
            except BaseException:
                self._late.appendleft(item)
                raise

    async def receive(self) -> Event:
        """Return the next event."""
        while True:
            event = self._look_at(await self._take.receive())
            if event is not None:
                return event

    def receive_nowait(self) -> Event:
        """Return the next event that is there already.

        Raises:
            trio.WouldBlock: There is none.
        """
        while True:
            try:
                item = self._take.receive_nowait()
            except trio.WouldBlock:
                if not self._late:
                    raise
                item = self._late.popleft()
            event = self._look_at(item)
            if event is not None:
                return event

    def settle(self) -> None:
        """Make the calls that only wait for the next event to be asked for; the last act of a queue."""
        waiting = deque[Item]()
        with suppress(trio.WouldBlock):
            while True:
                waiting.append(self._take.receive_nowait())
        for item in (*waiting, *self._late):
            if isinstance(item, Event):
                return
            self._look_at(item)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        # A plain method, not a generator: nothing is left suspended when a loop over the events is left.
        return await self.receive()

    def _look_at(self, item: Item) -> Event | None:
        """Return an event; make a call, and return an event if it fails."""
        if isinstance(item, Event):
            return item
        self._calls.append(item)
        try:
            while self._calls:
                self._calls[0]()
                self._calls.popleft()
        except StorageError as error:
            if not self._has_told:
                self._has_told = True
                text = f"What is read is not remembered for the next time: {error.message}"
                return Event(Kind.NOTICE, now_ms(), text)
        else:
            self._has_told = False
        return None
