"""What bad input gets: one sentence, the next step, the documented exit code; nothing lost, nothing half-written."""

import datetime
import json
import resource
import signal
import sqlite3
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from securechat.transport.certificates import make_pair
from securechat.transport.tls import ServerTls
from tests.support.peers import free_port, listening
from tests.support.programs import PASSPHRASE, ROOM, Home, Result, ServerProgram

CREDENTIALS = {"SECURECHAT_PASSPHRASE": PASSPHRASE}


def is_one_sentence_and_the_next_step(result: Result) -> bool:
    """Tell whether a failure says one thing on stderr and nothing on stdout, and shows no traceback."""
    lines = result.err.strip().splitlines()
    return len(lines) == 1 and lines[0].startswith("securechat: ") and "Traceback" not in result.err and not result.out


def rooms_of(server: ServerProgram) -> int:
    """Return how many rooms the server's database holds."""
    connection = sqlite3.connect(f"file:{server.data / 'history.sqlite'}?mode=ro", uri=True)
    try:
        (count,) = connection.execute("SELECT count(*) FROM rooms").fetchone()
    finally:
        connection.close()
    return int(count)


# Rooms


@pytest.mark.parametrize(("name", "passphrase"), [("tea hose", PASSPHRASE), (ROOM, PASSPHRASE.upper())])
def test_a_misspelt_room_or_passphrase_is_told_and_creates_nothing(
    member: Home, server: ServerProgram, room: str, name: str, passphrase: str
) -> None:
    for extra in ((), ("--must-exist",)):
        env = {"SECURECHAT_PASSPHRASE": passphrase}
        result = member.run("send", server.address, "--room", name, *extra, "lost?", env=env)
        assert result.code == 5
        assert is_one_sentence_and_the_next_step(result)
        assert "--create" in result.err
    assert rooms_of(server) == 1


def test_a_weak_passphrase_opens_no_room_unless_insisted_on(member: Home, server: ServerProgram) -> None:
    line = ("send", server.address, "--room", "weak", "--create")
    env = {"SECURECHAT_PASSPHRASE": "letmein1"}
    result = member.run(*line, "hi", env=env)
    assert result.code == 6
    assert is_one_sentence_and_the_next_step(result)
    assert "letmein1" not in result.err
    assert rooms_of(server) == 0
    assert member.run(*line, "--weak-passphrase", "hi", env=env).code == 0


def test_a_server_with_closed_rooms_opens_none(box: Home, tmp_path: Path) -> None:
    with box.serve("--rooms", "closed") as server:
        result = box.run("send", server.address, "--pin", server.pin, "--room", ROOM, "--create", "hi", env=CREDENTIALS)
    assert result.code == 3
    assert "takes no new rooms" in result.err


# The server's key


def test_a_changed_server_key_stops_before_anything_is_sent(member: Home, server: ServerProgram, room: str) -> None:
    port = server.port
    assert server.stop().code == 0
    for name in ("cert.pem", "key.pem"):
        (server.data / name).unlink()
    other = Home(server.data.parent)
    with other.serve(port=port) as impostor:
        for command in ("send", "tail", "chat"):
            result = member.run(command, server.address, "--room", ROOM)
            assert result.code == 4
            assert is_one_sentence_and_the_next_step(result)
            assert server.pin in result.err
            assert impostor.pin in result.err
            assert f"securechat known-hosts remove {server.address}" in result.err
        ended = impostor.stop()
        assert "joined" not in ended.err
        assert "internal" not in ended.err


def test_a_first_contact_with_nobody_to_ask_is_refused_with_the_flag_to_give(
    tmp_path: Path, server: ServerProgram
) -> None:
    stranger = Home(tmp_path)
    result = stranger.run("send", server.address, "--room", ROOM, "hi", env=CREDENTIALS)
    assert result.code == 4
    assert is_one_sentence_and_the_next_step(result)
    assert f"--pin {server.pin}" in result.err
    assert stranger.run("known-hosts", "list").out == ""


