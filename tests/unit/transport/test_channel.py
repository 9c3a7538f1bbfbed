"""The channel: what a session may rely on, over real sockets that the test holds at the other end."""

import shutil
import socket
import ssl
import struct
import subprocess
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from securechat import labels
from securechat.errors import ChannelBrokenError, ChannelClosedError
from securechat.transport.certificates import make_pair, spki_hash
from securechat.transport.channel import take_socket
from securechat.transport.tls import ServerTls, client_context
from securechat.transport.tls_channel import TlsChannel
from tests.support.patience import PATIENCE

GARBAGE = b"this is no TLS record" * 10
FORGED = b"\x17\x03\x03\x00\x20" + b"a" * 32  # application data that was never encrypted


class Ends(NamedTuple):
    """A connection after its handshake; ``*_socket`` write below TLS."""

    server: TlsChannel
    client: TlsChannel
    server_socket: socket.socket
    client_socket: socket.socket

    def vanish(self) -> None:
        """Let the client go without close_notify."""
        self.client.abort()
        self.client_socket.close()


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> ServerTls:
    return ServerTls.load(make_pair(tmp_path_factory.mktemp("tls"), ["localhost"]))


def socket_pair() -> tuple[socket.socket, socket.socket]:
    """Return two connected sockets that hold little, so that a reader that stops is soon felt."""
    pair = socket.socketpair()
    for sock in pair:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    return pair


