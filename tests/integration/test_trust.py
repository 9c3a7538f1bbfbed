"""Whom a conversation talks to: seen from the other end of the connection, byte by byte."""

import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trustme
from trio.testing import MockClock, wait_all_tasks_blocked

from securechat import labels, limits
from securechat.client.address import ServerAddress
from securechat.client.profile import Profile
from securechat.client.trust import Trust, connect
from securechat.errors import ChannelClosedError, InputError, NotTrustedError, SecurechatError, UnreachableError
from securechat.sealing.keys import RoomKeys
from securechat.server.serve import Configuration, Server
from securechat.transport.certificates import make_pair
from securechat.transport.channel import take_socket
from securechat.transport.known_hosts import CA, Entry, KnownHosts
from securechat.transport.tls import ServerTls
from securechat.transport.tls_channel import TlsChannel
from tests.support.members import always, open_member
from tests.support.patience import PATIENCE


class Peer:
    """Something that listens and notes what it is told.

    Attributes:
        port: Where.
        connections: How many there were.
        handshakes: How many of them did TLS.
        heard: What came inside TLS, of all connections.
        raw: What came where there is no TLS.
    """

    def __init__(self, context: ssl.SSLContext | None, greeting: bytes) -> None:
        self._context = context
        self._greeting = greeting
        self.port = 0
        self.connections = 0
        self.handshakes = 0
        self.heard = b""
        self.raw = b""

    @property
    def address(self) -> ServerAddress:
        """How clients name it."""
        return ServerAddress("127.0.0.1", self.port)

    async def serve(self, stream: trio.SocketStream) -> None:
        """Note all that one connection brings."""
        self.connections += 1
        if self._context is None:
            with contextlib.suppress(trio.BrokenResourceError):
                await stream.send_all(self._greeting)
                async for data in stream:
                    self.raw += data
            return
        channel = TlsChannel(take_socket(stream), self._context)
        try:
            await channel.handshake()
            self.handshakes += 1
            while True:
                self.heard += await channel.receive()
        except (ChannelClosedError, ssl.SSLError):
            pass
        finally:
            channel.abort()


@asynccontextmanager
async def listening(context: ssl.SSLContext | None = None, greeting: bytes = b"") -> AsyncIterator[Peer]:
    peer = Peer(context, greeting)
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, peer.serve, 0, host="127.0.0.1"))
        peer.port = listeners[0].socket.getsockname()[1]
        yield peer
        nursery.cancel_scope.cancel()


class Person:
    """Answers the question of a first contact.

    Attributes:
        asked: The pins that were asked about.
    """

    def __init__(self, *, says: bool) -> None:
        self._says = says
        self.asked: list[bytes] = []

    async def answer(self, _: ServerAddress, pin: bytes, why: str) -> bool:
        await trio.lowlevel.checkpoint()
        assert why
        self.asked.append(pin)
        return self._says


@pytest.fixture
def tls(tmp_path: Path) -> ServerTls:
    return ServerTls.load(make_pair(tmp_path / "pair", ["127.0.0.1"]))


@pytest.fixture
def known(tmp_path: Path) -> KnownHosts:
    """The known hosts of alice, who joins."""
    return Profile(tmp_path / "alice").known_hosts


async def join(directory: Path, peer: Peer, trust: Trust) -> SecurechatError:
    """Let alice try to join a room there; return why she does not."""
    never = AssertionError("this was no securechat server")
    with pytest.RaisesGroup(SecurechatError) as caught:
        async with open_member(directory, peer.port, b"", "alice", trust=trust, ask_create=always):
            raise never
    error = caught.value.exceptions[0]
    assert isinstance(error, SecurechatError)
    return error


