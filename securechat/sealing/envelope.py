"""The opaque blob that servers carry, version 1 (PROTOCOL.md, section 3).

::

    0x01 || salt[24] || commitment[32] || ciphertext || tag[16]
    key[32] || nonce[12] || commitment[32] = HKDF-SHA256(context key, salt, label || room address, 76)

A fresh salt is a fresh key (RFC 5869), so no nonce is ever used twice; the commitment makes an
envelope open under one key only; ChaCha20-Poly1305 (RFC 8439) seals; Ed25519 (RFC 8032) signs inside.
"""

import hmac
from enum import IntEnum
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from securechat import labels, limits
from securechat.errors import Failure, OpenError
from securechat.publickey import PUBLIC_KEY_BYTES, SIGNATURE_BYTES
from securechat.sealing import identity as identities
from securechat.sealing import padding
from securechat.sealing.identity import Identity
from securechat.sealing.keys import RoomKeys

VERSION: Final = b"\x01"
SALT_BYTES: Final = 24
COMMITMENT_BYTES: Final = 32
TAG_BYTES: Final = 16
OVERHEAD: Final = len(VERSION) + SALT_BYTES + COMMITMENT_BYTES + TAG_BYTES
SIGNED_HEADER_BYTES: Final = PUBLIC_KEY_BYTES + SIGNATURE_BYTES
_HEADER_BYTES: Final = OVERHEAD - TAG_BYTES
NO_LOG: Final = bytes(16)  # what presence signs in place of a log: it is sealed before the log is known


class Context(IntEnum):
    """What an envelope is for: an envelope of one context never opens in the other."""

    MESSAGE = 1
    PRESENCE = 2


class Opened(NamedTuple):
    """What an envelope held, authenticated.

    Attributes:
        identity: The sender's public key, 32 bytes.
        body: The signed body; its form is not checked yet.
    """

    identity: bytes
    body: bytes


def seal(
    keys: RoomKeys, context: Context, identity: Identity, body: bytes, salt: bytes, log_id: bytes = NO_LOG
) -> bytes:
    """Return the envelope of ``body``, 73 bytes more than its padded content.

    Args:
        keys: The room's.
        context: Message or presence.
        identity: The sender's.
        body: What is said.
        salt: 24 fresh random bytes.
        log_id: The log for which a message is meant, 16 bytes.

    Security:
        The same salt twice would be the same key and nonce twice: it must come from ``os.urandom``.
    """
    signature = identity.sign(_signed(keys, context, log_id, identity.public, salt, body))
    padded = padding.pad(identity.public + signature + body)
    key, nonce, commitment = _derive(keys, context, salt)
    header = VERSION + salt + commitment
    return header + ChaCha20Poly1305(key).encrypt(nonce, padded, header + keys.address)


def open_envelope(keys: RoomKeys, context: Context, envelope: bytes, log_id: bytes = NO_LOG) -> Opened:
    """Return what ``envelope`` holds; nothing is decrypted before the commitment has been compared.

    Args:
        keys: The room's.
        context: Message or presence.
        envelope: As the server handed it out.
        log_id: The log in which a message was found, 16 bytes.

    Raises:
        OpenError: With the first check that failed, in the order of ``Failure``.
    """
    _check_outside(envelope)
    header = envelope[:_HEADER_BYTES]
    salt = header[1 : 1 + SALT_BYTES]
    key, nonce, commitment = _derive(keys, context, salt)
    if not hmac.compare_digest(commitment, header[1 + SALT_BYTES :]):
        raise OpenError(Failure.COMMITMENT)
    try:
        padded = ChaCha20Poly1305(key).decrypt(nonce, envelope[_HEADER_BYTES:], header + keys.address)
    except InvalidTag:
        raise OpenError(Failure.TAG) from None
    public, signature, body = _split(padding.unpad(padded))
    if not identities.is_acceptable(public, keys.address):
        raise OpenError(Failure.IDENTITY)
    if not identities.is_signed(public, signature, _signed(keys, context, log_id, public, salt, body)):
        raise OpenError(Failure.SIGNATURE)
    return Opened(public, body)


def _check_outside(envelope: bytes) -> None:
    if envelope[:1] != VERSION:
        raise OpenError(Failure.VERSION)
    padded = len(envelope) - OVERHEAD
    if padded < padding.LEAST or padded & (padded - 1) or len(envelope) > limits.ENVELOPE_BYTES:
        raise OpenError(Failure.LENGTH)


def _split(content: bytes) -> tuple[bytes, bytes, bytes]:
    """Return identity, signature and body; what there is too little for is short."""
    return content[:PUBLIC_KEY_BYTES], content[PUBLIC_KEY_BYTES:SIGNED_HEADER_BYTES], content[SIGNED_HEADER_BYTES:]


def _derive(keys: RoomKeys, context: Context, salt: bytes) -> tuple[bytes, bytes, bytes]:
    secret = keys.message_key if context is Context.MESSAGE else keys.presence_key
    info = labels.ENVELOPE + keys.address
    derived = HKDF(hashes.SHA256(), length=76, salt=salt, info=info).derive(secret)
    return derived[:32], derived[32:44], derived[44:]


def _signed(keys: RoomKeys, context: Context, log_id: bytes, public: bytes, salt: bytes, body: bytes) -> bytes:
    return b"".join((labels.SIGNATURE, b"\0", bytes([context]), keys.address, log_id, public, salt, body))