async def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Return two connected TCP sockets, as a server and a client get them."""
    accepted: list[trio.SocketStream] = []
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener, trio.open_nursery() as nursery:

        async def accept() -> None:
            accepted.append(await listener.accept())

        nursery.start_soon(accept)
        stream = await trio.open_tcp_stream("127.0.0.1", listener.socket.getsockname()[1])
    return take_socket(accepted[0]), take_socket(stream)


async def connect(tls: ServerTls, sockets: tuple[socket.socket, socket.socket]) -> Ends:
    raw = [sock.dup() for sock in sockets]
    server = TlsChannel(sockets[0], tls.context)
    client = TlsChannel(sockets[1], client_context(verify=False), "localhost")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.handshake)
        nursery.start_soon(client.handshake)
    return Ends(server, client, raw[0], raw[1])


def disconnect(ends: Ends) -> None:
    ends.server.abort()
    ends.client.abort()
    ends.server_socket.close()
    ends.client_socket.close()


@pytest.fixture
async def ends(tls: ServerTls) -> AsyncIterator[Ends]:
    made = await connect(tls, socket_pair())
    yield made
    disconnect(made)


@pytest.fixture
async def tcp_ends(tls: ServerTls) -> AsyncIterator[Ends]:
    made = await connect(tls, await tcp_pair())
    yield made
    disconnect(made)


async def receive_exactly(channel: TlsChannel, size: int) -> bytes:
    received = b""
    while len(received) < size:
        received += await channel.receive()
    return received


async def receive_all(channel: TlsChannel) -> bytes:
    """Return what comes up to the end, which has to be one in good order."""
    received = []
    try:
        while True:
            received.append(await channel.receive())
    except ChannelBrokenError:
        raise
    except ChannelClosedError:
        return b"".join(received)


async def is_closed(channel: TlsChannel) -> bool:
    """Tell whether ``receive`` finds an end in good order."""
    try:
        await channel.receive()
    except ChannelBrokenError:
        return False
    except ChannelClosedError:
        return True
    return False


def numbered(count: int, size: int = 1000) -> list[bytes]:
    return [number.to_bytes(4, "big") * (size // 4) for number in range(count)]


def fill(channel: TlsChannel, messages: list[bytes]) -> None:
    for message in messages:
        channel.send(message)


async def test_both_ends_know_each_other_after_the_handshake(ends: Ends, tls: ServerTls) -> None:
    assert ends.server.alpn == ends.client.alpn == labels.ALPN
    assert spki_hash(ends.client.peer_certificate) == tls.pin
    assert ends.server.backlog == ends.client.backlog == 0
    assert ends.server.peer == "local"


async def test_the_peer_of_a_tcp_connection_is_its_address(tcp_ends: Ends) -> None:
    assert tcp_ends.server.peer == "127.0.0.1"


async def test_the_peer_of_a_connection_that_is_gone_is_unknown(tls: ServerTls) -> None:
    with socket.socket() as sock:
        assert TlsChannel(sock, tls.context).peer == "?"


async def test_a_taken_socket_sends_at_once_and_notices_the_dead() -> None:
    pair = await tcp_pair()
    for sock in pair:
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert not sock.getblocking()
        sock.close()


async def test_a_taken_socket_may_be_of_another_family() -> None:
    one, other = socket.socketpair()
    with other:
        one.setblocking(False)
        taken = take_socket(trio.SocketStream(trio.socket.from_stdlib_socket(one)))
        assert not taken.getblocking()
        taken.close()


async def test_bytes_arrive_in_both_directions(ends: Ends) -> None:
    ends.client.send(b"question")
    assert await ends.server.receive() == b"question"
    ends.server.send(b"answer")
    ends.server.send(b", and more")
    assert await receive_exactly(ends.client, 16) == b"answer, and more"


async def test_what_is_sent_is_encrypted(tls: ServerTls) -> None:
    server, far = socket_pair()
    peer, client = socket_pair()
    ends = await _connect_through(tls, server, far, peer, client)
    ends.server.send(b"plain as day" * 20)
    seen = far.recv(4096)
    assert b"plain" not in seen
    assert len(seen) > 240
    disconnect(ends)
    far.close()
    peer.close()


async def _connect_through(
    tls: ServerTls, server: socket.socket, far: socket.socket, peer: socket.socket, client: socket.socket
) -> Ends:
    """Connect two ends whose bytes the test carries; afterwards nothing does."""
    ends = Ends(
        TlsChannel(server, tls.context),
        TlsChannel(client, client_context(verify=False), "localhost"),
        server.dup(),
        client.dup(),
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(relay, far, peer, 4096)
        nursery.start_soon(relay, peer, far, 4096)
        async with trio.open_nursery() as shaking:
            shaking.start_soon(ends.server.handshake)
            shaking.start_soon(ends.client.handshake)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    return ends


async def relay(source: socket.socket, target: socket.socket, size: int) -> None:
    """Carry bytes in pieces of ``size``; the next goes when whoever reads has done all it can with the last."""
    while True:
        await trio.lowlevel.wait_readable(source)
        data = source.recv(size)
        if not data:
            target.shutdown(socket.SHUT_WR)
            return
        target.sendall(data)
        await wait_all_tasks_blocked()


async def test_bytes_that_arrive_one_by_one_make_the_same_messages(tls: ServerTls) -> None:
    server, far = socket_pair()
    peer, client = socket_pair()
    channels = TlsChannel(server, tls.context), TlsChannel(client, client_context(verify=False), "localhost")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(relay, far, peer, 1)
        nursery.start_soon(relay, peer, far, 1)
        async with trio.open_nursery() as shaking:
            for channel in channels:
                shaking.start_soon(channel.handshake)
        for sender, receiver in (channels, channels[::-1]):
            sender.send(b"one")
            sender.send(b"two" * 100)
            assert await receiver.receive() == b"one", "a record counts when its last byte is here"
            assert await receiver.receive() == b"two" * 100
        nursery.start_soon(channels[0].aclose)
        assert await is_closed(channels[1])
        await channels[1].aclose()
    far.close()
    peer.close()


async def test_data_that_comes_together_with_the_end_of_the_handshake_is_received(tls: ServerTls) -> None:
    server, far = socket_pair()
    peer, client = socket_pair()
    channels = TlsChannel(server, tls.context), TlsChannel(client, client_context(verify=False), "localhost")
    async with trio.open_nursery() as nursery:
        for channel in channels:
            nursery.start_soon(channel.handshake)
        await wait_all_tasks_blocked()
        far.sendall(peer.recv(65536))  # ClientHello
        await wait_all_tasks_blocked()
        peer.sendall(far.recv(65536))  # ServerHello to Finished
        await wait_all_tasks_blocked()
        channels[1].send(b"the first frame")
        far.sendall(peer.recv(65536))  # Finished and the frame in one piece
    with trio.fail_after(PATIENCE):
        assert await channels[0].receive() == b"the first frame"
    for channel in channels:
        channel.abort()
    far.close()
    peer.close()


async def test_a_large_message_arrives_whole(ends: Ends) -> None:
    message = b"".join(numbered(500))
    async with trio.open_nursery() as nursery:
        ends.client.on_backlog = partial(nursery.start_soon, ends.client.drain)
        ends.client.send(message)
        assert await receive_exactly(ends.server, len(message)) == message


async def test_a_peer_that_does_not_read_never_makes_send_wait(ends: Ends) -> None:
    calls: list[int] = []
    ends.server.on_backlog = lambda: calls.append(ends.server.backlog)
    messages = numbered(2000)
    sizes = []
    for message in messages:
        ends.server.send(message)
        sizes.append(ends.server.backlog)
    assert sizes == sorted(sizes), "the backlog grows"
    assert 1_900_000 < sizes[-1] < 2_100_000
    assert len(calls) == 1, "one drain is started for one backlog"
    assert calls[0] > 0


async def test_what_was_prepared_is_sent_by_the_flush(ends: Ends) -> None:
    ends.server.prepare(b"first, ")
    ends.server.prepare(b"second")
    with pytest.raises(BlockingIOError):
        ends.client_socket.recv(1, socket.MSG_PEEK)
    ends.server.flush()
    assert ends.server.backlog == 0
    assert await receive_exactly(ends.client, 13) == b"first, second"


async def test_a_flush_after_nothing_sends_nothing(ends: Ends) -> None:
    ends.server.flush()
    with pytest.raises(BlockingIOError):
        ends.client_socket.recv(1, socket.MSG_PEEK)


async def test_what_is_prepared_behind_a_backlog_keeps_its_place(ends: Ends) -> None:
    started: list[None] = []
    ends.server.on_backlog = lambda: started.append(None)
    messages = numbered(500)
    for message in messages:
        ends.server.prepare(message)
        ends.server.flush()
    assert len(started) == 1
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ends.server.drain)
        assert await receive_exactly(ends.client, 500_000) == b"".join(messages)


async def test_drain_delivers_the_backlog_in_order(ends: Ends) -> None:
    messages = numbered(500)
    fill(ends.server, messages)
    assert ends.server.backlog > 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ends.server.drain)
        assert await receive_exactly(ends.client, 500_000) == b"".join(messages)
    assert ends.server.backlog == 0


async def test_what_is_sent_during_a_drain_comes_after_what_waits(ends: Ends) -> None:
    messages = numbered(300)
    fill(ends.server, messages[:200])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ends.server.drain)
        received = await receive_exactly(ends.client, 50_000)
        fill(ends.server, messages[200:])
        received += await receive_exactly(ends.client, 300_000 - len(received))
    assert received == b"".join(messages)
    ends.server.send(b"after")
    assert await ends.client.receive() == b"after"


async def test_each_backlog_is_told_once(ends: Ends) -> None:
    calls: list[str] = []
    async with trio.open_nursery() as nursery:

        def start() -> None:
            calls.append("backlog")
            nursery.start_soon(ends.server.drain)

        ends.server.on_backlog = start
        for round_number in (1, 2):
            fill(ends.server, numbered(200))
            await receive_exactly(ends.client, 200_000)
            await wait_all_tasks_blocked()
            assert ends.server.backlog == 0
            assert len(calls) == round_number


async def test_any_number_of_tasks_may_wait_for_a_drain(ends: Ends) -> None:
    fill(ends.server, numbered(200))
    finished = []

    async def wait() -> None:
        await ends.server.drain()
        finished.append(ends.server.backlog)

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        assert finished == []
        await receive_exactly(ends.client, 200_000)
    assert finished == [0, 0, 0]


async def test_a_drain_without_a_backlog_returns(ends: Ends) -> None:
    await ends.server.drain()


async def test_a_cancelled_drain_can_be_taken_up_by_another(ends: Ends) -> None:
    messages = numbered(200)
    fill(ends.server, messages)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ends.server.drain)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert ends.server.backlog > 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ends.server.drain)
        assert await receive_exactly(ends.client, 200_000) == b"".join(messages)
    assert ends.server.backlog == 0


async def test_a_replaced_backlog_is_dropped_behind_the_bytes_in_flight(ends: Ends) -> None:
    messages = numbered(500)
    fill(ends.server, messages)
    before = ends.server.backlog
    ends.server.replace_backlog(b"goodbye")
    assert ends.server.backlog < before / 10
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ends.server.aclose)
        received = await receive_all(ends.client)
        await ends.client.aclose()
    assert received.endswith(b"goodbye")
    delivered = received.removesuffix(b"goodbye")
    assert len(delivered) < 100_000
    assert delivered == b"".join(messages)[: len(delivered)]
    assert len(delivered) % 1000 == 0, "no message is cut"


async def test_a_replacement_without_a_backlog_is_sent(ends: Ends) -> None:
    ends.server.replace_backlog(b"goodbye")
    assert ends.server.backlog == 0
    assert await ends.client.receive() == b"goodbye"


@pytest.mark.parametrize("closes_first", ["server", "client"])
async def test_a_close_in_good_order_is_told_apart_from_a_break(ends: Ends, closes_first: str) -> None:
    first, second = (ends.server, ends.client) if closes_first == "server" else (ends.client, ends.server)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(first.aclose)
        assert await is_closed(second)
        assert await is_closed(second), "and stays so"
        await second.aclose()
    assert await is_closed(first), "this side closed"


async def test_both_may_close_at_once(ends: Ends) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ends.server.aclose)
        nursery.start_soon(ends.client.aclose)


async def test_what_came_before_the_close_comes_first(ends: Ends) -> None:
    ends.server.send(b"last words")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ends.server.aclose)
        await wait_all_tasks_blocked()  # the words and the close lie in one read
        assert await ends.client.receive() == b"last words"
        assert await is_closed(ends.client)
        await ends.client.aclose()


async def test_closing_flushes_the_backlog(ends: Ends) -> None:
    messages = numbered(500)
    fill(ends.server, messages)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ends.server.aclose)
        assert await receive_all(ends.client) == b"".join(messages)
        await ends.client.aclose()


async def test_closing_reads_on_so_that_what_was_sent_is_not_lost(tcp_ends: Ends) -> None:
    # A close with bytes unread would reset the connection and take the last words with it.
    fill(tcp_ends.client, numbered(100))
    tcp_ends.server.send(b"goodbye")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tcp_ends.server.aclose)
        await tcp_ends.client.drain()
        assert await receive_all(tcp_ends.client) == b"goodbye"
        await tcp_ends.client.aclose()


async def test_a_close_that_the_peer_does_not_answer_is_over_at_its_deadline(
    ends: Ends, autojump_clock: trio.testing.MockClock
) -> None:
    with trio.move_on_after(5) as scope:
        await ends.server.aclose()
    assert scope.cancelled_caught
    assert ends.server_socket.fileno() >= 0
    assert await is_closed(ends.server)


@pytest.mark.parametrize("end", ["close", "half close"])
async def test_an_end_without_close_notify_is_a_break(ends: Ends, end: str) -> None:
    if end == "close":
        ends.vanish()
    else:
        ends.client_socket.shutdown(socket.SHUT_WR)
    for _ in range(2):
        with pytest.raises(ChannelBrokenError, match="broke off"):
            await ends.server.receive()


async def test_what_came_before_a_truncation_comes_first(ends: Ends) -> None:
    ends.client.send(b"last words")
    ends.vanish()
    assert await ends.server.receive() == b"last words"
    with pytest.raises(ChannelBrokenError, match="broke off"):
        await ends.server.receive()


async def test_an_end_in_the_middle_of_a_record_is_a_break(ends: Ends) -> None:
    ends.client_socket.send(b"\x17\x03\x03\x01\x00half")
    ends.vanish()
    with pytest.raises(ChannelBrokenError, match="broke off"):
        await ends.server.receive()


def reset(ends: Ends) -> None:
    """Let the client's kernel say RST."""
    for sock in (ends.client._sock, ends.client_socket):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    ends.vanish()


