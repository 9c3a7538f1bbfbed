"""The access log: lines for joins and leaves, in which no name is."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from securechat.errors import SecurechatError
from securechat.history.log import Head
from securechat.protocol.messages import Reason
from securechat.server.access import AccessLog, log_to_file
from securechat.server.gate import Gate
from securechat.server.room import Member, Room

LOGGER = logging.getLogger("securechat.access")


class Deaf:
    """A session that hears nothing."""

    def send(self, data: bytes) -> None:
        """Ignore."""

    prepare = send

    def flush(self) -> None:
        """Ignore."""

    def settle(self, size: int) -> None:
        """Ignore."""

    def end(self, reason: Reason, retry_after: int) -> None:
        """Ignore."""


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    before, level = list(LOGGER.handlers), LOGGER.level
    LOGGER.setLevel(logging.INFO)
    yield
    for handler in LOGGER.handlers:
        if handler not in before:
            handler.close()
    LOGGER.handlers[:] = before
    LOGGER.setLevel(level)


@pytest.fixture
def room() -> Room:
    return Room(1, b"\xab\xcd\xef\x01" + bytes(28), Head(1, bytes(16), 1, 0, bytes(32)))


def enter(room: Room) -> Member:
    return room.join(Deaf(), 1, b"presence", created=False)[0]


async def test_joins_and_leaves_are_one_line_each(room: Room, caplog: pytest.LogCaptureFixture) -> None:
    gate = Gate()
    access = AccessLog(gate)
    with caplog.at_level(logging.INFO, "securechat.access"), gate.enter("2001:db8::1"):
        with gate.enter("192.0.2.1"):
            first = enter(room)
            access.joined("192.0.2.1", room, created=True)
            enter(room)
            access.joined("2001:db8::1", room, created=False)
            room.leave(first)
        access.left("192.0.2.1", room)
    assert caplog.messages == [
        "created 192.0.2.1 room abcdef01, members 1, connections 2",
        "joined 2001:db8::1 room abcdef01, members 2, connections 2",
        "left 192.0.2.1 room abcdef01, members 1, connections 1",
    ]


def test_a_line_has_its_fields_for_machines_too(room: Room, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "securechat.access"):
        AccessLog(Gate()).joined("192.0.2.1", room, created=False)
    fields = {"change": "joined", "peer": "192.0.2.1", "room": "abcdef01", "members": 0, "connections": 0}
    assert vars(caplog.records[0])["fields"] == fields


def test_a_file_that_was_rotated_away_is_opened_anew(room: Room, tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    log_to_file(path)
    access = AccessLog(Gate())
    access.joined("192.0.2.1", room, created=True)
    path.rename(tmp_path / "old.log")
    access.left("192.0.2.1", room)
    assert " created 192.0.2.1 room abcdef01" in (tmp_path / "old.log").read_text()
    assert " left 192.0.2.1 room abcdef01" in path.read_text()
    assert len(path.read_text().splitlines()) == 1


def test_a_file_that_cannot_be_written_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(SecurechatError, match=r"cannot be written: .*\. Name another file with --access-log"):
        log_to_file(tmp_path / "missing" / "access.log")
