"""Certificates of servers: what clients see of them, the files that hold them, and self-signed ones (RFC 5280).

Libraries raise whatever they like for the bytes of a certificate: ValueError, InvalidVersion, UnsupportedAlgorithm,
DuplicateExtension, TypeError and more, and no documentation closes the list. ``read_leaf``, ``parse_leaf`` and
``parse_key`` alone give them bytes, and ``sign_key`` alone uses a key of a file. Whatever a file or a peer holds ends
there, as a value or as a CertificateError.
"""

import datetime
import errno
import hashlib
import os
import ssl
import stat
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from securechat import limits
from securechat.errors import CertificateError, InputError
from securechat.files import make_private_directory, write_private
from securechat.transport.signing import PrivateKey, clamp_instant, general_names, is_signed_here, sign
from securechat.transport.spki import find_public_key

DEFAULT_NAMES: Final = ("localhost", "127.0.0.1", "::1")
_PUBLIC: Final = 0o644  # the rights of a certificate
_CHECK_FILE: Final = "Check the file and its rights."
_ENCRYPTED: Final = (b"BEGIN ENCRYPTED PRIVATE KEY", b"Proc-Type: 4,ENCRYPTED")
USABLE_KEYS: Final = "Use a key of P-256, Ed25519, or RSA with 2048 bits or more: 'securechat cert' makes a pair."


@dataclass(frozen=True)
class Leaf:
    """What clients see of a server: its own certificate, the first of a chain.

    Attributes:
        der: The certificate.
        pin: SHA-256 of its public key, 32 bytes.
        names: The DNS names and addresses that it is for, in its order.
        not_before: It is valid from then on, in UTC.
        not_after: It is valid until then, in UTC.
        is_self_signed: Whether it names itself as its issuer.
        is_ours: Whether it is just what ``make_pair`` makes, so that a new one in its place loses nothing.
    """

    der: bytes
    pin: bytes
    names: tuple[str, ...]
    not_before: datetime.datetime
    not_after: datetime.datetime
    is_self_signed: bool
    is_ours: bool


def read_leaf(der: bytes, source: str = "The certificate") -> Leaf:
    """Return what clients see of a certificate.

    Args:
        der: The certificate.
        source: Where it is from; the error names it.

    Raises:
        CertificateError: It is damaged, or of a kind that some client cannot read.
    """
    try:
        certificate = x509.load_der_x509_certificate(der)
        certificate.public_key()
        names = _names_of(certificate)
        return Leaf(
            der=der,
            pin=spki_hash(der),
            names=names,
            not_before=certificate.not_valid_before_utc,
            not_after=certificate.not_valid_after_utc,
            is_self_signed=certificate.issuer == certificate.subject,
            is_ours=is_signed_here(certificate, names),
        )
    except Exception as error:  # libraries alone are called here: see above
        raise _unreadable(source) from error


def _unreadable(source: str) -> CertificateError:
    return CertificateError(
        f"{source} holds no certificate that clients can read.", "Make a pair with 'securechat cert'."
    )