async def test_a_reset_is_a_break(tcp_ends: Ends) -> None:
    reset(tcp_ends)
    with pytest.raises(ChannelBrokenError, match="broke: Connection reset by peer"):
        await tcp_ends.server.receive()


async def test_a_reset_while_closing_ends_it(tcp_ends: Ends) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tcp_ends.server.aclose)
        await wait_all_tasks_blocked()
        reset(tcp_ends)


async def test_a_reset_while_draining_ends_the_drain_and_the_backlog(tcp_ends: Ends) -> None:
    tcp_ends.server_socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    message = b"x" * 100_000
    while not tcp_ends.server.backlog:
        tcp_ends.server.send(message)
    fill(tcp_ends.server, [message, message])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tcp_ends.server.drain)
        await wait_all_tasks_blocked()
        reset(tcp_ends)
    assert tcp_ends.server.backlog == 0
    tcp_ends.server.send(b"dropped")
    assert tcp_ends.server.backlog == 0
    await tcp_ends.server.aclose()


async def test_what_a_reader_has_not_taken_when_it_is_sent_away_does_not_stay_in_the_kernel(tcp_ends: Ends) -> None:
    while not tcp_ends.server.backlog:
        tcp_ends.server.send(bytes(100_000))
    tcp_ends.server_socket.close()
    tcp_ends.server.abort()
    with trio.fail_after(PATIENCE), pytest.raises(ChannelBrokenError, match="broke: Connection reset by peer"):
        await receive_all(tcp_ends.client)


