"""What the servers beside ours speak, as little of it as a member needs: IRC, MQTT 3.1.1, NATS, and plain lines."""

import base64
import json
import socket
import ssl
from collections.abc import Sequence
from functools import partial
from typing import Final, Protocol

from scripts.benchmarks.wire import LostError, Wire, client_context

TAG_BYTES: Final = 16  # of a payload: tells one message from another, because an envelope begins with its salt


class Dialect(Protocol):
    """How to speak to one kind of server.

    Attributes:
        echoes: Whether a sender gets its own messages too.
        rooms_per_connection: The most rooms that one connection may be in.
        context: For TLS; None for none.
    """

    echoes: bool
    rooms_per_connection: int
    context: ssl.SSLContext | None

    def prelude(self, sock: socket.socket) -> None:
        """Read what the server says before TLS."""

    def log_in(self, wire: Wire, member: int) -> None:
        """Say who this is."""

    def enter(self, wire: Wire, rooms: Sequence[int]) -> bytes:
        """Await the answer to that, join, and return what came behind it all."""

    def payload(self, envelope: bytes) -> bytes:
        """Return an envelope as this server can carry it."""

    def send(self, room: int, payload: bytes) -> bytes:
        """Return the bytes that send a payload to a room."""

    def split(self, buffer: bytearray) -> list[bytes]:
        """Take the complete deliveries out of ``buffer`` and return the tag of each."""


def await_bytes(wire: Wire, wanted: bytes, count: int = 1) -> bytes:
    """Read until ``wanted`` has come ``count`` times, and return what follows the line or frame that has it last."""
    buffer = b""
    while buffer.count(wanted) < count:
        buffer += wire.receive()
    return buffer[buffer.rindex(wanted) + len(wanted) :]


class _Simple:
    echoes = True
    rooms_per_connection = 16

    def __init__(self) -> None:
        self.context: ssl.SSLContext | None = client_context()

    def prelude(self, sock: socket.socket) -> None:
        """See ``Dialect.prelude``."""

    def log_in(self, wire: Wire, member: int) -> None:
        """See ``Dialect.log_in``."""

    def payload(self, envelope: bytes) -> bytes:
        """See ``Dialect.payload``."""
        return envelope


class Irc(_Simple):
    """RFC 2812. Envelopes go in base64, because a line is text."""

    echoes = False

    def log_in(self, wire: Wire, member: int) -> None:
        """See ``Dialect.log_in``."""
        wire.send(b"NICK u%d\r\nUSER u%d 0 * :u\r\n" % (member, member))

    def enter(self, wire: Wire, rooms: Sequence[int]) -> bytes:
        """See ``Dialect.enter``."""
        buffer = b""
        while b" 376 " not in buffer and b" 422 " not in buffer:  # the end of the message of the day, or none
            data = wire.receive()
            buffer += data
            for line in data.splitlines():
                if line.startswith(b"PING "):
                    wire.send(b"PONG " + line[5:] + b"\r\n")
        wire.send(b"JOIN %b\r\n" % b",".join(b"#r%d" % room for room in rooms))
        await_bytes(wire, b" 366 ", len(rooms))  # the end of the names
        return b""

    def payload(self, envelope: bytes) -> bytes:
        """See ``Dialect.payload``."""
        return base64.b64encode(envelope)

    def send(self, room: int, payload: bytes) -> bytes:
        """See ``Dialect.send``."""
        return b"PRIVMSG #r%d :%b\r\n" % (room, payload)

    def split(self, buffer: bytearray) -> list[bytes]:
        """See ``Dialect.split``."""
        end = buffer.rfind(b"\n") + 1
        lines = bytes(buffer[:end]).split(b"\n")
        del buffer[:end]
        tags = []
        for line in lines:
            before, found, payload = line.partition(b" :")
            if found and b" PRIVMSG " in before:
                tags.append(payload[:TAG_BYTES])
            elif line.startswith(b"ERROR"):
                raise LostError(f"the server says {line!r}")
        return tags


