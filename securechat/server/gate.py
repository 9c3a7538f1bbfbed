"""The gate: which connections may come in, and when their handshake is done.

An address is not an identity. Behind it may be an office, a container's gateway or a Tor exit, and one hostile peer.
So the gate refuses no address for what one connection did. Three rules take the place of a ban:

**Unfinished connections make way.** A connection that has joined no room yet is a candidate. If its address has all its
connections, a newcomer displaces a candidate: the oldest one in the stage in which the address has most. A flood in one
stage (connected and silent; a handshake begun; a handshake done and no join) then displaces itself, and a client that
goes through the stages without delay passes it. If the server has all its connections, the address with the most
candidates loses one. A connection that has joined a room is never displaced.

**Handshakes take turns.** A connection costs almost no processor time until its whole ClientHello has arrived. Then it
waits for its turn: all handshakes together get a measured share of one core, however many begin. Addresses take turns,
and those that have begun more handshakes than they may come last. Within one address the oldest comes first: under
overload it is served or displaced, and a flood of newcomers does not keep it waiting.

**A connection that joins a room costs nothing.** The address gets the token of its handshake back.
"""

import socket
import ssl
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from functools import cached_property, partial
from typing import Final

import trio

from securechat import limits
from securechat.errors import ChannelClosedError
from securechat.limits import ServerLimits
from securechat.server.buckets import AddressBuckets, Bucket, network
from securechat.server.held_back import HeldBack
from securechat.transport.tls_channel import TlsChannel, has_gone, read_hello


class Stage(IntEnum):
    """How far a connection has come."""

    CONNECTED = 0  # its ClientHello has not arrived
    WAITING = 1  # for its turn to do the handshake
    SHAKING = 2
    IDLE = 3  # the handshake is done, or there is none; it has joined nothing
    JOINED = 4


_UNFINISHED: Final = (Stage.CONNECTED, Stage.WAITING, Stage.SHAKING, Stage.IDLE)


def _say_nothing(_: str) -> None:
    """Say no goodbye: there is no session."""


class Guest:
    """One connection, as the gate sees it.

    Attributes:
        network: What counts as its address.
        stage: How far it has come.
        scope: Cancelled when it has to make way.
        exceeded: The limit that leaves no place for it; empty if there is one.
        say_goodbye: Called with the reason before it is cancelled; it must not wait.
        has_gone: Returns whether the peer has closed the connection.
        turn: Set when it may do its handshake.
        has_paid: Whether it has spent a token of its address.
    """

    def __init__(self, gate: "Gate", key: str) -> None:
        self._gate = gate
        self.network = key
        self.stage = Stage.CONNECTED
        self.scope = trio.CancelScope()
        self.exceeded = ""
        self.say_goodbye: Callable[[str], None] = _say_nothing
        self.has_gone: Callable[[], bool] = lambda: False
        self.turn = trio.Event()
        self.has_paid = False

    def advance(self, stage: Stage) -> None:
        """Record that the connection has come to another stage."""
        self._gate.move(self, stage)

    def join(self) -> None:
        """Record that the connection has joined a room: it is not displaced any more."""
        if self.stage is not Stage.JOINED:
            self.advance(Stage.JOINED)


class _Address:
    """The connections of one address.

    Attributes:
        stages: Those of each stage, the one that came to it first in front.
        unfinished: How many have joined nothing.
    """

    def __init__(self) -> None:
        self.stages: dict[Stage, dict[Guest, None]] = {stage: {} for stage in Stage}
        self.unfinished = 0

    @property
    def size(self) -> int:
        """How many there are."""
        return self.unfinished + len(self.stages[Stage.JOINED])

    def add(self, guest: Guest) -> None:
        """Count a connection."""
        self.stages[guest.stage][guest] = None
        self.unfinished += guest.stage is not Stage.JOINED

    def remove(self, guest: Guest) -> bool:
        """Count a connection no more; return whether it was counted."""
        if guest not in self.stages[guest.stage]:
            return False
        del self.stages[guest.stage][guest]
        self.unfinished -= guest.stage is not Stage.JOINED
        return True

    def candidate(self, newcomer: Guest) -> Guest:
        """Return the unfinished connection that is to make way for ``newcomer``; that one if there is no other."""
        others = {stage: len(self.stages[stage]) - (newcomer in self.stages[stage]) for stage in _UNFINISHED}
        largest = max(_UNFINISHED, key=others.__getitem__)
        return next(iter(self.stages[largest])) if others[largest] else newcomer


class _Queue:
    """Connections that wait for their turn: addresses take turns, and the oldest of an address comes first."""

    def __init__(self) -> None:
        self._by_network: OrderedDict[str, dict[Guest, None]] = OrderedDict()

    def add(self, guest: Guest) -> None:
        self._by_network.setdefault(guest.network, {})[guest] = None

    def discard(self, guest: Guest) -> None:
        waiting = self._by_network.get(guest.network, {})
        waiting.pop(guest, None)
        if not waiting:
            self._by_network.pop(guest.network, None)

    def pop(self) -> Guest | None:
        """Remove the next connection and return it; None if there is none."""
        for key, waiting in self._by_network.items():
            guest = next(iter(waiting))
            self._by_network.move_to_end(key)
            self.discard(guest)
            return guest
        return None


