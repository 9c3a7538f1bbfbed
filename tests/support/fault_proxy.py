"""A TCP proxy that does to bytes what networks do: split, delay, corrupt, cut, stall and swallow."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import trio

_READ_BYTES = 64 * 1024


@dataclass(frozen=True)
class Fault:
    """What happens to one direction. Offsets count from where each connection is when the fault begins.

    Attributes:
        piece: At most so many bytes are passed on at once.
        delay: Seconds that each piece waits.
        corrupt: The offset of a byte in which one bit is flipped.
        cut: After so many bytes the connection is reset.
        truncate: After so many bytes this direction ends, in good order as TCP sees it.
        swallows: What comes is taken and lost; nobody is told.
        stalls: Nothing is taken any more; nobody is told.
    """

    piece: int = _READ_BYTES
    delay: float = 0.0
    corrupt: int | None = None
    cut: int | None = None
    truncate: int | None = None
    swallows: bool = False
    stalls: bool = False


NONE = Fault()


class _Cut(Exception):  # noqa: N818 - it is asked for
    """The connection is to be reset."""


class _Link:
    """One connection through the proxy."""

    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.is_half_open = False


class FaultProxy:
    """Made by ``open_proxy``.

    Attributes:
        port: Where it listens on 127.0.0.1.
        target: The port on 127.0.0.1 to which it connects.
        connections: How many it has had.
        passed: Bytes passed on, of all connections and both directions.
    """

    def __init__(self, port: int, target: int) -> None:
        self.port = port
        self.target = target
        self.connections = 0
        self.passed = 0
        self._to_server = NONE
        self._to_client = NONE
        self._is_away = False
        self._changed = trio.Event()
        self._links: set[_Link] = set()

    def suffer(self, *, to_server: Fault = NONE, to_client: Fault = NONE) -> None:
        """Begin with these faults, on the connections that there are and on new ones; without any, heal."""
        self._to_server, self._to_client = to_server, to_client
        self._is_away = False
        self._changed.set()
        self._changed = trio.Event()

    def cut(self, *, is_away: bool = False) -> None:
        """Reset all connections; ``is_away`` resets new ones too, until ``suffer``."""
        self._is_away = is_away
        for link in self._links:
            link.scope.cancel()

    def strand(self) -> None:
        """Make the connections that there are half-open: what either end says is lost, and nobody is told."""
        for link in self._links:
            link.is_half_open = True

    async def handle(self, client: trio.SocketStream) -> None:
        """Serve one connection."""
        self.connections += 1
        link = _Link()
        self._links.add(link)
        try:
            with link.scope:
                if self._is_away:
                    raise _Cut
                await self._connect(link, client, await trio.open_tcp_stream("127.0.0.1", self.target))
        except* (_Cut, OSError, trio.BrokenResourceError):
            pass
        finally:
            self._links.discard(link)
            _reset(client)

    async def _connect(self, link: _Link, client: trio.SocketStream, server: trio.SocketStream) -> None:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._pump, link, client, server, "_to_server")
                nursery.start_soon(self._pump, link, server, client, "_to_client")
        finally:
            _reset(server)

    async def _pump(self, link: _Link, source: trio.SocketStream, sink: trio.SocketStream, direction: str) -> None:
        """Pass on one direction, until its end."""
        fault, offset = NONE, 0
        while True:
            if fault is not (now := getattr(self, direction)):
                fault, offset = now, 0
            if fault.stalls:
                await self._changed.wait()
                continue
            data = await source.receive_some(fault.piece)
            if fault is not (now := getattr(self, direction)):  # it began while this waited for bytes
                fault, offset = now, 0
            await trio.sleep(fault.delay)
            if fault.swallows or link.is_half_open:
                if not data:
                    await trio.sleep_forever()
                continue
            await self._pass_on(sink, _spoil(fault, data, offset))
            offset += len(data)
            if fault.cut is not None and offset >= fault.cut:
                raise _Cut
            if not data or (fault.truncate is not None and offset >= fault.truncate):
                await sink.send_eof()
                return

    async def _pass_on(self, sink: trio.SocketStream, data: bytes) -> None:
        await sink.send_all(data)
        self.passed += len(data)


def _spoil(fault: Fault, data: bytes, offset: int) -> bytes:
    """Return what becomes of the bytes from ``offset`` on."""
    if fault.corrupt is not None and offset <= fault.corrupt < offset + len(data):
        at = fault.corrupt - offset
        data = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
    ends = [end - offset for end in (fault.cut, fault.truncate) if end is not None]
    return data[: max(0, min(ends))] if ends else data


def _reset(stream: trio.SocketStream) -> None:
    """Close at once; what is unsent is discarded and the peer is told by a reset."""
    if stream.socket.fileno() >= 0:
        stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, bytes([1, 0, 0, 0, 0, 0, 0, 0]))
        stream.socket.close()


@asynccontextmanager
async def open_proxy(target: int) -> AsyncIterator[FaultProxy]:
    """Run a proxy to a port of 127.0.0.1 while the context is open."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    proxy = FaultProxy(listener.socket.getsockname()[1], target)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(trio.serve_listeners, proxy.handle, [listener]))
        yield proxy
        nursery.cancel_scope.cancel()
