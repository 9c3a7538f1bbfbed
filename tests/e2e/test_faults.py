"""What ``scripts/soak`` tries for minutes, tried for seconds: the real server, and what became of the messages."""

import subprocess
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from random import Random

import pytest
import trio

from scripts.soaks import disk, kill, memory, operations, power, reconnect
from scripts.soaks.report import Report
from securechat.protocol.messages import Deliver
from tests.support.patience import PATIENCE
from tests.support.programs import SECURECHAT, Home
from tests.support.tracing import STRACE, Call, read_trace, strace_line
from tests.support.visitors import open_visitor

CROWD = memory.Crowd(idle=60, silent=20, beginners=20, slow=10, deaf=10)
needs_strace = pytest.mark.skipif(STRACE is None, reason="strace is not installed")


@pytest.mark.parametrize(
    "run",
    [
        pytest.param(partial(kill.run, seconds=0), id="kill"),
        pytest.param(partial(disk.run, seconds=0), id="disk"),
        pytest.param(partial(memory.run, seconds=3, crowd=CROWD), id="memory"),
        pytest.param(partial(power.run, seconds=0, tries=25), id="power", marks=needs_strace),
        pytest.param(partial(operations.run, seconds=0), id="operations"),
        pytest.param(partial(reconnect.run, seconds=0, members=20), id="reconnect"),
    ],
)
async def test_it_stays_within_its_bounds(run: Callable[[Path, Random], Awaitable[Report]], tmp_path: Path) -> None:
    report = await run(tmp_path, Random(tmp_path.name))
    assert report.figures
    assert report.is_within, "\n".join(report.lines())


def test_the_soak_tells_what_it_measured_and_whether_a_bound_was_broken() -> None:
    line = [sys.executable, "-m", "scripts.soaks", "certificate", "--minutes", "0.05", "--seed", "1"]
    ended = subprocess.run(line, check=False, capture_output=True, text=True, timeout=2 * PATIENCE)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("certificate; 0.05 minutes, seed 1\n")
    assert "connections under a wrong key" in ended.stdout
    report = Report("certificate")
    report.tell("connections under a wrong key", 1, most=0)
    assert not report.is_within
    assert report.lines()[1].endswith("BROKEN")


class TracedHome(Home):
    """A machine whose server runs under strace."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.trace = directory / "trace"
        calls = ("pwrite64", "fsync", "fdatasync", "sendto")
        self.command = (*strace_line(self.trace, *calls), *SECURECHAT)


@needs_strace
async def test_a_message_is_on_the_disk_before_it_is_delivered(tmp_path: Path) -> None:
    home = TracedHome(tmp_path)
    count = 20
    with await trio.to_thread.run_sync(home.serve) as server:
        try:
            async with open_visitor(server.port) as member:
                for number in range(count):
                    member.send(b"message %d" % number)
                    await member.until(Deliver)
        finally:
            server.write("stop\n")  # a signal would reach strace alone
            ended = await trio.to_thread.run_sync(server.finish)
    assert ended.code == 0
    syncs = deliveries = 0
    is_written = False
    for call in read_trace(home.trace):
        if call.file.endswith("history.sqlite-wal"):
            syncs += call.name != "pwrite64"
            is_written = call.name == "pwrite64"
        elif _is_to_a_member(call):
            assert not is_written, "something was said while a commit was not yet on the disk"
            deliveries += 1
    assert syncs >= count
    assert deliveries >= count


def _is_to_a_member(call: Call) -> bool:
    return call.name == "sendto" and call.file.startswith("TCP")
