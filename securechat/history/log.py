"""The interface of a room log. Both implementations pass the same contract test.

A log holds rooms, each a dense sequence of opaque envelopes with the hash chain over them
(``securechat.protocol.chain``). A room outlives its messages: the chain goes on after all were expired. One that
never held a message means nothing to anybody, and may be forgotten when nobody is in it.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple, Protocol

from securechat import limits
from securechat.history.age import AgeClock
from securechat.protocol.messages import Direction, Record


class Head(NamedTuple):
    """Where a room's log stands.

    Attributes:
        room: The log's own number for the room.
        log_id: 16 random bytes, chosen at creation.
        oldest: The first sequence that is kept; ``newest + 1`` when none is.
        newest: The last sequence; 0 before the first message.
        hash: H of ``newest``, 32 bytes.
    """

    room: int
    log_id: bytes
    oldest: int
    newest: int
    hash: bytes


class Append(NamedTuple):
    """A message to be appended: ``clock`` is the server's, in ms since 1970 UTC."""

    room: int
    clock: int
    envelope: bytes


class Appended(NamedTuple):
    """What became of it.

    Attributes:
        sequence: Its place in the room's log.
        clock: When it was appended, in ms since 1970 UTC.
        hash: H of ``sequence``, 32 bytes; empty when it is not new.
    """

    sequence: int
    clock: int
    hash: bytes

    @property
    def is_new(self) -> bool:
        """Whether this append added it; otherwise the log held the same envelope already."""
        return bool(self.hash)


class Page(NamedTuple):
    """A stretch of the log, in order and without a hole, as PAST carries it.

    Attributes:
        oldest: The first sequence that is kept.
        newest: The last sequence of the log.
        first: The sequence of the first record.
        before: H of ``first - 1``, 32 bytes.
        records: The messages, at most 1,000 and 256 KiB of them.
    """

    oldest: int
    newest: int
    first: int
    before: bytes
    records: tuple[Record, ...]


class Retention(NamedTuple):
    """What is kept of messages; above, the oldest go first.

    Attributes:
        seconds: How long, by the log's age clock; None for no bound.
        messages: How many of each room; None for no bound.
        room_bytes: Bytes of envelopes of each room.
        total_bytes: Bytes of envelopes of all rooms together; the largest rooms lose theirs.
    """

    seconds: float | None = limits.RETAIN_SECONDS
    messages: int | None = limits.RETAIN_MESSAGES
    room_bytes: int = limits.SERVER.room_bytes
    total_bytes: int = limits.SERVER.kept_bytes

    def fewest(self, newest: int) -> int:
        """Return the oldest sequence that the number of messages lets stay in a room whose last one is ``newest``."""
        return 1 if self.messages is None else max(1, newest + 1 - self.messages)


def fair_share(sizes: Iterable[int], most: int) -> int:
    """Return the size to which the largest have to be cut so that all together have at most ``most``."""
    rising = sorted(sizes)
    left = most
    for index, size in enumerate(rising):
        share = left // (len(rising) - index)
        if size > share:
            return share
        left -= size
    return most


class RoomLog(Protocol):
    """A room log.

    Attributes:
        age: Its clock; what is stored is stamped with it, and the log records where it stands.

    Cancellation:
        An append that was cancelled may have happened or not; the others change nothing but at once.
    """

    age: AgeClock

    async def open_room(self, address: bytes, new_log_id: bytes | None) -> tuple[Head, bool] | None:
        """Return the room at ``address`` (32 bytes) and whether this call created it.

        Args:
            address: The room address, 32 bytes.
            new_log_id: 16 random bytes with which to create the room; None to create nothing.

        Returns:
            None when there is no such room and nothing was to be created.

        Raises:
            StorageError: It cannot be read or written.
        """

    async def delete_room(self, address: bytes) -> bool:
        """Delete the room at ``address`` (32 bytes) with all its messages; tell whether there was one.

        The caller sees to it that nobody appends to it or reads it meanwhile.

        Raises:
            StorageError: It cannot be written; some of the messages may be gone.
        """

    async def count_rooms(self) -> int:
        """Return how many rooms there are.

        Raises:
            StorageError: It cannot be read.
        """

    async def append(self, batch: Sequence[Append]) -> list[Appended]:
        """Append all of ``batch`` in order, durably, or nothing of it.

        An envelope that the room holds already is not appended again.

        Raises:
            StorageError: Nothing was appended.
        """

    async def read(self, room: int, direction: Direction, sequence: int, most: int) -> Page:
        """Return a page of at most ``most`` messages from ``sequence`` on, or before it.

        Raises:
            StorageError: It cannot be read.
        """

    async def expire(self, retention: Retention) -> dict[int, int]:
        """Delete what is kept no longer, and return the new oldest by room.

        Raises:
            StorageError: It cannot be written. What was deleted until then is in what the next call returns.
        """

    async def record(self, used: Collection[int]) -> None:
        """Record that rooms are in use now, and where the age clock stands.

        Args:
            used: The log's own numbers of the rooms; one that is gone is ignored.

        Raises:
            StorageError: It cannot be written.
        """

    async def list_empty(self, before: int | None, count: int, spared: Collection[bytes]) -> list[bytes]:
        """Return the addresses of rooms that never held a message, the one unused for longest first.

        Args:
            before: The stamp since which they have not been used; None for any.
            count: How many to return at most.
            spared: Addresses that are not to be returned.

        Raises:
            StorageError: It cannot be read.
        """

    async def forget(self, addresses: Collection[bytes]) -> int:
        """Forget those of the rooms that never held a message, durably; return how many they were.

        The caller sees to it that nobody opens them meanwhile.

        Raises:
            StorageError: It cannot be written.
        """

    async def shrink(self) -> None:
        """Give back some of the space that nothing uses any more; what is left is given back by later calls.

        Raises:
            StorageError: It cannot be written.
        """

    async def aclose(self) -> None:
        """Close the log; whatever was appended stays."""
