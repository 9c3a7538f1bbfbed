"""``kill -9`` at random instants, while people talk and while the server starts."""

import signal
from pathlib import Path
from random import Random

import trio

from scripts.soaks.report import Report
from scripts.soaks.servers import KEEP_ALL, open_machine
from tests.support.traffic import open_traffic

_START_SECONDS = 1.0  # in which a server comes up, more or less


async def run(directory: Path, random: Random, *, seconds: float, pause: float = 0.02) -> Report:
    """Kill the server again and again for so long, and look what became of the messages.

    Args:
        directory: An empty one.
        random: Chooses the instants.
        seconds: How long; one kill at the least.
        pause: Seconds between two messages of each of two speakers.
    """
    report = Report("kill")
    kills = early = 0
    async with (
        open_machine(directory / "box", *KEEP_ALL) as machine,
        open_traffic(directory / "people", machine.port, machine.pin, pause=pause) as traffic,
    ):
        until = trio.current_time() + seconds
        while not kills or trio.current_time() < until:
            await traffic.until_heard(random.randrange(1, 120))
            await trio.sleep(random.uniform(0, pause))
            await machine.stop(signal.SIGKILL)
            kills += 1
            if random.random() < 0.3:
                early += not await machine.start_and_kill(random.uniform(0, _START_SECONDS))
            await machine.start()
            traffic.hurry()
        verdict = await traffic.settle()
        await machine.stop()
        report.tell("kills under load", kills)
        report.tell("kills while it started", early)
        report.tell_verdict(verdict)
        report.tell("damaged files", machine.integrity() != "ok", most=0)
    return report
