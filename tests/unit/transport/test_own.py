"""The server's own pair: whatever was lost, damaged or interrupted, a key that is there stays, and so does its pin."""

import base64
import datetime
import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from securechat.errors import CertificateError
from securechat.transport import certificates
from securechat.transport.certificates import Pair, make_pair, parse_key, pin_of, read_leaf
from securechat.transport.own import OwnPair, is_due
from securechat.transport.signing import clamp_instant, sign
from securechat.transport.tls import ServerTls
from tests.support import certified

NAMES = ["192.0.2.7", "box", "localhost"]
DAY = datetime.timedelta(days=1)


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def own(directory: Path) -> OwnPair:
    return OwnPair(directory, lambda: NAMES)


def started(directory: Path, at: datetime.datetime | None = None) -> tuple[bytes, list[str]]:
    """Start a server on a directory: return the pin that it serves under, and what its operator is told."""
    pair = own(directory)
    remarks = pair.settle(at or now())
    return ServerTls.load(pair.pair).pin, remarks


def dated(pair: Pair, start: datetime.datetime, end: datetime.datetime) -> None:
    """Give a certificate of ours other dates."""
    key = parse_key(pair.key.read_bytes(), pair.key)
    old = x509.load_pem_x509_certificate(pair.certificate.read_bytes())
    builder = x509.CertificateBuilder(old.issuer, old.subject, key.public_key(), 2, start, end)
    for extension in old.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    pair.certificate.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


# The first start, and an ordinary one


def test_a_first_start_makes_a_pair_without_a_word(tmp_path: Path) -> None:
    pin, remarks = started(tmp_path)
    assert remarks == []
    pair = own(tmp_path).pair
    assert (pin_of(pair), pair.read_leaf().names) == (pin, tuple(NAMES))
    assert pair.read_leaf().is_ours
    before = contents(tmp_path)
    assert started(tmp_path) == (pin, [])
    assert contents(tmp_path) == before


def test_names_are_looked_up_only_to_make_a_certificate(tmp_path: Path) -> None:
    def fail() -> list[str]:
        raise AssertionError

    started(tmp_path)
    assert OwnPair(tmp_path, fail).settle(now()) == []


# What was lost


def test_a_lost_certificate_is_signed_again_for_the_same_key(tmp_path: Path) -> None:
    pin, _ = started(tmp_path)
    key = (tmp_path / "key.pem").read_bytes()
    (tmp_path / "cert.pem").unlink()
    again, remarks = started(tmp_path)
    assert (again, (tmp_path / "key.pem").read_bytes()) == (pin, key)
    assert remarks == [f"{tmp_path}/cert.pem was missing: the key was signed again, and the pin is the same"]


def test_a_lost_key_is_another_pin_and_said_loudly(tmp_path: Path) -> None:
    make_pair(tmp_path, ["chat.example"])
    pin, certificate = pin_of(own(tmp_path).pair), (tmp_path / "cert.pem").read_bytes()
    (tmp_path / "key.pem").unlink()
    again, (remark,) = started(tmp_path)
    assert again != pin
    assert "the pin has changed" in remark
    assert (tmp_path / "cert.pem.old").read_bytes() == certificate
    assert own(tmp_path).pair.read_leaf().names == ("chat.example",)
    assert started(tmp_path) == (again, [])


def test_both_lost_where_clients_may_know_a_key_is_said(tmp_path: Path) -> None:
    (remark,) = OwnPair(tmp_path, lambda: NAMES, is_known=True).settle(now())
    assert remark == (
        f"{tmp_path}/key.pem was missing: the server made a new key, and the pin has changed. "
        "Give everybody the new line"
    )
    assert OwnPair(tmp_path, lambda: NAMES, is_known=True).settle(now()) == []


@pytest.mark.parametrize("content", [b"", b"garbage", certified.to_pem(certified.of_version_6()[0])])
def test_a_damaged_certificate_is_moved_aside_and_the_key_signed(tmp_path: Path, content: bytes) -> None:
    pin, _ = started(tmp_path)
    (tmp_path / "cert.pem").write_bytes(content)
    again, (remark,) = started(tmp_path)
    assert again == pin
    assert "cert.pem cannot be read: it is now" in remark
    assert (tmp_path / "cert.pem.old").read_bytes() == content


def test_a_certificate_of_another_key_gives_way_to_the_key(tmp_path: Path) -> None:
    one, two = (make_pair(tmp_path / name, ["chat.example"]) for name in ("one", "two"))
    pin = pin_of(one)
    one.certificate.write_bytes(two.certificate.read_bytes())
    again, (remark,) = started(tmp_path / "one")
    assert again == pin
    assert "belongs to another key" in remark
    assert one.read_leaf().names == ("chat.example",)


