"""The whole server over real TLS on loopback: what clients, good and bad, meet."""

import errno
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from prometheus_client.metrics_core import Metric

from securechat import labels, limits
from securechat.errors import (
    ChannelBrokenError,
    ChannelClosedError,
    SecurechatError,
    StorageError,
    StorageFullError,
)
from securechat.history.log import Append, Appended, Retention
from securechat.history.memory import MemoryLog
from securechat.history.sqlite import SqliteLog
from securechat.limits import ServerLimits
from securechat.protocol import chain, messages
from securechat.protocol.messages import (
    Change,
    Code,
    Deliver,
    Direction,
    Error,
    Goodbye,
    History,
    Reason,
)
from securechat.server import serve
from securechat.server.metrics import ServerCollector
from securechat.server.serve import Configuration, Server, Started
from securechat.server.session import Services
from securechat.transport.certificates import Pair, make_pair, spki_hash
from securechat.transport.tls import ServerTls, client_context
from securechat.transport.tls_channel import TlsChannel
from tests.support import visitors
from tests.support.patience import PATIENCE
from tests.support.peers import free_port
from tests.support.visitors import KEY, OTHER_KEY, Visitor, open_socket


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return make_pair(tmp_path_factory.mktemp("pair"), ["localhost", "127.0.0.1"])


class Running:
    """A server that runs.

    Attributes:
        started: Its port, its pin and its names.
        closed: How many connections ended for which reason.
        ended: Set when ``serve`` returned.
    """

    def __init__(self, server: Server, started: Started, closed: dict[str, int], ended: trio.Event) -> None:
        self.server = server
        self.started = started
        self.closed = closed
        self.ended = ended

    async def until_closed(self, **expected: int) -> None:
        """Wait until so many connections have ended for these reasons."""
        with trio.fail_after(PATIENCE):
            while {reason: self.closed.get(reason, 0) for reason in expected} != expected:
                await trio.testing.wait_all_tasks_blocked(0.001)

    async def stop(self) -> None:
        """Drain, and wait for the end."""
        self.server.stop()
        with trio.fail_after(PATIENCE):
            await self.ended.wait()


@asynccontextmanager
async def open_server(pair: Pair, data: Path | None = None, **changes: Any) -> AsyncIterator[Running]:
    """Run a server on a free port."""
    configuration = Configuration(data, "127.0.0.1", 0)
    server = Server(replace(configuration, **changes), ServerTls.load(pair))
    ended = trio.Event()
    closed: dict[str, int] = {}
    make_services = Services

    def spy(*arguments: Any) -> Services:
        nonlocal closed
        services = make_services(*arguments)
        closed = services.closed
        return services

    async def run(*, task_status: trio.TaskStatus[Started]) -> None:
        await server.serve(task_status=task_status)
        ended.set()

    async with trio.open_nursery() as nursery:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(serve, "Services", spy)
            started = await nursery.start(run)
        running = Running(server, started, closed, ended)
        yield running
        await running.stop()


@pytest.fixture
async def server(pair: Pair) -> AsyncIterator[Running]:
    async with open_server(pair) as running:
        yield running


@asynccontextmanager
async def open_visitor(
    running: Running, key: Ed25519PrivateKey | None = KEY, **settings: Any
) -> AsyncIterator[Visitor]:
    """Connect, and join a room if there is a key."""
    async with visitors.open_visitor(running.started.port, key, **settings) as visitor:
        yield visitor


async def read_to_the_end(sock: socket.socket) -> bytes:
    """Return what comes below TLS until the server ends it, one way or the other."""
    received = b""
    with trio.fail_after(PATIENCE):
        try:
            while True:
                await trio.lowlevel.wait_readable(sock)
                data = sock.recv(65536)
                if not data:
                    return received
                received += data
        except ConnectionError:
            return received


def count_up(count: int, word: str = "message") -> list[bytes]:
    return [f"{word} {number}".encode() for number in range(count)]


def envelopes(delivered: Sequence[Deliver]) -> list[bytes]:
    return [message.envelope for message in delivered]


# Rooms


