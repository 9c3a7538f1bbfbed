"""Certificates as an operator and a client meet them: bad files, lost files, interrupted writes, bad dates."""

import datetime
import os
import re
import signal
import ssl
import sys
import urllib.request
from pathlib import Path

import pytest
import trustme

from securechat import labels
from securechat.transport.certificates import Pair, make_pair, spki_hash
from securechat.transport.pins import format_pin
from tests.support import certified
from tests.support.certified import UNUSABLE
from tests.support.patience import PATIENCE
from tests.support.peers import listening
from tests.support.programs import Home, Result, ServerProgram, member_home

KEPT = "the certificate stays as it was: "
LOADED = "the certificate was reloaded"
# The process is killed instead of its n-th renaming, or right after it.
_KILLED = """
import os, pathlib, signal, sys
count, is_after, rename = int(sys.argv.pop(1)), sys.argv.pop(1) == "after", pathlib.Path.replace
def replace(self, target):
    global count
    count -= 1
    if count or is_after:
        rename(self, target)
    if not count:
        os.kill(os.getpid(), signal.SIGKILL)
pathlib.Path.replace = replace
sys.argv[0] = "securechat"
from securechat.__main__ import main
main()
"""


def own_pair(server: Path) -> Pair:
    return Pair(server / "cert.pem", server / "key.pem")


def shown_pin(port: int) -> str:
    """Return the pin of what listens."""
    return format_pin(spki_hash(ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate(("127.0.0.1", port)))))


def reload_certificate(server: ServerProgram) -> str:
    """Send SIGHUP, and return the one line that the server logs about it."""
    before = len(server.err.splitlines())
    server.process.send_signal(signal.SIGHUP)
    server.wait_for(rf"\A(.*\n){{{before}}}.+\n", "err")
    return server.err.splitlines()[before]


def is_refused(result: Result) -> bool:
    """Tell whether a server did not start, and said why in one line."""
    lines = result.err.splitlines()
    return result.code == 1 and len(lines) == 1 and lines[0].startswith("securechat: ") and not result.out


# Files that are of no use


@pytest.mark.parametrize("kind", ["rsa-1024", "secp256k1", "p239", "version-6"])
def test_a_server_does_not_start_with_what_no_client_can_use(tmp_path: Path, box: Home, kind: str) -> None:
    make, sentence = UNUSABLE[kind]
    pair = certified.write(tmp_path / "pair", *make())
    result = box.run("server", "--port", "0", "--cert", str(pair.certificate), "--key", str(pair.key))
    assert is_refused(result)
    assert sentence in result.err


def test_a_reload_of_what_is_of_no_use_changes_nothing(tmp_path: Path, box: Home) -> None:
    pair = make_pair(tmp_path / "pair", ["127.0.0.1"])
    with box.serve("--cert", str(pair.certificate), "--key", str(pair.key)) as server:
        member = member_home(tmp_path / "member", server)
        assert member.send(server, "--create", "hi").code == 0
        server.wait_for(" left ", "err")
        for make, sentence in UNUSABLE.values():
            certified.write(tmp_path / "pair", *make())
            line = reload_certificate(server)
            assert KEPT in line
            assert sentence in line
        for spoil in (spoil_with_a_pipe, spoil_with_a_huge_file, spoil_with_nothing):
            spoil(pair)
            assert KEPT in reload_certificate(server)
        assert shown_pin(server.port) == server.pin
        assert member.send(server, "still here").code == 0
        result = server.stop()
    assert result.code == 0
    assert "Traceback" not in result.err


def spoil_with_a_pipe(pair: Pair) -> None:
    pair.certificate.unlink()
    os.mkfifo(pair.certificate)


def spoil_with_a_huge_file(pair: Pair) -> None:
    pair.certificate.unlink()
    with pair.certificate.open("wb") as file:
        file.truncate(1 << 40)


def spoil_with_nothing(pair: Pair) -> None:
    pair.certificate.unlink()
    pair.key.unlink()


