"""Self-signed certificates, as bytes: what a server shows that nobody vouches for but its pin (RFC 5280)."""

import datetime
import ipaddress
from collections.abc import Sequence
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID

from securechat.errors import InputError

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey
# What scanners and browsers accept. Clients that know the pin trust the key, and never look at the dates.
_VALIDITY: Final = datetime.timedelta(days=397)
_BACKDATED: Final = datetime.timedelta(days=1)  # for clients whose clock is behind
# X.509 can write what is in between, and a validity can be added to it: a machine may believe to be in any year.
_FIRST_INSTANT: Final = datetime.datetime(1970, 1, 2, tzinfo=datetime.UTC)
_LAST_INSTANT: Final = datetime.datetime(9990, 1, 1, tzinfo=datetime.UTC)
_COMMON_NAME_CHARACTERS: Final = 64
_EXTENSIONS: Final = frozenset(
    {
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.EXTENDED_KEY_USAGE,
    }
)


def clamp_instant(seconds: float) -> datetime.datetime:
    """Return an instant as a date that a certificate can have, however wrong the clock is.

    Args:
        seconds: Since 1970 UTC.
    """
    first, last = _FIRST_INSTANT.timestamp(), _LAST_INSTANT.timestamp()
    return datetime.datetime.fromtimestamp(min(max(seconds, first), last), datetime.UTC)


def sign(names: Sequence[str], key: PrivateKey, now: datetime.datetime) -> bytes:
    """Return a self-signed certificate in PEM, valid for 397 days.

    Args:
        names: DNS names and IP addresses; the first is the common name too.
        key: What is signed, and signs.
        now: The instant, within what ``clamp_instant`` returns.

    Raises:
        InputError: A name is neither a DNS name nor an address.
    """
    subject = subject_for(names)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + _VALIDITY)
        .add_extension(x509.SubjectAlternativeName(general_names(names)), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey) else hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM)


def subject_for(names: Sequence[str]) -> x509.Name:
    """Return the subject, and issuer, of a certificate for ``names``, of which there is one at least."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:_COMMON_NAME_CHARACTERS])])


def is_signed_here(certificate: x509.Certificate, names: Sequence[str]) -> bool:
    """Tell whether ``sign`` could have made a certificate; what others sign by hand has other fields.

    Args:
        certificate: The certificate.
        names: What it is for.

    Raises:
        ValueError: The certificate is damaged.
    """
    if not names or not names[0] or not certificate.issuer == certificate.subject == subject_for(names):
        return False
    return {extension.oid for extension in certificate.extensions} == _EXTENSIONS


def general_names(names: Sequence[str]) -> list[x509.GeneralName]:
    """Return names as a certificate holds them.

    Raises:
        InputError: One is neither a DNS name nor an address.
    """
    return [_general_name(name) for name in names]


def is_name(name: str) -> bool:
    """Tell whether a certificate can be for ``name``."""
    try:
        _general_name(name)
    except InputError:
        return False
    return True


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    try:
        ascii_name = name.encode("idna").decode()
        if not ascii_name or ascii_name.strip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.*_"):
            raise ValueError(name)
        return x509.DNSName(ascii_name)
    except ValueError as error:
        raise InputError(
            f"{name!r} is neither a DNS name nor an IP address.",
            "Give names such as chat.example.org or 192.0.2.7.",
        ) from error
