"""What is sent on a channel that ended is dropped; nothing of TLS escapes from the fan-out, a drain or a close."""

import socket
from collections.abc import AsyncIterator
from typing import NamedTuple

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from securechat.errors import ChannelBrokenError, ChannelClosedError
from securechat.transport.certificates import make_pair
from securechat.transport.tls import ServerTls, client_context
from securechat.transport.tls_channel import TlsChannel


class Ends(NamedTuple):
    server: TlsChannel
    client: TlsChannel
    client_socket: socket.socket


@pytest.fixture
async def ends(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Ends]:
    tls = ServerTls.load(make_pair(tmp_path_factory.mktemp("tls"), ["localhost"]))
    pair = socket.socketpair()
    for sock in pair:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    raw = pair[1].dup()
    made = Ends(TlsChannel(pair[0], tls.context), TlsChannel(pair[1], client_context(verify=False), "localhost"), raw)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(made.server.handshake)
        nursery.start_soon(made.client.handshake)
    yield made
    made.server.abort()
    made.client.abort()
    raw.close()


async def test_a_send_after_garbage_was_received_is_dropped(ends: Ends) -> None:
    ends.client_socket.send(b"garbage!" * 10)
    with pytest.raises(ChannelBrokenError):
        await ends.server.receive()
    ends.server.send(b"dropped")


async def test_a_send_after_an_end_without_close_notify_is_dropped(ends: Ends) -> None:
    ends.client_socket.shutdown(socket.SHUT_WR)
    with pytest.raises(ChannelBrokenError):
        await ends.server.receive()
    ends.server.send(b"dropped")


async def test_a_send_while_closing_is_dropped(ends: Ends) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ends.server.aclose)
        await wait_all_tasks_blocked()
        ends.server.send(b"dropped")
        with pytest.raises(ChannelClosedError):
            await ends.client.receive()
        await ends.client.aclose()


async def test_a_drain_after_garbage_was_received_ends(ends: Ends) -> None:
    for _ in range(200):
        ends.server.send(b"x" * 10_000)
    ends.client_socket.send(b"garbage!" * 10)
    with pytest.raises(ChannelBrokenError):
        await ends.server.receive()

    async def read_below_tls() -> None:
        while True:
            await trio.lowlevel.wait_readable(ends.client_socket)
            if not ends.client_socket.recv(65536):
                return

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read_below_tls)
        await ends.server.drain()
        nursery.cancel_scope.cancel()


async def read_to_the_end(channel: TlsChannel) -> int:
    """Return how many bytes come before the peer closes in good order."""
    received = 0
    try:
        while True:
            received += len(await channel.receive())
    except ChannelClosedError as error:
        assert not isinstance(error, ChannelBrokenError)  # noqa: PT017
    return received


async def test_a_close_takes_up_the_drain_of_a_task_that_was_cancelled(ends: Ends) -> None:
    for _ in range(200):
        ends.server.send(b"x" * 10_000)
    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as draining:
                draining.start_soon(ends.server.drain)
                await wait_all_tasks_blocked()
                nursery.start_soon(ends.server.aclose)
                await wait_all_tasks_blocked()
                scope.cancel()
        received = await read_to_the_end(ends.client)
        await ends.client.aclose()
    assert received == 2_000_000


async def test_a_peer_that_goes_in_the_handshake_breaks_the_channel(ends: Ends) -> None:
    sock, peer = socket.socketpair()
    sock.setblocking(False)
    peer.close()
    channel = TlsChannel(sock, client_context(verify=False), "localhost")
    with pytest.raises(ChannelBrokenError):
        await channel.handshake()
    channel.abort()
