"""The room log and its sessions against a simple model, for any sequence of what members, disks and operators do.

hypothesis makes up a program of steps, which ``tests.support.room_world`` takes; see there for what has to hold.
"""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from securechat.protocol.messages import Direction
from tests.support.relay import KEY, open_relay
from tests.support.room_world import (
    ENVELOPES,
    MEMBERS,
    OUTBOX,
    Clock,
    FullableMemoryLog,
    FullableSqliteLog,
    Model,
    Step,
    World,
)

WEIGHTS = {"say": 12, "join": 4, "stall": 3, "read_on": 2, "leave": 1, "vanish": 1, "expire": 1, "disk": 3}
kinds = st.sampled_from([kind for kind, weight in WEIGHTS.items() for _ in range(weight)])
numbers = st.integers(0, 5) | st.integers(0, len(ENVELOPES) - 1)  # some of them again and again
steps = st.builds(Step, kinds, st.integers(0, MEMBERS - 1), st.lists(numbers, min_size=1, max_size=3))
programs = st.integers(5, 30).flatmap(lambda size: st.lists(steps, min_size=size, max_size=size))
Program = list[Step]


async def run(world: World, clock: Clock, program: Program) -> None:
    await world.join(0)
    await world.join(1)
    for step in program:
        clock.time += 1000
        await world.take(step)
        await world.settle()
    await world.fill_disk(is_full=False)
    await world.audit()


async def live(log: FullableMemoryLog, program: Program) -> None:
    clock = Clock()
    async with open_relay(log, clock=clock, outbox_bytes=OUTBOX) as relay:
        await run(World(relay, Model(), clock), clock, program)


@dataclass
class Crash:
    """A server is killed while a message is under way: so many checkpoints after it was sent."""

    program: Program
    said: list[int]
    after: int


async def die(path: Path, crash: Crash, model: Model, clock: Clock) -> Path:
    """Run a program, be killed, and return a copy of what is on the disk then; the model has caught up with it."""
    log = FullableSqliteLog.open(path)
    try:
        async with open_relay(log, clock=clock, outbox_bytes=OUTBOX) as relay:
            world = World(relay, model, clock)
            await run(world, clock, crash.program)
            sent = await world.send_unheard(*crash.said)
            for _ in range(crash.after):
                await trio.lowlevel.checkpoint()
        target = path.parent / f"{path.stem}+{path.suffix}"
        for suffix in ("", "-wal"):
            shutil.copy(f"{path}{suffix}", f"{target}{suffix}")
    finally:
        await log.aclose()
    await check_stored(target, sent, world.acknowledged(), model, clock)
    return target


async def check_stored(
    path: Path, sent: list[bytes], acknowledged: set[tuple[int, bytes]], model: Model, clock: Clock
) -> None:
    """Check that all that was acknowledged is there, and of what was not yet all or nothing; let the model know."""
    log = FullableSqliteLog.open(path)
    opened = await log.open_room(KEY.address, None)
    assert opened
    page = await log.read(opened[0].room, Direction.FORWARD, 1, 1000)
    await log.aclose()
    known = len(model.kept)
    assert list(page.records[:known]) == model.records
    more = [record.envelope for record in page.records[known:]]
    assert more in ([], [envelope for envelope in dict.fromkeys(sent) if not model.find(envelope)])
    late = {(sequence, envelope) for sequence, envelope in acknowledged if sequence > model.newest}
    assert late <= {model.append(clock.time, envelope)[::2] for envelope in more}


async def live_and_die(directory: Path, crashes: list[Crash], last: Program) -> None:
    path, model, clock = directory / "history.sqlite", Model(), Clock()
    for crash in crashes:
        path = await die(path, crash, model, clock)
    log = FullableSqliteLog.open(path)
    try:
        async with open_relay(log, clock=clock, outbox_bytes=OUTBOX) as relay:
            await run(World(relay, model, clock), clock, last)
    finally:
        await log.aclose()


crashes = st.builds(Crash, programs, st.lists(numbers, min_size=1, max_size=3), st.integers(0, 12))


@settings(max_examples=80, derandomize=True, deadline=None)
@given(program=programs)
def test_a_server_in_memory_does_what_the_model_does(program: Program) -> None:
    trio.run(live, FullableMemoryLog(), program, clock=MockClock())


@settings(max_examples=16, derandomize=True, deadline=None)
@given(killed=st.lists(crashes, min_size=1, max_size=2), last=programs)
def test_a_server_that_is_killed_again_and_again_loses_nothing_that_it_acknowledged(
    killed: list[Crash], last: Program
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        trio.run(live_and_die, Path(directory), killed, last, clock=MockClock())
