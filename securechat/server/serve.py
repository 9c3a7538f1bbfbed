"""The server as a whole: listeners, sessions, and an end in good order.

Two nurseries: an outer one for sessions and services, an inner one for listeners, so that a drain stops
listening first, then lets every session finish what is in flight, and only then closes the log.
"""

import gc
import logging
import ssl
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import trio

from securechat import labels, limits
from securechat.errors import ChannelClosedError, LogFullError, SecurechatError, StorageError
from securechat.files import make_private_directory
from securechat.history.log import Retention, RoomLog
from securechat.history.memory import MemoryLog
from securechat.history.sqlite import HISTORY_FILE, SqliteLog
from securechat.limits import ServerLimits
from securechat.protocol.messages import Goodbye, Reason
from securechat.server.access import AccessLog
from securechat.server.commit import Committer
from securechat.server.gate import Gate
from securechat.server.listeners import open_listeners
from securechat.server.rooms import Rooms
from securechat.server.session import Services, Session, clock_ms
from securechat.server.upkeep import Upkeep
from securechat.transport.certificates import Pair
from securechat.transport.channel import take_socket
from securechat.transport.tls import ServerTls
from securechat.transport.tls_channel import TlsChannel

_logger = logging.getLogger("securechat.server")


@dataclass(frozen=True)
class Configuration:
    """What a server is told.

    Attributes:
        pair: Certificate and key.
        data: The data directory; None keeps messages in memory.
        host: The address to listen on; None for all, IPv4 and IPv6.
        port: The TCP port; 0 picks a free one.
        retention: How long messages are kept.
        may_create: Whether members may create rooms.
        allowed: The limits.
        metrics: Where to serve metrics; None for nowhere.
    """

    pair: Pair
    data: Path | None
    host: str | None = None
    port: int = 7443
    retention: Retention = field(default_factory=Retention)
    may_create: bool = True
    allowed: ServerLimits = limits.SERVER
    metrics: tuple[str, int] | None = None


class Started(NamedTuple):
    """What a running server is: its port, its pin (32 bytes) and the names of its certificate."""

    port: int
    pin: bytes
    names: tuple[str, ...]