class Gate:
    """All listeners of a server share one; each of them runs it.

    Args:
        allowed: What the server allows.
        processor: Returns the processor time of this thread in seconds.

    Attributes:
        total: How many connections there are, including those that are being refused.
    """

    def __init__(
        self, allowed: ServerLimits = limits.SERVER, processor: Callable[[], float] = time.thread_time
    ) -> None:
        self._allowed = allowed
        self._processor = processor
        self._addresses: dict[str, _Address] = {}
        self._counted = 0
        self._refused: dict[Guest, None] = {}  # over a limit, and being told so; the oldest first
        self._handshakes = AddressBuckets(*allowed.handshakes, trio.current_time)
        self._queues = _Queue(), _Queue()  # of addresses within ``handshakes``, and of the others
        self._work = trio.Event()
        self._held_back = HeldBack("unfinished connections")
        self.total = 0

    @cached_property
    def _share(self) -> Bucket:
        """The processor time of all handshakes, in seconds."""
        return Bucket(limits.HANDSHAKE_BURST, limits.HANDSHAKE_SHARE, trio.current_time)

    @contextmanager
    def enter(self, peer: str) -> Iterator[Guest]:
        """Count a connection while the context is open; another one may have to make way for it.

        Args:
            peer: Its address.

        Yields:
            The connection. Its scope is cancelled when it has to make way itself.
        """
        guest = Guest(self, network(peer))
        self.total += 1
        self._addresses.setdefault(guest.network, _Address()).add(guest)
        self._counted += 1
        try:
            self._make_way(guest)
            with guest.scope:
                yield guest
        finally:
            self.total -= 1
            guest.say_goodbye = _say_nothing  # it may hold what holds the guest
            self._refused.pop(guest, None)
            self._remove(guest)

    def _make_way(self, guest: Guest) -> None:
        """Displace a connection if the newcomer ``guest`` is over a limit."""
        address = self._addresses[guest.network]
        if address.size > (maximum := self._allowed.connections_per_address):
            self._displace(address.candidate(guest), f"your address has its {maximum} connections", guest)
        elif self._counted > (maximum := self._allowed.connections):
            address = max(self._addresses.values(), key=lambda address: address.unfinished)
            self._displace(address.candidate(guest), f"this server has its {maximum} connections", guest)

    def _displace(self, guest: Guest, why: str, newcomer: Guest) -> None:
        self._remove(guest)
        self._held_back.report(guest.network, why)
        if guest is newcomer:  # no other connection can make way
            guest.exceeded = why
            self._refused[guest] = None
            if len(self._refused) > limits.REFUSED_AT_ONCE:
                self._end(next(iter(self._refused)), why)
        else:
            self._end(guest, why)

    def _end(self, guest: Guest, why: str) -> None:
        self._refused.pop(guest, None)
        guest.say_goodbye(why)
        guest.scope.cancel()

    def _remove(self, guest: Guest) -> bool:
        address = self._addresses.get(guest.network)
        if address is None or not address.remove(guest):
            return False
        self._counted -= 1
        if not address.size:
            del self._addresses[guest.network]
        return True

    def move(self, guest: Guest, stage: Stage) -> None:
        """Record that a connection has come to another stage."""
        is_counted = self._remove(guest)
        guest.stage = stage
        if is_counted:
            self._addresses.setdefault(guest.network, _Address()).add(guest)
            self._counted += 1
        if stage is Stage.JOINED and guest.has_paid:
            guest.has_paid = False
            self._handshakes.of(guest.network).spend(-1)

    async def shake_hands(self, guest: Guest, sock: socket.socket, context: ssl.SSLContext) -> TlsChannel:
        """Do the TLS handshake of a connection when it is its turn. The caller sets the deadline.

        Args:
            guest: The connection.
            sock: Its socket; it is closed if the handshake fails.
            context: The server's TLS context.

        Raises:
            ssl.SSLError: It failed; the peer has been told why.
            ChannelClosedError: The connection ended in it.
        """
        close = sock.close
        try:
            hello = await read_hello(sock)
            guest.has_gone = partial(has_gone, sock)
            await self.wait_turn(guest)
            if guest.has_gone():
                raise ChannelClosedError("the peer did not wait for its turn")
            with self.work():
                channel = TlsChannel(sock, context, received=hello)
                close = channel.abort
                channel.advance_handshake()
            await channel.handshake()
        except BaseException:
            close()
            raise
        guest.advance(Stage.IDLE)
        return channel

    async def wait_turn(self, guest: Guest) -> None:
        """Wait until a connection may do its handshake. The caller sets the deadline."""
        guest.has_paid = not self._handshakes.of(guest.network).take()
        queue = self._queues[0 if guest.has_paid else 1]
        guest.advance(Stage.WAITING)
        queue.add(guest)
        self._work.set()
        try:
            await guest.turn.wait()
        finally:
            queue.discard(guest)
        guest.advance(Stage.SHAKING)

    @contextmanager
    def work(self) -> Iterator[None]:
        """Charge the processor time of this context, which must not wait, to the share of all handshakes."""
        began = self._processor()
        try:
            yield
        finally:
            self._share.spend(self._processor() - began)

    async def run(self) -> None:
        """Run for ever: give turns. More than one task may run it."""
        while True:
            await self._work.wait()
            await trio.sleep(self._share.spend(0))
            if not self._give_turn():
                self._work = trio.Event()

    def _give_turn(self) -> bool:
        """Give the next connection its turn, and those before it that have gone; return whether there was one."""
        while guest := self._queues[0].pop() or self._queues[1].pop():
            guest.turn.set()
            if not guest.has_gone():
                return True
        return False