def test_known_hosts_are_listed_and_forgotten(member: Home, server: ServerProgram) -> None:
    assert member.run("known-hosts", "list").out == f"{server.address} pin {server.pin}\n"
    assert member.run("known-hosts", "remove", server.address).code == 0
    assert member.run("known-hosts", "list").out == ""
    assert member.run("known-hosts", "remove", server.address).code == 1


def test_a_given_pin_must_agree_with_the_known_one(member: Home, server: ServerProgram) -> None:
    other = "sha256:" + "A" * 43
    result = member.run("send", server.address, "--pin", other, "--room", ROOM, "hi")
    assert result.code == 4
    assert other in result.err
    assert server.pin in result.err


def test_an_expired_certificate_is_not_trusted_but_its_pin_may_be(tmp_path: Path, box: Home) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    expiry = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    expired = authority.issue_cert("127.0.0.1", not_after=expiry)
    expired.private_key_and_cert_chain_pem.write_to_path(tmp_path / "pair.pem")
    with box.serve("--cert", str(tmp_path / "pair.pem")) as server:
        line = ("send", server.address, "--room", ROOM, "--create", "hi")
        result = box.run(*line, "--ca", str(tmp_path / "ca.pem"), env=CREDENTIALS)
        assert result.code == 4
        assert is_one_sentence_and_the_next_step(result)
        assert "expired" in result.err
        assert box.run(*line, "--pin", server.pin, env=CREDENTIALS).code == 0


def test_an_authority_vouches_for_the_name_and_is_never_left_for_less(tmp_path: Path, box: Home) -> None:
    authority, other = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(tmp_path / "good.pem")
    other.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(tmp_path / "bad.pem")
    line = ("--ca", str(tmp_path / "ca.pem"), "--room", ROOM, "--create", "hi")
    with box.serve("--cert", str(tmp_path / "good.pem")) as server:
        assert box.run("send", server.address, *line, env=CREDENTIALS) == (0, "", "")
        assert box.run("known-hosts", "list").out == f"{server.address} ca\n"
        port = server.port
    with box.serve("--cert", str(tmp_path / "bad.pem"), port=port) as server:
        for _ in range(2):
            result = box.run("send", server.address, *line, env=CREDENTIALS)
            assert result.code == 4
            assert is_one_sentence_and_the_next_step(result)


# What is no server


def test_a_server_that_is_not_there_is_told_at_once(member: Home) -> None:
    result = member.run("send", f"127.0.0.1:{free_port()}", "--room", ROOM, "hi")
    assert result.code == 3
    assert is_one_sentence_and_the_next_step(result)
    assert "connection refused" in result.err


def test_a_host_that_does_not_exist_is_told(member: Home) -> None:
    result = member.run("send", "no-such-host.invalid", "--room", ROOM, "hi")
    assert result.code == 3
    assert is_one_sentence_and_the_next_step(result)


def tls_of(tmp_path: Path, version: ssl.TLSVersion) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = context.maximum_version = version
    make_pair(tmp_path, ["127.0.0.1"], overwrite=True).load_into(context)
    return context


