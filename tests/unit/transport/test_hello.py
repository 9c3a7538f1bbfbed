"""The first record of a TLS client, for which a server waits before it does a handshake."""

import socket
import ssl
from collections.abc import Iterator

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from securechat.errors import ChannelBrokenError, ChannelClosedError
from securechat.transport.tls import client_context
from securechat.transport.tls_channel import has_gone, read_hello

Ends = tuple[socket.socket, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    server, client = socket.socketpair()
    server.setblocking(False)
    with server, client:
        yield server, client


@pytest.fixture
def hello() -> bytes:
    outgoing = ssl.MemoryBIO()
    tls = client_context(verify=False).wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


async def test_a_hello_may_come_in_any_pieces(ends: Ends, hello: bytes) -> None:
    server, client = ends
    read: list[bytes] = []

    async def receive() -> None:
        read.append(await read_hello(server))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        for at in range(len(hello)):
            assert not read
            client.send(hello[at : at + 1])
            await wait_all_tasks_blocked()
    assert read == [hello]


async def test_what_follows_a_hello_is_kept(ends: Ends, hello: bytes) -> None:
    server, client = ends
    client.send(hello + b"early data")
    assert await read_hello(server) == hello + b"early data"


@pytest.mark.parametrize("said", [b"G", b"GET / HTTP/1.1\r\n\r\n", b"\x15\x03\x01", b"\x16\x03\x01\xff\xff"])
async def test_what_is_no_tls_is_refused_at_once(ends: Ends, said: bytes) -> None:
    server, client = ends
    client.send(said)
    with pytest.raises(ChannelBrokenError, match="does not speak TLS"):
        await read_hello(server)


@pytest.mark.parametrize("said", [b"", b"\x16", b"\x16\x03\x01\x02\x00half"])
async def test_an_end_before_the_hello_is_said(ends: Ends, said: bytes) -> None:
    server, client = ends
    client.send(said)
    client.shutdown(socket.SHUT_WR)
    with pytest.raises(ChannelClosedError):
        await read_hello(server)


def test_a_peer_that_has_gone_is_noticed(ends: Ends) -> None:
    server, client = ends
    assert not has_gone(server)
    client.send(b"x")
    assert not has_gone(server)
    server.recv(1)
    client.close()
    assert has_gone(server)
