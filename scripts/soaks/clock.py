"""The clock of the server, and that of a member, jumps by a year to and fro (with libfaketime, where there is one)."""

from pathlib import Path
from random import Random

import trio

from scripts.soaks.report import Report
from scripts.soaks.servers import Machine, open_machine
from securechat.sealing.names import normalise_room
from tests.support.members import ROOM, SECRET
from tests.support.programs import Home
from tests.support.traffic import Traffic, open_traffic

_LIBRARIES = ("/usr/lib/*/faketime/libfaketimeMT.so.1", "/usr/lib*/faketime/libfaketimeMT.so.1")
_YEAR = 365
_WALKER = "walker"


class ServerClock:
    """A clock that a process is given by libfaketime; the steady clock stays as it is, as when the time is set."""

    def __init__(self, path: Path, library: str) -> None:
        self._path = path
        self.env = {
            "LD_PRELOAD": library,
            "FAKETIME_TIMESTAMP_FILE": str(path),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        self.jump(0)

    def jump(self, days: int) -> None:
        """Set it so many days off."""
        fresh = self._path.with_suffix(".new")
        fresh.write_text(f"{days:+d}d")
        fresh.replace(self._path)


def find_library() -> str | None:
    """Return where libfaketime is; None where it is not installed."""
    return next((str(path) for pattern in _LIBRARIES for path in Path("/").glob(pattern[1:])), None)


async def run(directory: Path, random: Random, *, seconds: float, pause: float = 0.05) -> Report:
    """Let clocks jump, restart server and member in between, and look what became of the messages.

    Args:
        directory: An empty one.
        random: Chooses the instants.
        seconds: How long; each jump once at the least. What is old is removed once a minute.
        pause: Seconds between two messages of each of two speakers, whose clocks are right.
    """
    report = Report("clock")
    library = find_library()
    if library is None:
        report.remarks.append("not tried: libfaketime is not installed")
        return report
    server, member = (ServerClock(directory / name, library) for name in ("server-clock", "member-clock"))
    jumps = {"the server's": 0, "a member's": 0}
    async with (
        open_machine(directory / "box", env=server.env) as machine,
        open_traffic(directory / "people", machine.port, machine.pin, pause=pause) as traffic,
    ):
        walker = _Walker(_home(directory / "walker", machine, member.env), machine, traffic)
        until = trio.current_time() + seconds
        await traffic.until_heard(10)
        rounds = 0
        while not rounds or trio.current_time() < until:
            for days in (_YEAR, -_YEAR, 0):
                server.jump(days)
                jumps["the server's"] += 1
                await traffic.until_heard(random.randrange(1, 20))
                member.jump(-days)
                jumps["a member's"] += 1
                await walker.say(2)
                await _restart(machine)
                await traffic.until_heard(1)
                await walker.say(1)
            rounds += 1
        verdict = await traffic.settle()
        for whose, times in jumps.items():
            report.tell(f"jumps of {whose} clock by a year", times)
        report.tell_verdict(verdict)
        report.tell("faults that the server logged", machine.faults(), most=0)
    return report


async def _restart(machine: Machine) -> None:
    await machine.stop()
    await machine.start()


def _home(directory: Path, machine: Machine, env: dict[str, str]) -> Home:
    directory.mkdir()
    home = Home(directory)
    home.env |= env
    home.trust(machine.running)
    with home.open_state() as state:
        state.set_secret(normalise_room(ROOM), SECRET.bytes)
    return home


class _Walker:
    """A member in a process of its own, whose clock jumps; each time another run of the program."""

    def __init__(self, home: Home, machine: Machine, traffic: Traffic) -> None:
        self._home = home
        self._machine = machine
        self._traffic = traffic

    async def say(self, count: int) -> None:
        """Say some things and wait until they were heard."""
        said = self._traffic.said
        texts = [f"{_WALKER}.{said.get(_WALKER, 0) + number}" for number in range(count)]
        await trio.to_thread.run_sync(self._say, texts)
        said[_WALKER] = said.get(_WALKER, 0) + count

    def _say(self, texts: list[str]) -> None:
        result = self._home.send(self._machine.running, "--nick", _WALKER, typed="".join(f"{t}\n" for t in texts))
        assert result.code == 0, result
