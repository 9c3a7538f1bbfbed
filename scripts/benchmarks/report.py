"""The figures of a run as tables in Markdown: medians, and how they stand to a baseline in the same rounds."""

import os
import platform
import ssl
import statistics
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from scripts.benchmarks.scenarios import Figures
from scripts.benchmarks.servers import Contender, find


class Table(NamedTuple):
    """A table: its title, its note, and its columns as metric and heading."""

    title: str
    note: str
    columns: tuple[tuple[str, str], ...]
    has_ratios: bool = True


_FAN_OUT: Final = (
    ("one 10", "one, 10 members"),
    ("one 100", "one, 100"),
    ("one 500", "one, 500"),
    ("saturated 10", "saturated, 10"),
    ("saturated 100", "saturated, 100"),
    ("saturated 500", "saturated, 500"),
)
TABLES: Final = (
    Table(
        "CPU per delivery, in microseconds",
        "User and system time of the server's whole process tree, divided by the copies delivered. "
        "*One*: one message in flight, so nothing can be batched. "
        "*Saturated*: ten senders keep 512 messages on their way.",
        _FAN_OUT,
    ),
    Table(
        "A connection",
        "CPU of the handshake and of joining a room of ten whose members are told; "
        "memory of a member that says nothing.",
        (("connect", "connect + join, CPU ms"), ("memory", "idle member, KiB")),
    ),
    Table(
        "Latency at 20 messages a second to 100 members, in ms",
        "Open loop: counted from when a message was due to each delivery, reading by the load included.",
        (("latency p50", "p50"), ("latency p99", "p99"), ("latency max", "max")),
    ),
    Table(
        "Many rooms: CPU per delivery, in microseconds",
        "Rooms of five, each connection in up to 16; one message in flight in one room, then in all rooms in turn; "
        "then 512 on their way over all rooms.",
        (("rooms one 1", "one, 1 room"), ("rooms one many", "one, many"), ("rooms saturated many", "saturated, many")),
    ),
    Table(
        "A quiet room beside a busy one: latency in ms",
        "20 messages a second in a room of ten, alone and while another room of ten is flooded by a second process.",
        (
            ("quiet alone p99", "alone, p99"),
            ("quiet beside busy p50", "beside, p50"),
            ("quiet beside busy p99", "beside, p99"),
            ("quiet beside busy max", "beside, max"),
            ("busy rate", "messages/s in the busy one"),
        ),
    ),
    Table(
        "History",
        "A join that reads 1,000 messages of history; "
        "appends in 50 rooms of one member each, which is the log by itself.",
        (
            ("history", "join + 1,000 messages, ms"),
            ("history cpu", "server CPU ms"),
            ("append rate", "appends/s"),
            ("append cpu", "CPU µs per append"),
        ),
        has_ratios=False,
    ),
    Table(
        "Our clients",
        "`send` reading 5,000 lines from a pipe, all acknowledged; `tail` fetching, verifying and opening 10,000 "
        "messages (start-up included in both); `chat` until it asks for the passphrase.",
        (
            ("send rate", "send, messages/s"),
            ("open rate", "tail, messages/s"),
            ("open cpu", "CPU µs per message opened"),
            ("prompt", "chat to its prompt, ms"),
        ),
        has_ratios=False,
    ),
)
BASELINES: Final = ("ngircd", "inspircd", "mosquitto", "nats-server", "naive threads")


class Results:
    """Figures by contender and metric, one for each round."""

    def __init__(self) -> None:
        self._values: defaultdict[tuple[str, str], list[float]] = defaultdict(list)

    def add(self, contender: str, figures: Figures) -> None:
        """Add the figures of one turn."""
        for metric, value in figures.items():
            self._values[contender, metric].append(value)

    def median(self, contender: str, metric: str) -> float | None:
        """Return the median; None when there is no figure."""
        values = self._values.get((contender, metric))
        return statistics.median(values) if values else None

    def ratio(self, contender: str, baseline: str, metric: str) -> float | None:
        """Return the median of what ``contender`` took for each one of ``baseline`` in the same round."""
        pairs = zip(self._values.get((contender, metric), ()), self._values.get((baseline, metric), ()), strict=False)
        ratios = [one / other for one, other in pairs if other]
        return statistics.median(ratios) if ratios else None

    @property
    def contenders(self) -> list[str]:
        """Those with any figure, in the order of their first turn."""
        return list(dict.fromkeys(contender for contender, _ in self._values))

    @property
    def baseline(self) -> str | None:
        """The server to which ratios are taken: the first of the known ones that was measured."""
        return next((name for name in BASELINES if name in self.contenders), None)


def to_markdown(results: Results, conditions: Iterable[str]) -> str:
    """Return the whole report."""
    parts = ["# The benchmark\n", *(f"- {line}" for line in conditions)]
    if baseline := results.baseline:
        parts.append(f"- Medians; in parentheses the ratio to {baseline}, the median over rounds")
    for table in TABLES:
        if rows := _rows(results, table):
            parts += ["", f"## {table.title}", "", table.note, "", *rows]
    return "\n".join(parts) + "\n"


def _rows(results: Results, table: Table) -> list[str]:
    metrics = [metric for metric, _ in table.columns]
    rows = []
    for name in results.contenders:
        cells = [_cell(results, name, metric, has_ratio=table.has_ratios) for metric in metrics]
        if any(cells):
            shown = f"**{name}**" if name.startswith("securechat") else name
            rows.append("| " + " | ".join((shown, *(cell or "-" for cell in cells))) + " |")
    if not rows:
        return []
    headings = ("server", *(heading for _, heading in table.columns))
    return ["| " + " | ".join(headings) + " |", "|---" + "|---:" * len(metrics) + "|", *rows]


def _cell(results: Results, name: str, metric: str, *, has_ratio: bool) -> str:
    value = results.median(name, metric)
    if value is None:
        return ""
    shown = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    ratio = results.ratio(name, results.baseline, metric) if has_ratio and results.baseline else None
    return shown if ratio is None else f"{shown} ({ratio:.2f})"


def describe_machine() -> str:
    """Return what this machine is, and how busy."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    model = models[0].partition(":")[2].strip() if models else platform.machine()
    return (
        f"{time.strftime('%Y-%m-%d', time.gmtime())}; {os.cpu_count()} x {model}, "
        f"Linux {platform.release().split('-')[0]}, Python {platform.python_version()}, {ssl.OPENSSL_VERSION}; "
        f"load average at the start {os.getloadavg()[0]:.1f}"
    )


def describe_servers(contenders: Sequence[Contender]) -> str:
    """Return what the servers are, with the versions of those that are installed."""
    return "; ".join(f"{contender.name}: {contender.about}{_version(contender)}" for contender in contenders)


def _version(contender: Contender) -> str:
    """Return the version of the Debian package that a server is from."""
    query = find("dpkg-query")
    if contender.program is None or query is None:
        return ""
    command = [query, "-W", "-f", "${Version}", contender.program]
    version = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return f" ({version})" if version else ""