async def test_rel_6_fifty_members_hear_identical_bytes(server: Running) -> None:
    async with trio.open_nursery() as nursery:
        heard: list[bytes] = []
        everybody = trio.Event()
        count = 0

        async def listen() -> None:
            nonlocal count
            async with open_visitor(server) as member:
                start = len(member.raw)
                count += 1
                if count == 50:
                    everybody.set()
                await member.hear(100)
                heard.append(member.raw[start:])

        for _ in range(50):
            nursery.start_soon(listen)
        with trio.fail_after(PATIENCE):
            await everybody.wait()
        async with open_visitor(server) as one, open_visitor(server) as two:
            for number in range(50):
                one.send(b"one %d" % number)
                two.send(b"two %d" % number)
            assert {d.sequence for d in await one.hear(100)} == set(range(1, 101))
            assert [e for e in envelopes(await two.hear(100)) if e.startswith(b"two")] == count_up(50, "two")
    assert len(heard) == 50
    assert len(set(heard)) == 1


async def test_two_rooms_do_not_hear_each_other(server: Running) -> None:
    async with (
        open_visitor(server) as alice,
        open_visitor(server) as bob,
        open_visitor(server, OTHER_KEY, presence=b"carol") as carol,
    ):
        alice.send(*count_up(20, "tea"))
        carol.send(*count_up(20, "milk"))
        assert envelopes(await bob.hear(20)) == count_up(20, "tea")
        assert envelopes(await carol.hear(20)) == count_up(20, "milk")
        for member, word in ((bob, b"milk"), (alice, b"milk"), (carol, b"tea")):
            await member.is_well()
            assert word not in member.raw
        assert b"carol" not in alice.raw + bob.raw


async def test_who_stops_reading_does_not_delay_the_others_and_is_sent_away(server: Running) -> None:
    large = bytes(60_000)
    async with (
        open_visitor(server) as alice,
        open_visitor(server) as bob,
        open_visitor(server, presence=b"stuck", receive_buffer=4096),
    ):
        sent = 0
        while "slow" not in server.closed:
            alice.send(b"%6d" % sent + large)
            sent += 1
            assert (await alice.until(Deliver)).sequence == (await bob.until(Deliver)).sequence == sent
            assert sent < 500
        alice.send(b"on")
        assert (await bob.until(Deliver)).envelope == b"on"


async def half_close(member: Visitor) -> None:
    member.socket.shutdown(socket.SHUT_WR)


async def reset(member: Visitor) -> None:
    member.reset()


async def say_garbage(member: Visitor) -> None:
    member.socket.send(b"this is no TLS record" * 100)


async def forge_a_record(member: Visitor) -> None:
    member.socket.send(b"\x17\x03\x03\x00\x20" + b"a" * 32)


async def say_garbage_and_reset(member: Visitor) -> None:
    member.socket.send(b"\x17\x03\x03\xff\xff" + bytes(70_000))
    member.reset()


async def close_and_go_on_listening(member: Visitor) -> None:
    await trio.lowlevel.checkpoint()
    member.socket.send(b"\x15\x03\x03\x00\x02\x01\x00")  # an alert that was never encrypted


@pytest.mark.parametrize(
    "misbehave", [half_close, reset, say_garbage, forge_a_record, say_garbage_and_reset, close_and_go_on_listening]
)
async def test_a_member_that_breaks_while_others_talk_leaves_and_harms_nobody(
    server: Running, misbehave: Callable[[Visitor], Any]
) -> None:
    async with (
        open_visitor(server) as alice,
        open_visitor(server) as bob,
        open_visitor(server, presence=b"bad") as bad,
    ):
        for number in range(200):
            alice.send(b"message %d" % number)
            if number == 100:
                bad.send(b"last words")
                await misbehave(bad)
        heard = [e for e in envelopes(await bob.hear(200)) if e != b"last words"]
        assert heard == count_up(200)[: len(heard)]
        with trio.fail_after(PATIENCE):
            while True:
                told = await alice.until(messages.Member)
                if Change.LEFT in {change.change for change in told.changes}:
                    break
        await server.until_closed(closed=1)
        alice.send(b"on")
        while (await alice.until(Deliver)).envelope != b"on":
            pass
    assert "internal" not in server.closed


@pytest.mark.parametrize("misbehave", [half_close, reset, say_garbage])
async def test_all_members_of_a_room_may_break_at_once(server: Running, misbehave: Callable[[Visitor], Any]) -> None:
    async with open_visitor(server) as one, open_visitor(server) as two, open_visitor(server) as three:
        for member in (one, two, three):
            member.send(*count_up(50))
            await misbehave(member)
        await server.until_closed(closed=3)
    async with open_visitor(server) as later:
        assert {d.envelope for d in (await later.page()).records} <= set(count_up(50))
        await later.is_well()
    assert "internal" not in server.closed


# TLS


