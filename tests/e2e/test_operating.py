"""A server in its operator's hands: rooms, backups, metrics, limits."""

import re
import resource
import signal
import socket
import urllib.request
from contextlib import ExitStack
from pathlib import Path

import pytest

from securechat import limits
from tests.support.patience import PATIENCE
from tests.support.programs import ROOM, Home, ServerProgram

LINE = re.compile(r"^([0-9a-f]{64}) +(\d+) +(\d+) \d{4}-\d\d-\d\d \d\d:\d\d:\d\d$")


@pytest.fixture
def guest(tmp_path: Path) -> Home:
    """The machine of somebody who knows the room's secret, and no server yet."""
    (tmp_path / "guest").mkdir()
    home = Home(tmp_path / "guest")
    home.remember()
    return home


def rooms(box: Home, server: ServerProgram, *arguments: str) -> list[tuple[str, int, int]]:
    result = box.run("rooms", "list", "--data", str(server.data), *arguments)
    assert (result.code, result.err) == (0, "")
    matches = [LINE.match(line) for line in result.out.splitlines()]
    return [(match[1], int(match[2]), int(match[3])) for match in matches if match]


@pytest.mark.parametrize("is_running", [True, False])
def test_rooms_are_listed_and_deleted_by_their_address(
    member: Home, server: ServerProgram, room: str, box: Home, is_running: bool
) -> None:
    member.remember("elsewhere")
    assert member.run("send", server.address, "--room", "elsewhere", "--create", "x" * 3000).code == 0
    assert rooms(box, server, "--sort", "size")[0][1:] == (1, 4169)
    (tea,) = (address for address, _, size in rooms(box, server) if size == 329)
    if not is_running:
        server.stop()
    result = box.run("rooms", "delete", tea[:8], "--data", str(server.data), "--yes")
    assert (result.code, result.err) == (0, "Deleted: 1.\n")
    assert [address for address, _, _ in rooms(box, server)] != [tea]
    assert len(rooms(box, server)) == 1


def test_members_of_a_deleted_room_are_told_that_its_history_is_gone(
    member: Home, server: ServerProgram, room: str, box: Home
) -> None:
    with member.chat(server, "alice") as program:
        assert box.run("rooms", "delete", "--larger", "0", "--data", str(server.data), "--yes").code == 0
        program.wait_for(r"!! The history was restarted: the server has lost or replaced what was before")
        program.write("still here\n")
        program.wait_for(r"alice: still here$")
        assert program.finish().code == 0
    assert [count for _, count, _ in rooms(box, server)] == [1]


def test_nothing_is_deleted_unasked(member: Home, server: ServerProgram, room: str, box: Home) -> None:
    data = ("--data", str(server.data))
    before = rooms(box, server)
    assert box.run("rooms", "delete", *data).code == 2
    assert box.run("rooms", "delete", "beef", *data).code == 2
    result = box.run("rooms", "delete", "0" * 64, *data, "--yes")
    assert (result.code, result.err) == (0, "No rooms match; nothing deleted.\n")
    for condition in (("--older", "1d"), ("--empty",)):
        assert box.run("rooms", "delete", *condition, *data, "--yes").err == "No rooms match; nothing deleted.\n"
    assert box.run("rooms", "delete", "--larger", "1", *data, typed="n\n").code == 0
    assert rooms(box, server) == before


def test_a_room_with_members_in_it_is_in_use(member: Home, server: ServerProgram, room: str, box: Home) -> None:
    data = ("--data", str(server.data), "--yes")
    with member.chat(server, "alice") as program:
        result = box.run("rooms", "delete", "--older", "0", *data)
        assert (result.code, result.err) == (0, "Deleted: 0.\nKept, because in use: 1.\n")
        program.write("still here\n")
        program.wait_for(r"alice: still here$")
        assert program.finish().code == 0
    result = box.run("rooms", "delete", "--older", "0", *data)
    assert (result.code, result.err) == (0, "Deleted: 1.\n")


def test_empty_rooms_are_deleted(member: Home, server: ServerProgram, room: str, box: Home) -> None:
    member.remember("elsewhere")
    assert member.run("send", server.address, "--room", "elsewhere", "--create", typed="").code == 0
    assert sorted(count for _, count, _ in rooms(box, server)) == [0, 1]
    result = box.run("rooms", "delete", "--empty", "--data", str(server.data), "--yes")
    assert (result.code, result.err) == (0, "Deleted: 1.\n")
    assert [count for _, count, _ in rooms(box, server)] == [1]


def test_a_request_to_a_server_that_hangs_is_never_carried_out(
    member: Home, server: ServerProgram, room: str, box: Home
) -> None:
    """The command is killed while it waits; the server is kept from answering until then."""
    server.process.send_signal(signal.SIGSTOP)
    with box.start("rooms", "delete", "--larger", "0", "--data", str(server.data), "--yes") as command:
        command.wait_for(r"^[0-9a-f]{64} ")
        command.process.kill()
        command.finish()
    server.process.send_signal(signal.SIGCONT)
    assert member.send(server, "still here").code == 0
    assert [count for _, count, _ in rooms(box, server)] == [2]


