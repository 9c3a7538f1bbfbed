"""The access log: lines for joins and leaves, in which no name is."""

import logging

import pytest
import trio
from trio.testing import MockClock

from securechat import limits
from securechat.history.log import Head
from securechat.limits import Rate
from securechat.protocol.messages import Reason
from securechat.server.access import AccessLog
from securechat.server.gate import Gate
from securechat.server.room import Member, Room


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


class Clock:
    """A clock that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def room() -> Room:
    return Room(1, b"\xab\xcd\xef\x01" + bytes(28), Head(1, bytes(16), 1, 0, bytes(32)))


def enter(room: Room) -> Member:
    return room.join(Deaf(), 1, b"presence", created=False)[0]


async def test_joins_and_leaves_are_one_line_each(room: Room, caplog: pytest.LogCaptureFixture) -> None:
    gate = Gate()
    access = AccessLog(gate, clock=Clock())
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
        AccessLog(Gate(), clock=Clock()).joined("192.0.2.1", room, created=False)
    fields = {"change": "joined", "peer": "192.0.2.1", "room": "abcdef01", "members": 0, "connections": 0}
    assert vars(caplog.records[0])["fields"] == fields


def test_lines_about_one_address_are_bounded(room: Room, caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    access = AccessLog(Gate(), Rate(2, 0.5), clock)
    with caplog.at_level(logging.INFO, "securechat.access"):
        for _ in range(5):
            access.joined("192.0.2.1", room, created=False)
        access.joined("192.0.2.2", room, created=False)
        clock.now += 2
        access.left("192.0.2.1", room)
    assert [message.split(" room")[0] for message in caplog.messages] == [
        "joined 192.0.2.1",
        "joined 192.0.2.1",
        "joined 192.0.2.2",
        "left 192.0.2.1",
    ]
    assert access.changes == {"joined": 6, "left": 1}, "all are counted"
    assert access.left_out == 3


def test_what_was_left_out_is_reported_once(room: Room, caplog: pytest.LogCaptureFixture) -> None:
    access = AccessLog(Gate(), Rate(1, 0.1), Clock())
    with caplog.at_level(logging.WARNING, "securechat.access"):
        for peer in ("192.0.2.1", "2001:db8::1", "2001:db8::2", "192.0.2.1", "2001:db8::3"):
            access.joined(peer, room, created=False)
        access.report()
        access.report()
    assert caplog.messages == [
        "lines left out about 2001:db8::/64: 2",
        "lines left out about 192.0.2.1: 1",
    ]
    fields = {"change": "left out", "peer": "192.0.2.1", "lines": 1}
    assert vars(caplog.records[1])["fields"] == fields


def test_reports_of_many_addresses_are_bounded(
    room: Room, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "HELD_BACK_ADDRESSES", 2)
    access = AccessLog(Gate(), Rate(1, 0.1), Clock())
    with caplog.at_level(logging.WARNING, "securechat.access"):
        for number in range(5):
            assert access.may_log(f"192.0.2.{number}")
            assert not access.may_log(f"192.0.2.{number}")
        access.report()
    assert caplog.messages == [
        "lines left out about 192.0.2.0: 1",
        "lines left out about 192.0.2.1: 1",
        "lines left out about other addresses: 3",
    ]


def test_five_hundred_people_behind_one_address_are_all_listed(room: Room) -> None:
    access = AccessLog(Gate(), clock=Clock())
    for _ in range(500):
        access.joined("192.0.2.1", room, created=False)
        access.left("192.0.2.1", room)
    assert not access.left_out


async def test_what_was_left_out_is_reported_each_minute(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    access = AccessLog(Gate(), Rate(1, 0.001))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(access.run)
        assert access.may_log("192.0.2.1")
        assert not access.may_log("192.0.2.1")
        await trio.sleep(limits.REPORT_INTERVAL - 1)
        assert not caplog.messages
        await trio.sleep(2)
        assert caplog.messages == ["lines left out about 192.0.2.1: 1"]
        nursery.cancel_scope.cancel()