@pytest.mark.parametrize("has_certificate", [True, False])
@pytest.mark.parametrize("content", [b"", b"garbage"])
def test_a_key_that_is_of_no_use_is_left_to_its_owner(tmp_path: Path, content: bytes, has_certificate: bool) -> None:
    started(tmp_path)
    (tmp_path / "key.pem").write_bytes(content)
    if not has_certificate:
        (tmp_path / "cert.pem").unlink()
    before = contents(tmp_path)
    with pytest.raises(CertificateError, match=r"key\.pem holds no usable private key\. Restore it from a backup\."):
        started(tmp_path)
    assert contents(tmp_path) == before


def test_a_damaged_key_that_cannot_sign_is_said(tmp_path: Path) -> None:
    key = rsa.generate_private_key(65537, 2048)
    modulus = key.public_key().public_numbers().n
    encoding, form = serialization.Encoding.DER, serialization.PrivateFormat.TraditionalOpenSSL
    der = key.private_bytes(encoding, form, serialization.NoEncryption())
    der = der.replace(modulus.to_bytes(256, "big"), (modulus - 1).to_bytes(256, "big"))
    begin, end = b"-----BEGIN RSA PRIVATE KEY-----\n", b"-----END RSA PRIVATE KEY-----\n"
    (tmp_path / "key.pem").write_bytes(begin + base64.encodebytes(der) + end)
    before = contents(tmp_path)
    with pytest.raises(CertificateError, match=r"The key cannot sign .*cert\.pem: it is damaged, or too weak\."):
        started(tmp_path)
    assert contents(tmp_path) == before


def test_a_link_to_nowhere_is_not_a_lost_key(tmp_path: Path) -> None:
    started(tmp_path)
    (tmp_path / "key.pem").unlink()
    (tmp_path / "key.pem").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CertificateError, match=r"key\.pem cannot be read: No such file or directory"):
        started(tmp_path)
    assert (tmp_path / "key.pem").is_symlink()


# What somebody else issued


def by_authority(directory: Path, days: int) -> Pair:
    issued = trustme.CA().issue_cert("chat.example", not_after=now() + days * DAY)
    pair = own(directory).pair
    issued.private_key_pem.write_to_path(pair.key)
    issued.cert_chain_pems[0].write_to_path(pair.certificate)
    return pair


@pytest.mark.parametrize("days", [-1, 3, 59, 100])
def test_a_pair_that_an_authority_issued_is_never_renewed(tmp_path: Path, days: int) -> None:
    pin = pin_of(by_authority(tmp_path, days))
    before = contents(tmp_path)
    assert started(tmp_path) == (pin, [])
    assert own(tmp_path).renew(now()) == []
    assert contents(tmp_path) == before


@pytest.mark.parametrize("kind", ["rsa-2048", "p256", "explicit"])
def test_a_pair_that_somebody_signed_by_hand_is_never_renewed(tmp_path: Path, kind: str) -> None:
    der, key = certified.USABLE[kind]()
    pair = certified.write(tmp_path, der, key)
    before = contents(tmp_path)
    far = pair.read_leaf().not_after + DAY
    assert started(tmp_path, far) == (pin_of(pair), [])
    assert contents(tmp_path) == before


# Renewal


@pytest.mark.parametrize(
    ("start", "end", "renews"),
    [(-1, 61, False), (-1, 59, True), (-100, -1, True), (1, 397, True), (14600, 15000, True), (-20000, -19603, True)],
)
def test_a_certificate_of_ours_is_renewed_in_time(tmp_path: Path, start: int, end: int, renews: bool) -> None:
    pin, _ = started(tmp_path)
    pair = own(tmp_path).pair
    dated(pair, now() + start * DAY, now() + end * DAY)
    before = contents(tmp_path)
    assert is_due(pair.read_leaf(), now()) is renews
    assert started(tmp_path) == (pin, [])
    assert (contents(tmp_path) != before) is renews
    assert not is_due(pair.read_leaf(), now())
    assert contents(tmp_path)["key.pem"] == before["key.pem"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("days", [30, -30])
def test_a_renewal_that_fails_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, days: int
) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    pin, _ = started(tmp_path)
    dated(own(tmp_path).pair, now() - 300 * DAY, now() + days * DAY)
    monkeypatch.setattr(certificates, "write_private", fail)
    again, (remark,) = started(tmp_path)
    assert again == pin
    assert "could not be renewed and stays in use" in remark
    assert os.strerror(number) in remark
    assert "--force" not in remark


