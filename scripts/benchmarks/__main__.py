"""``scripts/bench``: measure our server beside those that are installed, and our clients."""

import resource
import signal
import sys
import time
from pathlib import Path
from typing import Final

import click

from scripts.benchmarks import clients, plot, report
from scripts.benchmarks.report import Results
from scripts.benchmarks.scenarios import FULL, QUICK, SCENARIOS, Bench, Scenario
from scripts.benchmarks.servers import CONTENDERS, Contender
from scripts.benchmarks.wire import LostError

_DESCRIPTORS: Final = 16_000
_NAMES: Final = [contender.name for contender in CONTENDERS]
_SCENARIO_NAMES: Final = [*(scenario.name for scenario in SCENARIOS), "clients"]


@click.command()
@click.option("--quick", is_flag=True, help="A minute in place of a quarter of an hour: to see that it works.")
@click.option("--only", type=click.Choice(["ours", *_NAMES]), multiple=True, help="Measure these servers alone.")
@click.option("--scenario", "chosen", type=click.Choice(_SCENARIO_NAMES), multiple=True, help="Run these alone.")
@click.option("--rounds", type=click.IntRange(min=1), help="How often each server has its turn.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("build/bench"),
    show_default=True,
    help="Where benchmark.md and benchmark.svg go.",
)
def main(*, quick: bool, only: tuple[str, ...], chosen: tuple[str, ...], rounds: int | None, out: Path) -> None:
    """Measure securechat beside ngircd, inspircd, mosquitto and nats-server, where they are installed.

    Every server has its turn in every round; every delivery is counted, and one that is lost ends the run
    with exit code 1. Nothing leaves this machine. It takes Linux, for its process figures.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # which ends the servers too
    _raise_descriptors()
    bench = Bench(QUICK if quick else FULL)
    contenders = [contender for contender in CONTENDERS if _is_meant(contender, only)]
    for contender in contenders:
        if contender.path is None:
            _tell(f"{contender.name} is not installed and left out (Debian, Ubuntu: apt install {contender.program})")
    contenders = [contender for contender in contenders if contender.path]
    conditions = [report.describe_machine(), report.describe_servers(contenders), *_CONDITIONS]
    results = Results()
    started = time.monotonic()
    try:
        for number in range(rounds or bench.size.rounds):
            for scenario in SCENARIOS:
                if number % scenario.every == 0 and (not chosen or scenario.name in chosen):
                    _take_turns(bench, scenario, contenders, results, number)
        ours = next((contender for contender in contenders if contender.is_ours), None)
        if ours and (not chosen or "clients" in chosen):
            _tell("clients")
            results.add(ours.name, clients.measure(bench, ours))
    except LostError as error:
        raise click.ClickException(f"A delivery was lost: {error}") from error
    conditions.append(f"Every delivery was counted and none was lost; the run took {time.monotonic() - started:.0f} s")
    _write(results, conditions, out)


_CONDITIONS: Final = (
    "TLS 1.3 for all but the naive one, loopback; each member connects from a loopback address of its own",
    "Flood limits are off in the others; ours runs with the limits that it comes with",
    "Messages are real envelopes of 329 bytes, sealed before the clock starts; "
    "IRC and the naive server carry them in base64",
)


def _is_meant(contender: Contender, only: tuple[str, ...]) -> bool:
    return not only or contender.name in only or ("ours" in only and contender.is_ours)


def _take_turns(bench: Bench, scenario: Scenario, contenders: list[Contender], results: Results, number: int) -> None:
    """Measure each server, beginning with another one in each round."""
    for place in range(len(contenders)):
        contender = contenders[(place + number) % len(contenders)]
        if scenario.ours_only and not contender.is_ours:
            continue
        figures = scenario.run(bench, contender)
        shown = ", ".join(f"{metric} {value:.3g}" for metric, value in figures.items())
        _tell(f"round {number + 1}, {scenario.name}, {contender.name}: {shown}")
        results.add(contender.name, figures)


def _write(results: Results, conditions: list[str], out: Path) -> None:
    text = report.to_markdown(results, conditions)
    out.mkdir(parents=True, exist_ok=True)
    (out / "benchmark.md").write_text(text)
    (out / "benchmark.svg").write_text(plot.to_svg(results))
    click.echo(text)
    _tell(f"written to {out / 'benchmark.md'} and {out / 'benchmark.svg'}")


def _raise_descriptors() -> None:
    """Allow thousands of connections, here and in what is started from here."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if most == resource.RLIM_INFINITY else min(_DESCRIPTORS, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
