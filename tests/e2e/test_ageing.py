"""What a real server keeps, and for how long, while its clock is wrong; and what it gives back."""

import re
import sqlite3
from pathlib import Path

import pytest

from scripts.soaks.clock import find_library
from tests.support.peers import free_port
from tests.support.programs import Home, ServerProgram, member_home

LIBRARY = find_library()
pytestmark = pytest.mark.timeout(180)  # each starts several servers and members


def set_clock(home: Home, by: str) -> None:
    """Let what a machine runs from now on have another clock; its steady clock stays as it is."""
    assert LIBRARY is not None
    home.env |= {"LD_PRELOAD": LIBRARY, "FAKETIME": by, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


def texts(member: Home, server: ServerProgram) -> list[str]:
    result = member.tail(server)
    assert result.code == 0, result.err
    assert " !! " not in result.out
    return [line.rsplit(": ", 1)[1] for line in result.out.splitlines()]


@pytest.mark.skipif(LIBRARY is None, reason="libfaketime is not installed")
@pytest.mark.parametrize("wrong_by", ["+40y", "-40y"])
def test_a_server_with_a_wrong_clock_keeps_its_history(tmp_path: Path, box: Home, wrong_by: str) -> None:
    port = free_port()
    with box.serve(port=port) as server:
        member = member_home(tmp_path / "member", server)
        assert member.send(server, "--create", "before").code == 0
    right = dict(box.env)
    set_clock(box, wrong_by)
    with box.serve(port=port) as wrong:
        assert member.send(wrong, "meanwhile").code == 0
        wrong.process.kill()
    box.env = right
    with box.serve("--retain", "1h", port=port) as again:
        result = box.run("rooms", "list", "--data", str(again.data))
        assert re.fullmatch(r"[0-9a-f]{64} +2 +\d+ \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\n", result.out)
        assert box.run("rooms", "delete", "--older", "30d", "--yes", "--data", str(again.data)).code == 0
        assert texts(member, again) == ["before", "meanwhile"]


@pytest.mark.skipif(LIBRARY is None, reason="libfaketime is not installed")
def test_a_jump_of_the_clock_is_said_at_the_start(box: Home) -> None:
    with box.serve() as server:
        server.stop()
    set_clock(box, "+40y")
    with box.serve() as server:
        server.wait_for(r"the clock jumped by \+12\d{8} s: check it; messages expire", "err")


@pytest.mark.parametrize(("option", "way_out"), [("--retain", "forever"), ("--retain-messages", "all")])
def test_a_server_that_would_keep_nothing_does_not_start(box: Home, option: str, way_out: str) -> None:
    result = box.run("server", "--data", str(box.directory / "server"), option, "0")
    assert result.code == 2
    assert f"0 would keep nothing; write {way_out}" in result.err


def test_a_server_keeps_without_a_bound(tmp_path: Path, box: Home) -> None:
    port = free_port()
    with box.serve("--retain", "forever", "--retain-messages", "all", port=port) as server:
        member = member_home(tmp_path / "member", server)
        assert member.send(server, "--create", "all").code == 0
        server.stop()
    with box.serve("--retain", "9" * 20 + "w", "--retain-messages", "1" + "0" * 20, port=port) as server:
        assert member.send(server, "and more").code == 0
        server.stop()
    with box.serve(port=port) as server:
        assert texts(member, server) == ["all", "and more"]


@pytest.mark.parametrize("is_old", [False, True])
def test_a_file_shrinks_when_rooms_are_deleted_by_hand(
    member: Home, server: ServerProgram, room: str, box: Home, is_old: bool
) -> None:
    member.remember("elsewhere")
    typed = "".join(f"{number} {'x' * 30_000}\n" for number in range(30))
    sent = member.run("send", server.address, "--room", "elsewhere", "--create", typed=typed)
    assert sent.code == 0, sent.err
    server.stop()
    path = server.data / "history.sqlite"
    if is_old:  # a file that no version could shrink
        connection = sqlite3.connect(path, isolation_level=None)
        for statement in ("PRAGMA auto_vacuum = NONE", "PRAGMA journal_mode = DELETE", "VACUUM"):
            connection.execute(statement)
        connection.close()
    assert path.stat().st_size > 900_000
    result = box.run("rooms", "delete", "--larger", "10000", "--data", str(server.data), "--yes")
    assert (result.code, result.err) == (0, "Deleted: 1.\n")
    assert path.stat().st_size < 100_000
    with box.serve(port=server.port) as again:
        assert texts(member, again) == ["the first message"]