def test_a_pipe_in_place_of_a_certificate_is_no_start(tmp_path: Path, box: Home) -> None:
    os.mkfifo(tmp_path / "pipe")
    result = box.run("server", "--port", "0", "--cert", str(tmp_path / "pipe"))
    assert is_refused(result)
    assert "not a plain file" in result.err


def test_old_programs_see_the_same_certificate(tmp_path: Path, box: Home) -> None:
    pair = make_pair(tmp_path / "pair", ["127.0.0.1"])
    arguments = ("--compat", "127.0.0.1:0", "--cert", str(pair.certificate), "--key", str(pair.key))
    with box.serve(*arguments) as server:
        port = int(server.wait_for(r"old programs are served on 127\.0\.0\.1:(\d+)", "err")[1])
        pins = {shown_pin(server.port)}
        assert {shown_pin(port)} == pins
        make_pair(tmp_path / "pair", ["127.0.0.1"], overwrite=True)
        assert LOADED in reload_certificate(server)
        server.wait_for("the key has changed", "err")
        assert shown_pin(port) == shown_pin(server.port) not in pins
        pair.key.write_bytes(b"garbage")
        assert KEPT in reload_certificate(server)
        assert shown_pin(port) == shown_pin(server.port)


# The server's own pair


def test_a_lost_certificate_is_made_again_under_the_same_pin(tmp_path: Path, box: Home) -> None:
    with box.serve() as server:
        member, port = member_home(tmp_path / "member", server), server.port
        assert member.send(server, "--create", "hi").code == 0
    own_pair(server.data).certificate.unlink()
    with box.serve(port=port) as again:
        assert again.pin == server.pin
        again.wait_for("cert.pem was missing: the key was signed again, and the pin is the same", "err")
        assert member.send(again, "hi again").code == 0


def test_a_lost_key_changes_the_pin_and_the_log_says_so(box: Home) -> None:
    with box.serve() as server:
        pass
    own_pair(server.data).key.unlink()
    with box.serve() as again:
        assert again.pin != server.pin
        again.wait_for("the pin has changed", "err")


def test_a_key_that_is_damaged_stays_where_it_is(box: Home) -> None:
    with box.serve() as server:
        pass
    own_pair(server.data).key.write_bytes(b"damaged")
    result = box.run("server", "--port", "0", "--data", str(server.data))
    assert is_refused(result)
    assert "Restore it from a backup" in result.err
    assert own_pair(server.data).key.read_bytes() == b"damaged"


def test_a_pair_of_an_authority_in_the_data_directory_is_served(box: Home) -> None:
    with box.serve() as server:
        pass
    pair = own_pair(server.data)
    end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=20)
    issued = trustme.CA().issue_cert("127.0.0.1", not_after=end)
    issued.cert_chain_pems[0].write_to_path(pair.certificate)
    issued.private_key_pem.write_to_path(pair.key)
    before = pair.certificate.read_bytes()
    with box.serve() as again:
        assert again.pin == format_pin(pair.read_leaf().pin)
        again.wait_for(f"the certificate expires on {end:%Y-%m-%d}", "err")
    assert pair.certificate.read_bytes() == before


@pytest.mark.parametrize(
    ("case", "count", "instant"),
    [("first", 1, "after"), ("first", 2, "before"), ("renewal", 1, "before"), ("mismatch", 1, "after")],
)
def test_a_start_after_a_killed_one_has_the_same_key(box: Home, case: str, count: int, instant: str) -> None:
    data = box.directory / "server"
    data.mkdir()
    pair = own_pair(data)
    if case != "first":
        make_pair(data, ["127.0.0.1"])
    if case == "mismatch":
        pair.key.write_bytes(certified.USABLE["p256"]()[1])
    if case == "renewal":
        age(pair)
    before = pair.key.read_bytes() if pair.key.exists() else None
    killer = Home(box.directory)
    killer.command = (sys.executable, "-c", _KILLED, str(count), instant)
    line = ("server", "--host", "127.0.0.1", "--port", "0", "--data", str(data))
    assert killer.run(*line).code == -signal.SIGKILL
    between = pair.key.read_bytes() if pair.key.exists() else None
    assert between == before or before is None
    with box.serve() as server:
        after = pair.key.read_bytes()
        assert between in {None, after}
        assert shown_pin(server.port) == server.pin == format_pin(pair.read_leaf().pin)


