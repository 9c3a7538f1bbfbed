"""This machine's clock, as events and bodies have it."""

import time

import trio


def now_ms() -> int:
    """Return this machine's clock in ms since 1970 UTC."""
    return time.time_ns() // 1_000_000


def seconds_left(pause: trio.CancelScope | None) -> float | None:
    """Return the seconds until the deadline of a pause, if there is one."""
    return None if pause is None else max(0.0, pause.deadline - trio.current_time())
