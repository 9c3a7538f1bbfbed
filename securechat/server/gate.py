"""Who may come in: connections are counted, in all and by address; never a ban, and none for long."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import trio

from securechat import limits
from securechat.limits import ServerLimits
from securechat.server.buckets import AddressBuckets, network


class Gate:
    """All listeners of a server share one.

    Args:
        allowed: What the server allows.

    Attributes:
        total: How many connections there are, those that are being refused included.
    """

    def __init__(self, allowed: ServerLimits = limits.SERVER) -> None:
        self._allowed = allowed
        self._by_network: Counter[str] = Counter()
        self._handshakes = AddressBuckets(*allowed.handshakes, trio.current_time)
        self.total = 0

    @property
    def is_flooded(self) -> bool:
        """Whether so many are being refused that another is closed without a word."""
        return self.total > self._allowed.connections + limits.REFUSED_AT_ONCE

    @contextmanager
    def count(self, peer: str) -> Iterator[str]:
        """Count a connection while the context is open; yield the limit that it is over, empty for none.

        Args:
            peer: Its address.
        """
        key = network(peer)
        self.total += 1
        self._by_network[key] += 1
        try:
            yield self._exceeded(key)
        finally:
            self.total -= 1
            self._by_network[key] -= 1
            if not self._by_network[key]:
                del self._by_network[key]

    def _exceeded(self, key: str) -> str:
        if self.total > self._allowed.connections:
            return f"this server has its {self._allowed.connections} connections"
        if self._by_network[key] > self._allowed.connections_per_address:
            return f"your address has its {self._allowed.connections_per_address} connections"
        return ""

    async def wait(self, peer: str) -> bool:
        """Wait until an address may begin another connection; tell whether that was soon enough."""
        bucket = self._handshakes.of(peer)
        if bucket.wait() > self._allowed.handshake_seconds:
            return False
        await trio.sleep(bucket.spend())
        return True
