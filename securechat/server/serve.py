"""The server as a whole: listeners, sessions, and an end in good order.

Two nurseries: an outer one for sessions and services, an inner one for listeners, so that a drain stops
listening first, then lets every session finish what is in flight, and only then closes the log.
"""

import gc
import logging
import socket
import ssl
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import trio

from securechat import labels, limits
from securechat.errors import ChannelClosedError, LogFullError, StorageError
from securechat.files import make_private_directory
from securechat.history.log import Retention, RoomLog
from securechat.history.memory import MemoryLog
from securechat.history.sqlite import HISTORY_FILE, SqliteLog
from securechat.limits import ServerLimits
from securechat.protocol.messages import Goodbye, Reason
from securechat.server.access import AccessLog
from securechat.server.commit import Committer
from securechat.server.control import Control
from securechat.server.gate import Gate, Guest, Stage
from securechat.server.listeners import METRICS, SERVED, format_place, open_listeners
from securechat.server.repeats import FaultLog
from securechat.server.rooms import Rooms
from securechat.server.session import Services, Session, clock_ms
from securechat.server.sink import Sink
from securechat.server.upkeep import Upkeep
from securechat.transport.channel import peer_of, take_socket
from securechat.transport.tls import ServerTls
from securechat.transport.tls_channel import TlsChannel

_logger = logging.getLogger("securechat.server")


@dataclass(frozen=True)
class Configuration:
    """What a server is told.

    Attributes:
        data: The data directory; None keeps messages in memory.
        host: The address to listen on; None for all, IPv4 and IPv6.
        port: The TCP port; 0 picks a free one.
        retention: How long messages are kept.
        may_create: Whether members may create rooms.
        allowed: The limits.
        metrics: Where to serve metrics; None for nowhere.
    """

    data: Path | None
    host: str | None = None
    port: int = 7443
    retention: Retention = field(default_factory=Retention)
    may_create: bool = True
    allowed: ServerLimits = limits.SERVER
    metrics: tuple[str, int] | None = None


class Started(NamedTuple):
    """What a running server is: where it listens, its pin (32 bytes) and the names of its certificate."""

    port: int
    pin: bytes
    names: tuple[str, ...]
    addresses: tuple[str, ...]


