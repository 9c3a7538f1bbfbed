"""Pairs of every kind that an operator may try, and damaged ones.

Those that no library here can make are in ``pairs/``: `openssl req -x509` made them, and nobody uses their keys.
"""

import datetime
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.x509.oid import NameOID

from securechat.transport.certificates import Pair

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey
NAME: Final = "chat.example"
_DIRECTORY: Final = Path(__file__).parent / "pairs"
_WEAK: Final = 1024
_YEAR: Final = datetime.timedelta(days=365)


def _generated(key: Key) -> tuple[bytes, bytes]:
    """Return a self-signed certificate for ``key`` in DER, and the key in PEM."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    start = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), 1, start, start + _YEAR)
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
    hashed = None if isinstance(key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey) else hashes.SHA256()
    encoding, form = serialization.Encoding, serialization.PrivateFormat.PKCS8
    pem = key.private_bytes(encoding.PEM, form, serialization.NoEncryption())
    return builder.sign(key, hashed).public_bytes(encoding.DER), pem


def kept(name: str) -> tuple[bytes, bytes]:
    """Return a pair of ``pairs/``: the certificate in DER, and a PEM file with its key."""
    content = (_DIRECTORY / f"{name}.pem").read_bytes()
    return _first_der(content), content


def _first_der(pem: bytes) -> bytes:
    import ssl

    found = re.search(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", pem, re.DOTALL)
    assert found is not None
    return ssl.PEM_cert_to_DER_cert(found[0].decode())


def of_version_6() -> tuple[bytes, bytes]:
    """Return a certificate that says that it is of a version that does not exist."""
    der, key = _generated(ec.generate_private_key(ec.SECP256R1()))
    return der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x05", 1), key


def without_a_date() -> tuple[bytes, bytes]:
    """Return a certificate that is valid until the 99th of a month."""
    der, key = _generated(ec.generate_private_key(ec.SECP256R1()))
    (_, end) = re.finditer(rb"\x17\x0d(\d{12}Z)", der)
    return der[: end.start(1) + 4] + b"99" + der[end.start(1) + 6 :], key


def ber() -> tuple[bytes, bytes]:
    """Return a certificate in which a length is not written in the one way of DER; OpenSSL reads it."""
    der, key = _generated(rsa.generate_private_key(65537, 2048))
    assert der[:2] == der[4:6] == b"\x30\x82", "both lengths are of two bytes"
    serial = der.index(b"\x02\x01\x01\x30")
    longer = der[8 : serial + 1] + b"\x81" + der[serial + 1 :]
    sizes = [(int.from_bytes(der[at : at + 2], "big") + 1).to_bytes(2, "big") for at in (2, 6)]
    return b"".join((b"\x30\x82", sizes[0], b"\x30\x82", sizes[1], longer)), key


USABLE: Final[dict[str, Callable[[], tuple[bytes, bytes]]]] = {
    "p256": lambda: _generated(ec.generate_private_key(ec.SECP256R1())),
    "p384": lambda: _generated(ec.generate_private_key(ec.SECP384R1())),
    "p521": lambda: _generated(ec.generate_private_key(ec.SECP521R1())),
    "ed25519": lambda: _generated(ed25519.Ed25519PrivateKey.generate()),
    "ed448": lambda: _generated(ed448.Ed448PrivateKey.generate()),
    "rsa-2048": lambda: _generated(rsa.generate_private_key(65537, 2048)),
    "rsa-pss": lambda: kept("rsa-pss"),
    "explicit": lambda: kept("explicit"),
    "compressed": lambda: kept("compressed"),
}
_UNREADABLE: Final = "cert.pem holds no certificate that clients can read. Make a pair with 'securechat cert'."
_UNUSABLE: Final = "No client could connect with the key in"
# Each with what its operator is told.
UNUSABLE: Final[dict[str, tuple[Callable[[], tuple[bytes, bytes]], str]]] = {
    "rsa-1024": (lambda: _generated(rsa.generate_private_key(65537, _WEAK)), "is too weak for TLS (ee key too small)."),
    "p224": (lambda: _generated(ec.generate_private_key(ec.SECP224R1())), _UNUSABLE),
    "secp256k1": (lambda: _generated(ec.generate_private_key(ec.SECP256K1())), _UNUSABLE),
    "brainpool": (lambda: _generated(ec.generate_private_key(ec.BrainpoolP256R1())), _UNUSABLE),
    "dsa": (lambda: kept("dsa"), _UNUSABLE),
    "p239": (lambda: kept("p239"), _UNREADABLE),
    "sm2": (lambda: kept("sm2"), _UNREADABLE),
    "version-6": (of_version_6, _UNREADABLE),
    "no-date": (without_a_date, _UNREADABLE),
    "ber": (ber, _UNREADABLE),
}


def to_pem(der: bytes) -> bytes:
    """Return a certificate as PEM, whatever is in it."""
    import ssl

    return ssl.DER_cert_to_PEM_cert(der).encode()


def write(directory: Path, der: bytes, key: bytes) -> Pair:
    """Write a pair: ``cert.pem`` and ``key.pem``."""
    directory.mkdir(exist_ok=True)
    pair = Pair(directory / "cert.pem", directory / "key.pem")
    pair.certificate.write_bytes(to_pem(der))
    pair.key.write_bytes(key)
    return pair


def damaged(data: bytes, seed: int, count: int) -> Iterator[bytes]:
    """Return copies of ``data``, each with one to three bytes that were changed."""
    random = Random(seed)
    for _ in range(count):
        copy = bytearray(data)
        for _ in range(random.randint(1, 3)):
            copy[random.randrange(len(copy))] = random.randrange(256)
        yield bytes(copy)