def tls_context(version: ssl.TLSVersion, *protocols: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = context.maximum_version = version
    if protocols:
        context.set_alpn_protocols(list(protocols))
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    return context


# A first contact


async def test_no_byte_of_the_protocol_is_sent_before_somebody_has_said_yes(
    tmp_path: Path, tls: ServerTls, known: KnownHosts
) -> None:
    async with listening(tls.context) as peer:
        for attempt in (1, 2):
            person = Person(says=False)
            error = await join(tmp_path, peer, Trust(known, b"", None, person.answer))
            assert isinstance(error, NotTrustedError)
            assert person.asked == [tls.pin]
            assert peer.connections == 2 * attempt
        assert peer.heard == b""
    assert known.entries() == {}


async def test_a_first_contact_is_two_looks_and_then_the_connection(
    tmp_path: Path, tls: ServerTls, known: KnownHosts
) -> None:
    person = Person(says=True)
    async with listening(tls.context) as peer:
        channel, pin = await connect(peer.address, Trust(known, b"", None, person.answer))
        assert pin == tls.pin
        assert peer.connections == 3
        assert known.entries() == {str(peer.address): Entry(frozenset({tls.pin}))}
        channel.abort()
        channel, _ = await connect(peer.address, Trust(known, b"", None, person.answer))
        assert peer.connections == 4
        channel.abort()
    assert len(person.asked) == 1


async def test_a_key_that_changes_between_the_question_and_the_connection_is_found(
    tmp_path: Path, tls: ServerTls, known: KnownHosts
) -> None:
    other = ServerTls.load(make_pair(tmp_path / "other", ["127.0.0.1"]))
    async with listening(tls.context) as peer:

        async def swap(*_: Any) -> bool:
            await trio.lowlevel.checkpoint()
            peer._context = other.context
            return True

        error = await join(tmp_path, peer, Trust(known, b"", None, swap))
        assert isinstance(error, NotTrustedError)
        assert "is not the expected one" in error.message
        assert peer.heard == b""
    assert known.entries() == {}


async def test_an_error_of_who_is_asked_ends_it(tmp_path: Path, tls: ServerTls, known: KnownHosts) -> None:
    async def paste_nonsense(*_: Any) -> bool:
        await trio.lowlevel.checkpoint()
        raise InputError("This is no pin.")

    async with listening(tls.context) as peer:
        assert isinstance(await join(tmp_path, peer, Trust(known, b"", None, paste_nonsense)), InputError)
        assert peer.heard == b""
    assert known.entries() == {}


# Known servers


@pytest.mark.parametrize("says", ["file", "flag"])
async def test_a_changed_key_stops_before_a_byte_of_the_protocol_is_sent(
    tmp_path: Path, tls: ServerTls, known: KnownHosts, says: str
) -> None:
    person = Person(says=True)
    async with listening(tls.context) as peer:
        entry = Entry(frozenset({bytes(32), b"x" * 32}))
        if says == "file":
            known.add(str(peer.address), entry)
        before = known.entries()
        pin = b"x" * 32 if says == "flag" else b""
        error = await join(tmp_path, peer, Trust(known, pin, None, person.answer))
        assert isinstance(error, NotTrustedError)
        assert "Nothing was sent" in error.message
        assert (peer.connections, peer.heard, person.asked) == (1, b"", [])
        assert known.entries() == before


async def test_a_server_known_by_authority_never_falls_back_to_a_pin(
    tmp_path: Path, tls: ServerTls, known: KnownHosts
) -> None:
    person = Person(says=True)
    async with listening(tls.context) as peer:
        known.add(str(peer.address), CA)
        for pin in (b"", tls.pin):
            error = await join(tmp_path, peer, Trust(known, pin, None, person.answer))
            assert isinstance(error, NotTrustedError)
        assert (peer.connections, peer.heard, person.asked) == (1, b"", [])
        assert known.entries() == {str(peer.address): CA}


async def test_a_name_that_the_certificate_does_not_have_is_not_trusted(tmp_path: Path, known: KnownHosts) -> None:
    ca = trustme.CA()
    path = tmp_path / "ca.pem"
    ca.cert_pem.write_to_path(path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols([labels.ALPN])
    ca.issue_cert("example.org").configure_cert(context)
    person = Person(says=True)
    async with listening(context) as peer:
        error = await join(tmp_path, peer, Trust(known, b"", path, person.answer))
        assert isinstance(error, NotTrustedError)
        assert (peer.heard, person.asked) == (b"", [])
    assert known.entries() == {}


async def test_one_of_several_pins_lets_a_conversation_stand_before_and_after_a_change_of_keys(tmp_path: Path) -> None:
    pairs = [make_pair(tmp_path / name, ["127.0.0.1"]) for name in ("old", "new")]
    both = frozenset(ServerTls.load(pair).pin for pair in pairs)
    for pair in pairs:
        server = Server(Configuration(None, "127.0.0.1", 0), ServerTls.load(pair))
        async with trio.open_nursery() as nursery:
            started = await nursery.start(server.serve)
            known = Profile(tmp_path / "alice").known_hosts
            known.add(f"127.0.0.1:{started.port}", Entry(both))
            async with open_member(tmp_path, started.port, b"", "alice") as alice:
                assert "?pin=sha256:" in alice.conversation.join_line
                alice.say("hello")
                await alice.hears("hello")
            assert known.entries()[f"127.0.0.1:{started.port}"] == Entry(both)
            nursery.cancel_scope.cancel()


async def test_a_server_whose_key_changes_ends_a_running_conversation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever takes the port over learns nothing: the reconnect stops at the key."""
    pair = make_pair(tmp_path / "pair", ["127.0.0.1"])
    tls = ServerTls.load(pair)
    other = ServerTls.load(make_pair(tmp_path / "other", ["127.0.0.1"]))
    server = Server(Configuration(None, "127.0.0.1", 0), tls)
    monkeypatch.setattr("securechat.limits.RETRY_SECONDS", (0, 0))
    async with trio.open_nursery() as nursery:
        started = await nursery.start(server.serve)
        with pytest.RaisesGroup(pytest.RaisesExc(NotTrustedError, match="has changed")):
            async with open_member(tmp_path, started.port, tls.pin, "alice") as alice:
                monkeypatch.setattr(server, "_tls", other)
                alice.conversation.reconnect()
                with trio.fail_after(PATIENCE):
                    await trio.sleep_forever()
        nursery.cancel_scope.cancel()


async def test_the_room_address_is_proven_for_this_key_alone(tmp_path: Path) -> None:
    """What join sends to a server cannot be passed on to another: it covers the key that was seen."""
    from securechat.protocol import proof
    from tests.support.members import SECRET

    keys = RoomKeys(SECRET)
    signed = proof.signed_bytes(bytes(32), b"a" * 32, keys.address)
    assert proof.is_proven(keys.address, keys.sign_join(signed), bytes(32), b"a" * 32)
    assert not proof.is_proven(keys.address, keys.sign_join(signed), bytes(32), b"b" * 32)
    assert not proof.is_proven(keys.address, keys.sign_join(signed), b"c" * 32, b"a" * 32)


# What is no securechat server


@pytest.mark.parametrize(
    ("make", "greeting", "says"),
    [
        (lambda: None, b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak TLS"),
        (lambda: tls_context(ssl.TLSVersion.TLSv1_2, labels.ALPN), b"", "does not speak TLS 1.3"),
        (lambda: tls_context(ssl.TLSVersion.TLSv1_3), b"", "is no securechat server"),
        (lambda: tls_context(ssl.TLSVersion.TLSv1_3, "h2"), b"", "is no securechat server"),
    ],
    ids=["plain", "tls-1.2", "no-alpn", "another-alpn"],
)
async def test_what_is_no_securechat_server_hears_nothing_and_is_not_remembered(
    tmp_path: Path, known: KnownHosts, make: Any, greeting: bytes, says: str
) -> None:
    person = Person(says=True)
    async with listening(make(), greeting) as peer:
        error = await join(tmp_path, peer, Trust(known, b"", None, person.answer))
        assert isinstance(error, UnreachableError)
        assert says in error.message
        assert peer.connections <= 2
        assert b"127.0.0.1" not in peer.raw
        assert (peer.heard, person.asked, known.entries()) == (b"", [], {})


async def gives_up(
    clock: MockClock, seconds: float, is_waiting: Callable[[], object], joining: Callable[[], Awaitable[Any]]
) -> Any:
    """Return what ``joining`` returns, which has to take so many seconds from when ``is_waiting``.

    Time passes by hand, so that it does not pass before the sockets have done their part.
    """
    ended = []

    async def run() -> None:
        ended.append(await joining())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        while not is_waiting():
            await wait_all_tasks_blocked(0.005)
        await wait_all_tasks_blocked(0.005)
        clock.jump(seconds - 0.1)
        await wait_all_tasks_blocked(0.005)
        assert not ended
        clock.jump(0.2)
    return ended[0]


async def test_a_peer_that_says_nothing_is_given_up_in_time(
    tmp_path: Path, known: KnownHosts, mock_clock: MockClock
) -> None:
    async with listening(None) as peer:
        joining = partial(join, tmp_path, peer, Trust(known, b"", None, always))
        error = await gives_up(mock_clock, 10, lambda: peer.connections, joining)
        assert isinstance(error, UnreachableError)
        assert "does not answer in 10 s" in error.message
        assert peer.connections == 1


async def test_a_peer_that_does_tls_and_then_says_nothing_is_given_up_in_time(
    tmp_path: Path, tls: ServerTls, known: KnownHosts, mock_clock: MockClock
) -> None:
    async with listening(tls.context) as peer:
        joining = partial(join, tmp_path, peer, Trust(known, tls.pin, None, always))
        error = await gives_up(mock_clock, 20, lambda: peer.handshakes, joining)
        assert isinstance(error, UnreachableError)
        assert "does not say anything" in error.message
        assert peer.heard == b""


async def test_a_peer_that_closes_at_once_is_told(
    tmp_path: Path, known: KnownHosts, tls: ServerTls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "BUSY_PATIENCE", 0.0)

    async def close(stream: trio.SocketStream) -> None:
        await stream.aclose()

    async def shake_hands_and_close(stream: trio.SocketStream) -> None:
        channel = TlsChannel(take_socket(stream), tls.context)
        with contextlib.suppress(ChannelClosedError):
            await channel.handshake()
        channel.abort()

    async with listening() as peer:
        for serve, says in ((close, "ended the"), (shake_hands_and_close, "ended the connection")):
            peer.serve = serve  # type: ignore[method-assign]
            async with trio.open_nursery() as nursery:
                listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
                peer.port = listeners[0].socket.getsockname()[1]
                error = await join(tmp_path, peer, Trust(known, tls.pin, None, always))
                assert isinstance(error, UnreachableError), error
                assert says in error.message or "reset" in error.message
                nursery.cancel_scope.cancel()
