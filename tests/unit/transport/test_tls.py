"""TLS contexts: what both sides agree to, and what they do not."""

import ssl
from pathlib import Path

import pytest
import trustme

from securechat.errors import SecurechatError
from securechat.transport.certificates import Pair, make_pair, pin_of
from securechat.transport.tls import ServerTls, client_context


def test_a_loaded_pair_knows_its_pin_and_names(tmp_path: Path) -> None:
    pair = make_pair(tmp_path, ["chat.example.org", "192.0.2.7"])
    tls = ServerTls.load(pair)
    assert tls.pin == pin_of(pair)
    assert tls.names == ("chat.example.org", "192.0.2.7")


def test_a_server_speaks_tls_1_3_only_and_gives_no_tickets(tmp_path: Path) -> None:
    context = ServerTls.load(make_pair(tmp_path, ["localhost"])).context
    assert context.minimum_version is ssl.TLSVersion.TLSv1_3
    assert context.num_tickets == 0


def test_a_pair_that_cannot_be_used_is_not_loaded(tmp_path: Path) -> None:
    with pytest.raises(SecurechatError, match="cannot be read"):
        ServerTls.load(Pair(tmp_path / "cert.pem", tmp_path / "key.pem"))
    one, two = make_pair(tmp_path / "1", ["a"]), make_pair(tmp_path / "2", ["a"])
    with pytest.raises(SecurechatError, match="does not belong"):
        ServerTls.load(Pair(one.certificate, two.key))


def test_a_client_that_pins_takes_any_chain_and_name() -> None:
    context = client_context(verify=False)
    assert context.verify_mode is ssl.CERT_NONE
    assert not context.check_hostname
    assert context.minimum_version is ssl.TLSVersion.TLSv1_3


def test_a_client_that_verifies_checks_chain_and_name() -> None:
    context = client_context(verify=True)
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version is ssl.TLSVersion.TLSv1_3


def test_authorities_that_cannot_be_read_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        client_context(verify=True, authorities=tmp_path / "absent.pem")
    (tmp_path / "empty.pem").write_bytes(b"nothing here")
    with pytest.raises(ssl.SSLError):
        client_context(verify=True, authorities=tmp_path / "empty.pem")


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Do a handshake in memory and return the two sides."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        client.wrap_bio(to_client, to_server, server_hostname=name),
        server.wrap_bio(to_server, to_client, server_side=True),
    )
    finished: set[ssl.SSLObject] = set()
    while len(finished) < 2:
        for end in ends:
            try:
                end.do_handshake()
                finished.add(end)
            except ssl.SSLWantReadError:
                pass
    return ends[1], ends[0]


def by_authority(tmp_path: Path, name: str) -> tuple[ServerTls, Path]:
    """Return a server whose certificate an authority issued, and the authority's certificate."""
    authority = trustme.CA()
    issued = authority.issue_cert(name)
    (tmp_path / "chain.pem").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    (tmp_path / "key.pem").write_bytes(issued.private_key_pem.bytes())
    (tmp_path / "authority.pem").write_bytes(authority.cert_pem.bytes())
    return ServerTls.load(Pair(tmp_path / "chain.pem", tmp_path / "key.pem")), tmp_path / "authority.pem"


def test_both_agree_on_tls_1_3_and_our_protocol(tmp_path: Path) -> None:
    tls = ServerTls.load(make_pair(tmp_path, ["localhost"]))
    for end in shake_hands(tls.context, client_context(verify=False), "any.name"):
        assert end.version() == "TLSv1.3"
        assert end.selected_alpn_protocol() == "securechat/1"


def test_an_authority_vouches_for_a_server_and_its_name(tmp_path: Path) -> None:
    tls, authorities = by_authority(tmp_path, "chat.example.org")
    context = client_context(verify=True, authorities=authorities)
    shake_hands(tls.context, context, "chat.example.org")
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        shake_hands(tls.context, context, "other.example.org")


def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    _, authorities = by_authority(tmp_path, "localhost")
    tls = ServerTls.load(make_pair(tmp_path / "own", ["localhost"]))
    with pytest.raises(ssl.SSLCertVerificationError, match="self-signed"):
        shake_hands(tls.context, client_context(verify=True, authorities=authorities), "localhost")
