"""Where a certificate keeps its public key: the one field of it that a pin is about.

A certificate is a tree of TLVs in DER (ITU-T X.690, section 10): a tag, a length, a value. RFC 5280, section 4.1,
fixes their order, so that the key is found by counting::

    Certificate ::= SEQUENCE {
        tbsCertificate SEQUENCE {
            version [0] OPTIONAL, serialNumber INTEGER, signature SEQUENCE, issuer SEQUENCE,
            validity SEQUENCE, subject SEQUENCE, subjectPublicKeyInfo SEQUENCE, ... },
        signatureAlgorithm SEQUENCE,
        signatureValue BIT STRING }

A library that understands the whole certificate is of no use here. It refuses what it does not know (another version,
a date that is none, a rare curve), although a pin is met whatever the certificate says around the key. And what it
writes again is not always what it read: for RSA-PSS keys, compressed points and explicit curves, the hash would be
of other bytes than those in the certificate.

Security: one length has one encoding here, and no tag but the expected one is passed over. So no bytes exist of which
this finds one key, and TLS, which has checked the peer's signature with it, another.
"""

from typing import Final

from securechat.errors import CertificateError

_INTEGER: Final = 0x02
_BIT_STRING: Final = 0x03
_SEQUENCE: Final = 0x30
_VERSION: Final = 0xA0
_BEFORE_THE_KEY: Final = (_INTEGER, _SEQUENCE, _SEQUENCE, _SEQUENCE, _SEQUENCE)
_SHORT_LENGTHS: Final = 0x80  # below, the first byte of a length is the length
_LENGTH_BYTES: Final = 4


def find_public_key(certificate: bytes) -> bytes:
    """Return the SubjectPublicKeyInfo of a certificate, byte for byte as it stands there.

    Args:
        certificate: In DER.

    Raises:
        CertificateError: This is no certificate in DER.
    """
    outer = _Elements(certificate)
    fields = _Elements(outer.read(_SEQUENCE)[1])
    outer.end()
    signed = _Elements(fields.read(_SEQUENCE)[1])
    fields.read(_SEQUENCE)
    fields.read(_BIT_STRING)
    fields.end()
    if signed.next_tag == _VERSION:
        signed.read(_VERSION)
    for tag in _BEFORE_THE_KEY:
        signed.read(tag)
    return signed.read(_SEQUENCE)[0]


class _Elements:
    """DER elements that follow one another.

    Args:
        data: All of them.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def next_tag(self) -> int | None:
        """The tag of the next element; None at the end."""
        return self._data[self._at] if self._at < len(self._data) else None

    def read(self, tag: int) -> tuple[bytes, bytes]:
        """Return the next element and its value.

        Raises:
            CertificateError: There is none, it has another tag, or its length is not written in the one way.
        """
        if self.next_tag != tag:
            raise _no_der()
        start = self._at
        size, at = self._read_length(start + 1)
        if size > len(self._data) - at:
            raise _no_der()
        self._at = at + size
        return self._data[start : self._at], self._data[at : self._at]

    def _read_length(self, at: int) -> tuple[int, int]:
        """Return the length that is written at ``at``, and where the value begins (X.690, sections 8.1.3 and 10.1)."""
        first = self._data[at : at + 1]
        if not first:
            raise _no_der()
        if first[0] < _SHORT_LENGTHS:
            return first[0], at + 1
        count = first[0] - _SHORT_LENGTHS
        digits = self._data[at + 1 : at + 1 + count]
        size = int.from_bytes(digits, "big")
        is_shortest = size >= _SHORT_LENGTHS and digits[:1] != b"\0"
        if not is_shortest or count > _LENGTH_BYTES or len(digits) < count:
            raise _no_der()
        return size, at + 1 + count

    def end(self) -> None:
        """Check that no element follows.

        Raises:
            CertificateError: One does.
        """
        if self.next_tag is not None:
            raise _no_der()


def _no_der() -> CertificateError:
    return CertificateError("The certificate is damaged: its public key cannot be found.", "Make a new certificate.")
