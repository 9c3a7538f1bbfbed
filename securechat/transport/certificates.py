"""Self-signed certificates for a server's own box, and the loading of any pair (RFC 5280)."""

import datetime
import hashlib
import ipaddress
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from securechat.errors import InputError, SecurechatError
from securechat.files import make_private_directory, write_private

DEFAULT_NAMES: Final = ("localhost", "127.0.0.1", "::1")
# What scanners and browsers accept. Clients that know the pin trust the key, and never look at the dates.
_VALIDITY: Final = datetime.timedelta(days=397)
_RENEWAL: Final = datetime.timedelta(days=60)  # before the end
_COMMON_NAME_CHARACTERS: Final = 64
_PUBLIC: Final = 0o644  # the rights of a certificate


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, as files.

    Attributes:
        certificate: PEM, the leaf first.
        key: PEM; may be the same file.
        is_own: Whether a server made them for itself, and is to renew them.
    """

    certificate: Path
    key: Path
    is_own: bool = False

    def read_leaf(self) -> x509.Certificate:
        """Return the first certificate of the file.

        Raises:
            SecurechatError: The file cannot be read or holds none.
        """
        try:
            return x509.load_pem_x509_certificate(self.certificate.read_bytes())
        except OSError as error:
            raise SecurechatError(
                f"{self.certificate} cannot be read: {error.strerror}.",
                "Name another file with --cert.",
            ) from error
        except ValueError as error:
            raise SecurechatError(
                f"{self.certificate} holds no PEM certificate.",
                "Make a pair with 'securechat cert'.",
            ) from error

    def renew(self) -> None:
        """Sign the same key for the same names anew, with new dates: the pin stays.

        Raises:
            SecurechatError: The files hold no self-signed pair, or cannot be written.
        """
        leaf = self.read_leaf()
        try:
            key = serialization.load_pem_private_key(self.key.read_bytes(), password=None)
            if not isinstance(key, ec.EllipticCurvePrivateKey) or leaf.issuer != leaf.subject:
                raise ValueError(self.key)
            write_private(self.certificate, _sign(names_of(leaf), key), _PUBLIC)
        except (OSError, TypeError, ValueError) as error:
            raise SecurechatError(
                f"{self.certificate} cannot be renewed: it is no self-signed pair of 'securechat cert'.",
                "Make a new one with --force; its pin is another.",
            ) from error

    def is_due(self) -> bool:
        """Tell whether less than 60 days are left."""
        return self.read_leaf().not_valid_after_utc - datetime.datetime.now(datetime.UTC) < _RENEWAL

    def load_into(self, context: ssl.SSLContext) -> None:
        """Let ``context`` serve with this pair.

        Raises:
            SecurechatError: A file cannot be read, or the key is encrypted or belongs to another certificate.
        """
        self.read_leaf()
        try:
            # A password would be asked for on the terminal, by OpenSSL, at start and at each reload.
            context.load_cert_chain(self.certificate, self.key, password=lambda: b"")
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                raise SecurechatError(
                    f"The key in {self.key} does not belong to the certificate in {self.certificate}.",
                    "Name the two files of one pair.",
                ) from error
            raise SecurechatError(
                f"{self.key} holds no usable private key.",
                "Give an unencrypted PEM key with --key.",
            ) from error
        except OSError as error:
            raise SecurechatError(
                f"{self.key} cannot be read: {error.strerror}.", "Check the file and its rights."
            ) from error


def names_of(certificate: x509.Certificate) -> list[str]:
    """Return the DNS names and addresses that a certificate is for, in its order."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [str(name.value) for name in names if isinstance(name, x509.DNSName | x509.IPAddress)]


def make_pair(directory: Path, names: Sequence[str], *, overwrite: bool = False) -> Pair:
    """Write ``cert.pem`` and ``key.pem`` (0600): ECDSA P-256, valid 397 days, for ``names``.

    Args:
        directory: Made (0700) if absent.
        names: DNS names and IP addresses, by default this machine's own; the first is the common name too.
        overwrite: Replace an existing pair.

    Raises:
        InputError: A name is neither a DNS name nor an address.
        SecurechatError: A file exists already, or cannot be written.
    """
    pair = Pair(directory / "cert.pem", directory / "key.pem")
    names = names or DEFAULT_NAMES
    private = ec.generate_private_key(ec.SECP256R1())
    certificate = _sign(names, private)
    key = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    try:
        make_private_directory(directory)
        for path in (pair.certificate, pair.key):
            if not overwrite and path.exists():
                raise SecurechatError(f"{path} exists already.", "Replace it with --force, or name another --out.")
        write_private(pair.key, key)
        write_private(pair.certificate, certificate, _PUBLIC)
    except OSError as error:
        raise SecurechatError(
            f"The certificate cannot be written to {directory}: {error.strerror}.",
            "Name another directory, or check its rights.",
        ) from error
    return pair


def _sign(names: Sequence[str], key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return a self-signed certificate in PEM."""
    alternatives = [_general_name(name) for name in names]
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:_COMMON_NAME_CHARACTERS])])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + _VALIDITY)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM)


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


def spki_hash(certificate: bytes) -> bytes:
    """Return the SHA-256, 32 bytes, of the DER SubjectPublicKeyInfo (RFC 5280, 4.1.2.7) of a DER certificate."""
    public_key = x509.load_der_x509_certificate(certificate).public_key()
    spki = public_key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).digest()


def pin_of(pair: Pair) -> bytes:
    """Return the pin, 32 bytes, of a pair's leaf certificate."""
    return spki_hash(pair.read_leaf().public_bytes(serialization.Encoding.DER))