async def test_garbage_in_place_of_tls_is_closed_and_counted(server: Running) -> None:
    for garbage in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" + bytes(300), b"\0" * 5000, b"SSH-2.0-x\r\n"):
        sock = await open_socket(server.started.port)
        with sock:
            sock.send(garbage)
            sock.shutdown(socket.SHUT_WR)
            await read_to_the_end(sock)
    (await open_socket(server.started.port)).close()
    await server.until_closed(handshake=5)
    async with open_visitor(server) as member:
        await member.is_well()


async def shake_hands(running: Running, context: ssl.SSLContext) -> TlsChannel:
    channel = TlsChannel(await open_socket(running.started.port), context, "localhost")
    try:
        with trio.fail_after(PATIENCE):
            await channel.handshake()
    except ssl.SSLError:
        channel.abort()
        raise
    return channel


@pytest.mark.parametrize("protocols", [[], ["h2", "securechat/2"]])
async def test_tls_1_without_our_application_protocol_it_is_closed(server: Running, protocols: list[str]) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(protocols)
    channel = await shake_hands(server, context)
    with trio.fail_after(PATIENCE), pytest.raises(ChannelClosedError):
        await channel.receive()
    channel.abort()
    await server.until_closed(handshake=1)


async def test_tls_1_older_tls_is_refused(server: Running) -> None:
    context = client_context(verify=False)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError, match="VERSION"):
        await shake_hands(server, context)
    await server.until_closed(handshake=1)
    assert labels.ALPN == "securechat/1"


async def test_a_handshake_has_its_time_and_no_more(pair: Pair) -> None:
    async with open_server(pair, allowed=ServerLimits(handshake_seconds=0.05)) as server:
        for beginning in (b"", b"\x16\x03\x01\x00\xff\x01"):
            with await open_socket(server.started.port) as sock:
                sock.send(beginning)
                assert await read_to_the_end(sock) == b""
        await server.until_closed(handshake=2)


async def test_members_of_one_address_are_limited_and_the_next_is_told(pair: Pair) -> None:
    allowed = ServerLimits(connections_per_address=2)
    async with open_server(pair, allowed=allowed) as server, open_visitor(server) as one:
        async with open_visitor(server):
            async with open_visitor(server, is_let_in=False) as third:
                (goodbye,) = await third.end()
            assert goodbye == Goodbye(Reason.RATE, limits.REFUSED_RETRY, "your address has its 2 connections")
            await one.is_well()
        await server.until_closed(rate=1, closed=1)
        await trio.testing.wait_all_tasks_blocked(0.01)  # counted at its end, and let go a little later
        async with open_visitor(server) as again:
            await again.is_well()


async def test_a_connection_without_a_join_makes_way_and_is_told(pair: Pair) -> None:
    allowed = ServerLimits(connections_per_address=2)
    async with (
        open_server(pair, allowed=allowed) as server,
        open_visitor(server) as member,
        open_visitor(server, None) as idle,
        open_visitor(server) as newcomer,
    ):
        goodbye = await idle.next()
        assert goodbye == Goodbye(Reason.RATE, limits.DISPLACED_RETRY, "your address has its 2 connections")
        await server.until_closed(rate=1)
        await member.is_well()
        await newcomer.is_well()


@pytest.mark.parametrize("allowed", [ServerLimits(connections_per_address=8), ServerLimits(connections=8)])
async def test_bare_connections_make_way(pair: Pair, allowed: ServerLimits) -> None:
    async with open_server(pair, allowed=allowed) as server, open_visitor(server) as one, AsyncExitStack() as stack:
        idle = [stack.enter_context(await open_socket(server.started.port)) for _ in range(50)]
        for sock in idle[:40]:
            assert await read_to_the_end(sock) == b""
        async with open_visitor(server) as other:
            await other.is_well()
        await one.is_well()


# Start, stop, reload


async def test_a_drain_answers_what_is_in_flight_and_says_goodbye(server: Running) -> None:
    async with open_visitor(server) as alice, open_visitor(server) as bob:
        await bob.is_well()
        alice.send(*count_up(5))
        await alice.hear(5)
        server.server.stop()
        for member in (alice, bob):
            assert (await member.end())[-1] == Goodbye(Reason.SHUTDOWN, 1, "")
        with trio.fail_after(PATIENCE):
            await server.ended.wait()
    assert server.closed == {"shutdown": 2}
    with pytest.raises(OSError, match="refused"):
        await open_socket(server.started.port)


