"""Who gets a place in the rooms of the old mode."""

from functools import partial
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from securechat import labels, limits
from securechat.legacy import codec
from securechat.legacy.server import LegacyServer
from securechat.limits import ServerLimits
from securechat.server.access import AccessLog
from securechat.server.gate import Gate
from securechat.transport.certificates import make_pair
from securechat.transport.tls import ServerTls

PATIENCE = 10.0


def make_server(directory: Path, gate: Gate) -> LegacyServer:
    tls = ServerTls.load(make_pair(directory, ["localhost"]), labels.LEGACY_ALPN)
    return LegacyServer(tls, gate, AccessLog(gate))


async def come(port: int, source: str, name: str) -> tuple[trio.SocketStream, bytes]:
    """Greet the server from an address of this machine; return the connection, and what came first."""
    sock = trio.socket.socket()
    await sock.bind((source, 0))
    await sock.connect(("127.0.0.1", port))
    stream = trio.SocketStream(sock)
    await stream.send_all(codec.greet("1", name))
    with trio.fail_after(PATIENCE):
        try:
            return stream, await stream.receive_some()
        except trio.BrokenResourceError:
            return stream, b""


@pytest.mark.skipif(not Path("/proc").exists(), reason="only Linux has all of 127.0.0.0/8")
async def test_one_address_cannot_take_all_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LEGACY_MEMBERS_PER_ADDRESS", 2)
    server = make_server(tmp_path, Gate())
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    streams = []
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(server.serve, listeners))
        welcomed = []
        for number, source in enumerate(["127.0.0.1", "127.0.0.1", "127.0.0.1", "127.0.0.2"]):
            stream, said = await come(port, source, f"name {number}")
            streams.append(stream)
            welcomed.append(bool(said))
        assert welcomed == [True, True, False, True]
        server.stop()
    for stream in streams:
        await stream.aclose()


@pytest.mark.skipif(not Path("/proc").exists(), reason="only Linux has all of 127.0.0.0/8")
async def test_a_connection_without_a_greeting_makes_way(tmp_path: Path) -> None:
    server = make_server(tmp_path, Gate(ServerLimits(connections_per_address=3)))
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(server.serve, listeners))
        silent = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(10)]
        await wait_all_tasks_blocked(0.01)
        streams = [await come(port, "127.0.0.1", f"name {number}") for number in range(2)]
        assert all(said for _, said in streams)
        server.stop()
    for stream in [*silent, *(stream for stream, _ in streams)]:
        await stream.aclose()
