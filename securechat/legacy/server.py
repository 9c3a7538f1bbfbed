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
from contextlib import ExitStack
from functools import partial

import trio

from securechat import labels, limits
from securechat.errors import ChannelClosedError
from securechat.legacy import codec, notices
from securechat.legacy.codec import Greeting, GreetingDecoder, LegacyError, UnitDecoder
from securechat.server.access import AccessLog
from securechat.server.buckets import Bucket, network
from securechat.server.gate import Gate, Guest, Stage
from securechat.transport.channel import SocketChannel, reset_on_close, take_socket
from securechat.transport.tls import ServerTls
from securechat.transport.tls_channel import TLS_HANDSHAKE

_logger = logging.getLogger("securechat.legacy")


class _Member:
    """Somebody in a room of the old mode.

    What is told goes out notice by notice, or, when much waits, in portions of what old programs read at
    once, with a little time in between: what they read together they print on one line.
    """

    def __init__(self, channel: SocketChannel, greeting: Greeting, access: AccessLog) -> None:
        self.channel = channel
        self.room, self.name = greeting
        self._access = access
        self.scope = trio.CancelScope()
        self._notices: deque[bytes] = deque()
        self._size = 0
        self._work = trio.Event()

    @property
    def is_behind(self) -> bool:
        """Whether much waits that the pace alone holds back; it does not wait for long."""
        return self._size > limits.LEGACY_QUEUE_BYTES and not self.channel.backlog

    def tell(self, cells: bytes) -> None:
        """Send a notice soon, without waiting; who does not read is sent away."""
        self._notices.append(cells)
        self._size += len(cells)
        self._work.set()
        waiting = self._size + self.channel.backlog
        if self.channel.backlog and waiting > limits.LEGACY_OUTBOX_BYTES and not self.scope.cancel_called:
            self.scope.cancel()
            if self._access.may_log(peer := self.channel.peer):
                _logger.info("ended %s: it does not read, and %d KiB wait for it", peer, waiting // limits.KIB)

    async def write(self) -> None:
        """Run until cancelled: send what is told."""
        while True:
            await self._work.wait()
            portion = self._next_portion()
            for start in range(0, len(portion), limits.LEGACY_WRITE_BYTES):
                self.channel.send(portion[start : start + limits.LEGACY_WRITE_BYTES])
            await self.channel.drain()
            await trio.sleep(limits.LEGACY_PACE)
            if not self._notices:
                self._work = trio.Event()

    def _next_portion(self) -> bytes:
        """Take one notice, or what an old program reads at once where more than that waits."""
        most = limits.LEGACY_READ_BYTES
        is_much = self._size > most
        portion = b""
        while self._notices and len(portion) < most and (is_much or not portion):
            notice = self._notices.popleft()
            taken = most - len(portion)
            portion += notice[:taken]
            if rest := notice[taken:]:
                self._notices.appendleft(rest)
        self._size -= len(portion)
        return portion

    async def finish(self) -> None:
        """Wait until what was told is sent, then end the connection. The caller sets the deadline."""
        while self._notices:  # noqa: ASYNC110 - at the pace of ``write``
            await trio.sleep(limits.LEGACY_PACE)
        await self.channel.reset()


class LegacyServer:
    """The listener. ``serve`` runs it; ``stop`` ends it; ``use`` changes its certificate.

    Args:
        tls: The certificate, loaded, for those who come inside TLS.
        gate: Counts connections, together with those of other listeners.
        access: Logs what peers do, together with those of other listeners.
    """

    def __init__(self, tls: ServerTls, gate: Gate, access: AccessLog) -> None:
        self._tls = tls
        self._gate = gate
        self._access = access
        self._rooms: dict[str, list[_Member]] = {}
        self._stop = trio.Event()

    def stop(self) -> None:
        """Tell nobody anything more and close; ``serve`` returns."""
        self._stop.set()

    def use(self, tls: ServerTls) -> None:
        """Serve new connections with another certificate; those that there are keep theirs."""
        self._tls = tls

    async def serve(
        self, listeners: list[trio.SocketListener], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Run until ``stop``."""
        async with trio.open_nursery() as sessions:
            async with trio.open_nursery() as listening:
                serve = partial(trio.serve_listeners, self._accept, listeners, handler_nursery=sessions)
                await listening.start(serve)
                listening.start_soon(self._gate.run)
                task_status.started()
                await self._stop.wait()
                listening.cancel_scope.cancel()
            for members in self._rooms.values():
                for member in members:
                    member.scope.cancel()
            sessions.cancel_scope.deadline = trio.current_time() + limits.LEGACY_FLUSH_TIMEOUT

    async def _accept(self, stream: trio.SocketStream) -> None:
        """Serve one connection: the one place where whatever goes wrong ends that connection alone."""
        peer = "somebody who left at once"  # and whose address the system has forgotten
        try:
            reset_on_close(stream.socket)
            peer = str(stream.socket.getpeername()[0])
            with self._gate.enter(peer) as guest:
                if guest.exceeded:
                    raise LegacyError(guest.exceeded)
                await self._run(stream, guest)
            if guest.scope.cancelled_caught:
                raise LegacyError("it made way for newer connections before it said who it is")
        except (LegacyError, ssl.SSLError) as error:
            self._log_end("refused", peer, str(error))
        except (ChannelClosedError, OSError) as error:
            self._log_end("refused", peer, f"it left before it said who it is ({error})")
        except trio.TooSlowError:
            self._log_end("refused", peer, "it did not say who it is in time")
        except Exception:
            if self._access.may_log(peer):
                _logger.exception("a fault of this server ended a connection; please report it")
        finally:
            stream.socket.close()

    def _log_end(self, how: str, peer: str, why: str) -> None:
        if self._access.may_log(peer):
            _logger.info("%s %s: %s", how, peer, why)

    async def _run(self, stream: trio.SocketStream, guest: Guest) -> None:
        with trio.fail_after(limits.LEGACY_GREETING_TIMEOUT):
            channel = await self._open(stream, guest)
            try:
                greeting, rest = await _read_greeting(channel)
            except BaseException:
                channel.abort()
                raise
        if self._is_full(guest.network):
            channel.abort()
            raise LegacyError("too many members")
        guest.join()
        await self._stay(_Member(channel, greeting, self._access), rest)

    def _is_full(self, key: str) -> bool:
        """Return whether there are all members that there may be, in all or of one address."""
        members = [network(member.channel.peer) for room in self._rooms.values() for member in room]
        return len(members) >= limits.LEGACY_MEMBERS or members.count(key) >= limits.LEGACY_MEMBERS_PER_ADDRESS

    async def _open(self, stream: trio.SocketStream, guest: Guest) -> SocketChannel:
        """Return a channel: inside TLS when the first byte says so."""
        first = await stream.socket.recv(1, socket.MSG_PEEK)
        sock = take_socket(stream)
        if first != TLS_HANDSHAKE:  # no base64 begins so
            guest.advance(Stage.IDLE)
            return SocketChannel(sock)
        channel = await self._gate.shake_hands(guest, sock, self._tls.context)
        if channel.alpn != labels.LEGACY_ALPN:
            channel.abort()
            raise LegacyError("TLS for another protocol")
        return channel

    async def _stay(self, member: _Member, rest: bytes) -> None:
        """Let somebody be in a room until they leave, or are sent away."""
        channel = member.channel
        with ExitStack() as stack:  # each of these is done whatever the other one raises
            stack.callback(channel.abort)
            stack.callback(self._leave, member)
            async with trio.open_nursery() as nursery:
                channel.on_backlog = partial(nursery.start_soon, channel.drain)
                with member.scope:
                    nursery.start_soon(member.write)
                    self._join(member)
                    await self._listen(member, rest)
                self._leave(member)
                with trio.move_on_after(limits.LEGACY_FLUSH_TIMEOUT):
                    await member.finish()
                nursery.cancel_scope.cancel()

    def _join(self, member: _Member) -> None:
        members = self._rooms.setdefault(member.room, [])
        members.append(member)
        member.tell(codec.cells(notices.welcome(member.room, [m.name for m in members]) + notices.NOT_ENCRYPTED))
        self._tell(member.room, codec.cells(notices.joined(_now(), member.name)))
        self._record("joined", member, len(members))

    def _leave(self, member: _Member) -> None:
        """Leave a room: first change what is, then let others know, then write it down."""
        members = self._rooms.get(member.room, [])
        if member not in members:
            return
        members.remove(member)
        if not members:
            del self._rooms[member.room]
        elif not self._stop.is_set():
            self._tell(member.room, codec.cells(notices.left(_now(), member.name)))
        self._record("left", member, len(members))

    def _tell(self, room: str, cells: bytes) -> None:
        for member in self._rooms[room]:
            member.tell(cells)

    def _record(self, what: str, member: _Member, members: int) -> None:
        self._access.legacy(what, member.channel.peer, member.name, member.room, members)

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
            self._log_end("ended", member.channel.peer, str(error))
        except ChannelClosedError:
            await self._pass_on(member, decoder.flush(), bucket)

    async def _pass_on(self, member: _Member, text: str, bucket: Bucket) -> None:
        """Tell the room what somebody said; who says too much is read more slowly."""
        text = text.rstrip(" ")  # with which our own clients fill a unit up
        if not text:
            return
        cells = codec.cells(notices.said(_now(), member.name, text))
        await trio.sleep(bucket.spend(max(1, len(cells) / limits.LEGACY_READ_BYTES)))
        while any(other.is_behind for other in self._rooms[member.room]):  # noqa: ASYNC110 - their pace is this
            await trio.sleep(limits.LEGACY_PACE)
        self._tell(member.room, cells)


async def _read_greeting(channel: SocketChannel) -> tuple[Greeting, bytes]:
    decoder = GreetingDecoder()
    while (found := decoder.feed(await channel.receive())) is None:
        pass
    return found


def _now() -> str:
    return f"{datetime.datetime.now():%Y-%m-%d %H:%M:%S}"
