"""The server's disk runs full while people talk, and has room again."""

import errno
import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import trio

from scripts.soaks.report import Report
from scripts.soaks.servers import KEEP_ALL, Machine, open_machine
from tests.support.traffic import Traffic, open_traffic

_TOLD = "the server takes no message now"
_STEP = 64 * 1024


class _SmallDisk:
    """A file system of its own; a file of ballast fills it."""

    name = "a full tmpfs"

    def __init__(self, mount: Path) -> None:
        self._ballast = mount / "ballast"

    def fill(self, machine: Machine) -> None:
        """Take all the room that there is."""
        with self._ballast.open("ab") as file:
            for size in (1024 * 1024, _STEP, 4096):
                try:
                    while True:
                        os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), size)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise

    def free(self, machine: Machine) -> None:
        """Give it back."""
        self._ballast.unlink(missing_ok=True)


class ShortFiles:
    """Where nothing can be mounted: no file of the server may grow."""

    name = "files that may not grow"

    def fill(self, machine: Machine) -> None:
        """Let no file of the server grow."""
        wal = (machine.data / "history.sqlite-wal").stat().st_size
        self._limit(machine, wal)

    def free(self, machine: Machine) -> None:
        """Let them grow."""
        self._limit(machine, resource.RLIM_INFINITY)

    @staticmethod
    def _limit(machine: Machine, size: int) -> None:
        resource.prlimit(machine.running.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


@contextmanager
def _small_disk(path: Path, mib: int) -> Iterator[_SmallDisk | ShortFiles]:
    path.mkdir(parents=True)
    mount = shutil.which("mount")
    line = [mount or "mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", str(path)]
    if mount is None or os.geteuid() or subprocess.run(line, check=False, capture_output=True).returncode:
        yield ShortFiles()
        return
    try:
        yield _SmallDisk(path)
    finally:
        subprocess.run(["umount", str(path)], check=True)  # noqa: S607


async def run(directory: Path, random: Random, *, seconds: float, pause: float = 0.02) -> Report:
    """Fill the disk again and again, and free it.

    Args:
        directory: An empty one.
        random: Chooses the instants.
        seconds: How long; once at the least.
        pause: Seconds between two messages of each of two speakers.
    """
    report = Report("disk")
    times = 0
    with _small_disk(directory / "box" / "server", 16 + int(seconds)) as disk:
        async with (
            open_machine(directory / "box", *KEEP_ALL) as machine,
            open_traffic(directory / "people", machine.port, machine.pin, pause=pause) as traffic,
        ):
            until = trio.current_time() + seconds
            while not times or trio.current_time() < until:
                await traffic.until_heard(random.randrange(1, 100))
                await _fill_once(disk, machine, traffic)
                times += 1
            verdict = await traffic.settle()
            await machine.stop()
            report.tell(f"times: {disk.name}", times)
            report.tell_verdict(verdict)
            report.tell("damaged files", machine.integrity() != "ok", most=0)
            report.tell("faults that the server logged", machine.faults(), most=0)
    return report


async def _fill_once(disk: _SmallDisk | ShortFiles, machine: Machine, traffic: Traffic) -> None:
    """Fill the disk until members are told, then free it until they hear each other again."""
    told = traffic.notices(_TOLD)
    disk.fill(machine)
    await traffic.until_true(lambda: traffic.notices(_TOLD) > told)
    disk.free(machine)
    await traffic.until_heard(1)
