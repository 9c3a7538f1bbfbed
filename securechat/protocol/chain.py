"""The hash chain over a room's log, by which members notice a server that lies about it (PROTOCOL.md, 5.1).

::

    H_0 = SHA-256(label || 0x00 || address || log_id)
    H_n = SHA-256(label || 0x00 || H_(n-1) || u64 n || SHA-256(envelope_n))
"""

import hashlib
from typing import Final

from securechat import labels

HASH_BYTES: Final = 32
LOG_ID_BYTES: Final = 16
ENVELOPE_ID_BYTES: Final = 16

_ROOT: Final = labels.LOG_ROOT + b"\0"
_LINK: Final = labels.LOG_LINK + b"\0"


def root(address: bytes, log_id: bytes) -> bytes:
    """Return H_0, 32 bytes, of the log ``log_id`` (16 bytes) of the room at ``address`` (32 bytes)."""
    return hashlib.sha256(_ROOT + address + log_id).digest()


def link(before: bytes, sequence: int, digest: bytes) -> bytes:
    """Return H_n, 32 bytes, from H_(n-1), n and the SHA-256 of the n-th envelope."""
    return hashlib.sha256(_LINK + before + sequence.to_bytes(8, "big") + digest).digest()


def digest(envelope: bytes) -> bytes:
    """Return the SHA-256 of an envelope; its first 16 bytes are the envelope's id."""
    return hashlib.sha256(envelope).digest()


def envelope_id(envelope: bytes) -> bytes:
    """Return the 16 bytes by which a server recognises an envelope that was sent before."""
    return digest(envelope)[:ENVELOPE_ID_BYTES]
