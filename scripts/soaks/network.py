"""A bad network between members and server: every fault of the proxy, in either direction, again and again."""

from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random

import trio

from scripts.soaks.report import Report
from scripts.soaks.servers import KEEP_ALL, open_machine
from tests.support.fault_proxy import Fault, FaultProxy, open_proxy
from tests.support.traffic import Traffic, open_traffic

# Until a client notices a half-open connection: it looks each 10 s whether a PING is due, which it is when a message
# waits for its acknowledgement, else after the keep-alive of 60 s, and gives the answer 20 s; then it comes back.
_FOUND_SPEAKING = 10 + 20 + 5
_FOUND_LISTENING = 60 + 10 + 20 + 5
_HALF_OPEN = "half-open"


Suffer = Callable[[FaultProxy, Random], Awaitable[None]]


async def run(
    directory: Path, random: Random, *, seconds: float, pause: float = 0.02, kinds: tuple[str, ...] = ()
) -> Report:
    """Let the network break in one way after the other.

    Args:
        directory: An empty one.
        random: Chooses the faults and their places.
        seconds: How long; each kind of fault once at the least.
        pause: Seconds between two messages of each of two speakers.
        kinds: The kinds of faults; by default all, the half-open connection, which takes a minute and more, first.
    """
    report = Report("network")
    chosen = kinds or (_HALF_OPEN, *_FAULTS)
    tried: Counter[str] = Counter()
    found: list[tuple[float, float]] = []
    async with (
        open_machine(directory / "box", *KEEP_ALL) as machine,
        open_proxy(machine.port) as proxy,
        open_traffic(directory / "people", proxy.port, machine.pin, pause=pause, patience=120) as traffic,
    ):
        until = trio.current_time() + seconds
        waiting = list(chosen)
        while waiting or trio.current_time() < until:
            kind = waiting.pop(0) if waiting else random.choice(list(_FAULTS))
            tried[kind] += 1
            await traffic.until_heard(random.randrange(1, 30))
            if kind == _HALF_OPEN:
                found.append(await _half_open(proxy, traffic))
            else:
                await _FAULTS[kind](proxy, random)
            proxy.suffer()
        verdict = await traffic.settle()
        for kind in chosen:
            report.tell(f"times: {kind}", tried[kind])
        report.tell("connections that this took", proxy.connections)
        if found:
            speaking, listening = map(max, zip(*found, strict=True))
            report.tell("half-open, found by who speaks within", speaking, "s", _FOUND_SPEAKING)
            report.tell("half-open, found by who listens within", listening, "s", _FOUND_LISTENING)
        report.tell_verdict(verdict)
        report.tell("faults that the server logged", machine.faults(), most=0)
    return report


async def _half_open(proxy: FaultProxy, traffic: Traffic) -> tuple[float, float]:
    """Lose what is said on the connections that there are; return when a speaker and a listener were back, in s."""
    began = trio.current_time()
    before = proxy.connections
    proxy.strand()
    await traffic.until_true(lambda: proxy.connections > before)
    speaking = trio.current_time() - began
    await traffic.until_heard(1)
    return speaking, trio.current_time() - began


def _either(make: Callable[[Random], Fault], seconds: float = 0.3) -> Suffer:
    """Return a fault of one direction, chosen by lot, that lasts so long."""

    async def suffer(proxy: FaultProxy, random: Random) -> None:
        direction = random.choice(["to_server", "to_client"])
        proxy.suffer(**{direction: make(random)})
        await trio.sleep(random.uniform(0.5, 1.5) * seconds)

    return suffer


async def _cut(proxy: FaultProxy, random: Random) -> None:
    proxy.cut()
    await trio.lowlevel.checkpoint()


async def _away(proxy: FaultProxy, random: Random) -> None:
    proxy.cut(is_away=True)
    await trio.sleep(random.uniform(0.1, 4))


async def _swallow_and_cut(proxy: FaultProxy, random: Random) -> None:
    proxy.suffer(to_client=Fault(swallows=True))
    await trio.sleep(random.uniform(0.1, 1))
    proxy.cut()


_FAULTS: dict[str, Suffer] = {
    "bytes one by one": _either(lambda _: Fault(piece=1)),
    "small pieces, late": _either(lambda random: Fault(piece=random.randrange(1, 3000), delay=0.01)),
    "a flipped bit": _either(lambda random: Fault(corrupt=random.randrange(2000))),
    "cut after some bytes": _either(lambda random: Fault(cut=random.randrange(5000))),
    "ended without close_notify": _either(lambda random: Fault(truncate=random.randrange(5000))),
    "stalled": _either(lambda _: Fault(stalls=True), seconds=1.0),
    "all connections cut": _cut,
    "no connection possible": _away,
    "lost, then cut": _swallow_and_cut,
}