@pytest.mark.parametrize(
    ("raw", "reason"), [(GARBAGE, "WRONG_VERSION_NUMBER"), (FORGED, "BAD_RECORD_MAC"), (b"\0" * 100, "TLS failed")]
)
async def test_garbage_in_place_of_ciphertext_is_a_break(ends: Ends, raw: bytes, reason: str) -> None:
    ends.client_socket.send(raw)
    with pytest.raises(ChannelBrokenError, match=reason):
        await ends.server.receive()
    with pytest.raises(ChannelBrokenError):
        await ends.server.receive()


async def test_the_peer_is_told_that_it_sent_garbage(ends: Ends) -> None:
    ends.client_socket.send(FORGED)
    with pytest.raises(ChannelBrokenError):
        await ends.server.receive()
    with pytest.raises(ChannelBrokenError, match=r"TLS failed: .*ALERT_BAD_RECORD_MAC"):
        await ends.client.receive()


async def test_what_came_before_garbage_comes_first(ends: Ends) -> None:
    ends.client.send(b"fine")
    ends.client_socket.send(GARBAGE)
    assert await ends.server.receive() == b"fine"
    with pytest.raises(ChannelBrokenError):
        await ends.server.receive()


async def test_garbage_while_a_backlog_waits_is_a_break(ends: Ends) -> None:
    fill(ends.server, numbered(100))
    ends.client_socket.send(GARBAGE)
    with pytest.raises(ChannelBrokenError, match="WRONG_VERSION_NUMBER"):
        await ends.server.receive()