@pytest.mark.parametrize(
    ("make", "greeting", "says"),
    [
        (lambda _: None, b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak TLS"),
        (lambda _: None, b"SSH-2.0-OpenSSH_9.2\r\n", "does not speak TLS"),
        (lambda path: tls_of(path, ssl.TLSVersion.TLSv1_2), b"", "does not speak TLS 1.3"),
        (lambda path: tls_of(path, ssl.TLSVersion.TLSv1_3), b"", "is no securechat server"),
    ],
    ids=["http", "ssh", "tls-1.2", "tls-without-our-protocol"],
)
def test_what_is_no_securechat_server_is_told_apart(
    tmp_path: Path,
    box: Home,
    make: Callable[[Path], ssl.SSLContext | None],
    greeting: bytes,
    says: str,
) -> None:
    with listening(make(tmp_path), greeting) as port:
        pin = "sha256:" + "A" * 43
        for extra in ((), ("--pin", pin)):
            result = box.run("send", f"127.0.0.1:{port}", *extra, "--room", ROOM, "hi", env=CREDENTIALS)
            assert is_one_sentence_and_the_next_step(result)
            assert (result.code, says in result.err) in {(3, True), (4, False)}, result.err
            assert result.code == 3 or extra


def test_a_server_that_talks_garbage_inside_tls_is_told(tmp_path: Path, box: Home) -> None:
    tls = ServerTls.load(make_pair(tmp_path, ["127.0.0.1"], overwrite=True))
    with listening(tls.context, b"\xff" * 64) as port:
        from securechat.transport.pins import format_pin

        line = ("send", f"127.0.0.1:{port}", "--pin", format_pin(tls.pin), "--room", ROOM, "hi")
        result = box.run(*line, env=CREDENTIALS)
    assert result.code == 3
    assert is_one_sentence_and_the_next_step(result)
    assert "broke the protocol" in result.err


# What is said and how it is called


@pytest.mark.parametrize(
    ("arguments", "typed"),
    [
        (("x" * 65_536,), b""),
        ((), b"x" * 65_536),
        ((), b"x" * 1_000_000),
        ((), b"half a surrogate \xed\xa0\x80 pair\n"),
        ((), b"not UTF-8 \xff\n"),
        ((), b"a NUL \0 in it\n"),
        (("--room", "tea\u0378"), b""),
        (("--room", " \u200b "), b""),
        (("--room", "r" * 129), b""),
        (("--nick", "two words"), b""),
        (("--pin", "sha256:short"), b""),
        (("--create", "--must-exist"), b""),
    ],
    ids=[
        *("long-argument", "long-line", "endless-line", "surrogate", "not-utf-8", "nul", "unassigned"),
        *("invisible-room", "long-room", "two-word-nick", "bad-pin", "create-and-not"),
    ],
)
def test_what_cannot_be_sent_is_a_usage_error(
    member: Home, server: ServerProgram, room: str, arguments: tuple[str, ...], typed: bytes
) -> None:
    result = member.run("send", server.address, "--room", ROOM, *arguments, typed=typed)
    assert result.code == 2
    assert is_one_sentence_and_the_next_step(result)
    assert len(member.tail(server).out.splitlines()) == 1


def test_an_argument_that_is_no_utf_8_is_a_usage_error(member: Home, server: ServerProgram, room: str) -> None:
    result = member.run("send", server.address, "--room", ROOM, "half \udced\udca0\udc80 pair")
    assert result.code == 2
    assert is_one_sentence_and_the_next_step(result)


def test_lines_before_a_bad_one_are_sent_and_those_behind_it_are_not(
    member: Home, server: ServerProgram, room: str
) -> None:
    result = member.send(server, typed=b"one\ntwo\nthr\0ee\nfour\n")
    assert result.code == 2
    shown = [line.rsplit(": ", 1)[1] for line in member.tail(server).out.splitlines()]
    assert shown == ["the first message", "one", "two"]


def test_a_bad_line_in_a_chat_is_told_and_the_chat_goes_on(member: Home, server: ServerProgram, room: str) -> None:
    with member.chat(server, "alice") as program:
        program.write(b"x" * 40_000 + b"\n")
        program.wait_for(r"The message takes 40000 bytes of at most 32000\.")
        program.write(b"fine\n")
        program.wait_for(r"alice: fine$")
        assert program.finish().code == 0


@pytest.mark.parametrize(
    "line",
    [
        ("send",),
        ("nonsense",),
        ("tail", "localhost", "--since", "yesterday"),
        ("tail", "localhost", "--since", "1h", "--last", "2"),
        ("server", "--key", "key.pem"),
        ("server", "--port", "65536"),
        ("send", "local host", "--room", "x", "hi"),
        ("send", "securechat://localhost?nope=1", "--room", "x", "hi"),
        ("send", f"localhost:{'9' * 5000}", "--room", "x", "hi"),
        ("send", "localhost", "hi"),
        ("send", "localhost", "--room", "x", "hi"),
    ],
)
def test_wrong_usage_is_2_and_says_what_is_right(box: Home, line: tuple[str, ...]) -> None:
    result = box.run(*line)
    assert result.code == 2
    assert result.err
    assert not result.out
    assert "Traceback" not in result.err


def test_an_unknown_setting_is_named_with_its_line(box: Home) -> None:
    config = box.directory / "config" / "securechat" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text('[server]\nport = 7443\n\n[client]\nnik = "alice"\n')
    result = box.run("known-hosts", "list")
    assert result.code == 2
    assert f"{config}, line 5: 'nik'" in result.err


# The server's own troubles


def test_a_port_in_use_is_told(tmp_path: Path, box: Home, server: ServerProgram) -> None:
    data = str(tmp_path / "other")
    result = box.run("server", "--host", "127.0.0.1", "--port", str(server.port), "--data", data)
    assert result.code == 1
    assert is_one_sentence_and_the_next_step(result)
    assert "in use" in result.err


def test_a_second_server_in_one_directory_is_told(box: Home, server: ServerProgram) -> None:
    result = box.run("server", "--host", "127.0.0.1", "--port", "0", "--data", str(server.data))
    assert result.code == 1
    assert is_one_sentence_and_the_next_step(result)
    assert "--data" in result.err


def test_keys_that_do_not_fit_or_cannot_be_read_are_told(tmp_path: Path, box: Home) -> None:
    one = make_pair(tmp_path / "one", ["localhost"], overwrite=False)
    two = make_pair(tmp_path / "two", ["localhost"], overwrite=False)
    garbage = tmp_path / "garbage.pem"
    garbage.write_bytes(b"garbage")
    for cert, key in (
        (one.certificate, two.key),
        (one.certificate, tmp_path / "missing.pem"),
        (one.certificate, tmp_path),
        (one.certificate, garbage),
        (garbage, one.key),
        (tmp_path / "missing.pem", one.key),
    ):
        result = box.run("server", "--port", "0", "--cert", str(cert), "--key", str(key))
        assert result.code == 1
        assert is_one_sentence_and_the_next_step(result)
    result = box.run("server", "--port", "0", "--cert", str(one.certificate))
    assert result.code == 2
    assert "--key" in result.err


def test_a_data_directory_that_cannot_be_made_is_told(tmp_path: Path, box: Home) -> None:
    (tmp_path / "file").write_text("")
    for data in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/securechat")):
        result = box.run("server", "--port", "0", "--data", str(data))
        assert result.code == 1
        assert is_one_sentence_and_the_next_step(result)


@pytest.mark.parametrize("what", ["garbage", "cut", "newer", "other"])
def test_a_database_that_is_not_ours_to_use_is_told_and_left_as_it_is(
    member: Home, server: ServerProgram, room: str, box: Home, what: str
) -> None:
    assert server.stop().code == 0
    path = server.data / "history.sqlite"
    if what == "garbage":
        path.write_bytes(b"garbage" * 1000)
    elif what == "cut":
        path.write_bytes(path.read_bytes()[:5000])
    else:
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA user_version = 99" if what == "newer" else "PRAGMA application_id = 7")
        connection.close()
    before = path.read_bytes()
    result = box.run("server", "--port", "0", "--data", str(server.data))
    assert result.code == 1
    assert is_one_sentence_and_the_next_step(result)
    assert str(path) in result.err
    assert path.read_bytes() == before


def test_too_little_memory_for_the_derivation_is_told(member: Home, server: ServerProgram) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (300 * 2**20, 300 * 2**20))

    result = member.run("send", server.address, "--room", "elsewhere", "hi", env=CREDENTIALS, preexec_fn=limit)
    assert result.code == 1
    assert is_one_sentence_and_the_next_step(result)
    assert "256 MiB" in result.err


