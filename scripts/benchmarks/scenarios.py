"""What is measured of a server: each scenario starts a fresh one and returns figures by the name of a metric."""

import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final, NamedTuple

from scripts.benchmarks import usage
from scripts.benchmarks.crowd import Crowd, connect
from scripts.benchmarks.ours import Relay, seal_messages
from scripts.benchmarks.servers import Contender, Running
from scripts.benchmarks.wire import LostError
from securechat.sealing.envelope import SALT_BYTES

_WINDOW: Final = 512  # messages on their way in a saturated room
_SENDERS: Final = 10
_RATE: Final = 20.0  # messages a second, open loop
_QUIET_ROOM: Final = 1_000_000
_MICRO: Final = 1e6
_MILLI: Final = 1e3

Figures = dict[str, float]


class Size(NamedTuple):
    """How much is measured.

    Attributes:
        rounds: How often each server has its turn.
        share: How many messages, of those that a full run has.
        seconds: The most that a step with one message in flight takes.
        listening: How long messages come at a fixed rate, in seconds.
        rooms: How many rooms "many rooms" means.
    """

    rounds: int
    share: float
    seconds: float
    listening: float
    rooms: int

    def count(self, messages: int) -> int:
        """Return this run's number of messages."""
        return max(10, int(messages * self.share))


FULL: Final = Size(rounds=5, share=1.0, seconds=2.0, listening=5.0, rooms=1000)
QUICK: Final = Size(rounds=1, share=0.1, seconds=0.5, listening=1.0, rooms=200)


class Bench:
    """What scenarios share: the size of the run, and envelopes that were sealed before any clock runs."""

    def __init__(self, size: Size) -> None:
        self.size = size
        self.envelopes = seal_messages(size.count(21_000))


class Scenario(NamedTuple):
    """One scenario.

    Attributes:
        name: Its name in the command line.
        run: Measures a server.
        every: It has its turn in the first round and then in every so-manieth.
        ours_only: Whether only our server does what it measures.
    """

    name: str
    run: Callable[[Bench, Contender], Figures]
    every: int = 1
    ours_only: bool = False


@contextmanager
def _running(contender: Contender) -> Iterator[Running]:
    with tempfile.TemporaryDirectory(prefix="securechat-bench-") as directory, contender.run(Path(directory)) as server:
        yield server


class _Clock:
    """What a server's CPU has done for a crowd since this was made."""

    def __init__(self, server: Running, crowd: Crowd) -> None:
        self._server, self._crowd = server, crowd
        self._cpu, self._delivered = usage.cpu(server.pid), crowd.delivered

    def per_delivery(self) -> float:
        """Return the CPU time per delivery, in microseconds."""
        used = usage.cpu(self._server.pid) - self._cpu
        return used / (self._crowd.delivered - self._delivered) * _MICRO


def _fan_out(members: int, ones: int, saturating: int) -> Callable[[Bench, Contender], Figures]:
    """Return a scenario: one room, first with one message in flight, then saturated."""

    def run(bench: Bench, contender: Contender) -> Figures:
        size, source = bench.size, iter(bench.envelopes)
        with _running(contender) as server, Crowd(server) as crowd:
            crowd.join([[1]] * members)
            crowd.settle()
            letters = crowd.letters(size.count(ones), source)
            clock = _Clock(server, crowd)
            crowd.one_by_one(letters, size.seconds)
            one = clock.per_delivery()
            letters = crowd.letters(size.count(saturating), source, _SENDERS)
            clock = _Clock(server, crowd)
            crowd.saturate(letters, _WINDOW)
            saturated = clock.per_delivery()
            crowd.check()
        return {f"one {members}": one, f"saturated {members}": saturated}

    return run


def _latency(bench: Bench, contender: Contender) -> Figures:
    """Measure the latency of messages to 100 members at a fixed rate."""
    with _running(contender) as server, Crowd(server) as crowd:
        crowd.join([[1]] * 100)
        crowd.settle()
        letters = crowd.letters(int(_RATE * bench.size.listening), bench.envelopes)
        latencies = crowd.open_loop(letters, _RATE)
        crowd.check()
    return _percentiles("latency", latencies)


def _percentiles(name: str, latencies: Sequence[float]) -> Figures:
    cuts = statistics.quantiles(latencies, n=100, method="inclusive")
    return {
        f"{name} p50": cuts[49] * _MILLI,
        f"{name} p99": cuts[98] * _MILLI,
        f"{name} max": max(latencies) * _MILLI,
    }


