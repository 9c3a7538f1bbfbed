"""The messages of the relay protocol and their bodies, byte for byte (PROTOCOL.md, 4.2).

Each class reads a frame's body with ``parse`` (ProtocolError where it is malformed) and writes the
whole frame with ``encode``. Integers are unsigned and big-endian.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, ClassVar, Final, NamedTuple, Self

from securechat import limits
from securechat.errors import ProtocolError, Violation
from securechat.protocol import frames

VERSION: Final = 1


class Type(IntEnum):
    """The second field of a frame."""

    WELCOME = 1
    JOIN = 2
    JOINED = 3
    SEND = 4
    DELIVER = 5
    MEMBER = 6
    PRESENCE = 7
    HISTORY = 8
    PAST = 9
    LEAVE = 10
    PING = 11
    PONG = 12
    ERROR = 13
    GOODBYE = 14


class Change(IntEnum):
    """What MEMBER says of a member."""

    HERE = 1  # listed after JOINED
    JOINED = 2
    LEFT = 3
    CHANGED = 4


class Direction(IntEnum):
    """Which way HISTORY reads from its sequence."""

    FORWARD = 1  # the page begins at the sequence
    BACKWARD = 2  # the page ends just before the sequence


class Code(IntEnum):
    """Why a request was refused."""

    BAD_PROOF = 1
    NO_SUCH_ROOM = 2
    ROOMS_CLOSED = 3
    TOO_MANY_ROOMS = 4
    ALREADY_JOINED = 5
    STORAGE = 6
    RATE = 7
    TOO_LARGE = 8
    OUT_OF_ORDER = 9
    ROOM_FULL = 10


class Reason(IntEnum):
    """Why the server ends a connection."""

    SHUTDOWN = 1
    SLOW = 2
    TIMEOUT = 3
    PROTOCOL = 4
    RATE = 5
    INTERNAL = 6


def _malformed(detail: str) -> ProtocolError:
    return ProtocolError(Violation.MALFORMED, detail)


def _unpack(layout: struct.Struct, body: bytes, name: str) -> tuple[Any, ...]:
    if len(body) != layout.size:
        raise _malformed(f"{name} of {len(body)} bytes")
    return layout.unpack(body)


def _rest(layout: struct.Struct, body: bytes, name: str, least: int, most: int) -> bytes:
    """Return what follows the fixed part of ``body``, ``least`` to ``most`` bytes of it."""
    size = len(body) - layout.size
    if not least <= size <= most:
        raise _malformed(f"{name} of {len(body)} bytes")
    return body[layout.size :]


def _text(raw: bytes, name: str) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise _malformed(f"{name} whose text is not UTF-8") from None


def _flag(value: int, name: str) -> bool:
    if value > 1:
        raise _malformed(f"{name} with a flag of {value}")
    return value == 1


def _below_2_53(value: int, name: str) -> int:
    if value >> 53:
        raise _malformed(f"{name} with a number of 2^53 or more")
    return value


@dataclass(frozen=True, slots=True)
class Welcome:
    """The server's first frame.

    Attributes:
        challenge: 32 random bytes, which join proofs of this connection sign.
        largest: The largest envelope that the server takes, in bytes.
        keepalive: Seconds after which a silent client sends PING.
        clock: The server's clock, in ms since 1970 UTC.
    """

    TYPE: ClassVar = Type.WELCOME
    _LAYOUT: ClassVar = struct.Struct(">H32sIHQ")
    challenge: bytes
    largest: int
    keepalive: int
    clock: int

    def encode(self) -> bytes:
        """Return the whole frame."""
        fields = (VERSION, self.challenge, self.largest, self.keepalive, self.clock)
        return frames.encode(self.TYPE, self._LAYOUT.pack(*fields))

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """Read a body of 48 bytes."""
        version, challenge, largest, keepalive, clock = _unpack(cls._LAYOUT, body, "WELCOME")
        if version != VERSION:
            raise _malformed(f"WELCOME of version {version!r}")
        return cls(challenge, largest, keepalive, _below_2_53(clock, "WELCOME"))


@dataclass(frozen=True, slots=True)
class Join:
    """Ask to become a member of the room at ``address``, with the sealed presence that others get.

    An empty presence joins unlisted: others are not told.
    """

    TYPE: ClassVar = Type.JOIN
    _LAYOUT: ClassVar = struct.Struct(">I32s64sB")
    ref: int
    address: bytes
    proof: bytes
    may_create: bool
    presence: bytes

    def encode(self) -> bytes:
        """Return the whole frame."""
        fixed = self._LAYOUT.pack(self.ref, self.address, self.proof, self.may_create)
        return frames.encode(self.TYPE, fixed, self.presence)

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """Read a body of 101 bytes and the presence."""
        presence = _rest(cls._LAYOUT, body, "JOIN", 0, limits.PRESENCE_BYTES)
        ref, address, proof, flags = cls._LAYOUT.unpack_from(body)
        return cls(ref, address, proof, _flag(flags, "JOIN"), presence)


@dataclass(frozen=True, slots=True)
class Joined:
    """The answer to JOIN: where the room's log stands at this moment of the stream.

    Attributes:
        ref: That of the JOIN.
        handle: Names the room in the frames of this connection.
        member: This member's number in the room.
        created: Whether this JOIN created the room.
        log_id: 16 random bytes, chosen when the room was created.
        oldest: The first sequence that is still kept; ``newest + 1`` when none is.
        newest: The sequence of the last message; 0 in a new room.
        head: H of ``newest``, 32 bytes.
        listed: How many members MEMBER frames will list next.
    """

    TYPE: ClassVar = Type.JOINED
    _LAYOUT: ClassVar = struct.Struct(">IIIB16sQQ32sI")
    ref: int
    handle: int
    member: int
    created: bool
    log_id: bytes
    oldest: int
    newest: int
    head: bytes
    listed: int

    def encode(self) -> bytes:
        """Return the whole frame."""
        where = (self.oldest, self.newest, self.head, self.listed)
        fields = (self.ref, self.handle, self.member, self.created, self.log_id, *where)
        return frames.encode(self.TYPE, self._LAYOUT.pack(*fields))

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """Read a body of 81 bytes."""
        fields = _unpack(cls._LAYOUT, body, "JOINED")
        ref, handle, member, created, log_id, oldest, newest, head, listed = fields
        if not 1 <= _below_2_53(oldest, "JOINED") <= _below_2_53(newest, "JOINED") + 1:
            raise _malformed("JOINED whose oldest sequence is not in 1..newest + 1")
        created = _flag(created, "JOINED")
        return cls(ref, handle, member, created, log_id, oldest, newest, head, listed)


@dataclass(frozen=True, slots=True)
class Send:
    """An envelope for everybody in the room."""

    TYPE: ClassVar = Type.SEND
    _LAYOUT: ClassVar = struct.Struct(">I")
    handle: int
    envelope: bytes

    def encode(self) -> bytes:
        """Return the whole frame."""
        return frames.encode(self.TYPE, self._LAYOUT.pack(self.handle), self.envelope)

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """Read a handle and 1 to 65,536 bytes of envelope."""
        envelope = _rest(cls._LAYOUT, body, "SEND", 1, limits.ENVELOPE_BYTES)
        (handle,) = cls._LAYOUT.unpack_from(body)
        return cls(handle, envelope)


@dataclass(frozen=True, slots=True)
class Deliver:
    """An envelope that the log now holds: the same bytes for every member, the sender too.

    To its sender this is the acknowledgement.
    """

    TYPE: ClassVar = Type.DELIVER
    _LAYOUT: ClassVar = struct.Struct(">IQQ")
    _FRAME: ClassVar = struct.Struct(">IBIQQ")
    handle: int
    sequence: int
    clock: int
    envelope: bytes

    def encode(self) -> bytes:
        """Return the whole frame."""
        return self.frame(self.handle, self.sequence, self.clock, self.envelope)

    @classmethod
    def frame(cls, handle: int, sequence: int, clock: int, envelope: bytes) -> bytes:
        """Return the whole frame. A server makes one for each message, so no object is made for it: 0.3 us, not 1.1."""
        length = 1 + cls._LAYOUT.size + len(envelope)
        return cls._FRAME.pack(length, cls.TYPE, handle, sequence, clock) + envelope

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """Read 20 bytes and 1 to 65,536 bytes of envelope."""
        envelope = _rest(cls._LAYOUT, body, "DELIVER", 1, limits.ENVELOPE_BYTES)
        handle, sequence, clock = cls._LAYOUT.unpack_from(body)
        if not _below_2_53(sequence, "DELIVER"):
            raise _malformed("DELIVER of sequence 0")
        return cls(handle, sequence, _below_2_53(clock, "DELIVER"), envelope)


class MemberChange(NamedTuple):
    """One entry of MEMBER; ``presence`` is empty when the member left."""

    change: Change
    member: int
    presence: bytes


@dataclass(frozen=True, slots=True)
class Member:
    """Who is here, joined, left or has new presence."""

    TYPE: ClassVar = Type.MEMBER
    _HANDLE: ClassVar = struct.Struct(">I")
    _ENTRY: ClassVar = struct.Struct(">BIH")
    handle: int
    changes: tuple[MemberChange, ...]

    def encode(self) -> bytes:
        """Return the whole frame."""
        parts = [self._HANDLE.pack(self.handle)]
        for change, member, presence in self.changes:
            parts += (self._ENTRY.pack(change, member, len(presence)), presence)
        return frames.encode(self.TYPE, *parts)

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """Read a handle and 1 to 100 entries to the end of the body."""
        entries = _rest(cls._HANDLE, body, "MEMBER", cls._ENTRY.size, limits.FRAME_BYTES)
        changes: list[MemberChange] = []
        while entries:
            if len(entries) < cls._ENTRY.size or len(changes) == limits.MEMBERS_PER_FRAME:
                raise _malformed("MEMBER with half an entry, or too many")
            change, member, size = cls._ENTRY.unpack_from(entries)
            end = cls._ENTRY.size + size
            if change not in iter(Change) or len(entries) < end or size > limits.PRESENCE_BYTES:
                raise _malformed("MEMBER with an impossible entry")
            presence = entries[cls._ENTRY.size : end]
            if bool(presence) == (change == Change.LEFT):
                raise _malformed("MEMBER with the presence of one who left, or without another's")
            changes.append(MemberChange(Change(change), member, presence))
            entries = entries[end:]
        (handle,) = cls._HANDLE.unpack_from(body)
        return cls(handle, tuple(changes))


@dataclass(frozen=True, slots=True)
class Presence:
    """This member's new sealed presence."""

    TYPE: ClassVar = Type.PRESENCE
    _LAYOUT: ClassVar = struct.Struct(">I")
    handle: int
    presence: bytes

    def encode(self) -> bytes:
        """Return the whole frame."""
        return frames.encode(self.TYPE, self._LAYOUT.pack(self.handle), self.presence)

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """Read a handle and 1 to 1,024 bytes of presence."""
        presence = _rest(cls._LAYOUT, body, "PRESENCE", 1, limits.PRESENCE_BYTES)
        (handle,) = cls._LAYOUT.unpack_from(body)
        return cls(handle, presence)


