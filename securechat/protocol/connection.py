"""Who may say what, and when: one end of a relay connection as a state machine (PROTOCOL.md, 4.2).

::

    server:  GREETING --WELCOME--> OPEN --GOODBYE--> ENDED
    client:  GREETING <-WELCOME--- OPEN <-GOODBYE--- ENDED

Both ends run the same tables, so a client finds a lying server out by the same code by which a
server refuses a client.
"""

from collections.abc import Iterator
from enum import Enum, auto
from typing import Final

from securechat import limits
from securechat.errors import ProtocolError, Violation
from securechat.protocol import frames, messages
from securechat.protocol.messages import (
    Deliver,
    Error,
    Goodbye,
    History,
    Join,
    Joined,
    Leave,
    Member,
    Message,
    Past,
    Ping,
    Pong,
    Presence,
    Send,
    Welcome,
)


class State(Enum):
    """How far a connection is."""

    GREETING = auto()
    OPEN = auto()
    ENDED = auto()


_FROM_SERVER: Final = {
    State.GREETING: (Welcome, Goodbye),
    State.OPEN: (Joined, Deliver, Member, Past, Ping, Pong, Error, Goodbye),
    State.ENDED: (),
}
_FROM_CLIENT: Final = {
    State.GREETING: (),
    State.OPEN: (Join, Send, Presence, History, Leave, Ping, Pong),
    State.ENDED: (),
}
_ROOM_BOUND: Final = (Send, Presence, Leave, History, Deliver, Member, Past)


class _Connection:
    """What both ends share: the decoder, the state and the rooms."""

    def __init__(self, most: int) -> None:
        self._decoder = frames.FrameDecoder(most)
        self.state = State.GREETING
        self._handles: set[int] = set()

    def _check(self, message: Message, allowed: tuple[type[Message], ...]) -> None:
        if type(message) not in allowed:
            name = f"{type(message).__name__.upper()} in state {self.state.name}"
            raise ProtocolError(Violation.STATE, name)

    def _advance(self, message: Message) -> None:
        """Follow a message of the server, sent or received."""
        if isinstance(message, Welcome):
            self.state = State.OPEN
        elif isinstance(message, Goodbye):
            self.state = State.ENDED
        elif isinstance(message, Joined):
            self.admit(message.handle)

    def admit(self, handle: int) -> None:
        """Note that this connection is in the room ``handle`` now."""
        self._handles.add(handle)


class ServerConnection(_Connection):
    """The server's end."""

    def __init__(self) -> None:
        super().__init__(limits.CLIENT_FRAME_BYTES)

    def receive(self, data: bytes) -> Iterator[Message]:
        """Take bytes from the client and yield its messages, before any violation behind them.

        Raises:
            ProtocolError: The client broke the protocol; the connection is to be ended.
        """
        for frame in self._decoder.feed(data):
            message = messages.parse(frame)
            self._check(message, _FROM_CLIENT[self.state])
            if isinstance(message, _ROOM_BOUND) and message.handle not in self._handles:
                raise ProtocolError(Violation.HANDLE, "a room that was not joined")
            if isinstance(message, Leave):
                self._handles.discard(message.handle)
            yield message

    def send(self, message: Message) -> bytes:
        """Return the bytes of ``message`` and follow it."""
        self._check(message, _FROM_SERVER[self.state])
        self._advance(message)
        return message.encode()


class ClientConnection(_Connection):
    """A client's end; it checks too that each answer has its question."""

    def __init__(self) -> None:
        super().__init__(limits.FRAME_BYTES)
        self._asked: dict[int, type[Message]] = {}
        self._left: set[int] = set()

    def receive(self, data: bytes) -> Iterator[Message]:
        """Take bytes from the server and yield its messages, but for those of rooms that were left.

        Raises:
            ProtocolError: The server broke the protocol; the connection is to be ended.
        """
        for frame in self._decoder.feed(data):
            message = messages.parse(frame)
            self._check(message, _FROM_SERVER[self.state])
            self._check_answer(message)
            self._advance(message)
            if self._is_wanted(message):
                yield message

    def _check_answer(self, message: Message) -> None:
        if isinstance(message, Joined):
            answers: tuple[type[Message], ...] = (Join,)
        elif isinstance(message, Past):
            answers = (History,)
        elif isinstance(message, Error) and message.ref:
            answers = (Join, History)
        else:
            return
        if self._asked.pop(message.ref, None) not in answers:
            raise ProtocolError(Violation.REFERENCE, "an answer to nothing that was asked")

    def _is_wanted(self, message: Message) -> bool:
        if not isinstance(message, _ROOM_BOUND) or message.handle in self._handles:
            return True
        if message.handle in self._left:
            return False
        raise ProtocolError(Violation.HANDLE, "a room that was not joined")

    def send(self, message: Message) -> bytes:
        """Return the bytes of ``message`` and follow it."""
        self._check(message, _FROM_CLIENT[self.state])
        if isinstance(message, Join | History):
            self._asked[message.ref] = type(message)
        elif isinstance(message, Leave):
            self._handles.discard(message.handle)
            self._left.add(message.handle)
        return message.encode()