class Server:
    """A server. ``serve`` runs it; ``stop`` drains it; ``use`` changes its certificate.

    Args:
        configuration: What it is told.
        tls: The certificate, loaded.
        gate: Counts connections, together with those of other listeners.
        access: Logs what peers do, together with those of other listeners.
        sinks: Where logs go, for the metrics.
    """

    def __init__(
        self,
        configuration: Configuration,
        tls: ServerTls,
        gate: Gate | None = None,
        access: AccessLog | None = None,
        sinks: Sequence[Sink] = (),
    ) -> None:
        self._configuration = configuration
        self._tls = tls
        self._gate = gate or Gate(configuration.allowed)
        self._access = access or AccessLog(self._gate, configuration.allowed.log_lines)
        self._sinks = sinks
        self._sessions: set[Session] = set()
        self._port = 0
        self._addresses: tuple[str, ...] = ()
        self._stop = trio.Event()
        self._empty = trio.Event()

    @property
    def started(self) -> Started:
        """Where it listens, and with what it serves new connections."""
        return Started(self._port, self._tls.pin, self._tls.names, self._addresses)

    def stop(self) -> None:
        """Drain: stop listening, let every session finish, close. ``serve`` returns within 10 s."""
        self._stop.set()

    def use(self, tls: ServerTls) -> None:
        """Serve new connections with another certificate; those that there are keep theirs."""
        self._tls = tls

    async def serve(self, *, task_status: trio.TaskStatus[Started] = trio.TASK_STATUS_IGNORED) -> None:
        """Run until ``stop``; started when connections can be made.

        Raises:
            SecurechatError: The log cannot be opened, or the port is not to be had.
        """
        async with AsyncExitStack() as stack:
            allowed = self._configuration.allowed
            log = await trio.to_thread.run_sync(_open_log, self._configuration.data, allowed)
            stack.push_async_callback(log.aclose)
            rooms = Rooms(log)
            upkeep = Upkeep(log, rooms, self._configuration.retention)
            await upkeep.prepare()
            listeners = await open_listeners(self._configuration.host, self._configuration.port, SERVED)
            faults = FaultLog()
            report = partial(_report_failure, faults, upkeep)
            committer = Committer(log, rooms, clock_ms, report, allowed.in_flight_bytes)
            services = Services(log, rooms, committer, self._access, self._configuration.may_create, allowed, faults)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._gate.run)
                nursery.start_soon(committer.run)
                nursery.start_soon(rooms.tell_changes)
                nursery.start_soon(services.laggards.watch)
                nursery.start_soon(upkeep.run)
                if self._configuration.data:
                    nursery.start_soon(Control(rooms, self._configuration.data).serve)
                nursery.start_soon(self._access.run)
                if self._configuration.metrics:
                    await self._serve_metrics(nursery, services)
                async with trio.open_nursery() as listening:
                    handler = partial(self._accept, services)
                    listening.start_soon(partial(trio.serve_listeners, handler, listeners, handler_nursery=nursery))
                    self._port = listeners[0].socket.getsockname()[1]
                    self._addresses = tuple(listener.socket.getsockname()[0] for listener in listeners)
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
        listeners = await open_listeners(*self._configuration.metrics, METRICS)
        _logger.info("metrics are at http://%s/metrics", format_place(listeners[0]))
        nursery.start_soon(serve_metrics, listeners, services, self._gate, lambda: self._tls.leaf, self._sinks)

    async def _drain(self) -> None:
        for session in self._sessions:
            session.end(Reason.SHUTDOWN, 1)
        with trio.move_on_after(limits.DRAIN_TIMEOUT):
            while self._sessions:
                self._empty = trio.Event()
                await self._empty.wait()

    async def _accept(self, services: Services, stream: trio.SocketStream) -> None:
        """Serve one connection: the one place where whatever goes wrong ends that connection alone."""
        try:
            sock = take_socket(stream)
        except OSError:  # gone already
            services.closed["handshake"] += 1
            return
        peer = peer_of(sock)
        try:
            with self._gate.enter(peer) as guest:
                await self._receive(services, sock, guest)
            if guest.scope.cancelled_caught:
                services.closed["rate" if guest.stage is Stage.IDLE else "handshake"] += 1
        except Exception:
            services.closed["internal"] += 1
            if self._access.may_log(peer):
                _logger.exception("a fault of this server ended a connection; please report it")
        finally:
            sock.close()

    async def _receive(self, services: Services, sock: socket.socket, guest: Guest) -> None:
        tls = self._tls
        channel = await self._shake_hands(sock, guest, tls)
        if channel is None:
            services.closed["handshake"] += 1
            return
        try:
            if guest.exceeded:
                await _turn_away(channel, guest.exceeded)
                services.closed["rate"] += 1
            else:
                session = Session(services, channel, tls.pin)
                session.on_joined = guest.join
                guest.say_goodbye = session.displace
                await self._run_session(session)
        finally:
            channel.abort()

    async def _shake_hands(self, sock: socket.socket, guest: Guest, tls: ServerTls) -> TlsChannel | None:
        """Do the TLS handshake; return the channel if a securechat client is at the other end."""
        with trio.move_on_after(self._configuration.allowed.handshake_seconds):
            try:
                channel = await self._gate.shake_hands(guest, sock, tls.context)
            except (ssl.SSLError, ChannelClosedError) as error:
                _logger.debug("no TLS with %s: %s", guest.network, error)
                return None
            if channel.alpn == labels.ALPN:
                return channel
            channel.abort()
        return None

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


def _report_failure(faults: FaultLog, upkeep: Upkeep, error: StorageError) -> None:
    """Report that messages could not be stored; let what is old make room if the log is full."""
    if isinstance(error, LogFullError):
        upkeep.hasten()
    faults.report("messages could not be stored", error)
