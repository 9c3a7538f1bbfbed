"""From a room's name and passphrase to its keys (PROTOCOL.md, section 2.2).

Argon2id (RFC 9106) makes the room secret, HKDF-Expand (RFC 5869, section 2.3) everything else.
"""

import hashlib
import hmac
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from securechat import labels, limits
from securechat.errors import SecurechatError
from securechat.sealing import words

SECRET_BYTES: Final = 32
_SALT_BYTES: Final = 16


class Cost:
    """What one derivation costs. Version 1 has one cost, ``V1``; tests name a cheap one explicitly.

    Args:
        memory_kib: Memory in KiB.
        iterations: Passes over it.
        lanes: Degree of parallelism.
    """

    def __init__(self, memory_kib: int, iterations: int, lanes: int) -> None:
        self.memory_kib = memory_kib
        self.iterations = iterations
        self.lanes = lanes


V1: Final = Cost(limits.ARGON2_MEMORY_KIB, limits.ARGON2_ITERATIONS, limits.ARGON2_LANES)


class RoomSecret:
    """The 32 bytes from which all keys of a room follow; who holds them can read and join."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) != SECRET_BYTES:
            raise ValueError("a room secret has 32 bytes")
        self.bytes = secret

    def __repr__(self) -> str:
        return "<RoomSecret, not shown>"


def room_salt(name: str) -> bytes:
    """Return the 16 bytes of salt for a normalised room name.

    Security:
        Deterministic, so that a name and a passphrase suffice to join and no set-up message is
        needed; the price is that one guess can be tested against every room of that name.
    """
    return hashlib.sha256(labels.ROOM_SALT + b"\0" + name.encode()).digest()[:_SALT_BYTES]


def derive_secret(name: str, passphrase: str, cost: Cost = V1) -> RoomSecret:
    """Derive the room secret from a normalised name and passphrase.

    Takes about 0.6 s and 256 MiB; releases the GIL, so run it in a thread.

    Raises:
        SecurechatError: There is not enough memory.
    """
    try:
        kdf = Argon2id(
            salt=room_salt(name),
            length=SECRET_BYTES,
            iterations=cost.iterations,
            lanes=cost.lanes,
            memory_cost=cost.memory_kib,
        )
        return RoomSecret(kdf.derive(passphrase.encode()))
    except MemoryError:
        raise SecurechatError(
            f"Deriving the room's keys takes {cost.memory_kib // 1024} MiB of memory, and there is not enough.",
            "Close other programs or raise the memory limit.",
        ) from None


class RoomKeys:
    """All that a member holds of a room.

    Args:
        secret: The room secret.

    Attributes:
        address: The room's Ed25519 public key, 32 bytes: all that a server learns of the room.
        message_key: 32 bytes, input of the envelopes that hold messages.
        presence_key: 32 bytes, input of the envelopes that hold presence.
        words: Three words by which members compare that they are in the same room.
    """

    def __init__(self, secret: RoomSecret) -> None:
        self._signing = Ed25519PrivateKey.from_private_bytes(_expand(secret, labels.ROOM_ADDRESS))
        self.address = self._signing.public_key().public_bytes_raw()
        self.message_key = _expand(secret, labels.MESSAGE_KEY)
        self.presence_key = _expand(secret, labels.PRESENCE_KEY)
        self.words = words.to_words(_expand(secret, labels.ROOM_WORDS), words.ROOM_WORDS)
        self._check_key = _expand(secret, labels.CHECK_KEY)

    def __repr__(self) -> str:
        return f"<RoomKeys of room {self.address.hex()[:8]}, not shown>"

    def check_words(self, sequence: int, head: bytes) -> str:
        """Return eight words of n and H_n (32 bytes), by which members compare what they have seen.

        Security:
            Under a key that the server does not have: of an unkeyed hash of 103 bits it could make two
            histories with the same words in 2^52 steps.
        """
        tag = hmac.digest(self._check_key, sequence.to_bytes(8, "big") + head, "sha256")
        return words.to_words(tag, words.CHECK_WORDS)

    def sign_join(self, signed: bytes) -> bytes:
        """Return the proof, 64 bytes, that this client holds name and passphrase."""
        return self._signing.sign(signed)


def _expand(secret: RoomSecret, label: bytes) -> bytes:
    return HKDFExpand(hashes.SHA256(), length=32, info=label).derive(secret.bytes)