async def test_a_send_to_a_peer_that_is_gone_is_dropped_and_receive_tells(ends: Ends) -> None:
    ends.server.on_backlog = lambda: pytest.fail("there is nobody to wait for")
    ends.vanish()
    for _ in range(3):
        ends.server.send(b"anybody?" * 10_000)
    assert ends.server.backlog == 0
    with pytest.raises(ChannelBrokenError):
        await ends.server.receive()
    await ends.server.aclose()


async def test_an_abort_wakes_who_receives(ends: Ends) -> None:
    async with trio.open_nursery() as nursery:

        async def receive() -> None:
            assert await is_closed(ends.server), "an end of this side's own is no break"

        nursery.start_soon(receive)
        await wait_all_tasks_blocked()
        ends.server.abort()


async def test_an_abort_wakes_who_drains(ends: Ends) -> None:
    fill(ends.server, numbered(200))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ends.server.drain)
        nursery.start_soon(ends.server.drain)
        await wait_all_tasks_blocked()
        ends.server.abort()
    assert ends.server.backlog == 0


async def test_an_abort_wakes_who_closes(ends: Ends) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ends.server.aclose)
        await wait_all_tasks_blocked()
        ends.server.abort()


async def test_an_aborted_channel_takes_everything_and_does_nothing(ends: Ends) -> None:
    ends.server.abort()
    ends.server.abort()
    ends.server.send(b"dropped")
    ends.server.replace_backlog(b"dropped")
    await ends.server.drain()
    assert ends.server.backlog == 0
    assert await is_closed(ends.server)
    await ends.server.aclose()


