"""This machine's clock, as events and bodies have it."""

import time


def now_ms() -> int:
    """Return this machine's clock in ms since 1970 UTC."""
    return time.time_ns() // 1_000_000
