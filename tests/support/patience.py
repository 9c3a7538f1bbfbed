"""How long tests wait for what has to come.

A test never sleeps for a fixed time: it waits until something is true, and goes on at once when it is. So a generous
limit costs nothing where all is well, and a machine that is slow or busy with other things fails no test.
"""

import time
from collections.abc import Callable
from typing import Final, TypeVar

import trio

PATIENCE: Final = 60.0  # seconds; what has not come by then never comes. pytest's own limit for a test is longer
_POLL: Final = 0.01

T = TypeVar("T")


def until(is_so: Callable[[], T | None], what: Callable[[], object] = str) -> T:
    """Wait until something is true and return it; fail when it does not come, and say ``what`` there is."""
    deadline = time.monotonic() + PATIENCE
    while not (value := is_so()):
        assert time.monotonic() < deadline, f"it never came: {what()!r}"
        time.sleep(_POLL)
    return value


async def wait_until(is_so: Callable[[], T | None], what: Callable[[], object] = str) -> T:
    """Do the same under trio, for what sets no event."""
    with trio.move_on_after(PATIENCE):
        while not (value := is_so()):  # noqa: ASYNC110 - see above
            await trio.sleep(_POLL / 2)
        return value
    raise AssertionError(f"it never came: {what()!r}")
