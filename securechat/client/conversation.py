"""What a screen sees of a room: events that come out, and a few things to do.

Every screen (lines now, others later) is written against this module alone. Text in events is as its
writer signed it: the screen sanitises it.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol


class Kind(StrEnum):
    """What an event is; the values are those of ``--json``."""

    MESSAGE = "message"
    JOINED = "joined"
    LEFT = "left"
    RENAMED = "renamed"
    GAP = "gap"
    FORK = "fork"
    ROLLBACK = "rollback"
    CHANGED_KEY = "changed-key"
    NOTICE = "notice"


ALARMS = frozenset({Kind.GAP, Kind.FORK, Kind.ROLLBACK, Kind.CHANGED_KEY})


class Sender(NamedTuple):
    """Who an event is about.

    Attributes:
        nick: The nickname, as signed.
        identity: The public key, 32 bytes; empty in the old base64 mode, where nobody has one.
        verified: Whether this profile's owner has compared words with them.
        is_me: Whether it is this profile's own identity.
    """

    nick: str
    identity: bytes
    verified: bool
    is_me: bool

    @property
    def name(self) -> str:
        """The nickname, with the first digits of its key until it is verified."""
        return self.nick if self.verified or not self.identity else f"{self.nick}~{self.identity.hex()[:4]}"


@dataclass(frozen=True, slots=True)
class Event:
    """Something to show.

    Attributes:
        kind: What it is.
        time: When, in ms since 1970 UTC: a message's is its sender's signed clock.
        text: A message's text as signed; for all else one sentence.
        sequence: A message's place in the room's log.
        sender: Who it is about, if anybody.
        is_action: Told in the third person (``/me``).
        is_backlog: A message that was in the log before this client joined.
        is_late: A message that came after later ones of the same run.
        is_own: A message that this very run sent.
        clock_error: How far the sender's clock was from the server's, in ms.
    """

    kind: Kind
    time: int
    text: str
    sequence: int | None = None
    sender: Sender | None = None
    is_action: bool = False
    is_backlog: bool = False
    is_late: bool = False
    is_own: bool = False
    clock_error: int = 0

    @property
    def is_alarm(self) -> bool:
        """Whether somebody may be lying, or something is missing or was altered: it must not be overlooked."""
        is_unreadable = self.kind is Kind.NOTICE and self.sequence is not None and self.sender is None
        return self.kind in ALARMS or is_unreadable


class Present(NamedTuple):
    """A member who is here: who, and whether they only read."""

    sender: Sender
    is_reader: bool


class Unsent(NamedTuple):
    """A message that the server has not acknowledged: when it was typed (ms since 1970 UTC), and what."""

    time: int
    text: str
    is_action: bool


class Events(Protocol):
    """What happens in a conversation, in order."""

    def __aiter__(self) -> AsyncIterator[Event]:
        """Yield events as they come."""

    async def receive(self) -> Event:
        """Return the next event."""

    def receive_nowait(self) -> Event:
        """Return the next event that is there already.

        Raises:
            trio.WouldBlock: There is none.
        """


class Conversation(Protocol):
    """One room, connected or trying to be.

    Attributes:
        events: What happens, in order; a screen that does not read holds the conversation up.
        room: The room's name.
        server: Where, as HOST:PORT.
        is_encrypted: Whether the server cannot read it.
        read_before: The sequence up to which an earlier run has shown the log; 0 for none.
    """

    room: str
    server: str
    is_encrypted: bool
    read_before: int

    @property
    def events(self) -> Events:
        """See above."""

    @property
    def nick(self) -> str:
        """This member's nickname."""

    @property
    def is_connected(self) -> bool:
        """Whether the room is joined at this moment."""

    @property
    def pending(self) -> int:
        """How many messages the server has not acknowledged yet."""

    @property
    def unsent(self) -> Sequence[Unsent]:
        """What the server has not acknowledged yet, in the order in which it was typed."""

    @property
    def lag(self) -> float | None:
        """Seconds from here to the server and back, as last measured; None before the first time."""

    @property
    def retry_in(self) -> float | None:
        """Seconds until the next attempt to connect; None while connected or at it."""

    @property
    def refused(self) -> int:
        """How many messages were given up: they did not arrive, or nobody knows."""

    @property
    def present(self) -> Mapping[int, Present]:
        """Who is here, by member number; this member is not among them."""

    def say(self, text: str, *, is_action: bool = False) -> None:
        """Send a message, now or when the connection is back: once, and in order.

        Raises:
            InputError: The text is empty, above 32,000 bytes, or holds a NUL or half a surrogate pair;
                or too much is pending.
        """

    def rename(self, nick: str) -> None:
        """Take another nickname.

        Raises:
            InputError: It is not one.
        """

    def reconnect(self) -> None:
        """Drop the connection and make a new one at once."""

    async def wait_acknowledged(self) -> None:
        """Wait until one more message was acknowledged, or given up."""

    async def wait_caught_up(self) -> None:
        """Wait until all that was there at the first join was read."""

    async def load_older(self, count: int) -> list[Event]:
        """Return up to ``count`` messages before the first one shown, in order."""