@dataclass(frozen=True, slots=True)
class History:
    """Ask for a page of the log: at most ``most`` messages, in log order, from ``sequence`` on or before it."""

    TYPE: ClassVar = Type.HISTORY
    _LAYOUT: ClassVar = struct.Struct(">IIBQH")
    ref: int
    handle: int
    direction: Direction
    sequence: int
    most: int

    def encode(self) -> bytes:
        """Return the whole frame."""
        fields = (self.ref, self.handle, self.direction, self.sequence, self.most)
        return frames.encode(self.TYPE, self._LAYOUT.pack(*fields))

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """Read a body of 19 bytes."""
        ref, handle, direction, sequence, most = _unpack(cls._LAYOUT, body, "HISTORY")
        if direction not in iter(Direction) or not sequence or not most:
            raise _malformed("HISTORY with a zero or an unknown direction")
        return cls(ref, handle, Direction(direction), _below_2_53(sequence, "HISTORY"), most)


class Record(NamedTuple):
    """One message of a page: the server's clock at its append, in ms since 1970 UTC, and the envelope."""

    clock: int
    envelope: bytes


@dataclass(frozen=True, slots=True)
class Past:
    """A page of the log.

    Attributes:
        ref: That of the HISTORY.
        handle: The room.
        oldest: The first sequence that is still kept.
        newest: The last sequence of the log.
        first: The sequence of the first record; the others follow without a hole.
        before: H of ``first - 1``, 32 bytes.
        records: The messages; none when the log holds none there.
    """

    TYPE: ClassVar = Type.PAST
    _LAYOUT: ClassVar = struct.Struct(">IIQQQ32s")
    _RECORD: ClassVar = struct.Struct(">QI")
    ref: int
    handle: int
    oldest: int
    newest: int
    first: int
    before: bytes
    records: tuple[Record, ...]

    def encode(self) -> bytes:
        """Return the whole frame."""
        fields = (self.ref, self.handle, self.oldest, self.newest, self.first, self.before)
        parts = [self._LAYOUT.pack(*fields)]
        for clock, envelope in self.records:
            parts += (self._RECORD.pack(clock, len(envelope)), envelope)
        return frames.encode(self.TYPE, *parts)

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """Read 64 bytes and records to the end of the body."""
        rest = memoryview(_rest(cls._LAYOUT, body, "PAST", 0, limits.FRAME_BYTES))
        records = []
        while rest:
            if len(rest) < cls._RECORD.size:
                raise _malformed("PAST with half a record")
            clock, size = cls._RECORD.unpack_from(rest)
            end = cls._RECORD.size + size
            if len(rest) < end or not 1 <= size <= limits.ENVELOPE_BYTES:
                raise _malformed("PAST with an impossible record")
            envelope = bytes(rest[cls._RECORD.size : end])
            records.append(Record(_below_2_53(clock, "PAST"), envelope))
            rest = rest[end:]
        ref, handle, oldest, newest, first, before = cls._LAYOUT.unpack_from(body)
        for number in (oldest, newest, first):
            _below_2_53(number, "PAST")
        if not oldest or not first or first + len(records) > newest + 1:
            raise _malformed("PAST outside its own log")
        return cls(ref, handle, oldest, newest, first, before, tuple(records))


