"""``securechat doctor``: what it finds, in which words, and how it ends."""

import re
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from securechat import labels
from securechat.transport.certificates import make_pair
from securechat.transport.known_hosts import CA, Entry, KnownHosts
from securechat.transport.pins import format_pin
from securechat.transport.tls import ServerTls
from tests.support.peers import free_port, listening
from tests.support.programs import Home, ServerProgram

OTHER = format_pin(bytes(32))


def test_a_good_server_passes_every_step(box: Home, member: Home, server: ServerProgram) -> None:
    for home, trust in (
        (member, f"ok    trust      known by pin {server.pin}"),
        (box, "note  trust      this server is not in the known hosts yet"),
    ):
        result = home.run("doctor", server.address)
        lines = result.out.splitlines()
        assert (result.code, result.err) == (0, "")
        assert lines[0] == "ok    name       127.0.0.1 is 127.0.0.1"
        assert re.fullmatch(r"ok    TLS 1\.3    handshake with securechat/1 in \d+ ms", lines[1])
        assert lines[2] == f"      pin        {server.pin}"
        assert re.fullmatch(r"ok    dates      the certificate is valid until \d{4}-\d\d-\d\d", lines[3])
        assert lines[4] == trust
        assert re.fullmatch(r"ok    protocol   version 1, messages up to \d+ bytes", lines[5])
        assert re.fullmatch(r"ok    clock      the server's is [+-]0\.\d s off this machine's", lines[6])
        assert re.fullmatch(r"ok    latency    \d+\.\d ms", lines[7])
        assert len(lines) == 8


def test_it_trusts_and_remembers_nothing(box: Home, server: ServerProgram) -> None:
    assert box.run("doctor", server.address).code == 0
    assert box.run("known-hosts", "list").out == ""
    assert not (box.profile.directory / "identity.pem").exists()


def test_a_pin_may_be_given_by_flag_or_join_line(box: Home, server: ServerProgram) -> None:
    for arguments in ((server.address, "--pin", server.pin), (f"securechat://{server.address}?pin={server.pin}",)):
        result = box.run("doctor", *arguments)
        assert (result.code, result.err) == (0, "")
        assert f"ok    pin        given: {server.pin}\n" in result.out
    result = box.run("doctor", server.address, "--pin", OTHER)
    assert result.code == 4
    assert f"FAIL  pin        given: {OTHER}\n" in result.out
    assert "is not the expected one" in result.err


def test_a_changed_key_is_4_and_both_pins_are_shown(box: Home, server: ServerProgram) -> None:
    KnownHosts(box.profile.directory / "known-hosts").add(server.address, Entry(frozenset({bytes(32)})))
    result = box.run("doctor", server.address)
    assert result.code == 4
    assert f"      pin        {server.pin}\n" in result.out
    assert f"FAIL  trust      known by pin {OTHER}\n" in result.out
    assert "ok    latency" in result.out
    assert result.err == (
        f"securechat: The key of {server.address} is not the expected one. "
        f"If it is new on purpose: securechat known-hosts remove {server.address}\n"
    )


def test_a_port_where_nobody_listens_is_3(box: Home) -> None:
    port = free_port()
    result = box.run("doctor", f"127.0.0.1:{port}")
    assert result.code == 3
    assert result.out == "ok    name       127.0.0.1 is 127.0.0.1\n"
    assert result.err.startswith(f"securechat: 127.0.0.1:{port} cannot be reached: connection refused.")


def test_a_name_that_nobody_has_is_3(box: Home) -> None:
    result = box.run("doctor", "no-such-host.invalid")
    assert (result.code, result.out) == (3, "")
    assert result.err.startswith("securechat: The name no-such-host.invalid is not known: ")


def _tls(directory: Path, version: ssl.TLSVersion) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = context.maximum_version = version
    make_pair(directory, ["127.0.0.1"]).load_into(context)
    return context


@pytest.mark.parametrize(
    ("make", "greeting", "says"),
    [
        (lambda _: None, b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak TLS: it is no securechat server."),
        (lambda path: _tls(path, ssl.TLSVersion.TLSv1_3), b"", "speaks TLS but is no securechat server."),
        (lambda path: _tls(path, ssl.TLSVersion.TLSv1_2), b"", "does not speak TLS 1.3."),
    ],
    ids=["http", "no-alpn", "tls-1.2"],
)
def test_what_is_no_securechat_server_is_3(
    tmp_path: Path, box: Home, make: Callable[[Path], ssl.SSLContext | None], greeting: bytes, says: str
) -> None:
    with listening(make(tmp_path / "pair"), greeting) as port:
        result = box.run("doctor", f"127.0.0.1:{port}")
    assert result.code == 3
    assert result.out == "ok    name       127.0.0.1 is 127.0.0.1\n"
    assert result.err.startswith(f"securechat: 127.0.0.1:{port} {says}")
    assert "Traceback" not in result.err


def test_garbage_inside_tls_is_3_and_named(tmp_path: Path, box: Home) -> None:
    context = _tls(tmp_path / "pair", ssl.TLSVersion.TLSv1_3)
    context.set_alpn_protocols([labels.ALPN])
    with listening(context, b"\xff" * 64) as port:
        result = box.run("doctor", f"127.0.0.1:{port}")
    assert result.code == 3
    assert "broke the protocol" in result.err


def test_an_expired_certificate_is_a_note_for_who_uses_a_pin(tmp_path: Path, box: Home) -> None:
    import datetime

    now = datetime.datetime.now(datetime.UTC)
    issued = trustme.CA().issue_cert("127.0.0.1", not_after=now - datetime.timedelta(days=1))
    issued.private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    with box.serve("--cert", str(tmp_path / "both.pem")) as server:
        result = box.run("doctor", server.address, "--pin", server.pin)
    assert result.code == 0
    assert "note  dates      the certificate is valid until" in result.out


def test_a_server_known_by_authority_has_to_be_vouched_for(member: Home, server: ServerProgram) -> None:
    KnownHosts(member.profile.directory / "known-hosts").add(server.address, CA)
    assert member.send(server, "hi").code == 4
    result = member.run("doctor", server.address)
    assert result.code == 4
    assert "No authority vouches for" in result.err


def test_a_server_that_closes_after_the_handshake_is_told(tmp_path: Path, box: Home) -> None:
    tls = ServerTls.load(make_pair(tmp_path, ["127.0.0.1"], overwrite=True))
    with listening(tls.context, is_short=True) as port:
        result = box.run("doctor", f"127.0.0.1:{port}")
    assert result.code == 3
    assert "ended the connection" in result.err
    assert "doctor" not in result.err


def test_authorities_that_are_given_have_to_vouch(tmp_path: Path, box: Home) -> None:
    authority, other = trustme.CA(), trustme.CA()
    pair = authority.issue_cert("127.0.0.1")
    pair.private_key_and_cert_chain_pem.write_to_path(tmp_path / "pair.pem")
    for name, ca in (("good", authority), ("bad", other)):
        ca.cert_pem.write_to_path(tmp_path / f"{name}.pem")
    with box.serve("--cert", str(tmp_path / "pair.pem")) as server:
        good = box.run("doctor", server.address, "--ca", str(tmp_path / "good.pem"), "--profile", str(tmp_path / "p"))
        assert (good.code, good.err) == (0, "")
        assert "ok    authority  an authority vouches for its name and dates" in good.out
        bad = box.run("doctor", server.address, "--ca", str(tmp_path / "bad.pem"), "--profile", str(tmp_path / "q"))
        assert bad.code == 4
        assert "or trust its key with --pin" in bad.err
