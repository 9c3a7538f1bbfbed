"""The server as its operator meets it: start, stop, reload, crash, logs."""

import os
import re
import signal
import socket
import sqlite3
import ssl
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from securechat.transport.certificates import make_pair, pin_of
from securechat.transport.pins import format_pin
from tests.support.patience import PATIENCE, until
from tests.support.programs import ROOM, Home, Program, ServerProgram, member_home

ADDRESSES = re.compile(r"127\.0\.0\.1 room [0-9a-f]{8}, members \d+, connections \d+$", re.MULTILINE)


def test_it_prints_where_it_is_and_the_line_to_join_with(server: ServerProgram) -> None:
    match = server.wait_for(r"^Join with: securechat chat 'securechat://127\.0\.0\.1:(\d+)\?pin=(\S+)' --room ROOM$")
    assert (int(match[1]), match[2]) == (server.port, server.pin)
    assert server.out.startswith(f"ready 127.0.0.1:{server.port} {server.pin}\n")


def test_what_it_makes_is_private(server: ServerProgram) -> None:
    assert stat.S_IMODE(server.data.stat().st_mode) == 0o700
    for name in ("key.pem", "history.sqlite"):
        assert stat.S_IMODE((server.data / name).stat().st_mode) == 0o600


@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT", "stop"])
def test_it_stops_in_good_order_and_keeps_everything(
    member: Home, server: ServerProgram, room: str, box: Home, how: str
) -> None:
    with member.chat(server, "alice") as program:
        if how == "stop":
            server.write("nonsense\nstop\n")
            server.process.wait(PATIENCE)
            result = server.finish()
        else:
            result = server.stop(getattr(signal, how))
        assert result.code == 0
        assert "stopped; connections ended: " in result.err
        program.wait_for(r"connection lost: The server ended the connection: the server shuts down or restarts")
        program.write("typed while it was away\n")
        with box.serve(port=server.port) as again:
            assert again.pin == server.pin
            program.wait_for(r"alice: typed while it was away$")
            assert program.finish().code == 0
            texts = [line.rsplit(": ", 1)[1] for line in member.tail(again).out.splitlines()]
            assert texts == ["the first message", "typed while it was away"]


def test_the_end_of_its_input_is_not_the_end(member: Home, server: ServerProgram) -> None:
    server.end_input()
    assert member.send(server, "--create", "hi").code == 0


def test_a_second_signal_ends_it_at_once(server: ServerProgram) -> None:
    with talk_tls(server) as silent:
        assert silent.recv(1), "the session has begun"
        server.process.send_signal(signal.SIGTERM)
        until(lambda: not is_listening(server), lambda: server.err)
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(PATIENCE)
    assert "stopped; " not in server.finish().err, "it did not wait for the session to end"


def is_listening(server: ServerProgram) -> bool:
    try:
        socket.create_connection(("127.0.0.1", server.port)).close()
    except ConnectionRefusedError:
        return False
    return True


