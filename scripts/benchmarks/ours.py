"""What a member of ours says: the relay protocol, with the package's own messages and keys."""

import hashlib
import os
import socket
import ssl
import time
from collections.abc import Sequence
from functools import cache
from typing import Final

from scripts.benchmarks.dialects import TAG_BYTES
from scripts.benchmarks.wire import LostError, Wire, client_context
from securechat import labels
from securechat.protocol import chain, frames, messages, proof
from securechat.protocol.frames import Frame
from securechat.protocol.messages import Direction, History, Join, Joined, Past, Send, Type, Welcome
from securechat.sealing.body import SESSION_BYTES, Here, Seen, Text, encode
from securechat.sealing.envelope import SALT_BYTES, Context, seal
from securechat.sealing.identity import SEED_BYTES, Identity
from securechat.sealing.keys import RoomKeys, RoomSecret

_DELIVERED_AT: Final = frames.HEADER_BYTES + 20  # where the envelope of a DELIVER begins
_REF: Final = 1
_PAGE: Final = 500
_TEXT: Final = "the kettle is on, and somebody left the door open again"


@cache
def room_keys(room: int) -> RoomKeys:
    """Return the keys of a room, without the derivation from a passphrase, which no server sees."""
    return RoomKeys(RoomSecret(hashlib.sha256(b"benchmark room %d" % room).digest()))


def seal_messages(count: int) -> list[bytes]:
    """Return ``count`` real envelopes of 329 bytes, no two the same, as one member would send them."""
    keys, identity, session = room_keys(0), Identity(os.urandom(SEED_BYTES)), os.urandom(SESSION_BYTES)
    clock, seen = time.time_ns() // 1_000_000, Seen(1, bytes(chain.HASH_BYTES))
    bodies = (encode(Text(session, counter, clock, "alice", seen, _TEXT)) for counter in range(1, count + 1))
    return [seal(keys, Context.MESSAGE, identity, body, os.urandom(SALT_BYTES)) for body in bodies]


@cache
def _presence() -> bytes:
    body = encode(Here(os.urandom(SESSION_BYTES), 1, time.time_ns() // 1_000_000, "alice", None, 0, reader=False))
    return seal(room_keys(0), Context.PRESENCE, Identity(os.urandom(SEED_BYTES)), body, os.urandom(SALT_BYTES))


class Relay:
    """See ``Dialect``.

    Args:
        pin: The server's, 32 bytes: join proofs cover it.
        is_listed: Whether members join with a presence, of which others are told.
    """

    echoes = True
    rooms_per_connection = 16

    def __init__(self, pin: bytes, *, is_listed: bool = False) -> None:
        self.context: ssl.SSLContext | None = client_context(labels.ALPN)
        self.is_listed = is_listed
        self.pin = pin
        self._handles: dict[int, int] = {}

    def prelude(self, sock: socket.socket) -> None:
        """See ``Dialect.prelude``."""

    def log_in(self, wire: Wire, member: int) -> None:
        """See ``Dialect.log_in``: the server learns no name."""

    def enter(self, wire: Wire, rooms: Sequence[int]) -> bytes:
        """See ``Dialect.enter``."""
        buffer = bytearray()
        welcome = Welcome.parse(_await(wire, buffer, Type.WELCOME).body)
        for room in rooms:
            keys = room_keys(room)
            signed = proof.signed_bytes(welcome.challenge, self.pin, keys.address)
            presence = _presence() if self.is_listed else b""
            wire.send(Join(_REF, keys.address, keys.sign_join(signed), may_create=True, presence=presence).encode())
            joined = Joined.parse(_await(wire, buffer, Type.JOINED).body)
            self._handles[room] = joined.handle
        return bytes(buffer)

    def payload(self, envelope: bytes) -> bytes:
        """See ``Dialect.payload``."""
        return envelope

    def send(self, room: int, payload: bytes) -> bytes:
        """See ``Dialect.send``."""
        return Send(self._handles[room], payload).encode()

    def split(self, buffer: bytearray) -> list[bytes]:
        """See ``Dialect.split``."""
        data = bytes(buffer)
        at, size, tags = 0, len(data), []
        while size - at >= frames.HEADER_BYTES:
            end = at + 4 + int.from_bytes(data[at : at + 4], "big")
            if end > size:
                break
            kind = data[at + 4]
            if kind == Type.DELIVER:
                tags.append(data[at + _DELIVERED_AT : at + _DELIVERED_AT + TAG_BYTES])
            elif kind in {Type.ERROR, Type.GOODBYE}:
                raise LostError(f"the server says {messages.parse(Frame(kind, data[at + 5 : end]))}")
            at = end
        del buffer[:at]
        return tags

    def read_history(self, wire: Wire, room: int, count: int) -> int:
        """Read the oldest ``count`` messages of a room page by page, on a blocking wire, and return how many came."""
        buffer, heard = bytearray(), 0
        while heard < count:
            request = History(_REF, self._handles[room], Direction.FORWARD, heard + 1, min(_PAGE, count - heard))
            wire.send(request.encode())
            page = Past.parse(_await(wire, buffer, Type.PAST).body)
            if not page.records:
                break
            heard += len(page.records)
        return heard


def _await(wire: Wire, buffer: bytearray, wanted: Type) -> Frame:
    """Read until a frame of the type has come; others before it are dropped, what follows it stays in ``buffer``."""
    while True:
        end = 4 + int.from_bytes(buffer[:4], "big")
        if len(buffer) < max(end, frames.HEADER_BYTES):
            buffer += wire.receive()
            continue
        frame = Frame(buffer[4], bytes(buffer[frames.HEADER_BYTES : end]))
        del buffer[:end]
        if frame.type == wanted:
            return frame
        if frame.type in {Type.ERROR, Type.GOODBYE}:
            raise LostError(f"the server says {messages.parse(frame)}")
