"""The listener for old programs: rooms of its own, in memory, that nothing else of the server can name.

Each connection is one task with a bounded backlog. What goes wrong with a peer is one line in the log
and the end of that connection.
"""

import datetime
import logging
import math
import socket
import ssl
from collections import deque
from functools import partial

import trio

from securechat import labels, limits
from securechat.errors import ChannelClosedError, SecurechatError
from securechat.legacy import codec
from securechat.legacy.codec import Greeting, GreetingDecoder, LegacyError, UnitDecoder
from securechat.server.access import AccessLog
from securechat.server.buckets import Bucket
from securechat.server.gate import Gate
from securechat.transport.certificates import Pair
from securechat.transport.channel import SocketChannel, take_socket
from securechat.transport.tls import ServerTls
from securechat.transport.tls_channel import TlsChannel

_logger = logging.getLogger("securechat.legacy")
_TLS_HANDSHAKE = b"\x16"  # the first byte of a TLS connection (RFC 8446, section 5.1); no base64 begins so


class _Member:
    """Somebody in a room of the old mode.

    What is told goes out in portions of what old programs read at once, with a little time in between:
    a read that ends within a portion may cut a character, and then their decoder fails.
    """

    def __init__(self, channel: SocketChannel, greeting: Greeting) -> None:
        self.channel = channel
        self.room, self.name = greeting
        self.scope = trio.CancelScope()
        self._units: deque[bytes] = deque()
        self._size = 0
        self._work = trio.Event()

    def tell(self, units: list[bytes]) -> None:
        """Send units soon, without waiting; who does not read is sent away."""
        self._units.extend(units)
        self._size += sum(map(len, units))
        self._work.set()
        if self._size + self.channel.backlog > limits.LEGACY_OUTBOX_BYTES:
            self.scope.cancel()

    async def write(self) -> None:
        """Run until cancelled: send what is told."""
        while True:
            await self._work.wait()
            self.send_portion()
            await self.channel.drain()
            await trio.sleep(limits.LEGACY_PACE)
            if not self._units:
                self._work = trio.Event()

    def send_portion(self) -> bool:
        """Send what an old program may read at once; tell whether there was anything."""
        portion = b""
        while self._units and len(portion) + len(self._units[0]) <= limits.LEGACY_READ_BYTES:
            portion += self._units.popleft()
        self._size -= len(portion)
        self.channel.send(portion)
        return bool(portion)