@contextmanager
def talk_tls(server: ServerProgram) -> Iterator[ssl.SSLSocket]:
    """Connect as a client does, and say nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["securechat/1"])
    with (
        socket.create_connection(("127.0.0.1", server.port)) as scanner,
        context.wrap_socket(scanner, server_hostname="x") as talking,
    ):
        talking.settimeout(PATIENCE)
        yield talking


def test_a_new_certificate_is_served_after_sighup(tmp_path: Path, box: Home) -> None:
    pair = make_pair(tmp_path / "pair", ["127.0.0.1"], overwrite=False)
    with box.serve("--cert", str(pair.certificate), "--key", str(pair.key)) as server:
        before = ssl.get_server_certificate(("127.0.0.1", server.port))
        make_pair(tmp_path / "pair", ["127.0.0.1"], overwrite=True)
        server.process.send_signal(signal.SIGHUP)
        server.wait_for(r"the certificate was reloaded$", "err")
        after = ssl.get_server_certificate(("127.0.0.1", server.port))
        assert after != before
        server.wait_for(r"^Join with: .*\n(.*\n)*Join with: ")
        assert format_pin(pin_of(pair)) in server.out
        pair.key.write_bytes(b"garbage")
        server.process.send_signal(signal.SIGHUP)
        server.wait_for(r"the certificate stays as it was: ", "err")
        assert ssl.get_server_certificate(("127.0.0.1", server.port)) == after


def test_joins_and_leaves_are_logged_without_a_name(tmp_path: Path, box: Home) -> None:
    log = tmp_path / "access.log"
    with box.serve("--access-log", str(log)) as server:
        member = member_home(tmp_path / "member", server)
        assert member.send(server, "--create", "--nick", "alice", "hi").code == 0
        server.wait_for(r" left 127\.0\.0\.1 room ", "err")
        log.rename(tmp_path / "rotated.log")
        assert member.tail(server).code == 0
        server.wait_for(r"( left .*\n[^$]*){2}", "err")
        assert server.stop().code == 0
    rotated, fresh = (tmp_path / "rotated.log").read_text(), log.read_text()
    assert [line.split()[2] for line in (rotated + fresh).splitlines()] == ["created", "left", "joined", "left"]
    assert len(ADDRESSES.findall(rotated + fresh)) == 4


def test_logs_may_be_json(tmp_path: Path, box: Home) -> None:
    import json

    with box.serve("--log-json") as server:
        member = member_home(tmp_path / "member", server)
        assert member.send(server, "--create", "hi").code == 0
        server.wait_for(r'"change": "left"', "err")
        lines = [json.loads(line) for line in server.stop().err.splitlines()]
    assert [line.get("change") for line in lines] == ["created", "left", None]
    assert all({"time", "level", "message"} <= line.keys() for line in lines)


def test_memory_keeps_nothing(tmp_path: Path, box: Home) -> None:
    with box.serve("--memory") as server:
        member = member_home(tmp_path / "member", server)
        assert member.send(server, "--create", "hi").code == 0
        assert len(member.tail(server).out.splitlines()) == 1
        assert not (server.data / "history.sqlite").exists()
        port = server.port
    with box.serve("--memory", port=port) as again:
        assert member.tail(again).code == 5


def test_retention_is_by_count(tmp_path: Path, box: Home) -> None:
    with box.serve() as server:
        member = member_home(tmp_path / "member", server)
        assert member.send(server, "--create", typed="".join(f"{n}\n" for n in range(20))).code == 0
        port = server.port
    with box.serve("--retain-messages", "5", port=port) as again:
        result = member.tail(again)
        assert [line.rsplit(": ", 1)[1] for line in result.out.splitlines()] == ["15", "16", "17", "18", "19"]
        assert "missing" not in result.out


def test_it_tells_a_service_manager_when_it_is_ready(tmp_path: Path, box: Home) -> None:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(10)
        box.env["NOTIFY_SOCKET"] = str(path)
        with box.serve():
            assert manager.recv(100) == b"READY=1"


def test_garbage_on_the_port_harms_nobody(member: Home, server: ServerProgram, room: str) -> None:
    with member.chat(server, "alice") as program:
        for garbage in (b"", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" + os.urandom(200), os.urandom(5000)):
            with socket.create_connection(("127.0.0.1", server.port)) as scanner:
                scanner.sendall(garbage)
        for frame in (b"\xff" * 9, b"\0\0\0\1\x63", b"\0\0\0\x08\x04" + bytes(7), b"\0\0\0\x01\x01"):
            with talk_tls(server) as talking:
                talking.sendall(frame)
                said = b""
                while data := talking.recv(4096):
                    said += data
                assert said.endswith(b"\x0e\x04\0\0"), "GOODBYE, protocol"
        program.write("unharmed\n")
        program.wait_for(r"alice: unharmed$")
        assert program.finish().code == 0
    assert "protocol 4" in server.stop().err


def test_nothing_acknowledged_is_lost_when_it_is_killed(tmp_path: Path, box: Home) -> None:
    """Five times in the middle of the traffic; every message once and in the order of its sender."""
    with box.serve() as first:
        members = [member_home(tmp_path / f"member{n}", first) for n in range(2)]
        assert members[0].send(first, "--create", "begin").code == 0
        port = first.port
        count = 1500
        senders = [
            home.start("send", first.address, "--room", ROOM, "--nick", f"n{i}", "--timeout", "60")
            for i, home in enumerate(members)
        ]
        with senders[0], senders[1]:
            for number, sender in enumerate(senders):
                sender.write("".join(f"{number}.{n}\n" for n in range(count // 2)))
            first.wait_for(r"( joined .*\n[^$]*){2}", "err")
            server: ServerProgram = first
            for _ in range(5):
                let_traffic_through(server, 1 + count // 2 * 2)
                assert server.stop(signal.SIGKILL).code == -signal.SIGKILL
                server = box.serve(port=port)
            for number, sender in enumerate(senders):
                sender.write("".join(f"{number}.{n}\n" for n in range(count // 2, count)))
                sender.end_input()
            ended = [sender.finish() for sender in senders]
            assert [result.code for result in ended] == [0, 0], ended
    with server:
        result = members[0].tail(server)
        texts = [line.rsplit(": ", 1)[1] for line in result.out.splitlines()]
    assert not [line for line in result.out.splitlines() if " !! " in line]
    for number in range(2):
        mine = [text for text in texts if text.startswith(f"{number}.")]
        assert mine == [f"{number}.{n}" for n in range(count)]


def let_traffic_through(server: ServerProgram, total: int) -> None:
    """Wait until some more messages are stored, or all ``total``."""
    connection = sqlite3.connect(f"{(server.data / 'history.sqlite').as_uri()}?mode=ro", uri=True)
    try:
        (begin,) = connection.execute("SELECT sum(newest) FROM rooms").fetchone()
        goal = min(begin + 20, total)
        until(lambda: connection.execute("SELECT sum(newest) >= ? FROM rooms", (goal,)).fetchone()[0])
    finally:
        connection.close()


def test_a_full_disk_loses_nothing(tmp_path: Path, box: Home) -> None:
    """The file may not grow: what is sent meanwhile waits, is announced, and arrives once when it may."""
    import resource

    with box.serve() as server:
        member = member_home(tmp_path / "member", server)
        with member.chat(server, "alice", "--create") as program:
            program.write("before\n")
            program.wait_for(r"alice: before$")
            wal = server.data / "history.sqlite-wal"
            resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (wal.stat().st_size, resource.RLIM_INFINITY))
            program.write("one\ntwo\nthree\n")
            program.wait_for(r"-- the server takes no message now \(the message could not be stored\); trying again")
            server.wait_for(r"messages could not be stored: ", "err")
            program.write("four\n")
            resource.prlimit(
                server.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
            )
            program.wait_for(r"alice: four$")
            assert program.finish().code == 0
        texts = [line.rsplit(": ", 1)[1] for line in member.tail(server).out.splitlines()]
    assert texts == ["before", "one", "two", "three", "four"]


def test_history_survives_in_a_file_of_a_known_version(member: Home, server: ServerProgram, room: str) -> None:
    server.stop()
    connection = sqlite3.connect(server.data / "history.sqlite")
    try:
        assert connection.execute("PRAGMA user_version").fetchone() == (2,)
        assert connection.execute("PRAGMA application_id").fetchone() == (0x53434C47,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    finally:
        connection.close()


def test_the_demonstration_shows_a_crash_and_what_the_server_saw(box: Home) -> None:
    with Program((*box.command, "demo"), box.env) as program:
        result = program.finish()
    assert result.code == 0, result.err
    assert result.err == ""
    typed = re.findall(r"^   (\w+) typed    (.*)$", result.out, re.MULTILINE)
    stored = re.findall(r"^   server stored  ([0-9a-f]{40,})\.\.\. \(\d+ bytes\)$", result.out, re.MULTILINE)
    read = re.findall(r"^   read           (\w+)~\w{4}: (.*)$", result.out, re.MULTILINE)
    assert typed == read
    assert len(stored) == len(typed) == 4
    assert all(envelope.startswith("01") for envelope in stored)


def test_a_full_profile_keeps_nobody_from_talking(member: Home, server: ServerProgram, room: str) -> None:
    import resource

    with member.chat(server, "alice") as program:
        program.write("before\n")
        program.wait_for(r"alice: before$")
        wal = member.profile.directory / "state.sqlite-wal"
        limits = (wal.stat().st_size, resource.RLIM_INFINITY)
        resource.prlimit(program.process.pid, resource.RLIMIT_FSIZE, limits)
        program.write("".join(f"{n}\n" for n in range(200)))
        program.wait_for(r"-- What is read is not remembered for the next time: ")
        program.wait_for(r"alice: 199$")
        resource.prlimit(program.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        program.write("after\n")
        program.wait_for(r"alice: after$")
        assert program.finish().code == 0
    assert len(member.tail(server).out.splitlines()) == 203
    with member.chat(server, "alice") as program:
        program.write("/check\n")
        program.wait_for(r"After message 203: ")
        assert " !! " not in program.out
