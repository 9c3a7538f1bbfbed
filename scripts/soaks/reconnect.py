"""The server restarts and all its members come back at once."""

import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random

import trio

from scripts.soaks.report import Report
from scripts.soaks.servers import Machine, open_machine
from securechat import limits
from securechat.client.conversation import ALARMS
from tests.support.fault_proxy import FaultProxy, open_proxy
from tests.support.members import Listener, open_member

_PATIENCE = 120.0
_ENTRY_BYTES = 450  # of a member's sealed presence in a frame; 329 of them are the envelope
_CONNECTION_BYTES = 8 * 1024  # to connect, join, ask for history and ping


async def run(directory: Path, random: Random, *, seconds: float, members: int = 100) -> Report:
    """Restart the server again and again under so many members of one room; the first one says something each time.

    Args:
        directory: An empty one.
        random: Chooses between a restart in good order and a crash.
        seconds: How long; once at the least.
        members: How many.
    """
    report = Report("reconnect")
    times, worst, most = 0, 0.0, 0
    async with (
        open_machine(directory / "box") as machine,
        open_proxy(machine.port) as proxy,
        _open_crowd(directory / "people", proxy, machine.pin, members) as crowd,
    ):
        await _until_all_see_all(crowd)
        until = trio.current_time() + seconds
        while not times or trio.current_time() < until:
            number = random.choice([signal.SIGTERM, signal.SIGKILL])
            times += 1
            took, passed = await _restart(machine, proxy, crowd, number, f"back {times}")
            worst, most = max(worst, took), max(most, passed)
        alarms = [event.text for member in crowd for event in member.take_rest() if event.kind in ALARMS]
        report.tell("members of one room", members)
        report.tell("restarts and crashes", times)
        report.tell("until all see all again, at the longest", worst, "s", 20)
        report.tell("bytes that this took", most / limits.KIB, "KiB", _bound(members) / limits.KIB)
        report.tell("connections in all", proxy.connections)
        report.tell("alarms", len(alarms), most=0)
        report.remarks += alarms[:5]
        report.tell("faults that the server logged", machine.faults(), most=0)
    return report


def _bound(members: int) -> float:
    """Return the bytes that a return of all may take.

    Each hears of each other once as a part of a list, when either joins; and those who joined within the
    last second once more. A storm would be each change by itself to everybody, as frames of their own.
    """
    return members * members * _ENTRY_BYTES * 1.5 + members * _CONNECTION_BYTES


@asynccontextmanager
async def _open_crowd(directory: Path, proxy: FaultProxy, pin: bytes, members: int) -> AsyncIterator[list[Listener]]:
    async with AsyncExitStack() as stack:
        crowd = [
            await stack.enter_async_context(open_member(directory, proxy.port, pin, f"member{n}"))
            for n in range(members)
        ]
        async with trio.open_nursery() as nursery:
            for member in crowd:
                nursery.start_soon(_listen, member)
            yield crowd
            nursery.cancel_scope.cancel()


async def _listen(member: Listener) -> None:
    while True:
        member.events.append(await member.conversation.events.receive())


async def _restart(
    machine: Machine, proxy: FaultProxy, crowd: list[Listener], number: signal.Signals, text: str
) -> tuple[float, int]:
    """Restart, and return how long it took until all were back (s), and the bytes that passed."""
    await machine.stop(number)
    crowd[0].say(text)
    before = proxy.passed
    await machine.start()
    began = trio.current_time()
    await _until_all_see_all(crowd)
    with trio.fail_after(_PATIENCE):
        while not all(text in member.texts[-1:] for member in crowd):  # noqa: ASYNC110
            await trio.sleep(0.02)
    return trio.current_time() - began, proxy.passed - before


async def _until_all_see_all(crowd: list[Listener]) -> None:
    with trio.fail_after(_PATIENCE):
        while not all(m.conversation.is_connected and len(m.conversation.present) == len(crowd) - 1 for m in crowd):  # noqa: ASYNC110
            await trio.sleep(0.02)
