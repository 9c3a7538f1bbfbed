"""Pins: the SHA-256 of a server's public key, as people read and paste it (PROTOCOL.md, section 6)."""

import base64
import binascii
from typing import Final

from securechat.errors import InputError

PIN_BYTES: Final = 32
_PREFIX: Final = "sha256:"
_BASE64_CHARACTERS: Final = 43
_HEX_CHARACTERS: Final = 64


def format_pin(pin: bytes) -> str:
    """Return ``sha256:`` and 43 characters of unpadded base64url for 32 bytes."""
    return _PREFIX + base64.urlsafe_b64encode(pin).decode().rstrip("=")


def parse_pin(text: str) -> bytes:
    """Return the 32 bytes of a pin.

    Args:
        text: ``sha256:`` and 43 characters of base64url, or 64 hexadecimal digits with or without it.

    Raises:
        InputError: It is neither.
    """
    digits = text.strip().removeprefix(_PREFIX)
    try:
        if len(digits) == _HEX_CHARACTERS:
            return binascii.unhexlify(digits)
        if len(digits) == _BASE64_CHARACTERS:
            pin = base64.b64decode(digits + "=", altchars=b"-_", validate=True)
            if format_pin(pin) == _PREFIX + digits:
                return pin
    except (ValueError, binascii.Error):
        pass
    raise InputError(
        "This is not a pin.",
        "A pin is 'sha256:' and 43 characters, as 'securechat server' prints it at start.",
    )