@pytest.mark.parametrize("name", ["deletions", "control"])
def test_what_else_stands_in_the_directory_harms_nobody(
    member: Home, server: ServerProgram, room: str, box: Home, name: str
) -> None:
    (address,) = (address for address, _, _ in rooms(box, server))
    assert server.stop().code == 0
    (server.data / name / "@eaDir").mkdir(parents=True)
    (server.data / name / address).touch(0o600)  # what an earlier version took for a request
    with box.serve(port=server.port) as again:
        assert member.send(again, "still here").code == 0
        assert [count for _, count, _ in rooms(box, again)] == [2]
        result = again.stop()
        assert result.code == 0
        assert ("cannot work while this server runs" in result.err) == (name == "control")
    assert (server.data / name / address).exists()


def test_where_no_server_was_it_is_said_so(box: Home, tmp_path: Path) -> None:
    for command in (("rooms", "list"), ("backup", str(tmp_path / "copy"))):
        result = box.run(*command, "--data", str(tmp_path))
        assert result.code == 1
        assert "There is no history in" in result.err, result
    assert not (tmp_path / "copy").exists()


def test_metrics_count_what_happens(guest: Home, box: Home) -> None:
    with box.serve("--metrics", "0") as server:
        port = int(server.wait_for(r"metrics are at http://127\.0\.0\.1:(\d+)/metrics", "err")[1])
        guest.trust(server)
        assert guest.send(server, "--create", typed="one\ntwo\n").code == 0
        with guest.chat(server, "alice"):
            text = scrape(port)
            assert "securechat_members 1.0" in text
            assert "securechat_connections 1.0" in text
        assert "securechat_messages_total 2.0" in text
        assert "securechat_deliveries_total 2.0" in text
        assert 'securechat_append_seconds_bucket{le="+Inf"}' in text
        assert 'securechat_refused_total{reason="no_such_room"} 1.0' in text
        assert ROOM not in text
        with socket.create_connection(("127.0.0.1", port)) as scanner:
            scanner.sendall(b"\x16\x03\x01 nonsense\r\n\r\n")
            assert scanner.recv(100) == b""
        assert "securechat_members" in scrape(port)


def test_stalled_readers_of_metrics_keep_nobody_out(box: Home) -> None:
    with box.serve("--metrics", "0") as server, ExitStack() as stack:
        port = int(server.wait_for(r"metrics are at http://127\.0\.0\.1:(\d+)/metrics", "err")[1])
        stalled = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            for _ in range(3 * limits.METRICS_READERS)
        ]
        assert "securechat_members" in scrape(port)
        stalled[-1].setblocking(False)
        with pytest.raises(BlockingIOError):  # it did not have to time out first
            stalled[-1].recv(1)


def scrape(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        text: str = answer.read().decode()
        return text


def test_scanners_that_take_all_file_descriptors_make_way(guest: Home, box: Home) -> None:
    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (40, 60))

    with box.serve(preexec_fn=few) as server:
        guest.trust(server)
        assert guest.send(server, "--create", "the first").code == 0
        with guest.chat(server, "alice") as alice, ExitStack() as scanners:
            for _ in range(80):
                scanners.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            alice.write("go on\n")
            alice.wait_for(r"alice: go on$")
            assert guest.send(server, "let me in").code == 0
            alice.wait_for(r"let me in$")
        result = server.stop()
    assert "Traceback" not in result.err
    assert result.err.count("are held back (this server has its 30 connections)") == 1


def test_the_soft_limit_of_file_descriptors_is_raised(box: Home) -> None:
    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 1024))

    with box.serve(preexec_fn=few) as server:
        assert "this system gives 1024 file descriptors: the server takes at most 892 connections" in server.err
        soft = re.search(r"Max open files +(\d+)", Path(f"/proc/{server.process.pid}/limits").read_text())
        assert soft is not None
        assert soft[1] == "1024"


def test_who_is_over_a_limit_is_told_which_and_others_notice_nothing(guest: Home, box: Home) -> None:
    with box.serve("--limit", "connections-per-address=1") as server:
        guest.trust(server)
        assert guest.send(server, "--create", "the first").code == 0
        with guest.chat(server, "alice") as alice:
            result = guest.send(server, "hi")
            assert result.code == 3
            assert "your address has its 1 connections" in result.err
            alice.write("still here\n")
            alice.wait_for(r"alice: still here$")


def test_the_access_log_survives_rotation_with_and_without_a_signal(guest: Home, box: Home, tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    with box.serve("--access-log", str(path)) as server:
        guest.trust(server)
        assert guest.send(server, "--create", "one").code == 0
        path.rename(tmp_path / "access.log.1")
        server.process.send_signal(signal.SIGHUP)
        server.wait_for("the certificate was reloaded", "err")
        assert guest.send(server, "two").code == 0
        assert server.stop().code == 0
    assert " created " in (tmp_path / "access.log.1").read_text()
    assert " joined " in path.read_text()
