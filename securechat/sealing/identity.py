"""A member's own key: it signs every message and presence (PROTOCOL.md, section 2.3)."""

import hashlib
from typing import Final, Self

from cryptography.exceptions import InternalError, InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from securechat import labels, publickey
from securechat.errors import InputError
from securechat.sealing import words

SEED_BYTES: Final = 32


class Identity:
    """An Ed25519 key pair (RFC 8032).

    Args:
        seed: The 32 private bytes; random ones make a new identity.

    Attributes:
        public: The public key, 32 bytes.
    """

    def __init__(self, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = self._key.public_key().public_bytes_raw()

    def __repr__(self) -> str:
        return f"<Identity {self.public.hex()[:8]}>"

    def sign(self, data: bytes) -> bytes:
        """Return the signature of ``data``, 64 bytes."""
        return self._key.sign(data)

    def to_pem(self) -> bytes:
        """Return the private key as unencrypted PKCS 8 in PEM (RFC 8410)."""
        return self._key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    @classmethod
    def from_pem(cls, pem: bytes) -> Self:
        """Read what ``to_pem`` wrote.

        Raises:
            InputError: It is something else.
        """
        try:
            key = serialization.load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm, InternalError) as error:
            raise InputError(
                "This is not an identity file of securechat.",
                "Give one made by 'securechat identity export'.",
            ) from error
        if not isinstance(key, Ed25519PrivateKey):
            raise InputError(
                "This file holds another kind of key.",
                "Give one made by 'securechat identity export'.",
            )
        return cls(key.private_bytes_raw())


def is_signed(public: bytes, signature: bytes, data: bytes) -> bool:
    """Tell whether ``signature`` (64 bytes) over ``data`` is by the holder of ``public`` (32 bytes)."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, data)
    except (InvalidSignature, ValueError):
        return False
    return True


def is_acceptable(public: bytes, room_address: bytes) -> bool:
    """Tell whether ``public`` may be an identity in this room: a sound key, and not the room's own."""
    return publickey.is_acceptable(public) and public != room_address


def verify_words(one: bytes, other: bytes) -> str:
    """Return the words by which the holders of two identities verify each other; the order is free.

    Security:
        Six words for each key, and not some for both: whoever stands between the two and has a key for
        either side would need only a collision of the latter, but a second preimage of 77 bits of the former.
    """
    hashes = (hashlib.sha256(labels.VERIFY_WORDS + b"\0" + public).digest() for public in sorted((one, other)))
    return " ".join(words.to_words(hashed, words.VERIFY_WORDS) for hashed in hashes)