def test_a_running_server_repairs_nothing(tmp_path: Path) -> None:
    started(tmp_path)
    whole = contents(tmp_path)
    for name in ("key.pem", "cert.pem"):
        (tmp_path / name).unlink()
        before = contents(tmp_path)
        with pytest.raises(CertificateError):
            reloaded(tmp_path)
        assert contents(tmp_path) == before
        (tmp_path / name).write_bytes(whole[name])


def reloaded(directory: Path) -> None:
    """Do what a running server does when it is asked to load its own pair."""
    own(directory).renew(now())
    ServerTls.load(own(directory).pair)


# Clocks


@pytest.mark.parametrize("year", [-300, 1, 1950, 1970, 2000, 2066, 9989, 9999, 30000, 10**12])
def test_a_certificate_of_a_wrong_clock_is_replaced_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, year: int
) -> None:
    seconds = (year - 1970) * 365.25 * 24 * 3600
    with monkeypatch.context() as patch:
        patch.setattr("time.time", lambda: seconds)
        pin, _ = started(tmp_path, clamp_instant(seconds))
    leaf = own(tmp_path).pair.read_leaf()
    assert is_due(leaf, now())
    assert started(tmp_path) == (pin, [])
    leaf = own(tmp_path).pair.read_leaf()
    assert leaf.not_before < now() < leaf.not_after - 300 * DAY


# An end in the middle


class Cut(BaseException):
    """The process ends here."""


def cut_at(step: int, calls: list[str]) -> Callable[[str], None]:
    """Return an observer that ends the process at a step."""

    def observe(name: str) -> None:
        calls.append(name)
        if len(calls) > step:
            raise Cut

    return observe


@pytest.mark.parametrize("case", ["first", "no-certificate", "no-key", "mismatch", "garbage", "renewal"])
def test_a_start_after_an_interrupted_one_has_the_same_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    """Whatever step is the last, the next start works, and a key that was written once is never another one."""
    steps = 0
    while True:
        directory = tmp_path / str(steps)
        prepare(directory, case)
        before = contents(directory).get("key.pem")
        ended = False
        with monkeypatch.context() as patch:
            observe_files(patch, cut_at(steps, []))
            try:
                own(directory).settle(now())
            except Cut:
                ended = True
        between = contents(directory).get("key.pem")
        assert before in {None, between}
        pin, _ = started(directory)
        after = contents(directory)["key.pem"]
        assert between in {None, after}
        assert pin == pin_of(own(directory).pair)
        assert started(directory) == (pin, [])
        if not ended:
            break
        steps += 1
    assert steps >= 2, "there were steps between which it could end"


def prepare(directory: Path, case: str) -> None:
    directory.mkdir()
    if case == "first":
        return
    pair = make_pair(directory, NAMES)
    match case:
        case "no-certificate":
            pair.certificate.unlink()
        case "no-key":
            pair.key.unlink()
        case "mismatch":
            pair.key.write_bytes(certified.USABLE["p256"]()[1])
        case "garbage":
            pair.certificate.write_bytes(b"garbage")
        case "renewal":
            dated(pair, now() - 300 * DAY, now() + DAY)


def observe_files(patch: pytest.MonkeyPatch, observe: Callable[[str], None]) -> None:
    """Call ``observe`` before each change of a file."""
    for module, name in ((os, "open"), (os, "fsync"), (os, "chmod"), (Path, "replace"), (Path, "unlink")):
        original = getattr(module, name)

        def changed(
            *arguments: object, _original: Callable[..., object] = original, _name: str = name, **more: object
        ) -> object:
            observe(_name)
            return _original(*arguments, **more)

        patch.setattr(module, name, changed)


def test_what_is_ours_is_told_from_what_looks_like_it(tmp_path: Path) -> None:
    key = parse_key(certified.USABLE["p256"]()[1], tmp_path)
    pem = sign(["chat.example", "box"], key, now())
    leaf = read_leaf(x509.load_pem_x509_certificate(pem).public_bytes(serialization.Encoding.DER))
    assert leaf.is_ours
    assert leaf.is_self_signed
    issued = trustme.CA().issue_cert("chat.example").cert_chain_pems[0].bytes()
    foreign = read_leaf(x509.load_pem_x509_certificate(issued).public_bytes(serialization.Encoding.DER))
    assert not foreign.is_ours
    assert not foreign.is_self_signed
