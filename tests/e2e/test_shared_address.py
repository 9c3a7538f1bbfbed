"""The real program beside a hostile peer at its own address."""

import sys
from pathlib import Path

import pytest

from tests.support.programs import Home, Program, ServerProgram, member_home


def annoy(server: ServerProgram, what: str) -> Program:
    """Start a hostile peer in a process of its own."""
    program = Program((sys.executable, "-m", "tests.support.hostile", what, str(server.port)), Home(Path("/")).env)
    program.wait_for("at work")
    return program


@pytest.mark.parametrize("what", ["bare connections", "hellos", "bad proofs", "guesses"])
def test_a_member_gets_in_beside_a_hostile_peer(member: Home, server: ServerProgram, room: str, what: str) -> None:
    with annoy(server, what):
        for number in range(2):
            result = member.send(server, f"message {number}")
            assert (result.code, result.err) == (0, "")


def test_a_chat_comes_back_beside_a_hostile_peer(member: Home, box: Home, server: ServerProgram, room: str) -> None:
    with member.chat(server, "alice") as chat:
        server.stop()
        chat.wait_for("-- connection lost")
        with box.serve(port=server.port) as again, annoy(again, "guesses"), annoy(again, "bad proofs"):
            chat.wait_for("-- connected again")
            assert chat.finish().code == 0


def test_a_full_address_is_named_to_the_operator(box: Home, tmp_path: Path) -> None:
    with box.serve("--limit", "connections-per-address=20") as server, annoy(server, "handshakes"):
        server.wait_for(r"unfinished connections of 127\.0\.0\.1 are held back \(your address has its 20", "err")
        assert member_home(tmp_path / "member", server).send(server, "--create", "in").code == 0