def age(pair: Pair) -> None:
    """Make a certificate of ours that ends soon."""
    from securechat.transport.certificates import read_key
    from securechat.transport.signing import sign

    long_ago = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=390)
    pair.certificate.write_bytes(sign(["127.0.0.1"], read_key(pair.key), long_ago))


# Dates


def test_dates_are_in_the_log_and_in_the_metrics(tmp_path: Path, box: Home) -> None:
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    start, end = now - datetime.timedelta(days=90), now - datetime.timedelta(days=1)
    issued = trustme.CA().issue_cert("127.0.0.1", not_before=start, not_after=end)
    issued.private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    with box.serve("--cert", str(tmp_path / "both.pem"), "--metrics", "0") as server:
        said = f"the certificate has expired on {end:%Y-%m-%d}; only clients that know its pin accept it"
        server.wait_for(said, "err")
        port = server.wait_for(r"metrics are at http://127\.0\.0\.1:(\d+)/metrics", "err")[1]
        assert server.err.count(said) == 1
        assert LOADED in reload_certificate(server)
        server.wait_for(rf"({said}(.*\n)*.*){{2}}", "err")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE) as answer:
            metrics = answer.read().decode()
    for name, instant in (("not_before", start), ("not_after", end)):
        found = re.search(rf"^securechat_certificate_{name} (\S+)$", metrics, re.MULTILINE)
        assert found is not None
        assert float(found[1]) == instant.timestamp()


# Clients


@pytest.fixture
def shows(tmp_path: Path) -> dict[str, ssl.SSLContext]:
    """Contexts that show certificates which a library cannot read, and OpenSSL can."""
    contexts = {}
    for kind in ("no-date", "ber"):
        pair = certified.write(tmp_path / kind, *UNUSABLE[kind][0]())
        contexts[kind] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        contexts[kind].load_cert_chain(pair.certificate, pair.key)
        contexts[kind].set_alpn_protocols([labels.ALPN])
    return contexts


@pytest.mark.parametrize(
    ("kind", "code", "says"),
    [("no-date", 4, "is not the expected one"), ("ber", 3, "damaged")],
)
def test_a_certificate_that_cannot_be_read_is_no_internal_error(
    box: Home, shows: dict[str, ssl.SSLContext], kind: str, code: int, says: str
) -> None:
    with listening(shows[kind], is_short=True) as port:
        line = ("send", f"127.0.0.1:{port}", "--room", "room", "--pin", "sha256:" + "A" * 43, "hi")
        result = box.run(*line, env={"SECURECHAT_PASSPHRASE": "plaza unmolded tipper squash gallery oxidant"})
        diagnosis = box.run("doctor", f"127.0.0.1:{port}", "--pin", "sha256:" + "A" * 43)
    assert (result.code, len(result.err.splitlines())) == (code, 1)
    assert says in result.err
    assert diagnosis.code in {3, 4}
    assert "internal error" not in diagnosis.err
    assert ("note  dates      the certificate is damaged or of a rare kind" in diagnosis.out) == (kind != "ber")


def test_a_chat_outlives_a_certificate_that_cannot_be_read(
    tmp_path: Path, box: Home, shows: dict[str, ssl.SSLContext]
) -> None:
    with box.serve() as server:
        member = member_home(tmp_path / "member", server)
        assert member.send(server, "--create", "hi").code == 0
        port = server.port
        program = member.chat(server, "alice")
    with program:
        program.wait_for("connection lost: ")
        with listening(shows["ber"], port=port):
            program.wait_for(r"connection lost: .* shows a damaged certificate, whose key cannot be found")
        program.write("typed meanwhile\n")
        with box.serve(port=port):
            program.wait_for(r"alice: typed meanwhile$")
            assert program.finish().code == 0
