"""Pairs of every kind: what clients can use is served under the pin that they see, and nothing else is."""

import hashlib
import shutil
import ssl
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from securechat.errors import CertificateError
from securechat.transport import tls as tls_module
from securechat.transport.certificates import Pair, make_pair, pin_of, read_leaf, spki_hash
from securechat.transport.spki import find_public_key
from securechat.transport.tls import ServerTls, client_context, load_for_all
from tests.support import certified
from tests.support.certified import UNUSABLE, USABLE, damaged


def shown_by(tls: ServerTls, alpn: str) -> bytes:
    """Return what a client sees of a server, in DER."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context(verify=False, alpn=alpn).wrap_bio(to_client, to_server)
    server = tls.context.wrap_bio(to_server, to_client, server_side=True)
    for end in (client, server, client, server):
        with suppress(ssl.SSLWantReadError):
            end.do_handshake()
    assert client.selected_alpn_protocol() == alpn
    shown = client.getpeercert(binary_form=True)
    assert shown is not None
    return shown


@pytest.mark.parametrize("kind", USABLE)
def test_a_pair_that_clients_can_use_is_served(tmp_path: Path, kind: str) -> None:
    pair = certified.write(tmp_path, *USABLE[kind]())
    tls, legacy = load_for_all(pair, "securechat/1", "other")
    shown = shown_by(tls, "securechat/1")
    assert spki_hash(shown) == tls.pin == legacy.pin == pin_of(pair)
    assert shown == shown_by(legacy, "other")
    assert tls.names == (certified.NAME,)


@pytest.mark.parametrize("kind", USABLE)
def test_a_pin_is_the_one_that_openssl_finds(tmp_path: Path, kind: str) -> None:
    openssl = shutil.which("openssl")
    assert openssl is not None, "the command is needed here"
    pair = certified.write(tmp_path, *USABLE[kind]())
    pem = subprocess.run(
        [openssl, "x509", "-in", pair.certificate, "-noout", "-pubkey"], capture_output=True, check=True
    )
    assert hashlib.sha256(ssl.PEM_cert_to_DER_cert(as_certificate(pem.stdout))).digest() == pin_of(pair)


def as_certificate(pem: bytes) -> str:
    """Return a PEM public key in the frame that the standard library unwraps."""
    return pem.decode().replace("PUBLIC KEY", "CERTIFICATE")


@pytest.mark.parametrize("kind", UNUSABLE)
def test_a_pair_that_no_client_can_use_is_refused(tmp_path: Path, kind: str) -> None:
    make, sentence = UNUSABLE[kind]
    pair = certified.write(tmp_path, *make())
    with pytest.raises(CertificateError) as caught:
        ServerTls.load(pair)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


# The key is found without understanding the rest


@pytest.mark.parametrize("kind", ["version-6", "no-date", "p239", "sm2"])
def test_the_pin_of_a_certificate_needs_the_key_alone(kind: str) -> None:
    make, _ = UNUSABLE[kind]
    der, _ = make()
    key = find_public_key(der)
    assert key.startswith(b"\x30")
    assert key in der
    with pytest.raises(CertificateError):
        read_leaf(der)


@pytest.mark.parametrize("kind", ["p256", "p521", "ed25519", "rsa-2048"])
def test_the_key_that_is_found_is_the_one_that_others_find(kind: str) -> None:
    der, _ = USABLE[kind]()
    public_key = x509.load_der_x509_certificate(der).public_key()
    assert find_public_key(der) == public_key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def test_what_is_not_der_has_no_key() -> None:
    der, _ = USABLE["p256"]()
    ambiguous, _ = certified.ber()
    x = der.index(b"\xa0\x03\x02\x01\x02")
    others = [
        b"",
        der + b"\0",
        ambiguous,
        b"\x30\x80" + der[4:] + b"\0\0",  # of indefinite length
        b"\x30\x83\0" + der[2:],  # with a leading zero
        b"\x30\x85\0\0\0" + der[2:],
        b"\x30\x81",
        der[:x] + b"\xa1" + der[x + 1 :],
        b"\x30\x84\xff\xff\xff\xff",
    ]
    for other in [*others, *(der[:size] for size in range(len(der)))]:
        with pytest.raises(CertificateError, match="its public key cannot be found"):
            spki_hash(other)


# Damaged ones


@pytest.mark.parametrize("seed", [1, 2])
def test_a_damaged_certificate_is_read_or_refused(seed: int) -> None:
    for kind in ("compressed", "rsa-pss", "explicit"):
        der, _ = USABLE[kind]()
        for copy in damaged(der, seed, 1500):
            for read in (spki_hash, read_leaf):
                with suppress(CertificateError):
                    assert read(copy)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_damaged_file_is_served_or_refused(tmp_path: Path, seed: int) -> None:
    der, key = USABLE["compressed"]()
    pair = certified.write(tmp_path, der, key)
    files = (pair.certificate, pair.key)
    whole = [path.read_bytes() for path in files]
    copies = [(0, certified.to_pem(copy)) for copy in damaged(der, seed, 200)]
    copies += [(at, copy) for at in (0, 1) for copy in damaged(whole[at], seed, 100)]
    for at, copy in copies:
        files[at].write_bytes(copy)
        with suppress(CertificateError):
            tls = ServerTls.load(pair)
            assert spki_hash(shown_by(tls, "securechat/1")) == tls.pin
        files[at].write_bytes(whole[at])


# A pair that is being replaced


def test_listeners_never_serve_two_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pair, times = make_pair(tmp_path, ["a"]), 0
    load = ServerTls.load

    def load_slowly(given: Pair, alpn: str) -> ServerTls:
        nonlocal times
        times += 1
        loaded = load(given, alpn)
        if times == 1:
            make_pair(tmp_path, ["b"], overwrite=True)
        return loaded

    monkeypatch.setattr(ServerTls, "load", load_slowly)
    one, two = load_for_all(pair, "one", "two")
    assert one.leaf == two.leaf == pair.read_leaf()
    assert one.names == ("b",)


def test_a_pair_that_never_rests_is_not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pair, load = make_pair(tmp_path, ["a"]), ServerTls.load

    def load_slowly(given: Pair, alpn: str) -> ServerTls:
        loaded = load(given, alpn)
        make_pair(tmp_path, ["a"], overwrite=True)
        return loaded

    monkeypatch.setattr(ServerTls, "load", load_slowly)
    with pytest.raises(CertificateError, match=r"cert\.pem changes while it is read\. Reload it when it is complete"):
        load_for_all(pair, "one", "two")


def test_what_is_served_is_what_the_handshake_showed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = make_pair(tmp_path, ["old"])
    shake_hands = tls_module._shake_hands

    def replace_first(server: ssl.SSLContext, client: ssl.SSLContext) -> bytes:
        make_pair(tmp_path, ["new"], overwrite=True)
        return shake_hands(server, client)

    monkeypatch.setattr(tls_module, "_shake_hands", replace_first)
    tls = ServerTls.load(pair)
    assert tls.names == ("old",)
    assert spki_hash(shown_by(tls, "securechat/1")) == tls.pin != pin_of(pair)


def test_a_handshake_that_does_not_end_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls_module, "_FLIGHTS", 1)
    with pytest.raises(CertificateError, match=r"TLS 1\.3 does not work with it"):
        ServerTls.load(make_pair(tmp_path, ["a"]))
