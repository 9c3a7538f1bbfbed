"""Which 32 bytes are acceptable as an Ed25519 public key (RFC 8032, section 5.1.2 and 5.1.3).

Libraries accept small-order points, under which one signature fits every message, and some accept
encodings of a y coordinate that is not below the field's prime, which gives one key two names.
Both sides of securechat refuse them: the server as a room address, a member as an identity.
"""

from typing import Final

PUBLIC_KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64

_P: Final = 2**255 - 19
_SIGN_BIT: Final = 1 << 255
# y of the eight points whose order divides 8; the sign of x does not matter.
_SMALL_ORDER_Y: Final = frozenset(
    {
        0,
        1,
        _P - 1,
        0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826,
        0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7,
    }
)


def is_acceptable(key: bytes) -> bool:
    """Tell whether ``key`` is canonically encoded and not of small order.

    Whether it decodes to a point at all is left to the library's verification.
    """
    if len(key) != PUBLIC_KEY_BYTES:
        return False
    y = int.from_bytes(key, "little") & ~_SIGN_BIT
    return y < _P and y not in _SMALL_ORDER_Y