async def test_an_abort_says_no_close_notify(tcp_ends: Ends) -> None:
    tcp_ends.server.abort()
    tcp_ends.server_socket.close()
    with pytest.raises(ChannelBrokenError):
        await tcp_ends.client.receive()


async def test_a_cancelled_receive_loses_nothing_that_comes_later(ends: Ends) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ends.server.receive)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    ends.client.send(b"later")
    assert await ends.server.receive() == b"later"


class Hesitant(socket.socket):
    """A socket that is readable and then is not, as the kernel may have it (select(2), BUGS)."""

    hesitations = 2

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        if self.hesitations:
            self.hesitations -= 1
            raise BlockingIOError
        return super().recv_into(*args, **kwargs)


async def test_a_read_that_finds_nothing_is_tried_again(tls: ServerTls) -> None:
    server, client = socket_pair()
    hesitant = Hesitant(fileno=server.detach())
    hesitant.setblocking(False)
    ends = await connect(tls, (hesitant, client))
    ends.client.send(b"after all")
    assert await ends.server.receive() == b"after all"
    assert hesitant.hesitations == 0
    disconnect(ends)


async def fail_handshake(server: TlsChannel, client: TlsChannel) -> dict[str, ssl.SSLError | ChannelClosedError]:
    """Return how the handshake failed, by side."""
    failures: dict[str, ssl.SSLError | ChannelClosedError] = {}

    async def shake(side: str, channel: TlsChannel) -> None:
        try:
            await channel.handshake()
            await channel.receive()  # TLS 1.3: a client learns only here that it was refused
        except (ssl.SSLError, ChannelClosedError) as error:
            failures[side] = error
        channel.abort()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(shake, "server", server)
        nursery.start_soon(shake, "client", client)
    return failures


async def test_a_client_that_speaks_no_tls_1_3_is_refused_and_told(tls: ServerTls) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    server, client = socket_pair()
    failures = await fail_handshake(TlsChannel(server, tls.context), TlsChannel(client, context, "localhost"))
    assert isinstance(failures["server"], ssl.SSLError)
    assert failures["server"].reason == "UNSUPPORTED_PROTOCOL"
    assert isinstance(failures["client"], ssl.SSLError)
    assert failures["client"].reason == "TLSV1_ALERT_PROTOCOL_VERSION"