@dataclass(frozen=True, slots=True)
class Leave:
    """Leave a room; the connection stays."""

    TYPE: ClassVar = Type.LEAVE
    _LAYOUT: ClassVar = struct.Struct(">I")
    handle: int

    def encode(self) -> bytes:
        """Return the whole frame."""
        return frames.encode(self.TYPE, self._LAYOUT.pack(self.handle))

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """Read a body of 4 bytes."""
        return cls(*_unpack(cls._LAYOUT, body, "LEAVE"))


@dataclass(frozen=True, slots=True)
class _Token:
    """A frame that carries 8 bytes of the asker's choice."""

    TYPE: ClassVar[Type]
    _LAYOUT: ClassVar = struct.Struct(">8s")
    token: bytes

    def encode(self) -> bytes:
        """Return the whole frame."""
        return frames.encode(self.TYPE, self._LAYOUT.pack(self.token))

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """Read a body of 8 bytes."""
        return cls(*_unpack(cls._LAYOUT, body, cls.TYPE.name))


class Ping(_Token):
    """Ask for a PONG with the same 8 bytes; either side may."""

    __slots__ = ()
    TYPE: ClassVar = Type.PING


class Pong(_Token):
    """The answer to PING."""

    __slots__ = ()
    TYPE: ClassVar = Type.PONG


