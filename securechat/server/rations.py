"""Tokens of a network address, each for one room address, for any number of connections.

A hundred people who open one new room together ask for one thing. So a token pays for a room address, not a request.
What was granted is remembered, and the next connection of that network address that asks for the same room is served at
once.

If there is no token, connections wait in line for the next one. Tokens go in turns to the room address for which most
connections wait, and to the one of a connection drawn by lot. This keeps a flood from filling the line: a flood that
asks for many rooms leaves every second token to the group that wants one, a flood that asks for one room is served with
one token, and a single connection has the same chance as any other.
"""

import random
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import trio

from securechat import limits
from securechat.limits import Rate
from securechat.server.buckets import AddressBuckets, network

_SHORTEST_WAIT: Final = 0.001  # seconds: rounding may leave less, with which a clock does not move on


class _Group:
    """The connections of one address that wait for one room address."""

    def __init__(self) -> None:
        self.size = 0
        self.is_served = trio.Event()


class _Line:
    """The connections of one network address that wait, by room address."""

    def __init__(self, chance: random.Random) -> None:
        self.groups: dict[bytes, _Group] = {}
        self._chance = chance
        self._is_lot = True

    def next(self) -> bytes:
        """Return the room address that is served next."""
        self._is_lot = not self._is_lot
        sizes = {room: group.size for room, group in self.groups.items()}
        if self._is_lot:
            return self._chance.choices(list(sizes), list(sizes.values()))[0]
        return max(sizes, key=sizes.__getitem__)

    @contextmanager
    def wait(self, room: bytes) -> Iterator[trio.Event]:
        """Stand in line while the context is open; yield an event that is set when the room is served."""
        group = self.groups.setdefault(room, _Group())
        group.size += 1
        try:
            yield group.is_served
        finally:
            group.size -= 1
            if not group.size and self.groups.get(room) is group:
                del self.groups[room]


class Rations:
    """The tokens of all network addresses.

    Args:
        rate: The tokens of one of them.
        clock: Returns the time in seconds.
        chance: Draws the lots.
    """

    def __init__(self, rate: Rate, clock: Callable[[], float], chance: random.Random | None = None) -> None:
        self._buckets = AddressBuckets(*rate, clock)
        self._granted: OrderedDict[tuple[str, bytes], None] = OrderedDict()
        self._lines: dict[str, _Line] = {}
        self._chance = chance or random.Random()  # noqa: S311 - spreads load, guards nothing

    async def claim(self, peer: str, room: bytes, patience: float) -> float:
        """Get a token for a room address, and wait for it if need be.

        Args:
            peer: The network address that asks.
            room: The room address, 32 bytes.
            patience: Seconds to wait at most.

        Returns:
            0.0 if it was granted, now or before; otherwise the seconds after which to ask again.
        """
        key = network(peer), room
        bucket = self._buckets.of(peer)
        if self._is_granted(key):
            return 0.0
        if key[0] not in self._lines and not bucket.take():
            self._grant(key)
            return 0.0
        line = self._lines.setdefault(key[0], _Line(self._chance))
        try:
            with line.wait(room) as is_served, trio.move_on_after(patience):
                while not is_served.is_set():
                    if wait := bucket.take():
                        with trio.move_on_after(max(wait, _SHORTEST_WAIT)):
                            await is_served.wait()
                    else:
                        self._serve(key[0], line)
        finally:
            if not line.groups and self._lines.get(key[0]) is line:  # a later line may have its place
                del self._lines[key[0]]
        return 0.0 if is_served.is_set() else _pause(bucket.wait())

    def _serve(self, key: str, line: _Line) -> None:
        room = line.next()
        self._grant((key, room))
        line.groups.pop(room).is_served.set()

    def _is_granted(self, key: tuple[str, bytes]) -> bool:
        if key not in self._granted:
            return False
        self._granted.move_to_end(key)
        return True

    def _grant(self, key: tuple[str, bytes]) -> None:
        self._granted[key] = None
        if len(self._granted) > limits.ROOMS_ASKED_FOR:
            self._granted.popitem(last=False)

    def use_up(self, peer: str, room: bytes) -> None:
        """Forget what was granted for a room: the next time costs another token."""
        self._granted.pop((network(peer), room), None)

    def give_back(self, peer: str, room: bytes) -> None:
        """Return the token that was granted for a room, as it was not needed."""
        key = network(peer), room
        if key in self._granted:
            del self._granted[key]
            self._buckets.of(peer).spend(-1)


def _pause(wait: float) -> float:
    """Return the seconds after which to ask again, ``wait`` before the next token: in time to stand in line for it."""
    return wait if wait > limits.JOIN_PATIENCE else limits.JOIN_PAUSE