def _connect(bench: Bench, contender: Contender) -> Figures:
    """Measure a connection and a join, in rooms of ten whose members are told, and what an idle member holds."""
    count = max(bench.size.count(400), 200)
    with _running(contender) as server:
        if isinstance(server.dialect, Relay):
            server.dialect.is_listed = True
        with Crowd(server, first=count) as crowd:  # what a first few bring about once is not counted
            crowd.join([[count]] * 10)
            crowd.settle()
            before, held = usage.cpu(server.pid), usage.memory(server.pid)
            with Crowd(server) as many:
                many.join([[number // 10] for number in range(count)])
                many.settle()
                used, holds = usage.cpu(server.pid) - before, usage.memory(server.pid)
    return {"connect": used / count * _MILLI, "memory": (holds - held) / count}


def _many_rooms(bench: Bench, contender: Contender) -> Figures:
    """Measure many rooms of five against a single one: what each delivery costs."""
    size = bench.size
    source = iter(bench.envelopes)
    with _running(contender) as server:
        step = server.dialect.rooms_per_connection
        if step == 1:
            return {}
        figures = {}
        with Crowd(server, first=60_000) as crowd:
            crowd.join([[_QUIET_ROOM]] * 5)
            crowd.settle()
            figures["rooms one 1"] = _one_by_one(bench, server, crowd, source)
            crowd.check()
        with Crowd(server) as crowd:
            blocks = [range(start, min(start + step, size.rooms)) for start in range(0, size.rooms, step)]
            crowd.join([block for block in blocks for _ in range(5)])
            crowd.settle()
            figures["rooms one many"] = _one_by_one(bench, server, crowd, source)
            letters = crowd.letters(size.count(10_000), source)
            clock = _Clock(server, crowd)
            crowd.saturate(letters, _WINDOW)
            figures["rooms saturated many"] = clock.per_delivery()
            crowd.check()
    return figures


def _one_by_one(bench: Bench, server: Running, crowd: Crowd, source: Iterator[bytes]) -> float:
    letters = crowd.letters(bench.size.count(1000), source)
    clock = _Clock(server, crowd)
    crowd.one_by_one(letters, bench.size.seconds)
    return clock.per_delivery()


def _fairness(bench: Bench, contender: Contender) -> Figures:
    """Measure the latency in a quiet room while another room is flooded by a process of its own."""
    fork = multiprocessing.get_context("fork")
    ours, theirs = fork.Pipe()
    letters = int(_RATE * bench.size.listening)
    with _running(contender) as server, Crowd(server, first=50_000) as crowd:
        crowd.join([[_QUIET_ROOM]] * 10)
        crowd.settle()
        quiet = crowd.letters(letters, bench.envelopes)
        alone = _percentiles("alone", crowd.open_loop(quiet, _RATE))
        flood = fork.Process(target=_flood, args=(server, bench.envelopes, theirs), daemon=True)
        flood.start()
        theirs.close()
        assert ours.recv() == "flooding"
        busy = crowd.open_loop(crowd.letters(letters, bench.envelopes[letters:]), _RATE)
        ours.send("stop")
        rate, fault = ours.recv()
        flood.join()
        if fault:
            raise LostError(f"in the flooded room: {fault}")
        crowd.check()
    return {"quiet alone p99": alone["alone p99"], **_percentiles("quiet beside busy", busy), "busy rate": rate}


def _flood(server: Running, envelopes: Sequence[bytes], parent: Connection) -> None:
    """Flood a room of ten with messages until told to stop; tell how many a second were delivered to each."""
    try:
        with Crowd(server) as crowd:
            crowd.join([[1]] * 10)
            crowd.settle()
            parent.send("flooding")
            start, sent = time.monotonic(), 0
            while not parent.poll():
                crowd.saturate(crowd.letters(_WINDOW, _renewed(envelopes)), _WINDOW // 2)
                sent += _WINDOW
            rate = sent / (time.monotonic() - start)
            crowd.check()
        parent.send((rate, None))
    except (LostError, OSError) as error:
        parent.send((0.0, repr(error)))


def _renewed(envelopes: Sequence[bytes]) -> Iterator[bytes]:
    """Yield envelopes with other salts. They would not open, but no server knows, and a flood may last."""
    return (envelope[:1] + os.urandom(SALT_BYTES) + envelope[1 + SALT_BYTES :] for envelope in envelopes)


def _history(bench: Bench, contender: Contender) -> Figures:
    """Measure a join that reads 1,000 messages of history, and what an append alone costs."""
    source = iter(bench.envelopes)
    with _running(contender) as server:
        assert isinstance(server.dialect, Relay)
        with Crowd(server) as crowd:
            crowd.join([[1]])
            crowd.saturate(crowd.letters(1000, source), _WINDOW)
            crowd.check()
        joins = bench.size.count(50)
        before, start = usage.cpu(server.pid), time.monotonic()
        for number in range(joins):
            wire = connect(server, 1 + number)
            server.dialect.enter(wire, [1])
            if server.dialect.read_history(wire, 1, 1000) != 1000:
                raise RuntimeError("the history is not whole")
            wire.close()
        used, took = usage.cpu(server.pid) - before, time.monotonic() - start
    return {"history cpu": used / joins * _MILLI, "history": took / joins * _MILLI}


def _appends(bench: Bench, contender: Contender) -> Figures:
    """Measure the durable appends of 50 rooms with one member each."""
    with _running(contender) as server, Crowd(server) as crowd:
        crowd.join([[room] for room in range(50)])
        crowd.settle()
        letters = crowd.letters(bench.size.count(20_000), bench.envelopes)
        before, start = usage.cpu(server.pid), time.monotonic()
        crowd.saturate(letters, _WINDOW)
        used, took = usage.cpu(server.pid) - before, time.monotonic() - start
        crowd.check()
    return {"append rate": len(letters) / took, "append cpu": used / len(letters) * _MICRO}


SCENARIOS: Final = (
    Scenario("fan-out-10", _fan_out(10, 1000, 20_000)),
    Scenario("fan-out-100", _fan_out(100, 400, 4000)),
    Scenario("fan-out-500", _fan_out(500, 100, 800)),
    Scenario("connect", _connect),
    Scenario("latency", _latency, every=2),
    Scenario("rooms", _many_rooms, every=4),
    Scenario("fairness", _fairness, every=4),
    Scenario("history", _history, every=2, ours_only=True),
    Scenario("appends", _appends, every=2, ours_only=True),
)