class LegacyServer:
    """The listener. ``serve`` runs it; ``stop`` ends it; ``reload`` takes the certificate anew.

    Args:
        pair: Certificate and key, for those who come inside TLS.
        gate: Counts connections, together with those of other listeners.
    """

    def __init__(self, pair: Pair, gate: Gate) -> None:
        self._pair = pair
        self._tls = ServerTls.load(pair, labels.LEGACY_ALPN)
        self._gate = gate
        self._access = AccessLog(gate)
        self._rooms: dict[str, list[_Member]] = {}
        self._stop = trio.Event()

    def stop(self) -> None:
        """Tell nobody anything more and close; ``serve`` returns."""
        self._stop.set()

    def reload(self) -> None:
        """Serve new connections with the certificate as the files have it now; keep the old one if they are bad."""
        try:
            self._tls = ServerTls.load(self._pair, labels.LEGACY_ALPN)
        except SecurechatError as error:
            _logger.error("the certificate stays as it was: %s", error)

    async def serve(
        self, listeners: list[trio.SocketListener], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Run until ``stop``."""
        async with trio.open_nursery() as sessions:
            async with trio.open_nursery() as listening:
                serve = partial(trio.serve_listeners, self._accept, listeners, handler_nursery=sessions)
                await listening.start(serve)
                task_status.started()
                await self._stop.wait()
                listening.cancel_scope.cancel()
            for members in self._rooms.values():
                for member in members:
                    member.scope.cancel()
            sessions.cancel_scope.deadline = trio.current_time() + limits.LEGACY_FLUSH_TIMEOUT

    async def _accept(self, stream: trio.SocketStream) -> None:
        """Serve one connection: the one place where whatever goes wrong ends that connection alone."""
        peer = "?"
        try:
            peer = str(stream.socket.getpeername()[0])
            with self._gate.count(peer) as exceeded:
                if exceeded or not await self._gate.wait(peer):
                    raise LegacyError(exceeded or "too many connections at once")
                await self._run(stream)
        except (LegacyError, ssl.SSLError) as error:
            _logger.info("refused %s: %s", peer, error)
        except (ChannelClosedError, OSError) as error:
            _logger.info("refused %s: it left before it said who it is (%s)", peer, error)
        except trio.TooSlowError:
            _logger.info("refused %s: it did not say who it is in time", peer)
        except Exception:
            _logger.exception("a fault of this server ended a connection; please report it")
        finally:
            stream.socket.close()

    async def _run(self, stream: trio.SocketStream) -> None:
        with trio.fail_after(limits.LEGACY_GREETING_TIMEOUT):
            channel = await self._open(stream)
            try:
                greeting, rest = await _read_greeting(channel)
            except BaseException:
                channel.abort()
                raise
        if sum(len(members) for members in self._rooms.values()) >= limits.LEGACY_MEMBERS:
            channel.abort()
            raise LegacyError("too many members")
        await self._stay(_Member(channel, greeting), rest)

    async def _open(self, stream: trio.SocketStream) -> SocketChannel:
        """Return a channel: inside TLS when the first byte says so."""
        first = await stream.socket.recv(1, socket.MSG_PEEK)
        if first != _TLS_HANDSHAKE:
            return SocketChannel(take_socket(stream))
        channel = TlsChannel(take_socket(stream), self._tls.context)
        try:
            await channel.handshake()
            if channel.alpn != labels.LEGACY_ALPN:
                raise LegacyError("TLS for another protocol")
        except BaseException:
            channel.abort()
            raise
        return channel

    async def _stay(self, member: _Member, rest: bytes) -> None:
        """Let somebody be in a room until they leave, or are sent away."""
        channel = member.channel
        try:
            async with trio.open_nursery() as nursery:
                channel.on_backlog = partial(nursery.start_soon, channel.drain)
                with member.scope:
                    nursery.start_soon(member.write)
                    self._join(member)
                    await self._listen(member, rest)
                self._leave(member)
                while member.send_portion():
                    pass
                with trio.move_on_after(limits.LEGACY_FLUSH_TIMEOUT):
                    await channel.reset()
                nursery.cancel_scope.cancel()
        finally:
            self._leave(member)
            channel.abort()

    def _join(self, member: _Member) -> None:
        members = self._rooms.setdefault(member.room, [])
        members.append(member)
        member.tell(codec.encode(codec.welcome(member.room, [m.name for m in members]) + codec.NOT_ENCRYPTED))
        self._tell(member.room, codec.joined(_now(), member.name))
        self._record("joined", member)

    def _leave(self, member: _Member) -> None:
        members = self._rooms.get(member.room, [])
        if member in members:
            members.remove(member)
            self._record("left", member)
            self._tell(member.room, codec.left(_now(), member.name))
        if not members:
            self._rooms.pop(member.room, None)

    def _tell(self, room: str, notice: str) -> None:
        units = codec.encode(notice)
        for member in self._rooms[room]:
            member.tell(units)

    def _record(self, what: str, member: _Member) -> None:
        self._access.legacy(what, member.channel.peer, member.name, member.room, len(self._rooms[member.room]))

    async def _listen(self, member: _Member, data: bytes) -> None:
        """Pass on what somebody says, until they leave."""
        decoder = UnitDecoder()
        bucket = Bucket(*limits.LEGACY_MESSAGES_PER_CONNECTION, trio.current_time)
        try:
            while True:
                for text in decoder.feed(data):
                    await self._pass_on(member, text, bucket)
                data = b""
                with trio.move_on_after(limits.LEGACY_QUIET if decoder.is_whole else math.inf):
                    data = await member.channel.receive()
                if not data:
                    await self._pass_on(member, decoder.flush(), bucket)
                    data = await member.channel.receive()
        except LegacyError as error:
            _logger.info("ended %s: %s", member.channel.peer, error)
        except ChannelClosedError:
            await self._pass_on(member, decoder.flush(), bucket)

    async def _pass_on(self, member: _Member, text: str, bucket: Bucket) -> None:
        """Tell the room what somebody said; who says too much is read more slowly."""
        text = text.rstrip(" ")  # with which our own clients fill a unit up
        if text:
            await trio.sleep(bucket.spend())
            self._tell(member.room, codec.said(_now(), member.name, text))


async def _read_greeting(channel: SocketChannel) -> tuple[Greeting, bytes]:
    decoder = GreetingDecoder()
    while (found := decoder.feed(await channel.receive())) is None:
        pass
    return found


def _now() -> str:
    return f"{datetime.datetime.now():%Y-%m-%d %H:%M:%S}"