class Mqtt(_Simple):
    """MQTT 3.1.1 with QoS 0 and a clean session."""

    def log_in(self, wire: Wire, member: int) -> None:
        """See ``Dialect.log_in``."""
        name = b"u%d" % member
        hello = b"\0\4MQTT\4\2\0\0" + len(name).to_bytes(2, "big") + name
        wire.send(b"\x10" + _varint(len(hello)) + hello)

    def enter(self, wire: Wire, rooms: Sequence[int]) -> bytes:
        """See ``Dialect.enter``."""
        await_bytes(wire, b"\x20\x02\0\0")
        topics = [b"r/%d" % room for room in rooms]
        body = b"\0\1" + b"".join(len(topic).to_bytes(2, "big") + topic + b"\0" for topic in topics)
        wire.send(b"\x82" + _varint(len(body)) + body)
        return await_bytes(wire, b"\x90" + _varint(2 + len(rooms)) + b"\0\1" + bytes(len(rooms)))

    def send(self, room: int, payload: bytes) -> bytes:
        """See ``Dialect.send``."""
        topic = b"r/%d" % room
        body = len(topic).to_bytes(2, "big") + topic + payload
        return b"\x30" + _varint(len(body)) + body

    def split(self, buffer: bytearray) -> list[bytes]:
        """See ``Dialect.split``."""
        data = bytes(buffer)
        at, tags = 0, []
        while len(data) - at > 4:
            size, shift, start = 0, 0, at + 1
            while True:
                size |= (data[start] & 0x7F) << shift
                start, shift = start + 1, shift + 7
                if data[start - 1] < 0x80:
                    break
            if len(data) < start + size:
                break
            if data[at] & 0xF0 == 0x30:
                payload = start + 2 + int.from_bytes(data[start : start + 2], "big")
                tags.append(data[payload : payload + TAG_BYTES])
            at = start + size
        del buffer[:at]
        return tags


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(encoded) + bytes([number])


class Nats(_Simple):
    """The NATS client protocol."""

    def prelude(self, sock: socket.socket) -> None:
        """See ``Dialect.prelude``: INFO comes in the clear, byte by byte lest TLS bytes are taken with it."""
        for byte in iter(partial(sock.recv, 1), b"\n"):
            if not byte:
                raise LostError("no INFO")

    def log_in(self, wire: Wire, member: int) -> None:
        """See ``Dialect.log_in``."""
        options = json.dumps({"verbose": False, "pedantic": False, "tls_required": True, "name": f"u{member}"})
        wire.send(b"CONNECT " + options.encode() + b"\r\n")

    def enter(self, wire: Wire, rooms: Sequence[int]) -> bytes:
        """See ``Dialect.enter``."""
        subscribe = b"".join(b"SUB r%d %d\r\n" % (room, sid) for sid, room in enumerate(rooms))
        wire.send(subscribe + b"PING\r\n")
        return await_bytes(wire, b"PONG\r\n")

    def send(self, room: int, payload: bytes) -> bytes:
        """See ``Dialect.send``."""
        return b"PUB r%d %d\r\n%b\r\n" % (room, len(payload), payload)

    def split(self, buffer: bytearray) -> list[bytes]:
        """See ``Dialect.split``."""
        data = bytes(buffer)
        at, tags = 0, []
        while (end := data.find(b"\r\n", at)) >= 0:
            if not data.startswith(b"MSG ", at):
                if data.startswith(b"-ERR", at):
                    raise LostError(f"the server says {data[at:end]!r}")
                at = end + 2
                continue
            size = int(data[data.rindex(b" ", at, end) : end])
            if len(data) < end + size + 4:
                break
            tags.append(data[end + 2 : end + 2 + TAG_BYTES])
            at = end + size + 4
        del buffer[:at]
        return tags


class Lines(_Simple):
    """Plain lines, for ``scripts.benchmarks.naive``: one room a connection, no TLS."""

    rooms_per_connection = 1

    def __init__(self) -> None:
        super().__init__()
        self.context = None

    def enter(self, wire: Wire, rooms: Sequence[int]) -> bytes:
        """See ``Dialect.enter``."""
        wire.send(b"r%d\n" % rooms[0])
        return await_bytes(wire, b"ok\n")

    def payload(self, envelope: bytes) -> bytes:
        """See ``Dialect.payload``."""
        return base64.b64encode(envelope)

    def send(self, room: int, payload: bytes) -> bytes:
        """See ``Dialect.send``."""
        return payload + b"\n"

    def split(self, buffer: bytearray) -> list[bytes]:
        """See ``Dialect.split``."""
        *lines, rest = bytes(buffer).split(b"\n")
        buffer[:] = rest
        return [line[:TAG_BYTES] for line in lines]
