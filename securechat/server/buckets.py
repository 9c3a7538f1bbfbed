"""Token buckets: a burst, then a steady rate; never a ban."""

import ipaddress
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from securechat import limits

_IPV6_PREFIX: Final = 64


class Bucket:
    """One token bucket.

    Args:
        burst: Tokens that it holds when full.
        rate: Tokens that flow in, per second.
        clock: Returns the time in seconds.
    """

    __slots__ = ("_burst", "_clock", "_rate", "_then", "_tokens")

    def __init__(self, burst: float, rate: float, clock: Callable[[], float]) -> None:
        self._burst = burst
        self._rate = rate
        self._clock = clock
        self._tokens = burst
        self._then = clock()

    def _refill(self) -> None:
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._then) * self._rate)
        self._then = now

    def take(self) -> float:
        """Take one token: return 0.0, or the seconds until there is one, taking none."""
        self._refill()
        if self._tokens < 1:
            return (1 - self._tokens) / self._rate
        self._tokens -= 1
        return 0.0

    def spend(self, amount: float = 1) -> float:
        """Take tokens, in advance if need be, and return the seconds until the debt is paid.

        Args:
            amount: How many; a negative number gives some back.
        """
        self._refill()
        self._tokens -= amount
        return max(0.0, -self._tokens / self._rate)

    def wait(self) -> float:
        """Return the seconds until there is a token, 0.0 for now, and take none."""
        self._refill()
        return max(0.0, (1 - self._tokens) / self._rate)


class AddressBuckets:
    """A bucket for each remote address, an IPv6 one counting by its /64.

    Args:
        burst: Tokens of a full bucket.
        rate: Tokens per second.
        clock: Returns the time in seconds.
        most: Addresses remembered; the one unused for longest is forgotten.
    """

    def __init__(self, burst: float, rate: float, clock: Callable[[], float], most: int = limits.BUCKETS) -> None:
        self._settings = burst, rate, clock
        self._most = most
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def of(self, address: str) -> Bucket:
        """Return the bucket of an address."""
        key = network(address)
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = Bucket(*self._settings)
            if len(self._buckets) > self._most:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(key)
        return bucket


def network(address: str) -> str:
    """Return what counts as one peer: an IPv4 address (also one mapped to IPv6), or the /64 of an IPv6 one."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.IPv6Network(f"{parsed}/{_IPV6_PREFIX}", strict=False))
    return address