# Ends


def test_a_reader_that_goes_away_is_no_error(member: Home, server: ServerProgram, room: str) -> None:
    assert member.send(server, typed="line\n" * 3000).code == 0
    with member.start("tail", server.address, "--room", ROOM, "--no-follow") as program:
        assert program.process.stdout is not None
    line = " ".join((*member.command, "tail", server.address, "--room", "'tea house'", "--no-follow", "| head -1"))
    from tests.support.programs import Program

    with Program(("bash", "-c", f"set -o pipefail; {line}"), member.env) as program:
        result = program.finish()
    assert (result.code, result.err) == (0, "")


def test_an_interrupt_is_130(member: Home, server: ServerProgram, room: str) -> None:
    with member.chat(server, "alice") as program:
        result = program.stop(signal.SIGINT)
    assert result.code == 130
    assert "Traceback" not in result.err


def test_json_stays_one_object_a_line_whatever_was_said(member: Home, server: ServerProgram, room: str) -> None:
    said = 'quotes " and \\ and \x1b[31m and \u2028'
    assert member.send(server, said).code == 0
    (line,) = member.tail(server, "--json", "--last", "1").out.splitlines()
    assert json.loads(line)["text"] == said


def test_a_command_whose_reader_has_gone_is_quiet(box: Home) -> None:
    from tests.support.programs import Program

    line = " ".join((*box.command, "passphrase", "2>/dev/null", "| true"))
    env = {**box.env, "PYTHONUNBUFFERED": "1"}
    with Program(("bash", "-c", f"set -o pipefail; {line}"), env) as program:
        assert program.finish() == (0, "", "")


