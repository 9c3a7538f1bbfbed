"""Certificates: what is made, what its pin is, and what is said about pairs that do not serve."""

import datetime
import hashlib
import ipaddress
import os
import ssl
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from securechat.errors import InputError, SecurechatError
from securechat.transport.certificates import DEFAULT_NAMES, Pair, make_pair, names_of, pin_of, spki_hash
from securechat.transport.tls import ServerTls

PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey


def certificate_for(key: PrivateKey) -> x509.Certificate:
    """Return a certificate without any extension."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "plain")])
    start = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, start, start + datetime.timedelta(days=1))
    return builder.sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256())


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


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
    leaf = make_pair(tmp_path, names).read_leaf()
    assert names_of(leaf) == names
    alternative = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert alternative.get_values_for_type(x509.IPAddress) == [
        ipaddress.ip_address("192.0.2.7"),
        ipaddress.ip_address("2001:db8::7"),
    ]
    assert alternative.get_values_for_type(x509.DNSName) == ["chat.example.org", "*.example.net", "my_box"]


def test_a_name_in_another_script_is_written_in_ascii(tmp_path: Path) -> None:
    assert names_of(make_pair(tmp_path, ["bücher.example"]).read_leaf()) == ["xn--bcher-kva.example"]


def test_the_first_name_is_the_common_name_as_far_as_it_fits(tmp_path: Path) -> None:
    long_name = "a" * 60 + ".example.org"
    leaf = make_pair(tmp_path, [long_name, "other"]).read_leaf()
    (common_name,) = leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    assert common_name.value == long_name[:64]
    assert names_of(leaf) == [long_name, "other"]
    assert leaf.issuer == leaf.subject


def test_a_certificate_is_valid_from_yesterday_for_a_year(tmp_path: Path) -> None:
    leaf = make_pair(tmp_path, DEFAULT_NAMES).read_leaf()
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    assert abs(leaf.not_valid_before_utc - (now - day)) < datetime.timedelta(minutes=5)
    assert abs(leaf.not_valid_after_utc - (now + 397 * day)) < datetime.timedelta(minutes=5)


def test_a_certificate_is_for_a_server_and_no_authority(tmp_path: Path) -> None:
    leaf = make_pair(tmp_path, DEFAULT_NAMES).read_leaf()
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


@pytest.mark.parametrize("present", ["cert.pem", "key.pem"])
def test_what_exists_is_not_overwritten(tmp_path: Path, present: str) -> None:
    (tmp_path / present).write_bytes(b"precious")
    with pytest.raises(SecurechatError, match=rf"{present} exists already\. Replace it with --force"):
        make_pair(tmp_path, DEFAULT_NAMES)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {present: b"precious"}


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
    assert names_of(certificate_for(ed25519.Ed25519PrivateKey.generate())) == []


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
    assert names_of(certificate) == ["example.org"]


def test_the_leaf_is_the_first_of_a_chain(tmp_path: Path) -> None:
    first, second = make_pair(tmp_path / "1", ["first"]), make_pair(tmp_path / "2", ["second"])
    chain = Pair(tmp_path / "chain.pem", first.key)
    chain.certificate.write_bytes(first.certificate.read_bytes() + second.certificate.read_bytes())
    assert names_of(chain.read_leaf()) == ["first"]
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
        with pytest.raises(SecurechatError, match=r"no usable private key\. Give an unencrypted PEM key"):
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
        with pytest.raises(SecurechatError, match=r"cert\.pem holds no PEM certificate\. Make a pair"):
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
    monkeypatch.setattr("securechat.transport.certificates._VALIDITY", datetime.timedelta(days=days))


def test_a_renewed_pair_has_its_names_and_its_pin_and_new_dates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        age(patch, 5)
        pair = make_pair(tmp_path, ["chat.example", "192.0.2.7", "::1"])
    before, pin, key = pair.read_leaf(), pin_of(pair), pair.key.read_bytes()
    assert pair.is_due()
    pair.renew()
    after = pair.read_leaf()
    assert not pair.is_due()
    assert after.not_valid_after_utc - before.not_valid_after_utc > datetime.timedelta(days=300)
    assert (names_of(after), pin_of(pair), pair.key.read_bytes()) == (names_of(before), pin, key)
    assert stat.S_IMODE(pair.certificate.stat().st_mode) == 0o644


@pytest.mark.parametrize(("is_own", "days", "renews"), [(True, 5, True), (True, 390, False), (False, 5, False)])
def test_a_server_renews_its_own_certificate_in_time_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_own: bool, days: int, renews: bool
) -> None:
    with monkeypatch.context() as patch:
        age(patch, days)
        made = make_pair(tmp_path, DEFAULT_NAMES)
    before, content = pin_of(made), made.certificate.read_bytes()
    tls = ServerTls.load(Pair(made.certificate, made.key, is_own=is_own))
    assert tls.pin == before
    assert (made.certificate.read_bytes() != content) is renews


def test_what_is_no_pair_of_ours_is_not_renewed(tmp_path: Path) -> None:
    pair = make_pair(tmp_path, DEFAULT_NAMES)
    key = rsa.generate_private_key(65537, 2048)
    pair.key.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    before = pair.certificate.read_bytes()
    with pytest.raises(SecurechatError, match="cannot be renewed: it is no self-signed pair"):
        pair.renew()
    assert pair.certificate.read_bytes() == before