async def test_a_server_that_speaks_no_tls_1_3_is_refused(tls: ServerTls, tmp_path: Path) -> None:
    pair = make_pair(tmp_path, ["localhost"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    pair.load_into(context)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    server, client = socket_pair()
    failures = await fail_handshake(
        TlsChannel(server, context), TlsChannel(client, client_context(verify=False), "localhost")
    )
    assert isinstance(failures["server"], ssl.SSLError)
    assert isinstance(failures["client"], ssl.SSLError)


@pytest.mark.parametrize("protocols", [["h2", "http/1.1"], []])
async def test_a_client_of_another_protocol_shows_none_of_ours(tls: ServerTls, protocols: list[str]) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(protocols)
    server, client = socket_pair()
    channels = TlsChannel(server, tls.context), TlsChannel(client, context, "localhost")
    async with trio.open_nursery() as nursery:
        for channel in channels:
            nursery.start_soon(channel.handshake)
    for channel in channels:
        assert channel.alpn is None, "which is for the caller to refuse"
        channel.abort()


async def test_a_client_that_verifies_refuses_a_certificate_nobody_vouches_for(tls: ServerTls) -> None:
    server, client = socket_pair()
    failures = await fail_handshake(
        TlsChannel(server, tls.context), TlsChannel(client, client_context(verify=True), "localhost")
    )
    assert isinstance(failures["client"], ssl.SSLCertVerificationError)
    assert "ALERT_UNKNOWN_CA" in str(failures["server"])


@pytest.mark.parametrize("hello", [b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\0" * 50, b"SSH-2.0-x\r\n"])
async def test_a_peer_that_speaks_something_else_fails_the_handshake(tls: ServerTls, hello: bytes) -> None:
    sock, peer = socket_pair()
    peer.send(hello)
    channel = TlsChannel(sock, tls.context)
    with pytest.raises(ssl.SSLError):
        await channel.handshake()
    channel.abort()
    peer.close()


@pytest.mark.parametrize("said", [b"", b"\x16\x03\x01\x02\x00"])
async def test_a_peer_that_goes_in_the_handshake_fails_it(tls: ServerTls, said: bytes) -> None:
    sock, peer = socket_pair()
    peer.send(said)
    peer.close()
    channel = TlsChannel(sock, tls.context)
    with pytest.raises((ssl.SSLError, ChannelBrokenError)):
        await channel.handshake()
    channel.abort()


async def test_a_peer_that_resets_in_the_handshake_breaks_it() -> None:
    sock, peer = socket_pair()
    channel = TlsChannel(sock, client_context(verify=False), "localhost")
    async with trio.open_nursery() as nursery:

        async def shake() -> None:
            with pytest.raises(ChannelBrokenError, match="reset"):
                await channel.handshake()

        nursery.start_soon(shake)
        await wait_all_tasks_blocked()
        peer.close()  # with the ClientHello unread: a reset
    channel.abort()


async def test_an_abort_ends_a_handshake(tls: ServerTls) -> None:
    sock, peer = socket_pair()
    channel = TlsChannel(sock, tls.context)
    async with trio.open_nursery() as nursery:

        async def shake() -> None:
            with pytest.raises(ChannelClosedError, match="this side"):
                await channel.handshake()

        nursery.start_soon(shake)
        await wait_all_tasks_blocked()
        channel.abort()
    peer.close()


async def _until(stream: trio.abc.ReceiveStream, wanted: bytes) -> None:
    seen = b""
    while wanted not in seen:
        more = await stream.receive_some()
        assert more, seen
        seen += more


@pytest.mark.skipif(shutil.which("openssl") is None, reason="Python's ssl cannot ask for a key update; openssl can")
async def test_a_key_update_is_answered_and_both_directions_go_on(tls: ServerTls) -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-alpn", labels.ALPN]
    start: Callable[..., Any] = partial(
        trio.run_process, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False
    )
    with trio.fail_after(PATIENCE):
        async with listener, trio.open_nursery() as nursery:
            process: trio.Process = await nursery.start(start, command)
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stderr is not None
            channel = TlsChannel(take_socket(await listener.accept()), tls.context)
            await channel.handshake()
            await process.stdin.send_all(b"before\n")
            assert await channel.receive() == b"before\n"
            await process.stdin.send_all(b"K\n")
            await _until(process.stderr, b"KEYUPDATE")
            await process.stdin.send_all(b"after\n")
            assert await channel.receive() == b"after\n"
            channel.send(b"answered under new keys\n")
            await _until(process.stdout, b"answered under new keys")
            channel.abort()
            nursery.cancel_scope.cancel()
