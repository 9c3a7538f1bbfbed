"""What a join signs, and how the server verifies it (PROTOCOL.md, 4.3).

The room's address *is* an Ed25519 public key; its private half is derived from name and passphrase.
The proof covers the server's challenge and the TLS key that the client saw, so it cannot be relayed.
"""

from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from securechat import labels, publickey

CHALLENGE_BYTES: Final = 32
SPKI_HASH_BYTES: Final = 32


def signed_bytes(challenge: bytes, spki_hash: bytes, address: bytes) -> bytes:
    """Return the bytes that a join proof signs.

    Args:
        challenge: 32 random bytes of this connection's WELCOME.
        spki_hash: SHA-256 of the DER SubjectPublicKeyInfo of the server's TLS certificate, 32 bytes.
        address: The room address, 32 bytes.
    """
    return b"".join((labels.JOIN, b"\0", challenge, spki_hash, address))


def is_proven(address: bytes, proof: bytes, challenge: bytes, spki_hash: bytes) -> bool:
    """Tell whether ``proof`` (64 bytes) was made by a holder of the room's name and passphrase."""
    if not publickey.is_acceptable(address):
        return False
    try:
        key = Ed25519PublicKey.from_public_bytes(address)
        key.verify(proof, signed_bytes(challenge, spki_hash, address))
    except (InvalidSignature, ValueError):
        return False
    return True
