"""Everybody who costs a server memory at once, from one address, and a member elsewhere who notices nothing.

The bound on the server's memory is put together from what it may hold, in MiB:

- ``_BASE``: Python, its libraries, OpenSSL and SQLite with their caches, and one commit of each kind;
- for each connection ``_CONNECTION``: the state of TLS, of the session and of its member;
- for each one that does not read ``_LAGGARD``: what was encrypted for it and waits for its socket, which is a
  commit's at the most (``limits.COMMIT_BYTES``); messages
  that wait behind it are shared by all members of a room: ``_SHARED``, twice the outbox of one reader, because one
  that was sent away comes back while others are behind still;
- for each sender what it may have in flight (``limits.IN_FLIGHT_BYTES``).
"""

import multiprocessing
import socket
from collections.abc import Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import NamedTuple

import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from scripts.soaks.report import Report
from scripts.soaks.servers import Machine, open_machine
from securechat import limits
from securechat.errors import ChannelClosedError
from securechat.protocol.messages import Deliver
from tests.support.visitors import Visitor, open_socket, open_visitor

_BASE = 60.0
_CONNECTION = 0.055
_LAGGARD = limits.COMMIT_BYTES / limits.MIB
_SHARED = 2 * limits.SERVER.outbox_bytes / limits.MIB
_IN_FLIGHT = 2 * limits.IN_FLIGHT_BYTES / limits.MIB

_PRESENCE = bytes(329)
_TEXT_BYTES = 4096
_STEADY = 50.0  # messages a second of the busy room in the first half; then as many as the server takes
_PROBES = 10.0  # a second, of the member whose latency is measured
_BEGINNING = b"\x16\x03\x01\x00\xff\x01"  # of a handshake


@dataclass(frozen=True)
class Crowd:
    """Who is there.

    Attributes:
        idle: Members who say nothing, in rooms of 50.
        silent: Connections that say nothing at all, not even TLS.
        beginners: Connections that begin TLS and do not go on.
        slow: Members who send one byte a second.
        deaf: Members of the busy room who never read, and come back when they are sent away.
        readers: Members of the busy room who ask for its history in a loop.
    """

    idle: int = 1000
    silent: int = 200
    beginners: int = 200
    slow: int = 200
    deaf: int = 100
    readers: int = 1

    @property
    def bound(self) -> float:
        """The memory that the server may take, in MiB."""
        connections = self.idle + self.silent + self.beginners + self.slow + self.deaf + self.readers
        return _BASE + _CONNECTION * connections + _LAGGARD * self.deaf + _SHARED + _IN_FLIGHT


class Latency(NamedTuple):
    """How long deliveries took, in ms."""

    median: float
    p99: float
    most: float


def measure_latency(port: int, seconds: float) -> Latency:
    """Talk in a room of two for so long; runs in a process of its own, so that only the server is shared."""
    return trio.run(_measure, port, seconds)