# Streams


def test_what_is_behind_quit_is_not_said(member: Home, server: ServerProgram, room: str) -> None:
    with member.chat(server, "alice") as program:
        program.write("hi\n/quit bye\nnot this\n")
        assert program.finish().code == 0
    texts = [line.rsplit(": ", 1)[1] for line in member.tail(server).out.splitlines()]
    assert texts == ["the first message", "hi", "bye"]


def test_a_line_that_is_not_utf_8_is_named_and_what_was_before_it_is_sent(
    member: Home, server: ServerProgram, room: str
) -> None:
    result = member.send(server, typed=b"good\nbad \xff\nnever\n")
    assert result.code == 2
    assert "Line 2 of the input is not UTF-8, and was not sent. 1 of the messages were sent before it." in result.err
    with member.chat(server, "alice") as program:
        program.write(b"bad \xff\nstill here\n" + b"x" * 70_000 + b"\nand here\n")
        program.wait_for(r"alice: and here$")
        result = program.finish()
    assert result.code == 0
    assert "Line 1 of the input is not UTF-8" in result.err
    assert "Line 3 of the input is too long" in result.err
    texts = [line.rsplit(": ", 1)[1] for line in member.tail(server).out.splitlines()]
    assert texts == ["the first message", "good", "still here", "and here"]


def test_passphrase_and_messages_may_come_over_one_stream(box: Home, server: ServerProgram, tmp_path: Path) -> None:
    (tmp_path / "stranger").mkdir()
    stranger = Home(tmp_path / "stranger")
    stranger.trust(server)
    typed = f"{PASSPHRASE}\none\ntwo\n"
    line = ("send", server.address, "--room", ROOM, "--create", "--passphrase-fd", "0")
    assert stranger.run(*line, typed=typed) == (0, "", "")
    stranger.remember()
    assert [line.rsplit(": ", 1)[1] for line in stranger.tail(server).out.splitlines()] == ["one", "two"]


@pytest.mark.parametrize(("redirection", "code"), [("<&-", 0), (">&-", 0), (">/dev/full", 1)])
def test_closed_and_full_streams_are_no_internal_error(
    member: Home, server: ServerProgram, room: str, redirection: str, code: int
) -> None:
    from tests.support.programs import Program

    line = " ".join((*member.command, "tail", server.address, "--room", "'tea house'", "--no-follow", redirection))
    with Program(("bash", "-c", line), member.env) as program:
        result = program.finish()
    assert result.code == code
    assert "internal" not in result.err
    assert bool(result.err) == bool(code)


@pytest.mark.parametrize(
    "option", [("--timeout", "nan"), ("--timeout", "0"), ("--passphrase-fd", "-1"), ("--room", "")]
)
def test_values_that_are_none_are_usage_errors(box: Home, option: tuple[str, str]) -> None:
    result = box.run("send", "127.0.0.1:1", *option, "hi", env={"SECURECHAT_PASSPHRASE": "x"})
    assert result.code == 2
    assert "internal" not in result.err