@dataclass(frozen=True, slots=True)
class Error:
    """A refused request; the connection stays.

    Attributes:
        code: Why.
        ref: That of the JOIN or HISTORY; 0 for a SEND.
        retry_after: Seconds after which to try again; 0 where that is no use.
        subject: The id of the refused envelope, 16 bytes; zeros otherwise.
        text: For logs: English, at most 256 bytes.
    """

    TYPE: ClassVar = Type.ERROR
    _LAYOUT: ClassVar = struct.Struct(">HIH16s")
    code: int
    ref: int
    retry_after: int
    subject: bytes
    text: str

    def encode(self) -> bytes:
        """Return the whole frame."""
        fixed = self._LAYOUT.pack(self.code, self.ref, self.retry_after, self.subject)
        return frames.encode(self.TYPE, fixed, self.text.encode())

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """Read 24 bytes and at most 256 bytes of UTF-8. A code may be unknown: it is still a refusal."""
        raw = _rest(cls._LAYOUT, body, "ERROR", 0, limits.ERROR_TEXT_BYTES)
        code, ref, retry_after, subject = cls._LAYOUT.unpack_from(body)
        return cls(code, ref, retry_after, subject, _text(raw, "ERROR"))


@dataclass(frozen=True, slots=True)
class Goodbye:
    """The server's last frame: why it ends the connection, and when to come back, in seconds."""

    TYPE: ClassVar = Type.GOODBYE
    _LAYOUT: ClassVar = struct.Struct(">BH")
    reason: int
    retry_after: int
    text: str

    def encode(self) -> bytes:
        """Return the whole frame."""
        fixed = self._LAYOUT.pack(self.reason, self.retry_after)
        return frames.encode(self.TYPE, fixed, self.text.encode())

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """Read 3 bytes and at most 256 bytes of UTF-8. A reason may be unknown."""
        raw = _rest(cls._LAYOUT, body, "GOODBYE", 0, limits.ERROR_TEXT_BYTES)
        reason, retry_after = cls._LAYOUT.unpack_from(body)
        return cls(reason, retry_after, _text(raw, "GOODBYE"))


ClientMessage = Join | Send | Presence | History | Leave | Ping | Pong
ServerMessage = Welcome | Joined | Deliver | Member | Past | Ping | Pong | Error | Goodbye
Message = ClientMessage | ServerMessage

_CLASSES: Final[dict[int, Any]] = {
    cls.TYPE: cls
    for cls in (
        *(Welcome, Join, Joined, Send, Deliver, Member, Presence),
        *(History, Past, Leave, Ping, Pong, Error, Goodbye),
    )
}


def parse(frame: frames.Frame) -> Message:
    """Return the message in a frame.

    Raises:
        ProtocolError: The type is unknown, or the body is not of its form.
    """
    cls = _CLASSES.get(frame.type)
    if cls is None:
        raise ProtocolError(Violation.TYPE, f"a frame of type {frame.type}")
    message: Message = cls.parse(frame.body)
    return message


def list_members(handle: int, changes: Sequence[MemberChange]) -> bytes:
    """Return MEMBER frames that carry ``changes`` in order, at most 100 to a frame."""
    step = limits.MEMBERS_PER_FRAME
    pages = (tuple(changes[i : i + step]) for i in range(0, len(changes), step))
    return b"".join(Member(handle, page).encode() for page in pages)
