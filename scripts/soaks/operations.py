"""An operator's bad days at random, beside people who talk: none of them may stop the talk, or lose a word of it.

Each operation breaks something that only watches (a log, its directory, the certificate on the disk), does something
that an operator does (backup, deletion, rotation, reload, restart), or interrupts that in the middle. The clock of the
server jumps by forty years, the disk runs full, and a hostile peer comes from the same address as everybody. After each
operation a newcomer has to get in, and what people say has to arrive.
"""

import fcntl
import os
import shutil
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Final

import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from scripts.soaks.clock import ServerClock, find_library
from scripts.soaks.disk import ShortFiles
from scripts.soaks.report import Report
from scripts.soaks.servers import KEEP_ALL, Machine, open_machine
from securechat.errors import ChannelClosedError
from securechat.protocol.messages import Deliver, Leave
from tests.support.hostile import HOSTILE
from tests.support.patience import wait_until
from tests.support.programs import Program
from tests.support.traffic import Traffic, open_traffic
from tests.support.visitors import open_visitor

_ARRIVAL_SECONDS: Final = 30.0  # until a newcomer is in
_YEARS: Final = 40
_PIPE_BYTES: Final = 4096


async def run(directory: Path, random: Random, *, seconds: float, pause: float = 0.02) -> Report:
    """Do one operation after another, each at least once, in random order.

    Args:
        directory: An empty one.
        random: Chooses the operations and the instants.
        seconds: How long; every operation at least once.
        pause: Seconds between two messages of each of two speakers.
    """
    report = Report("operations")
    library = find_library()
    clock = ServerClock(directory / "clock", library) if library else None
    box = directory / "box"
    log = box / "log" / "access.log"
    log.parent.mkdir(parents=True)
    arguments = (*KEEP_ALL, "--access-log", str(log))
    async with (
        open_machine(box, *arguments, env=clock.env if clock else {}) as machine,
        open_traffic(directory / "people", machine.port, machine.pin, pause=pause) as traffic,
    ):
        operator = Operator(directory, random, machine, traffic, clock)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(operator.be_hostile)
            await _operate(operator, random, seconds)
            nursery.cancel_scope.cancel()
        verdict = await traffic.settle()
        await machine.stop()
    for name, times in sorted(operator.times.items()):
        report.tell(name, times)
    if clock is None:
        report.remarks.append("the clock was not tried: libfaketime is not installed")
    report.tell("attacks of the hostile peer", operator.attacks)
    report.tell("until a newcomer was in, at the longest", operator.slowest, "s", _ARRIVAL_SECONDS)
    report.tell_verdict(verdict)
    report.tell("ends of the server that nobody asked for", operator.unasked, most=0)
    report.tell("faults that the server logged", operator.faults + machine.faults(), most=0)
    report.tell("damaged files", machine.integrity() != "ok", most=0)
    return report


async def _operate(operator: "Operator", random: Random, seconds: float) -> None:
    until = trio.current_time() + seconds
    operations = operator.operations()
    random.shuffle(operations)
    for operation in operations:
        await operator.do(operation)
    while trio.current_time() < until:
        await operator.do(random.choice(operations))


