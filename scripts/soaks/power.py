"""The power is cut at any instant: what a disk may then hold is put together from a trace, and opened.

A disk holds what was synced. Of what was written since, each sector may have come to it or not, in any
order (https://sqlite.org/atomiccommit.html, section 3). Names that were changed come to it in their order, and are
safe when their directory was synced. The appender runs once under strace(1); then
the files are rebuilt as they may be after a cut between any two of its system calls.
"""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Final

import trio

from scripts.soaks.appender import address_of, envelope_of
from scripts.soaks.report import Report
from securechat.errors import SecurechatError
from securechat.history.sqlite import HISTORY_FILE, SqliteLog
from securechat.protocol import chain
from securechat.protocol.messages import Direction
from tests.support.tracing import STRACE, Call, read_trace, strace_line

_CALLS: Final = ("pwrite64", "write", "fsync", "fdatasync", "ftruncate", "unlink", "rename")
_SECTOR: Final = 512
_BATCHES_PER_RUN: Final = 60
_TRIES_PER_RUN: Final = 150
_RUN_SECONDS: Final = 40


class _File:
    """A file on a disk: what is safe, and what was written to it since."""

    def __init__(self) -> None:
        self.synced = bytearray()
        self.unsynced: list[tuple[int, bytes]] = []

    def append(self, data: bytes) -> None:
        """Write at the end."""
        self.unsynced.append((max([len(self.synced), *(at + len(new) for at, new in self.unsynced)]), data))

    def sync(self) -> None:
        """What was written is safe now."""
        for offset, data in self.unsynced:
            _put(self.synced, offset, data)
        self.unsynced.clear()

    def after_cut(self, random: Random) -> bytes:
        """Return what may be left of it: every sector that was written since the last sync is there or not."""
        content = bytearray(self.synced)
        share = random.choice([0.0, 0.5, 0.9, 1.0])  # of the sectors that came to the disk
        for offset, data in self.unsynced:
            for start, end in _sectors(offset, len(data)):
                if random.random() < share:
                    _put(content, offset + start, data[start:end])
        return bytes(content)


def _put(content: bytearray, offset: int, data: bytes) -> None:
    content.extend(bytes(max(0, offset - len(content))))
    content[offset : offset + len(data)] = data