async def _measure(port: int, seconds: float) -> Latency:
    took: list[float] = []
    key = Ed25519PrivateKey.generate()
    async with open_visitor(port, key, keeps_raw=False) as one, open_visitor(port, key, keeps_raw=False) as other:
        until = trio.current_time() + seconds
        while trio.current_time() < until:
            began = trio.current_time()
            one.send(b"%f" % began)
            await other.until(Deliver)
            took.append(1000 * (trio.current_time() - began))
            await one.until(Deliver)
            await trio.sleep(1 / _PROBES)
    took.sort()
    return Latency(took[len(took) // 2], took[len(took) * 99 // 100], took[-1])


class _Load:
    """What is going on, and how much of it there was."""

    def __init__(self, machine: Machine, crowd: Crowd) -> None:
        self.port = machine.port
        self.crowd = crowd
        self.busy = Ed25519PrivateKey.generate()
        self.rate = _STEADY
        self.sent = 0
        self.pages = 0
        self.sent_away = 0
        self.dropped = 0  # unfinished connections that the server has ended

    async def idle(self, key: Ed25519PrivateKey, *, task_status: trio.TaskStatus[None]) -> None:
        """Be in a room and read."""
        async with open_visitor(self.port, key, presence=_PRESENCE, keeps_raw=False) as visitor:
            task_status.started()
            while True:
                await visitor.channel.receive()

    async def unfinished(self, said: bytes, *, task_status: trio.TaskStatus[None]) -> None:
        """Connect, do not finish TLS, and come again when the server has had enough."""
        task_status.started()
        while True:
            with await open_socket(self.port) as sock:
                sock.send(said)
                await trio.lowlevel.wait_readable(sock)
            self.dropped += 1

    async def slow(self, key: Ed25519PrivateKey, *, task_status: trio.TaskStatus[None]) -> None:
        """Be in a room and send the largest message, one byte a second."""
        async with open_visitor(self.port, key, keeps_raw=False) as visitor:
            task_status.started()
            visitor.channel.send((limits.ENVELOPE_BYTES + 5).to_bytes(4, "big"))
            while True:
                await trio.sleep(1)
                visitor.channel.send(b"\x04")

    async def deaf(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Be in the busy room and never read; come back when sent away."""
        await self._be_deaf(task_status.started)
        while True:
            try:
                await self._be_deaf(lambda: None)
            except* (ChannelClosedError, trio.TooSlowError):
                await trio.sleep(1)

    async def _be_deaf(self, joined: Callable[[], None]) -> None:
        async with open_visitor(self.port, self.busy, keeps_raw=False, receive_buffer=4096) as visitor:
            joined()
            while _is_connected(visitor.socket):  # noqa: ASYNC110 - who does not read is not told
                await trio.sleep(0.5)
        self.sent_away += 1

    async def history(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Ask for all the history there is, in a loop."""
        async with open_visitor(self.port, self.busy, keeps_raw=False) as visitor:
            task_status.started()
            sequence = 1
            while True:
                past = await visitor.page(sequence)
                self.pages += 1
                sequence = past.first + len(past.records) if past.records else 1

    async def talk(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Keep the busy room busy."""
        async with open_visitor(self.port, self.busy, keeps_raw=False) as visitor, trio.open_nursery() as nursery:
            task_status.started()
            nursery.start_soon(_ignore, visitor)
            while True:
                visitor.send(self.sent.to_bytes(8, "big") + bytes(_TEXT_BYTES))
                self.sent += 1
                await trio.sleep(1 / self.rate if self.rate else 0)
                await visitor.channel.drain()


async def _ignore(visitor: Visitor) -> None:
    while True:
        await visitor.channel.receive()


def _is_connected(sock: socket.socket) -> bool:
    established = 1
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == established


async def run(directory: Path, random: Random, *, seconds: float, crowd: Crowd | None = None) -> Report:
    """Let the crowd in, keep the busy room busy for so long, and measure.

    Args:
        directory: An empty one.
        random: Not used: nothing is left to chance.
        seconds: How long the load lasts, once all are in.
        crowd: Who is there.
    """
    report = Report("memory")
    crowd = crowd or Crowd()
    async with open_machine(directory / "box") as machine, trio.open_nursery() as nursery:
        empty = machine.resident
        load = _Load(machine, crowd)
        rooms = [Ed25519PrivateKey.generate() for _ in range(1 + crowd.idle // 50)]
        await _start(nursery, crowd.idle, lambda n: partial(load.idle, rooms[n // 50]))
        idle = machine.resident
        await _start(nursery, crowd.slow, lambda _: partial(load.slow, rooms[-1]))
        await _start(nursery, crowd.deaf, lambda _: load.deaf)
        await _start(nursery, crowd.silent, lambda _: partial(load.unfinished, b""))
        await _start(nursery, crowd.beginners, lambda _: partial(load.unfinished, _BEGINNING))
        await nursery.start(load.talk)
        await _start(nursery, crowd.readers, lambda _: load.history)
        steady = await _observe(machine, seconds / 2)
        load.rate = 0
        flooded = await _observe(machine, seconds / 2)
        highest = machine.most_resident
        nursery.cancel_scope.cancel()
    report.tell("members who are idle", crowd.idle)
    report.tell("connections that do not finish TLS", crowd.silent + crowd.beginners)
    report.tell("of them, ended by the server", load.dropped)
    report.tell("members who send a byte a second", crowd.slow)
    report.tell("members who never read", crowd.deaf)
    report.tell("of them, sent away", load.sent_away)
    report.tell("pages of history for one who asks in a loop", load.pages)
    report.tell("messages of 4 KiB in the busy room", load.sent)
    report.tell("memory of an empty server", empty, "MiB")
    report.tell("memory of an idle member", (idle - empty) * 1024 / crowd.idle, "KiB", _CONNECTION * 1024)
    report.tell("memory at its highest", highest, "MiB", crowd.bound)
    for name, latency, bound in (("50 messages a second", steady, 500), ("as many as it takes", flooded, 1500)):
        report.tell(f"latency elsewhere, {name}: median", latency.median, "ms")
        report.tell("  99 of 100 within", latency.p99, "ms", bound)
        report.tell("  the longest", latency.most, "ms", 2 * bound)
    report.tell("faults that the server logged", machine.faults(), most=0)
    return report


async def _start(nursery: trio.Nursery, count: int, make: Callable[[int], Callable[..., Awaitable[None]]]) -> None:
    for number in range(count):
        await nursery.start(make(number))


async def _observe(machine: Machine, seconds: float) -> Latency:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        future = pool.submit(measure_latency, machine.port, seconds)
        return await trio.to_thread.run_sync(future.result)
