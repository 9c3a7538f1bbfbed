"""``scripts/soak``: try for minutes what the tests try for seconds, and say what was lost."""

import resource
import sys
import tempfile
import time
import traceback
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Final, NamedTuple

import click
import trio

from scripts.soaks import certificate, clock, disk, kill, memory, network, operations, power, reconnect
from scripts.soaks.report import Report


class _Scenario(NamedTuple):
    run: Callable[..., Awaitable[Report]]
    share: float  # of the time


_SCENARIOS: Final = {
    "memory": _Scenario(memory.run, 1.5),
    "kill": _Scenario(kill.run, 1.5),
    "disk": _Scenario(disk.run, 1),
    "network": _Scenario(network.run, 2),
    "certificate": _Scenario(certificate.run, 0.5),
    "operations": _Scenario(operations.run, 2),
    "clock": _Scenario(clock.run, 0.7),
    "power": _Scenario(power.run, 0.7),
    "reconnect": _Scenario(reconnect.run, 0.7),
}


@click.command()
@click.argument("chosen", metavar="[SCENARIO]...", nargs=-1, type=click.Choice(list(_SCENARIOS)))
@click.option("--minutes", type=click.FloatRange(min=0.05), default=10.0, show_default=True, help="For all together.")
@click.option("--seed", type=int, help="Of what is random; by default another one each time.")
def main(*, chosen: tuple[str, ...], minutes: float, seed: int | None) -> None:
    """Run scenarios against a real server on loopback; exit code 1 when a bound is broken."""
    seed = time.time_ns() % 1_000_000 if seed is None else seed
    _raise_descriptors()
    names = chosen or tuple(_SCENARIOS)
    shares = sum(_SCENARIOS[name].share for name in names)
    click.echo(f"{', '.join(names)}; {minutes:g} minutes, seed {seed}")
    reports = [_run(name, seed, 60 * minutes * _SCENARIOS[name].share / shares) for name in names]
    sys.exit(0 if all(reports) else 1)


def _run(name: str, seed: int, seconds: float) -> bool:
    """Run one scenario, tell what it found, and return whether it stayed within its bounds."""
    is_within = False
    with tempfile.TemporaryDirectory(prefix="securechat-soak-") as directory:
        try:
            run = partial(_SCENARIOS[name].run, Path(directory), Random(f"{seed} {name}"), seconds=seconds)
            report = trio.run(run)
            click.echo("\n".join(report.lines()))
            is_within = report.is_within
        except* (AssertionError, trio.TooSlowError) as broken:
            click.echo("".join(traceback.format_exception(broken)))
            click.echo(f"{name}:\n    BROKEN: something never came, see above")
    return is_within


def _raise_descriptors() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


if __name__ == "__main__":
    main()
