"""A server's machine and a member's, for the tests that run the real program."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.programs import ROOM, Home, ServerProgram, member_home


@pytest.fixture
def box(tmp_path: Path) -> Home:
    """The machine on which the server runs."""
    directory = tmp_path / "box"
    directory.mkdir()
    return Home(directory)


@pytest.fixture
def server(box: Home) -> Iterator[ServerProgram]:
    """A running server."""
    with box.serve() as running:
        yield running


@pytest.fixture
def member(tmp_path: Path, server: ServerProgram) -> Home:
    """The machine of somebody who knows the server and the room's secret."""
    return member_home(tmp_path / "member", server)


@pytest.fixture
def room(member: Home, server: ServerProgram) -> str:
    """A room that exists, with one message in it."""
    assert member.send(server, "--create", "--nick", "founder", "the first message").code == 0
    return ROOM
