"""A crowd of members on one server, in one thread: it sends, reads, and counts every delivery.

What it costs is not measured, but it must not be what a server waits for: all that is sent was made
before, and a member's reads are one call each. In the end every member must have heard every message of
its rooms exactly once.
"""

import select
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Final, NamedTuple, Self

from scripts.benchmarks.dialects import TAG_BYTES
from scripts.benchmarks.servers import Running
from scripts.benchmarks.wire import LostError, TlsWire, Wire, open_socket

_PATIENCE: Final = 30.0
_TOGETHER: Final = 250
_QUIET: Final = 0.2  # without a byte: what joins have caused is over


class _Member:
    """One connection, the rooms it is in, and the tags of the messages that it has sent and heard."""

    __slots__ = ("buffer", "heard", "rooms", "sent", "wire")

    def __init__(self, wire: Wire, rooms: Sequence[int]) -> None:
        self.wire = wire
        self.rooms = rooms
        self.buffer = bytearray()
        self.heard: list[bytes] = []
        self.sent: list[bytes] = []


class Letter(NamedTuple):
    """A message that is ready to be sent: by whom, where, and what."""

    member: int
    room: int
    data: bytes
    tag: bytes


class Crowd:
    """Members of rooms on one server.

    Args:
        server: The server.
        first: The number of the first member: no two on one server may have the same.
    """

    def __init__(self, server: Running, first: int = 0) -> None:
        self.server = server
        self.delivered = 0
        self.expected = 0
        self._first = first
        self._members: list[_Member] = []
        self._sizes: Counter[int] = Counter()
        self._sent: defaultdict[int, list[bytes]] = defaultdict(list)
        self._epoll = select.epoll()
        self._by_descriptor: dict[int, _Member] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for member in self._members:
            member.wire.close()
        self._epoll.close()

    def join(self, places: Sequence[Sequence[int]]) -> None:
        """Connect one more member for each of ``places``, the rooms that it joins.

        Some connect together: there are servers that answer a login at the next full second.
        """
        for start in range(0, len(places), _TOGETHER):
            first = self._first + len(self._members)
            group = places[start : start + _TOGETHER]
            members = [_Member(connect(self.server, first + n), rooms) for n, rooms in enumerate(group)]
            for member in members:
                member.buffer += self.server.dialect.enter(member.wire, member.rooms)
                self._add(member)

    def _add(self, member: _Member) -> None:
        self._members.append(member)
        self._sizes.update(member.rooms)
        member.wire.stop_blocking()
        descriptor = member.wire.sock.fileno()
        self._by_descriptor[descriptor] = member
        self._epoll.register(descriptor, select.EPOLLIN)

    def settle(self) -> None:
        """Read what joins have caused until the server has fallen quiet."""
        while self.pump(_QUIET):
            pass

    def letters(self, count: int, envelopes: Iterable[bytes], senders: int = 1 << 30) -> list[Letter]:
        """Make ``count`` messages: by each of the first ``senders`` members in turn, to each of its rooms in turn."""
        dialect = self.server.dialect
        source = iter(envelopes)
        letters = []
        for number in range(count):
            turn, index = divmod(number, min(senders, len(self._members)))
            rooms = self._members[index].rooms
            room = rooms[turn % len(rooms)]
            payload = dialect.payload(next(source))
            letters.append(Letter(index, room, dialect.send(room, payload), payload[:TAG_BYTES]))
        return letters

    def send(self, letter: Letter) -> None:
        """Send one message."""
        member = self._members[letter.member]
        member.sent.append(letter.tag)
        self._sent[letter.room].append(letter.tag)
        self.expected += self._sizes[letter.room] - (not self.server.dialect.echoes)
        member.wire.send(letter.data)
        if member.wire.unsent:
            self._epoll.modify(member.wire.sock.fileno(), select.EPOLLIN | select.EPOLLOUT)

    def pump(self, timeout: float, on_heard: Callable[[bytes], None] | None = None) -> bool:
        """Read what there is, waiting at most ``timeout`` seconds for it; tell whether anything came.

        Args:
            timeout: In seconds.
            on_heard: Called with the tag of each delivery.
        """
        split = self.server.dialect.split
        events = self._epoll.poll(timeout)
        for descriptor, event in events:
            member = self._by_descriptor[descriptor]
            if event & select.EPOLLOUT:
                member.wire.push()
                if not member.wire.unsent:
                    self._epoll.modify(descriptor, select.EPOLLIN)
            if event & ~select.EPOLLOUT:
                member.buffer += member.wire.receive()
                tags = split(member.buffer)
                member.heard += tags
                self.delivered += len(tags)
                if on_heard:
                    for tag in tags:
                        on_heard(tag)
        return bool(events)

    def await_all(self, *, but: int = 0, on_heard: Callable[[bytes], None] | None = None) -> None:
        """Read until at most ``but`` deliveries are still to come.

        Raises:
            LostError: They do not come.
        """
        heard = time.monotonic()
        while self.expected - self.delivered > but:
            if self.pump(1.0, on_heard):
                heard = time.monotonic()
            elif time.monotonic() - heard > _PATIENCE:
                raise LostError(f"{self.expected - self.delivered} of {self.expected} deliveries never came")

    def one_by_one(self, letters: Iterable[Letter], seconds: float) -> None:
        """Send each message when the one before has reached everybody; begin no more after ``seconds``."""
        end = time.monotonic() + seconds
        for letter in letters:
            if time.monotonic() > end:
                break
            self.send(letter)
            self.await_all()

    def saturate(self, letters: Sequence[Letter], window: int) -> None:
        """Send with ``window`` messages on their way at any time: the server always has work to take in."""
        fan_out = 1.0
        for letter in letters:
            self.send(letter)
            fan_out = max(fan_out, self._sizes[letter.room])
            if self.expected - self.delivered > window * fan_out:
                self.await_all(but=int(window * fan_out))
        self.await_all()

    def open_loop(self, letters: Sequence[Letter], rate: float) -> list[float]:
        """Send ``rate`` messages a second, whatever comes back, and return the latency of each delivery in seconds.

        Each counts from the moment at which its message was due, so that a stall counts for all that it held up.
        """
        start = time.monotonic() + 0.1
        due = {letter.tag: start + number / rate for number, letter in enumerate(letters)}
        latencies: list[float] = []

        def on_heard(tag: bytes) -> None:
            latencies.append(time.monotonic() - due[tag])

        for letter in letters:
            while (left := due[letter.tag] - time.monotonic()) > 0:
                self.pump(left, on_heard)
            self.send(letter)
        self.await_all(on_heard=on_heard)
        return latencies

    def check(self) -> None:
        """Check that every member has heard every message of its rooms exactly once.

        Raises:
            LostError: One has not.
        """
        for number, member in enumerate(self._members):
            expected = Counter(tag for room in member.rooms for tag in self._sent[room])
            if not self.server.dialect.echoes:
                expected -= Counter(member.sent)
            heard = Counter(member.heard)
            if heard != expected:
                lost, extra = (expected - heard).total(), (heard - expected).total()
                raise LostError(f"member {number} missed {lost} of {expected.total()} messages and heard {extra} more")


def connect(server: Running, number: int) -> Wire:
    """Connect and log in as the member of that number; the wire still blocks."""
    sock = open_socket(server.port, number)
    server.dialect.prelude(sock)
    wire = TlsWire(sock, server.dialect.context) if server.dialect.context else Wire(sock)
    server.dialect.log_in(wire, number)
    return wire
