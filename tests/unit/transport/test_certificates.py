"""Certificates: what is made, what its pin is, and what is said about pairs that do not serve."""

import datetime
import errno
import hashlib
import ipaddress
import os
import ssl
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from securechat.errors import CertificateError, InputError, SecurechatError
from securechat.transport.certificates import (
    DEFAULT_NAMES,
    Pair,
    is_there,
    make_pair,
    pin_of,
    read_leaf,
    renew,
    spki_hash,
)

PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey


def certificate_for(key: PrivateKey) -> x509.Certificate:
    """Return a certificate without any extension."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "plain")])
    start = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, start, start + datetime.timedelta(days=1))
    return builder.sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256())


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def made(directory: Path, names: Sequence[str]) -> x509.Certificate:
    """Return the certificate of a new pair."""
    return x509.load_pem_x509_certificate(make_pair(directory, names).certificate.read_bytes())


def names_of(certificate: x509.Certificate) -> tuple[str, ...]:
    return read_leaf(certificate.public_bytes(serialization.Encoding.DER)).names


def pin_by_hand(certificate: x509.Certificate) -> bytes:
    """Return the SHA-256 of the SubjectPublicKeyInfo as the certificate has it."""
    public_key = certificate.public_key()
    der = public_key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert der in certificate.tbs_certificate_bytes
    return hashlib.sha256(der).digest()


def server_context() -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)


def test_a_pair_is_for_the_names_and_addresses_that_were_given(tmp_path: Path) -> None:
    names = ["chat.example.org", "192.0.2.7", "2001:db8::7", "*.example.net", "my_box"]
    leaf = made(tmp_path, names)
    assert names_of(leaf) == tuple(names)
    alternative = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert alternative.get_values_for_type(x509.IPAddress) == [
        ipaddress.ip_address("192.0.2.7"),
        ipaddress.ip_address("2001:db8::7"),
    ]
    assert alternative.get_values_for_type(x509.DNSName) == ["chat.example.org", "*.example.net", "my_box"]


def test_a_name_in_another_script_is_written_in_ascii(tmp_path: Path) -> None:
    assert names_of(made(tmp_path, ["bücher.example"])) == ("xn--bcher-kva.example",)


def test_the_first_name_is_the_common_name_as_far_as_it_fits(tmp_path: Path) -> None:
    long_name = "a" * 60 + ".example.org"
    leaf = made(tmp_path, [long_name, "other"])
    (common_name,) = leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    assert common_name.value == long_name[:64]
    assert names_of(leaf) == (long_name, "other")
    assert leaf.issuer == leaf.subject


def test_a_certificate_is_valid_from_yesterday_for_a_year(tmp_path: Path) -> None:
    leaf = made(tmp_path, DEFAULT_NAMES)
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    assert abs(leaf.not_valid_before_utc - (now - day)) < datetime.timedelta(minutes=5)
    assert abs(leaf.not_valid_after_utc - (now + 397 * day)) < datetime.timedelta(minutes=5)


def test_a_certificate_is_for_a_server_and_no_authority(tmp_path: Path) -> None:
    leaf = made(tmp_path, DEFAULT_NAMES)
    public_key = leaf.public_key()
    assert isinstance(public_key, ec.EllipticCurvePublicKey)
    assert isinstance(public_key.curve, ec.SECP256R1)
    constraints = leaf.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert not constraints.value.ca
    usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]
    leaf.verify_directly_issued_by(leaf)


def test_the_key_is_private_and_the_certificate_public(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        pair = make_pair(tmp_path / "new" / "place", DEFAULT_NAMES)
    finally:
        os.umask(before)
    assert stat.S_IMODE(pair.key.stat().st_mode) == 0o600
    assert stat.S_IMODE(pair.certificate.stat().st_mode) == 0o644
    assert stat.S_IMODE(pair.key.parent.stat().st_mode) == 0o700
    assert {path.name for path in pair.key.parent.iterdir()} == {"cert.pem", "key.pem"}


def test_a_certificate_that_exists_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_bytes(b"precious")
    with pytest.raises(CertificateError, match=r"cert\.pem exists already\. Replace it with --force"):
        make_pair(tmp_path, DEFAULT_NAMES)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"cert.pem": b"precious"}


def test_a_key_that_exists_is_signed_and_never_overwritten(tmp_path: Path) -> None:
    pair = make_pair(tmp_path, ["a"])
    pin, key = pin_of(pair), pair.key.read_bytes()
    pair.certificate.unlink()
    assert pin_of(make_pair(tmp_path, ["b"])) == pin
    assert (pair.key.read_bytes(), pair.read_leaf().names) == (key, ("b",))
    pair.certificate.unlink()
    pair.key.write_bytes(b"precious")
    with pytest.raises(CertificateError, match=r"key\.pem holds no usable private key"):
        make_pair(tmp_path, DEFAULT_NAMES)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"key.pem": b"precious"}


def test_what_exists_is_overwritten_on_request(tmp_path: Path) -> None:
    first = pin_of(make_pair(tmp_path, DEFAULT_NAMES))
    pair = make_pair(tmp_path, DEFAULT_NAMES, overwrite=True)
    assert pin_of(pair) != first
    pair.load_into(server_context())


def test_a_directory_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SecurechatError, match=r"cannot be made: Not a directory\. Name another one"):
        make_pair(tmp_path / "file" / "below", DEFAULT_NAMES)


@pytest.mark.parametrize(
    "name", ["with space", "semi;colon", "http://example.org", "a..b", "x" * 64, "host:4433", "new\nline", "né" * 40]
)
def test_a_name_that_is_neither_is_refused_before_anything_is_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"is neither a DNS name nor an IP address\. Give names such as") as caught:
        make_pair(tmp_path / "out", ["localhost", name])
    assert repr(name) in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_the_pin_is_the_hash_of_the_public_key(tmp_path: Path) -> None:
    pair = make_pair(tmp_path, DEFAULT_NAMES)
    leaf = x509.load_pem_x509_certificate(pair.certificate.read_bytes())
    assert pin_of(pair) == pin_by_hand(leaf)
    assert spki_hash(ssl.PEM_cert_to_DER_cert(pair.certificate.read_text())) == pin_by_hand(leaf)


@pytest.mark.parametrize(
    "generate",
    [
        ed25519.Ed25519PrivateKey.generate,
        lambda: rsa.generate_private_key(65537, 2048),
        lambda: ec.generate_private_key(ec.SECP384R1()),
    ],
    ids=["ed25519", "rsa", "p384"],
)
def test_keys_of_other_kinds_have_pins_too(generate: Callable[[], PrivateKey]) -> None:
    certificate = certificate_for(generate())
    pin = spki_hash(certificate.public_bytes(serialization.Encoding.DER))
    assert pin == pin_by_hand(certificate)
    assert len(pin) == 32


def test_a_certificate_without_names_is_for_none() -> None:
    assert names_of(certificate_for(ed25519.Ed25519PrivateKey.generate())) == ()


def test_only_names_and_addresses_are_told() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    plain = certificate_for(key)
    names = [x509.RFC822Name("me@example.org"), x509.DNSName("example.org")]
    certificate = (
        x509.CertificateBuilder(plain.issuer, plain.subject, key.public_key(), 1)
        .not_valid_before(plain.not_valid_before_utc)
        .not_valid_after(plain.not_valid_after_utc)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    assert names_of(certificate) == ("example.org",)


def test_the_leaf_is_the_first_of_a_chain(tmp_path: Path) -> None:
    first, second = make_pair(tmp_path / "1", ["first"]), make_pair(tmp_path / "2", ["second"])
    chain = Pair(tmp_path / "chain.pem", first.key)
    chain.certificate.write_bytes(first.certificate.read_bytes() + second.certificate.read_bytes())
    assert chain.read_leaf().names == ("first",)
    assert pin_of(chain) == pin_of(first)
    chain.load_into(server_context())


def test_both_may_be_in_one_file(tmp_path: Path) -> None:
    made = make_pair(tmp_path, DEFAULT_NAMES)
    both = Pair(tmp_path / "both.pem", tmp_path / "both.pem")
    both.certificate.write_bytes(made.key.read_bytes() + made.certificate.read_bytes())
    both.load_into(server_context())
    assert pin_of(both) == pin_of(made)


def test_a_key_of_another_certificate_is_told_as_that(tmp_path: Path) -> None:
    one, two = make_pair(tmp_path / "1", ["a"]), make_pair(tmp_path / "2", ["b"])
    with pytest.raises(SecurechatError, match=r"does not belong to the certificate .*\. Name the two files"):
        Pair(one.certificate, two.key).load_into(server_context())


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    pair = make_pair(tmp_path, ["a"])
    other = Pair(tmp_path / "other.pem", pair.key)
    other.certificate.write_bytes(pem(certificate_for(ed25519.Ed25519PrivateKey.generate())))
    with pytest.raises(SecurechatError, match=r"does not belong to|no usable private key"):
        other.load_into(server_context())


def test_an_encrypted_key_is_refused_without_asking_for_its_password(tmp_path: Path) -> None:
    pair = make_pair(tmp_path, ["a"])
    key = serialization.load_pem_private_key(pair.key.read_bytes(), None)
    for encoding in (serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL):
        encryption = serialization.BestAvailableEncryption(b"secret")
        pair.key.write_bytes(key.private_bytes(serialization.Encoding.PEM, encoding, encryption))
        with pytest.raises(SecurechatError, match=r"key\.pem is encrypted\. Give an unencrypted PEM key"):
            pair.load_into(server_context())


@pytest.mark.parametrize(
    "content", [b"", b"garbage", b"\0\xff" * 100, b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_a_file_that_holds_no_key_is_refused(tmp_path: Path, content: bytes) -> None:
    pair = make_pair(tmp_path, ["a"])
    pair.key.write_bytes(content)
    with pytest.raises(SecurechatError, match=r"key\.pem holds no usable private key"):
        pair.load_into(server_context())


@pytest.mark.parametrize(
    "content", [b"", b"garbage", b"\0\xff" * 100, b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_a_file_that_holds_no_certificate_is_refused(tmp_path: Path, content: bytes) -> None:
    pair = make_pair(tmp_path, ["a"])
    pair.certificate.write_bytes(content)
    for use in (pair.read_leaf, lambda: pair.load_into(server_context()), lambda: pin_of(pair)):
        with pytest.raises(
            SecurechatError, match=r"cert\.pem holds no certificate that clients can read\. Make a pair"
        ):
            use()


def test_files_that_are_absent_are_named(tmp_path: Path) -> None:
    pair = make_pair(tmp_path, ["a"])
    with pytest.raises(SecurechatError, match=r"absent\.key cannot be read: No such file or directory\. Check"):
        Pair(pair.certificate, tmp_path / "absent.key").load_into(server_context())
    with pytest.raises(SecurechatError, match=r"absent\.crt cannot be read: No such file or directory\. Name another"):
        Pair(tmp_path / "absent.crt", pair.key).load_into(server_context())


def test_a_directory_in_place_of_a_file_is_an_error(tmp_path: Path) -> None:
    pair = make_pair(tmp_path, ["a"])
    with pytest.raises(SecurechatError, match="cannot be read: Is a directory"):
        Pair(tmp_path, pair.key).load_into(server_context())
    with pytest.raises(SecurechatError, match=r"cannot be read|no usable private key"):
        Pair(pair.certificate, tmp_path).load_into(server_context())


@pytest.mark.parametrize("name", ["", "\udcff", "a b", "a/b"])
def test_a_first_name_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError):
        make_pair(tmp_path, [name])
    assert not list(tmp_path.iterdir())


# Renewal


def age(monkeypatch: pytest.MonkeyPatch, days: int) -> None:
    """Let a certificate that is made now have so many days left."""
    monkeypatch.setattr("securechat.transport.signing._VALIDITY", datetime.timedelta(days=days))


def test_a_renewed_pair_has_its_names_and_its_pin_and_new_dates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        age(patch, 5)
        pair = make_pair(tmp_path, ["chat.example", "192.0.2.7", "::1"])
    before, key = pair.read_leaf(), pair.key.read_bytes()
    renew(pair)
    after = pair.read_leaf()
    assert after.not_after - before.not_after > datetime.timedelta(days=300)
    assert (after.names, after.pin, pair.key.read_bytes()) == (before.names, before.pin, key)
    assert stat.S_IMODE(pair.certificate.stat().st_mode) == 0o644


def test_a_renewal_may_give_other_names(tmp_path: Path) -> None:
    pair = make_pair(tmp_path, ["old.example"])
    pin = pin_of(pair)
    renew(pair, ["new.example"])
    assert (pair.read_leaf().names, pin_of(pair)) == (("new.example",), pin)


def test_a_lost_certificate_is_made_again_for_given_names(tmp_path: Path) -> None:
    pair = make_pair(tmp_path, ["old.example"])
    pin = pin_of(pair)
    pair.certificate.unlink()
    with pytest.raises(CertificateError, match=r"The names for .*cert\.pem are unknown\. Give them"):
        renew(pair)
    renew(pair, ["new.example"])
    assert (pair.read_leaf().names, pin_of(pair)) == (("new.example",), pin)


def test_a_key_of_another_pair_is_not_signed(tmp_path: Path) -> None:
    pair, other = make_pair(tmp_path / "1", DEFAULT_NAMES), make_pair(tmp_path / "2", DEFAULT_NAMES)
    pair.key.write_bytes(other.key.read_bytes())
    before = pair.certificate.read_bytes()
    with pytest.raises(
        CertificateError, match=r"does not belong to the certificate .*\. Restore what belongs together"
    ):
        renew(pair)
    assert pair.certificate.read_bytes() == before


def test_what_an_authority_issued_is_renewed_by_the_authority(tmp_path: Path) -> None:
    issued = trustme.CA().issue_cert("chat.example")
    pair = Pair(tmp_path / "cert.pem", tmp_path / "key.pem")
    issued.cert_chain_pems[0].write_to_path(pair.certificate)
    issued.private_key_pem.write_to_path(pair.key)
    before = pair.certificate.read_bytes()
    with pytest.raises(CertificateError, match=r"an authority has issued it\. Ask the authority"):
        renew(pair)
    assert pair.certificate.read_bytes() == before


@pytest.mark.parametrize(
    ("number", "step"),
    [(errno.ENOSPC, "Make room on the disk."), (errno.EROFS, "Name another directory, or let this user write there.")],
)
def test_a_renewal_that_cannot_be_written_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, step: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    pair = make_pair(tmp_path, DEFAULT_NAMES)
    before = pair.certificate.read_bytes()
    monkeypatch.setattr("securechat.transport.certificates.write_private", fail)
    with pytest.raises(CertificateError) as caught:
        renew(pair)
    assert str(caught.value) == f"The certificate cannot be written to {tmp_path}: {os.strerror(number)}. {step}"
    assert pair.certificate.read_bytes() == before


# Files that are none


def test_a_pipe_in_place_of_a_file_is_an_error_at_once(tmp_path: Path) -> None:
    pair = make_pair(tmp_path, ["a"])
    os.mkfifo(tmp_path / "pipe")
    for broken in (Pair(tmp_path / "pipe", pair.key), Pair(pair.certificate, tmp_path / "pipe")):
        with pytest.raises(CertificateError, match=r"pipe cannot be read: not a plain file\."):
            broken.load_into(server_context())


def test_a_file_that_has_no_end_is_not_read_to_it(tmp_path: Path) -> None:
    pair = make_pair(tmp_path, ["a"])
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(1 << 40)
    for broken in (Pair(tmp_path / "huge", pair.key), Pair(pair.certificate, tmp_path / "huge")):
        with pytest.raises(CertificateError, match="huge is too large to be a certificate or a key"):
            broken.load_into(server_context())
    with pytest.raises(CertificateError, match="not a plain file"):
        Pair(Path("/dev/zero"), pair.key).read_leaf()


def test_a_directory_that_cannot_be_read_is_not_called_empty(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(CertificateError, match=r"cannot be read: Too many levels of symbolic links\."):
        is_there(tmp_path / "loop" / "key.pem")
    assert not is_there(tmp_path / "key.pem")
    assert is_there(tmp_path / "loop"), "a link to nowhere is a file that somebody made"