async def test_rel_5_a_drain_during_a_commit_acknowledges_what_is_stored_and_nothing_else(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, go_on = trio.Event(), trio.Event()
    append, aclose = SqliteLog.append, SqliteLog.aclose
    closed: list[bool] = []

    async def slow(self: SqliteLog, batch: Sequence[Append]) -> list[Appended]:
        began.set()
        await go_on.wait()
        return await append(self, batch)

    async def note(self: SqliteLog) -> None:
        await aclose(self)
        closed.append(True)

    monkeypatch.setattr(SqliteLog, "append", slow)
    monkeypatch.setattr(SqliteLog, "aclose", note)
    async with open_server(pair, tmp_path) as server, open_visitor(server) as alice:
        alice.send(*count_up(50))
        with trio.fail_after(PATIENCE):
            await began.wait()
        server.server.stop()
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert not closed
        alice.send(*count_up(50, "late"))
        go_on.set()
        received = await alice.end()
        await server.stop()
    assert received[-1] == Goodbye(Reason.SHUTDOWN, 1, "")
    acknowledged = envelopes([message for message in received if isinstance(message, Deliver)])
    assert closed == [True]
    async with open_server(pair, tmp_path) as again, open_visitor(again) as later:
        stored = [record.envelope for record in (await later.page()).records]
    assert stored == acknowledged == count_up(50)


async def test_another_certificate_is_for_new_connections(tmp_path: Path) -> None:
    pair = make_pair(tmp_path, ["localhost"])
    async with open_server(pair) as server, open_visitor(server) as old:
        make_pair(tmp_path, ["localhost"], overwrite=True)
        server.server.use(ServerTls.load(pair))
        async with open_visitor(server) as new:
            pins = [spki_hash(member.channel.peer_certificate) for member in (old, new)]
            assert pins[0] == server.started.pin != pins[1] == server.server.started.pin
            assert (await old.join(OTHER_KEY)).created, "by the proof for its own certificate"
            old.send(b"hi")
            await old.hear(1)


async def test_a_port_in_use_is_said_so(server: Running, pair: Pair) -> None:
    other = Server(Configuration(None, "127.0.0.1", server.started.port), ServerTls.load(pair))
    with pytest.raises(SecurechatError, match=r"The port is in use: 127\.0\.0\.1, port \d+\."):
        await other.serve()


async def test_a_server_that_was_stopped_before_it_began_ends(pair: Pair) -> None:
    server = Server(Configuration(None, "127.0.0.1", 0), ServerTls.load(pair))
    server.stop()
    with trio.fail_after(PATIENCE):
        await server.serve()


async def test_a_log_that_cannot_be_opened_is_said_so(pair: Pair, tmp_path: Path) -> None:
    (tmp_path / "history.sqlite").write_bytes(b"no database" * 1000)
    server = Server(Configuration(tmp_path, "127.0.0.1", 0), ServerTls.load(pair))
    with pytest.raises(SecurechatError, match="is corrupt or no database"):
        await server.serve()


@contextmanager
def faulty(**methods: Any) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        for name, method in methods.items():
            patch.setattr(MemoryLog, name, method)
        yield


async def test_a_fault_of_the_server_ends_one_connection_and_is_logged(
    server: Running, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: object) -> None:
        raise ZeroDivisionError

    async with open_visitor(server) as alice, open_visitor(server) as bob:
        with faulty(read=broken):
            bob.say(History(1, bob.handle, Direction.FORWARD, 1, 1))
            with trio.fail_after(PATIENCE), pytest.raises(ChannelBrokenError):
                await bob.next()
        await server.until_closed(internal=1)
        await alice.is_well()
    assert "a fault of this server ended a connection" in caplog.text


async def test_metrics_that_fail_end_one_answer_and_are_logged_once(
    pair: Pair, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: object) -> Iterator[Metric]:
        raise ZeroDivisionError

    async def ask() -> bytes:
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
            return b"".join([data async for data in stream])

    port = free_port()
    async with open_server(pair, metrics=("127.0.0.1", port)) as server, open_visitor(server) as alice:
        real = ServerCollector.collect
        monkeypatch.setattr(ServerCollector, "collect", broken)
        assert [await ask() for _ in range(3)] == [b""] * 3
        monkeypatch.setattr(ServerCollector, "collect", real)
        assert b"securechat_members 1.0" in await ask()
        await alice.is_well()
    assert caplog.messages.count("a fault of this server kept its metrics from a reader; please report it") == 1


# The log


async def test_history_survives_a_restart_and_goes_on(pair: Pair, tmp_path: Path) -> None:
    async with open_server(pair, tmp_path) as server, open_visitor(server) as alice:
        alice.send(*count_up(30))
        before = await alice.hear(30)
    async with open_server(pair, tmp_path) as server, open_visitor(server, None) as bob:
        joined = await bob.join()
        assert (joined.created, joined.oldest, joined.newest) == (False, 1, 30)
        bob.send(b"message 7", b"message 30")
        assert await bob.hear(2) == [await _at(bob, 31), replace(before[7], handle=joined.handle)]
        page = await bob.page()
    head = chain.root(KEY.public_key().public_bytes_raw(), joined.log_id)
    assert (page.first, page.before) == (1, head)
    heads = [head]
    for number, record in enumerate(page.records, 1):
        heads.append(chain.link(heads[-1], number, chain.digest(record.envelope)))
    assert [record.envelope for record in page.records] == count_up(31)
    assert joined.head == heads[30]


async def _at(member: Visitor, sequence: int) -> Deliver:
    past = await member.page(sequence)
    (record,) = past.records
    return Deliver(member.handle, past.first, *record)


async def test_retention_applies_from_the_start_and_the_chain_goes_on(pair: Pair, tmp_path: Path) -> None:
    async with open_server(pair, tmp_path) as server, open_visitor(server) as alice:
        alice.send(*count_up(30))
        await alice.hear(30)
        heads = [(await alice.page(sequence)).before for sequence in (26, 31)]
    async with (
        open_server(pair, tmp_path, retention=Retention(3600, 5)) as server,
        open_visitor(server, None) as bob,
    ):
        joined = await bob.join()
        page = await bob.page()
        with trio.fail_after(PATIENCE):
            while page.oldest == 1:  # it is removed in the first moments, and not before the first join
                page = await bob.page()
        assert (joined.newest, joined.head) == (30, heads[1])
        assert (page.oldest, page.first, page.before) == (26, 26, heads[0])
        assert [record.envelope for record in page.records] == count_up(30)[25:]


async def test_retention_is_told_to_a_room_in_use(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "EXPIRY_INTERVAL", 0.01)
    async with open_server(pair, retention=Retention(3600, 5)) as server, open_visitor(server) as alice:
        alice.send(*count_up(30))
        await alice.hear(30)
        with trio.fail_after(PATIENCE):
            while True:
                async with open_visitor(server, None) as bob:
                    if (await bob.join()).oldest == 26:
                        break


async def test_a_server_whose_disk_is_full_says_so_once_and_goes_on_when_there_is_room(
    server: Running, caplog: pytest.LogCaptureFixture
) -> None:
    async def full(*_: object) -> None:
        raise StorageFullError("The disk is full.", "Make room on it.")

    async with open_visitor(server) as alice:
        with faulty(append=full):
            for _ in range(3):
                alice.send(b"message 0")
                error = await alice.until(Error)
                assert (error.code, error.retry_after) == (Code.STORAGE, limits.STORAGE_RETRY)
        alice.send(b"message 0", b"message 1")
        assert envelopes(await alice.hear(2)) == count_up(2)
    assert caplog.messages.count("messages could not be stored: The disk is full. Make room on it.") == 1


async def test_a_retention_that_fails_is_logged_and_tried_again(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tried = trio.Event()

    async def broken(*_: object) -> None:
        if "old messages could not be removed: It broke." in caplog.messages:
            tried.set()
        raise StorageError("It broke.")

    monkeypatch.setattr(limits, "EXPIRY_INTERVAL", 0.001)
    monkeypatch.setattr(MemoryLog, "expire", broken)
    async with open_server(pair) as server:
        with trio.fail_after(PATIENCE):
            await tried.wait()
        async with open_visitor(server) as member:
            await member.is_well()


async def test_a_connection_in_its_handshake_does_not_hold_a_drain_up(server: Running) -> None:
    with await open_socket(server.started.port) as sock:
        sock.send(b"\x16\x03\x01\x00\xff\x01")
        async with open_visitor(server) as member:
            await member.is_well()
        await server.stop()
        assert await read_to_the_end(sock) == b""


async def test_a_socket_that_is_gone_when_it_is_accepted_is_counted(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(stream: trio.SocketStream) -> socket.socket:
        stream.socket.close()
        raise OSError(errno.EINVAL, "gone")

    async with open_visitor(server) as member:
        sock = socket.socket()
        sock.setblocking(False)
        with sock:
            monkeypatch.setattr(serve, "take_socket", gone)
            sock.connect_ex(("127.0.0.1", server.started.port))
            await server.until_closed(handshake=1)
        await member.is_well()
