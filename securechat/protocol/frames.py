"""Frames: ``u32 length | u8 type | body``, big-endian, ``length`` counting type and body (PROTOCOL.md, 4.1)."""

from collections.abc import Iterator
from typing import Final, NamedTuple

from securechat.errors import ProtocolError, Violation

_LENGTH_BYTES: Final = 4
HEADER_BYTES: Final = 5


class Frame(NamedTuple):
    """One frame: its type, 0..255, and its body."""

    type: int
    body: bytes


def encode(frame_type: int, *parts: bytes) -> bytes:
    """Return the frame of ``frame_type`` whose body is ``parts`` one after another."""
    body = b"".join(parts)
    return b"%b%c%b" % ((len(body) + 1).to_bytes(4, "big"), frame_type, body)


class FrameDecoder:
    """Cut a byte stream into frames, whatever the chunks it arrives in.

    Args:
        most: The largest ``length`` that is accepted, in bytes. A larger one is an error as soon as
            its four bytes are there: nothing is allocated for it.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Take bytes in and yield the frames that are complete, before any error behind them.

        The iterator is to be exhausted before the next call.

        Raises:
            ProtocolError: ``length`` is 0 or above the limit. The stream cannot be read on.
        """
        buffer = self._buffer
        buffer += data
        while len(buffer) >= _LENGTH_BYTES:
            length = int.from_bytes(buffer[:_LENGTH_BYTES], "big")
            if not 1 <= length <= self._most:
                raise ProtocolError(Violation.LENGTH, f"a frame of {length} bytes")
            end = _LENGTH_BYTES + length
            if len(buffer) < end:
                return
            frame = Frame(buffer[_LENGTH_BYTES], bytes(buffer[HEADER_BYTES:end]))
            del buffer[:end]  # cheap: a bytearray only moves its start
            yield frame