class Operator:
    """Who operates the server, and breaks it.

    Attributes:
        times: How often each operation was done.
        slowest: The longest that a newcomer has waited, in seconds.
        attacks: How often the hostile peer has begun another attack.
        unasked: How often the server was found ended.
        faults: Faults that were logged by servers that were killed or stopped.
    """

    def __init__(
        self, directory: Path, random: Random, machine: Machine, traffic: Traffic, clock: ServerClock | None
    ) -> None:
        self._directory = directory
        self._random = random
        self._machine = machine
        self._traffic = traffic
        self._clock = clock
        self._log = directory / "box" / "log"
        self._copies = 0
        self.times: dict[str, int] = {}
        self.slowest = 0.0
        self.attacks = 0
        self.unasked = 0
        self.faults = 0

    def operations(self) -> list[Callable[[], Awaitable[None]]]:
        """Return all that can be done here."""
        always: list[Callable[[], Awaitable[None]]] = [
            self.read_no_log,
            self.take_the_log_away,
            self.rotate_the_log,
            self.break_the_certificate,
            self.renew_the_certificate,
            self.back_up,
            self.restore,
            self.delete_rooms,
            self.leave_foreign_files,
            self.kill,
            self.restart,
            self.fill_the_disk,
        ]
        return [*always, *([self.set_the_clock] if self._clock else [])]

    async def do(self, operation: Callable[[], Awaitable[None]]) -> None:
        """Do one thing; afterwards the server serves, people hear each other, and a newcomer gets in."""
        name = operation.__name__.replace("_", " ")
        self.times[name] = self.times.get(name, 0) + 1
        await self._traffic.until_heard(self._random.randrange(1, 30))
        await operation()
        if self._machine.running.process.poll() is not None:
            self.unasked += 1
            await self._start()
        self._traffic.hurry()
        await self._arrive()
        await self._traffic.until_heard(1)

    async def _arrive(self) -> None:
        """Come as a newcomer, with another room, and say something there."""
        began = trio.current_time()
        with trio.fail_after(2 * _ARRIVAL_SECONDS):
            while not await self._say_once():  # noqa: ASYNC110 - it is another process
                await trio.sleep(0.1)
        self.slowest = max(self.slowest, trio.current_time() - began)

    async def _say_once(self) -> bool:
        is_in = False
        try:
            async with open_visitor(self._machine.port, _NEWCOMER, keeps_raw=False) as visitor:
                visitor.send(os.urandom(16))
                await visitor.until(Deliver)
                is_in = True
        except* (ChannelClosedError, AssertionError, OSError, trio.TooSlowError):
            pass
        return is_in

    async def _come_and_go(self, count: int) -> None:
        """Make the server log something: two lines each time."""
        async with open_visitor(self._machine.port, _NEWCOMER, keeps_raw=False) as visitor:
            for _ in range(count):
                visitor.say(Leave(visitor.handle))
                await visitor.join(_NEWCOMER)

    async def _start(self) -> None:
        self.faults += self._machine.faults()
        await self._machine.start()

    def _command(self, *arguments: str) -> Program:
        return self._machine.home.start(*arguments, "--data", str(self._machine.data))

    async def _run(self, *arguments: str) -> int:
        """Run a command on the data directory to its end, and return its exit code."""
        with self._command(*arguments) as program:
            return (await trio.to_thread.run_sync(program.finish)).code

    async def _kill_in_the_middle(self, *arguments: str) -> None:
        """Run a command and kill it at a random instant."""
        with self._command(*arguments) as program:
            await trio.sleep(self._random.uniform(0.0, 0.6))
            await trio.to_thread.run_sync(program.stop, signal.SIGKILL)

    # What only watches

    async def read_no_log(self) -> None:
        """Stop reading standard error, as ``screen`` or Ctrl-S does, until more is said than its pipe holds."""
        program = self._machine.running
        assert program.process.stderr is not None
        fcntl.fcntl(program.process.stderr, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        program.is_read.clear()
        try:
            await self._come_and_go(30)
            await self._arrive()
            await self._traffic.until_heard(1)
        finally:
            program.is_read.set()

    async def take_the_log_away(self) -> None:
        """Move the directory of the access log away, or put something else in its place."""
        aside = self._log.with_name("elsewhere")
        self._log.rename(aside)
        if self._random.random() < 0.5:
            self._log.write_text("a file in the place of a directory")
        await self._come_and_go(5)
        await self._arrive()
        self._log.unlink(missing_ok=True)
        aside.rename(self._log)

    async def rotate_the_log(self) -> None:
        """Rotate the access log, with or without a signal, or to a FIFO that nobody reads."""
        log = self._log / "access.log"
        log.rename(log.with_suffix(".1"))
        if self._random.random() < 0.5:
            os.mkfifo(log)
            await self._come_and_go(5)
            log.unlink()
        else:
            self._machine.running.process.send_signal(signal.SIGHUP)
        await self._come_and_go(2)

    async def leave_foreign_files(self) -> None:
        """Put into the data directory what other programs leave behind."""
        data = self._machine.data
        (data / "@eaDir").mkdir()
        (data / ".DS_Store").write_bytes(b"\0")
        (data / "history.sqlite~").touch()
        (data / "cert.pem.orig").symlink_to("/nowhere")
        (data / "restoring-nothing").mkdir()
        await self._come_and_go(1)
        if self._random.random() < 0.5:
            await self.restart()
        for directory in ("@eaDir", "restoring-nothing"):
            shutil.rmtree(data / directory)
        for name in (".DS_Store", "history.sqlite~", "cert.pem.orig"):
            (data / name).unlink()

    # The certificate

    async def break_the_certificate(self) -> None:
        """Damage the certificate on the disk and reload; the server keeps the one that it has."""
        path = self._machine.data / "cert.pem"
        whole = path.read_bytes()
        damaged = bytearray(whole)
        for _ in range(self._random.randrange(1, 4)):
            damaged[self._random.randrange(len(damaged))] = self._random.randrange(256)
        path.write_bytes(damaged)
        await self._reload()
        path.write_bytes(whole)
        await self._reload()

    async def renew_the_certificate(self) -> None:
        """Give the certificate new dates, perhaps interrupted, and reload: the pin stays."""
        line = ("cert", "--renew", "--out", str(self._machine.data))
        with self._machine.home.start(*line) as program:
            if self._random.random() < 0.5:
                await trio.sleep(self._random.uniform(0.0, 0.6))
                await trio.to_thread.run_sync(program.stop, signal.SIGKILL)
            else:
                ended = await trio.to_thread.run_sync(program.finish)
                assert ended.code == 0, ended
        await self._reload()

    async def _reload(self) -> None:
        before = self._machine.running.err.count("certificate")
        self._machine.running.process.send_signal(signal.SIGHUP)
        await wait_until(lambda: self._machine.running.err.count("certificate") > before)

    # The data

    async def back_up(self) -> None:
        """Make a backup; one that is interrupted is none."""
        self._copies += 1
        target = self._directory / f"copy{self._copies}"
        if self._random.random() < 0.5:
            await self._kill_in_the_middle("backup", str(target))
        else:
            assert await self._run("backup", str(target)) == 0
        if target.exists():
            names = {path.name for path in target.iterdir()}
            assert {"key.pem", "cert.pem", "history.sqlite"} <= names, names
        for leftover in self._directory.glob(f"*copy{self._copies}*"):
            shutil.rmtree(leftover)

    async def restore(self) -> None:
        """Stop, and restore what was just backed up; kill the first attempt in the middle now and then."""
        self._copies += 1
        target = self._directory / f"copy{self._copies}"
        await self._machine.stop()
        assert await self._run("backup", str(target)) == 0
        if self._random.random() < 0.5:
            await self._kill_in_the_middle("restore", str(target))
        assert await self._run("restore", str(target)) == 0
        await self._start()
        shutil.rmtree(target)

    async def delete_rooms(self) -> None:
        """Make some rooms and delete them; what an interrupted command asked for may or may not be done."""
        keys = [Ed25519PrivateKey.generate() for _ in range(5)]
        for key in keys:
            async with open_visitor(self._machine.port, key, keeps_raw=False) as visitor:
                visitor.send(os.urandom(16))
                await visitor.until(Deliver)
        line = ("rooms", "delete", *(key.public_key().public_bytes_raw().hex() for key in keys), "--yes")
        if self._random.random() < 0.5:
            await self._kill_in_the_middle(*line)
        else:
            assert await self._run(*line) == 0

    async def fill_the_disk(self) -> None:
        """Let no file of the server grow until somebody is told, then let them."""
        disk = ShortFiles()
        told = self._traffic.notices(_NOT_STORED)
        disk.fill(self._machine)
        await self._traffic.until_true(lambda: self._traffic.notices(_NOT_STORED) > told)
        disk.free(self._machine)

    # The process

    async def kill(self) -> None:
        """Kill it, and perhaps the next one while it starts."""
        await self._machine.stop(signal.SIGKILL)
        if self._random.random() < 0.5:
            await self._machine.start_and_kill(self._random.uniform(0, 1))
        await self._start()

    async def restart(self) -> None:
        """Restart it in order."""
        await self._machine.stop(signal.SIGTERM)
        await self._start()

    async def set_the_clock(self) -> None:
        """Set the clock forty years off, before a start or during a run, and back."""
        assert self._clock is not None
        for years in (self._random.choice([_YEARS, -_YEARS]), 0):
            self._clock.jump(365 * years)
            if self._random.random() < 0.5:
                await self._machine.stop(self._random.choice([signal.SIGTERM, signal.SIGKILL]))
                await self._start()
                self._traffic.hurry()
            await self._traffic.until_heard(5)

    # The neighbour

    async def be_hostile(self) -> None:
        """Attack the server in one way after another, from the address that all others have too."""
        while True:
            kind = self._random.choice(sorted(HOSTILE))
            line = (sys.executable, "-m", "tests.support.hostile", kind, str(self._machine.port))
            with Program(line, self._machine.home.env):  # it keeps its own processor busy, not that of the members
                self.attacks += 1
                await trio.sleep(self._random.uniform(1, 4))


_NEWCOMER: Final = Ed25519PrivateKey.from_private_bytes(b"the room of those who come newly")
_NOT_STORED: Final = "the server takes no message now"
