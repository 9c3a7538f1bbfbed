"""Padding to powers of two, so that a server sees sizes in coarse buckets only (PROTOCOL.md, section 3.2)."""

from typing import Final

from securechat.errors import Failure, OpenError

LEAST: Final = 256
_MARK: Final = b"\x80"


def padded_size(size: int) -> int:
    """Return the size in bytes to which ``size`` bytes of content are padded."""
    return max(LEAST, 1 << size.bit_length())


def pad(content: bytes) -> bytes:
    """Return ``content || 0x80 || 0x00*``, the least power of two >= max(256, len(content) + 1) long."""
    return (content + _MARK).ljust(padded_size(len(content)), b"\0")


def unpad(padded: bytes) -> bytes:
    """Return the content.

    Raises:
        OpenError: There is no mark, something follows it, or another size would have been enough.
    """
    content, mark, rest = padded.rpartition(_MARK)
    if not mark or rest.strip(b"\0") or len(padded) != padded_size(len(content)):
        raise OpenError(Failure.PADDING)
    return content