class Server:
    """A server. ``serve`` runs it; ``stop`` drains it; ``reload`` takes the certificate anew.

    Args:
        configuration: What it is told.
        tls: The certificate, loaded.
        gate: Counts connections, together with those of other listeners.
    """

    def __init__(self, configuration: Configuration, tls: ServerTls, gate: Gate | None = None) -> None:
        self._configuration = configuration
        self._tls = tls
        self._gate = gate or Gate(configuration.allowed)
        self._sessions: set[Session] = set()
        self._port = 0
        self._stop = trio.Event()
        self._empty = trio.Event()

    @property
    def started(self) -> Started:
        """Where it listens, and with what it serves new connections."""
        return Started(self._port, self._tls.pin, self._tls.names)

    def stop(self) -> None:
        """Drain: stop listening, let every session finish, close. ``serve`` returns within 10 s."""
        self._stop.set()

    def reload(self) -> None:
        """Serve new connections with the certificate as the files have it now; keep the old one if they are bad."""
        try:
            self._tls = ServerTls.load(self._configuration.pair)
        except SecurechatError as error:
            _logger.error("the certificate stays as it was: %s", error)
        else:
            _logger.info("the certificate was loaded anew")

    async def serve(self, *, task_status: trio.TaskStatus[Started] = trio.TASK_STATUS_IGNORED) -> None:
        """Run until ``stop``; started when connections can be made.

        Raises:
            SecurechatError: The log cannot be opened, or the port is not to be had.
        """
        async with AsyncExitStack() as stack:
            allowed = self._configuration.allowed
            log = _open_log(self._configuration.data, allowed)
            stack.push_async_callback(log.aclose)
            rooms = Rooms(log)
            upkeep = Upkeep(log, rooms, self._configuration.retention, self._configuration.data)
            await upkeep.expire()
            listeners = await open_listeners(self._configuration.host, self._configuration.port)
            committer = Committer(log, rooms, clock_ms, _report_failure(upkeep), allowed.in_flight_bytes)
            access = AccessLog(self._gate)
            services = Services(log, rooms, committer, access, self._configuration.may_create, allowed)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(committer.run)
                nursery.start_soon(rooms.tell_changes)
                nursery.start_soon(services.laggards.watch)
                nursery.start_soon(upkeep.run)
                if self._configuration.metrics:
                    await self._serve_metrics(nursery, services)
                async with trio.open_nursery() as listening:
                    handler = partial(self._accept, services)
                    listening.start_soon(partial(trio.serve_listeners, handler, listeners, handler_nursery=nursery))
                    self._port = listeners[0].socket.getsockname()[1]
                    gc.freeze()  # what start-up made is here to stay
                    task_status.started(self.started)
                    await self._stop.wait()
                    listening.cancel_scope.cancel()
                await self._drain()
                nursery.cancel_scope.cancel()
            endings = ", ".join(f"{reason} {count}" for reason, count in sorted(services.closed.items()))
            _logger.info("stopped; connections ended: %s", endings or "none")

    async def _serve_metrics(self, nursery: trio.Nursery, services: Services) -> None:
        from securechat.server.metrics import serve_metrics  # noqa: PLC0415 - its libraries are an extra

        assert self._configuration.metrics is not None
        listeners = await open_listeners(*self._configuration.metrics)
        address, port = listeners[0].socket.getsockname()[:2]
        _logger.info("metrics are at http://%s:%d/metrics", f"[{address}]" if ":" in address else address, port)
        nursery.start_soon(serve_metrics, listeners, services, self._gate)

    async def _drain(self) -> None:
        for session in self._sessions:
            session.end(Reason.SHUTDOWN, 1)
        with trio.move_on_after(limits.DRAIN_TIMEOUT):
            while self._sessions:
                self._empty = trio.Event()
                await self._empty.wait()

    async def _accept(self, services: Services, stream: trio.SocketStream) -> None:
        """Serve one connection: the one place where whatever goes wrong ends that connection alone."""
        tls = self._tls
        try:
            channel = TlsChannel(take_socket(stream), tls.context)
        except OSError:  # gone already
            services.closed["handshake"] += 1
            return
        try:
            with self._gate.count(channel.peer) as exceeded:
                if self._gate.is_flooded or not await self._shake_hands(channel):
                    services.closed["handshake"] += 1
                elif exceeded:
                    services.closed["rate"] += 1
                    await _turn_away(channel, exceeded)
                else:
                    await self._run_session(Session(services, channel, tls.pin))
        except Exception:
            services.closed["internal"] += 1
            _logger.exception("a fault of this server ended a connection; please report it")
        finally:
            channel.abort()

    async def _shake_hands(self, channel: TlsChannel) -> bool:
        """Do the TLS handshake; tell whether a securechat client is at the other end."""
        if not await self._gate.wait(channel.peer):
            return False
        with trio.move_on_after(self._configuration.allowed.handshake_seconds):
            try:
                await channel.handshake()
            except (ssl.SSLError, ChannelClosedError) as error:
                _logger.debug("no TLS with %s: %s", channel.peer, error)
                return False
            return channel.alpn == labels.ALPN
        return False

    async def _run_session(self, session: Session) -> None:
        self._sessions.add(session)
        if self._stop.is_set():
            session.end(Reason.SHUTDOWN, 1)
        try:
            await session.run()
        finally:
            self._sessions.discard(session)
            if not self._sessions:
                self._empty.set()


async def _turn_away(channel: TlsChannel, exceeded: str) -> None:
    """Say which limit a connection is over, and when to try again."""
    channel.send(Goodbye(Reason.RATE, limits.REFUSED_RETRY, exceeded).encode())
    with trio.move_on_after(limits.GOODBYE_TIMEOUT):
        await channel.aclose()


def _open_log(data: Path | None, allowed: ServerLimits) -> RoomLog:
    if data is None:
        return MemoryLog(allowed.memory_bytes)
    return SqliteLog.open(make_private_directory(data) / HISTORY_FILE, allowed.kept_bytes)


def _report_failure(upkeep: Upkeep) -> Callable[[StorageError], None]:
    """Return a reporter that says the same failure once a minute, and lets what is old make room in a full log."""
    said: dict[str, float] = {}

    def report(error: StorageError) -> None:
        if isinstance(error, LogFullError):
            upkeep.hasten()
        now = trio.current_time()
        if now - said.get(error.message, -limits.EXPIRY_INTERVAL) >= limits.EXPIRY_INTERVAL:
            said[error.message] = now
            _logger.error("messages could not be stored: %s", error)

    return report