def _sectors(offset: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield where the sectors begin and end within ``size`` bytes at ``offset`` of a file."""
    start = 0
    while start < size:
        end = min(size, start + _SECTOR - (offset + start) % _SECTOR)
        yield start, end
        start = end


class _Disk:
    """The files of one directory, and what the program has promised so far: newest sequence by room."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.files: dict[str, _File] = {}  # by the names that the program sees
        self.named: dict[str, _File] = {}  # by the names that are safe
        self.renamed: list[tuple[str, str]] = []  # since then
        self.promised: dict[int, int] = {}

    def take(self, call: Call) -> None:
        """Follow one system call."""
        if Path(call.file) == self.directory:
            self.named = _rename(self.named, self.renamed)
            self.renamed.clear()
            return
        name = Path(call.file).name
        if name not in self.files:
            self.files[name] = self.named[name] = _File()
        file = self.files[name]
        if call.name == "pwrite64":
            file.unsynced.append((call.numbers[-1], call.data))
        elif call.name == "write":
            file.append(call.data)
        elif call.name in {"fsync", "fdatasync"}:
            file.sync()
        elif call.name == "ftruncate":
            file.sync()  # which keeps more than a disk has to; only the file of shared memory meets it under load
            del file.synced[call.numbers[-1] :]
        elif call.name == "rename":
            change = (name, Path(call.data.decode()).name)
            self.files = _rename(self.files, [change])
            self.renamed.append(change)
        elif call.name == "unlink":
            del self.files[name]
            self.named.pop(name, None)

    def promise(self, printed: bytes) -> None:
        """Note what the program has said."""
        for line in printed.splitlines():
            room, newest = line.split()
            self.promised[int(room)] = int(newest)

    def leave(self, directory: Path, random: Random) -> Path:
        """Write what is left after a cut; shared memory is not."""
        directory.mkdir()
        changes = self.renamed[: random.randint(0, len(self.renamed))]
        for name, file in _rename(self.named, changes).items():
            if not name.endswith("-shm"):
                (directory / name).write_bytes(file.after_cut(random))
        return directory / HISTORY_FILE


def _rename(files: dict[str, _File], changes: list[tuple[str, str]]) -> dict[str, _File]:
    files = dict(files)
    for old, new in changes:
        files[new] = files.pop(old)
    return files


async def run(directory: Path, random: Random, *, seconds: float, tries: int = _TRIES_PER_RUN) -> Report:
    """Cut the power at random instants of one run of the appender after the other.

    Args:
        directory: An empty one.
        random: Chooses the instants, and what the disk has lost.
        seconds: How long; one run at the least.
        tries: Cuts of one run.
    """
    report = Report("power")
    if STRACE is None:
        report.remarks.append("not tried: strace is not installed")
        return report
    cuts = promised = 0
    losses: list[str] = []
    until = trio.current_time() + seconds
    while not cuts or trio.current_time() < until:
        place = directory / f"run{cuts}"
        calls = await trio.to_thread.run_sync(_trace, place, _BATCHES_PER_RUN + random.randrange(20))
        disk = _Disk(place)
        chosen = set(random.sample(range(len(calls)), min(tries, len(calls))))
        for number, call in enumerate(calls):
            if call.file.startswith("pipe:"):
                disk.promise(call.data)
            else:
                disk.take(call)
            if number in chosen and disk.promised:
                cuts += 1
                promised += sum(disk.promised.values())
                losses += await _look(disk.leave(place / f"cut{number}", random), disk.promised)
    report.tell("cuts of the power", cuts)
    report.tell("messages promised before them", promised)
    report.tell("databases that lost something or did not open", len(losses), most=0)
    report.remarks += losses[:5]
    return report


def _trace(directory: Path, batches: int) -> list[Call]:
    """Run the appender, and return what it did to its database and what it said."""
    directory.mkdir()
    trace = directory / "trace"
    line = [*strace_line(trace, *_CALLS), sys.executable, "-m", "scripts.soaks.appender"]
    arguments = [str(directory / HISTORY_FILE), str(batches)]
    subprocess.run([*line, *arguments], check=True, stdout=subprocess.PIPE, timeout=_RUN_SECONDS)
    calls = [call for call in read_trace(trace) if _is_told(call, directory)]
    trace.unlink()
    return calls


def _is_told(call: Call, directory: Path) -> bool:
    if call.file.startswith("pipe:"):
        return call.data.replace(b" ", b"").replace(b"\n", b"").isdigit()
    path = Path(call.file)
    return path == directory or (path.parent == directory and path.name.lstrip(".").startswith(HISTORY_FILE))


async def _look(path: Path, promised: dict[int, int]) -> list[str]:
    """Return what is wrong with a database after a cut."""
    try:
        log = SqliteLog.open(path)
    except SecurechatError as error:
        return [f"{path}: {error}"]
    try:
        wrong = [await _compare(log, room, newest) for room, newest in promised.items()]
    finally:
        await log.aclose()
    if not any(wrong):
        for file in path.parent.iterdir():
            file.unlink()
    return [f"{path}: {text}" for text in wrong if text]


async def _compare(log: SqliteLog, room: int, promised: int) -> str:
    """Return what is wrong with one room; empty when it holds all that was promised, in order, chained."""
    opened = await log.open_room(address_of(room), None)
    if opened is None:
        return f"room {room} is gone"
    head = opened[0]
    if head.newest < promised:
        return f"room {room} has {head.newest} of {promised} messages"
    sequence, before = head.oldest, None
    while sequence <= head.newest:
        page = await log.read(head.room, Direction.FORWARD, sequence, 1000)
        if before not in {None, page.before}:
            return f"the chain of room {room} breaks at {sequence}"
        before = page.before
        for record in page.records:
            if record.envelope != envelope_of(room, sequence):
                return f"message {sequence} of room {room} is another"
            before = chain.link(before, sequence, chain.digest(record.envelope))
            sequence += 1
        if not page.records:
            return f"room {room} ends at {sequence - 1} of {head.newest}"
    return "" if before in {None, head.hash} else f"the chain of room {room} ends in another hash"