def _names_of(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(str(name.value) for name in names if isinstance(name, x509.DNSName | x509.IPAddress))


def spki_hash(certificate: bytes) -> bytes:
    """Return the SHA-256, 32 bytes, of the SubjectPublicKeyInfo (RFC 5280, 4.1.2.7) of a DER certificate.

    Raises:
        CertificateError: This is no certificate in DER.
    """
    return hashlib.sha256(find_public_key(certificate)).digest()


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, as files.

    Attributes:
        certificate: PEM, the leaf first.
        key: PEM; may be the same file.
    """

    certificate: Path
    key: Path

    def read_leaf(self) -> Leaf:
        """Return the first certificate of the file.

        Raises:
            CertificateError: The file cannot be read, or holds none that clients can read.
        """
        return parse_leaf(read_pem(self.certificate, "Name another file with --cert.", "--cert"), self.certificate)

    def load_into(self, context: ssl.SSLContext) -> None:
        """Let ``context`` serve with this pair.

        Raises:
            CertificateError: A file cannot be read or used, or the key belongs to another certificate.
            InputError: One file was given for both, and it holds no key.
        """
        leaf = self.read_leaf()
        key = read_pem(self.key, _CHECK_FILE, "--key")
        if self.key == self.certificate and b"PRIVATE KEY" not in key:
            raise InputError(f"{self.certificate} holds no key.", "Give one with --key.")
        try:
            # A password would be asked for on the terminal, by OpenSSL, at start and at each reload.
            context.load_cert_chain(self.certificate, self.key, password=lambda: b"")
        except ssl.SSLError as error:
            raise self._explain(leaf, key, error.reason or "") from error
        except OSError as error:
            raise CertificateError(
                f"{self.key} cannot be read: {error.strerror}.", _CHECK_FILE, option="--key"
            ) from error

    def _explain(self, leaf: Leaf, key: bytes, reason: str) -> CertificateError:
        """Say why OpenSSL refuses the pair."""
        why = reason.lower().replace("_", " ") or "no reason was given"
        if "TOO_SMALL" in reason or "TOO_WEAK" in reason:
            return CertificateError(f"{self.certificate} is too weak for TLS ({why}).", USABLE_KEYS)
        if any(mark in key for mark in _ENCRYPTED):
            return CertificateError(
                f"{self.key} is encrypted.", "Give an unencrypted PEM key with --key.", option="--key"
            )
        try:
            is_of_one_pair = belongs(parse_key(key, self.key), leaf)
        except CertificateError as error:
            error.option = "--key"
            return error
        if not is_of_one_pair or "MISMATCH" in reason:  # the latter where files changed since they were read
            return self.mismatch("Name the two files of one pair.")
        return CertificateError(f"{self.certificate} cannot be used for TLS ({why}).", USABLE_KEYS)

    def mismatch(self, advice: str) -> CertificateError:
        """Return the error that says that the files are of two pairs."""
        return CertificateError(
            f"The key in {self.key} does not belong to the certificate in {self.certificate}.", advice
        )


def pin_of(pair: Pair) -> bytes:
    """Return the pin, 32 bytes, of a pair's leaf certificate.

    Raises:
        CertificateError: It cannot be read.
    """
    return pair.read_leaf().pin


def read_pem(path: Path, advice: str, option: str = "") -> bytes:
    """Return the content of a small file; never wait for who writes to it.

    Args:
        path: The file.
        advice: What to do when it cannot be read.
        option: The option that names it.

    Raises:
        CertificateError: It cannot be read, is no plain file, or is too large to be a certificate or a key.
    """
    try:
        # Without O_NONBLOCK, a pipe with nobody at its other end would never open. Windows has no such flag.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
        with open(descriptor, "rb") as file:  # noqa: PTH123 - it is a descriptor
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode):
                raise OSError(errno.EINVAL, "not a plain file")
            content = file.read(limits.CERTIFICATE_FILE_BYTES + 1)
    except OSError as error:
        raise CertificateError(f"{path} cannot be read: {error.strerror}.", advice, option=option) from error
    if len(content) > limits.CERTIFICATE_FILE_BYTES:
        raise CertificateError(f"{path} is too large to be a certificate or a key.", advice, option=option)
    return content


def is_there(path: Path) -> bool:
    """Tell whether there is a file, be it a link to nowhere; what cannot be looked at is not called absent.

    Raises:
        CertificateError: Nobody can say.
    """
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise CertificateError(f"{path} cannot be read: {error.strerror}.", "Check its directory.") from error
    return True


def parse_leaf(content: bytes, path: Path) -> Leaf:
    """Return the first certificate of a PEM file.

    Args:
        content: Of the file.
        path: The file; the error names it.

    Raises:
        CertificateError: There is none, or none that clients can read.
    """
    try:
        der = x509.load_pem_x509_certificate(content).public_bytes(serialization.Encoding.DER)
    except Exception as error:  # as in read_leaf
        raise _unreadable(str(path)) from error
    return read_leaf(der, str(path))


def read_key(path: Path) -> PrivateKey:
    """Return the private key of a PEM file.

    Raises:
        CertificateError: There is none, it is encrypted, or TLS cannot use it; or the file cannot be read.
    """
    return parse_key(read_pem(path, _CHECK_FILE), path)


def parse_key(content: bytes, path: Path) -> PrivateKey:
    """Return the private key of a PEM file.

    Args:
        content: Of the file.
        path: The file; the error names it.

    Raises:
        CertificateError: There is none, it is encrypted, or TLS cannot use it.
    """
    try:
        # What a validation finds, the first signature fails on; for a key that is made up, it can take minutes.
        key = serialization.load_pem_private_key(content, password=None, unsafe_skip_rsa_key_validation=True)
    except Exception as error:  # as in read_leaf
        raise _no_key(path) from error
    if not isinstance(key, PrivateKey):
        raise _no_key(path)
    return key


def _no_key(path: Path) -> CertificateError:
    return CertificateError(f"{path} holds no usable private key.", "Give an unencrypted PEM key with --key.")


def make_pair(directory: Path, names: Sequence[str], *, overwrite: bool = False) -> Pair:
    """Write ``cert.pem`` and ``key.pem`` (0600): ECDSA P-256, valid 397 days, for ``names``.

    The key comes first. If there is a key and no certificate, somebody was interrupted here, or lost the certificate:
    that key is signed, and its pin stays.

    Args:
        directory: Made (0700) if absent.
        names: DNS names and IP addresses, by default this machine's own; the first is the common name too.
        overwrite: Replace an existing pair by one with another pin.

    Raises:
        InputError: A name is neither a DNS name nor an address.
        CertificateError: A certificate exists already, the key that exists is not usable, or a file cannot be written.
    """
    pair = Pair(directory / "cert.pem", directory / "key.pem")
    names = names or DEFAULT_NAMES
    general_names(names)
    make_private_directory(directory)
    try:
        if overwrite:
            pair.certificate.unlink(missing_ok=True)  # first: no certificate is ever beside a key of another pair
        elif is_there(pair.certificate):
            raise CertificateError(
                f"{pair.certificate} exists already.", "Replace it with --force, or name another --out."
            )
    except OSError as error:
        raise cannot_write(directory, error) from error
    key = make_key(pair.key) if overwrite or not is_there(pair.key) else read_key(pair.key)
    sign_key(key, names, pair.certificate)
    return pair


def make_key(path: Path) -> PrivateKey:
    """Write a new private key, mode 0600, and return it.

    Raises:
        CertificateError: It cannot be written.
    """
    encoding, encryption = serialization.Encoding.PEM, serialization.NoEncryption()
    key = ec.generate_private_key(ec.SECP256R1())
    try:
        write_private(path, key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, encryption))
    except OSError as error:
        raise cannot_write(path.parent, error) from error
    return key


def sign_key(key: PrivateKey, names: Sequence[str], path: Path) -> None:
    """Write a certificate for a key, with today's dates.

    Args:
        key: The key; its pin is not touched.
        names: What the certificate is for.
        path: The certificate; what is there is replaced.

    Raises:
        InputError: A name is neither a DNS name nor an address.
        CertificateError: The key is damaged and cannot sign, or the certificate cannot be written.
    """
    try:
        content = sign(names, key, clamp_instant(time.time()))
    except InputError:
        raise
    except Exception as error:  # as in read_leaf: a damaged key may be noticed only now
        raise CertificateError(f"The key cannot sign {path}: it is damaged, or too weak.", USABLE_KEYS) from error
    try:
        write_private(path, content, _PUBLIC)
    except OSError as error:
        raise cannot_write(path.parent, error) from error


def renew(pair: Pair, names: Sequence[str] = ()) -> None:
    """Sign the same key again, with new dates: the pin stays.

    Args:
        pair: A self-signed one; its certificate may be lost.
        names: Other names than those that the certificate is for.

    Raises:
        InputError: A name is neither a DNS name nor an address.
        CertificateError: An authority has to renew it, the key belongs to another certificate, or nobody knows the
            names; or a file cannot be read or written.
    """
    key = read_key(pair.key)
    if is_there(pair.certificate):
        leaf = pair.read_leaf()
        if not leaf.is_self_signed:
            raise CertificateError(
                f"{pair.certificate} cannot be renewed here: an authority has issued it.",
                "Ask the authority for a new one.",
            )
        if not belongs(key, leaf):
            raise pair.mismatch("Restore what belongs together from a backup.")
        names = names or leaf.names
    if not names:
        raise CertificateError(
            f"The names for {pair.certificate} are unknown.", "Give them: 'securechat cert --renew NAME'."
        )
    sign_key(key, names, pair.certificate)


def belongs(key: PrivateKey, leaf: Leaf) -> bool:
    """Tell whether a private key is that of a certificate."""
    return x509.load_der_x509_certificate(leaf.der).public_key() == key.public_key()


def cannot_write(directory: Path, error: OSError) -> CertificateError:
    """Return the error that says why no certificate was written, and what helps."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        step = "Make room on the disk."
    elif error.errno in {errno.EROFS, errno.EACCES, errno.EPERM}:
        step = "Name another directory, or let this user write there."
    else:
        step = "Name another directory, or check its rights."
    return CertificateError(f"The certificate cannot be written to {directory}: {error.strerror}.", step)
