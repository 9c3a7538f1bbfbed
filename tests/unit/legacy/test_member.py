"""How a member of a room of the old mode is told things, and when they are sent away."""

import logging
from typing import cast

import pytest
import trio
import trio.testing

from securechat import limits
from securechat.legacy import codec
from securechat.legacy.codec import Greeting
from securechat.legacy.server import _Member
from securechat.server.access import AccessLog
from securechat.server.gate import Gate
from securechat.transport.channel import SocketChannel


class Fake:
    """A channel that takes everything, with a backlog that the test sets."""

    def __init__(self) -> None:
        self.peer = "192.0.2.7"
        self.backlog = 0
        self.sent: list[tuple[float, bytes]] = []

    def send(self, data: bytes) -> None:
        """Note what is sent, and when."""
        self.sent.append((trio.current_time(), data))

    async def drain(self) -> None:
        """Be done at once."""
        await trio.lowlevel.checkpoint()


def told(texts: list[str]) -> list[tuple[float, bytes]]:
    """Return what a member is sent when all that is told at once, and when."""
    channel = Fake()

    async def run() -> None:
        member = _Member(cast(SocketChannel, channel), Greeting("1", "a"), AccessLog(Gate()))
        for text in texts:
            member.tell(codec.cells(text))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(member.write)
            while member._notices:  # noqa: ASYNC110 - it is empty some time after the last was taken
                await trio.sleep(limits.LEGACY_PACE)
            nursery.cancel_scope.cancel()

    trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))
    return channel.sent


def test_each_notice_goes_out_alone_while_little_waits() -> None:
    sent = told(["welcome", "joined", "said"])
    assert [data for _, data in sent] == [codec.cells("welcome"), codec.cells("joined"), codec.cells("said")]
    times = [at for at, _ in sent]
    assert times == sorted(set(times))


def test_much_goes_out_in_writes_of_whole_cells_and_what_old_programs_read_at_once() -> None:
    texts = ["长" * 40_000, *map(str, range(100))]
    sent = told(texts)
    assert b"".join(data for _, data in sent) == b"".join(map(codec.cells, texts))
    assert all(len(data) <= limits.LEGACY_WRITE_BYTES and len(data) % 256 == 0 for _, data in sent)
    by_time: dict[float, int] = {}
    for at, data in sent:
        by_time[at] = by_time.get(at, 0) + len(data)
    assert max(by_time.values()) == limits.LEGACY_READ_BYTES


def test_only_who_does_not_read_is_sent_away_and_the_log_says_why(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "securechat.legacy")
    channel = Fake()

    async def run() -> list[tuple[bool, bool]]:
        await trio.lowlevel.checkpoint()
        member = _Member(cast(SocketChannel, channel), Greeting("1", "a"), AccessLog(Gate()))
        states = []
        for backlog, text in ((0, "x" * 900_000), (100, "one more"), (100, "and one")):
            channel.backlog = backlog
            member.tell(codec.cells(text))
            states.append((member.is_behind, member.scope.cancel_called))
        return states

    assert trio.run(run) == [(True, False), (False, True), (False, True)]
    assert [record.getMessage() for record in caplog.records] == [
        "ended 192.0.2.7: it does not read, and 1190 KiB wait for it"
    ]
