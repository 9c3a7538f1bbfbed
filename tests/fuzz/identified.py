"""Certificates, which a client reads before it trusts anybody, and a server before it serves them."""

from contextlib import suppress

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from securechat.errors import CertificateError
from securechat.transport.certificates import read_leaf
from securechat.transport.spki import find_public_key
from tests.fuzz.harness import Harness
from tests.support.certified import kept


def certificate(data: bytes) -> None:
    """A certificate is refused, or has one key, which stands in it and which whoever understands more finds as well."""
    with suppress(CertificateError):
        leaf = read_leaf(data)
        found = serialization.load_der_public_key(find_public_key(data))
        assert found == x509.load_der_x509_certificate(data).public_key()
        assert not leaf.is_ours or leaf.is_self_signed
    with suppress(CertificateError):
        assert find_public_key(data) in data


_SEEDS = [kept(name)[0] for name in ("compressed", "explicit", "p239", "rsa-pss", "sm2")]

HARNESSES = {"certificate": Harness(certificate, _SEEDS, memory=256)}
