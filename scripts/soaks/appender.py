"""A program that appends to a room log and says what it has been promised: ``python -m scripts.soaks.appender FILE N``.

After each append it prints, for each room of it, the room's number and newest sequence. Who traces its
system calls knows what was on the disk when it said so.
"""

import hashlib
import os
import sys
from collections import Counter
from functools import cache
from pathlib import Path
from random import Random

import trio

from securechat.history.log import Append, Retention
from securechat.history.sqlite import SqliteLog

_ROOMS = 3
_EXPIRE_EVERY = 15  # batches
_OPEN_EVERY = 20
_KEEP = Retention(seconds=None, messages=80)


def address_of(room: int) -> bytes:
    """Return the address of a room, 32 bytes."""
    return hashlib.sha256(b"room %d" % room).digest()


@cache
def envelope_of(room: int, sequence: int) -> bytes:
    """Return what the appender puts there: anybody can tell it from everything else."""
    size = Random(f"{room} {sequence}").choice([329, 329, 585, 1097, 4169, 16457])
    return hashlib.shake_128(b"%d %d" % (room, sequence)).digest(size)


async def _append(path: Path, batches: int) -> None:
    log = SqliteLog.open(path)
    numbers = {}
    for room in range(_ROOMS):
        opened = await log.open_room(address_of(room), bytes([room]) * 16)
        assert opened is not None
        numbers[room] = opened[0].room
    newest: Counter[int] = Counter()
    random = Random(batches)
    for number in range(batches):
        batch = []
        for _ in range(random.randrange(1, 20)):
            room = random.randrange(_ROOMS)
            newest[room] += 1
            batch.append(Append(numbers[room], 0, envelope_of(room, newest[room])))
        await log.append(batch)
        os.write(1, b"".join(b"%d %d\n" % item for item in newest.items()))
        if number % _EXPIRE_EVERY == _EXPIRE_EVERY - 1:
            await log.expire(_KEEP)
            await log.record(list(numbers.values()))
            await log.shrink()
        if number % _OPEN_EVERY == _OPEN_EVERY - 1:
            log = SqliteLog.open(path)  # as after a crash: what was committed last is still in the WAL
    # No end in good order: that would write the WAL back.
    os._exit(0)


if __name__ == "__main__":
    trio.run(_append, Path(sys.argv[1]), int(sys.argv[2]))
