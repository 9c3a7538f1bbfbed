import socket
import ssl
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
import trio
import trustme

from securechat import labels
from securechat.client import trust
from securechat.client.address import ServerAddress
from securechat.client.trust import Trust
from securechat.errors import ChannelClosedError, InputError, NotTrustedError, UnreachableError
from securechat.transport.certificates import make_pair
from securechat.transport.channel import take_socket
from securechat.transport.known_hosts import CA, Entry, KnownHosts
from securechat.transport.pins import format_pin
from securechat.transport.tls import ServerTls
from securechat.transport.tls_channel import TlsChannel

OTHER_PIN = bytes(32)
NOWHERE = ServerAddress("127.0.0.1", 1)  # for what is decided before anything is connected
Handler = Callable[[trio.SocketStream], Awaitable[None]]


@dataclass
class Person:
    """Answers what is asked about a first contact."""

    answer: bool = True
    asked: list[tuple[str, bytes, str]] = field(default_factory=list)

    async def ask(self, server: ServerAddress, pin: bytes, why: str) -> bool:
        await trio.lowlevel.checkpoint()
        self.asked.append((str(server), pin, why))
        return self.answer


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> ServerTls:
    return ServerTls.load(make_pair(tmp_path_factory.mktemp("pair"), ["127.0.0.1"]))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    ca = trustme.CA()
    path = tmp_path_factory.mktemp("authority") / "ca.pem"
    ca.cert_pem.write_to_path(path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols([labels.ALPN])
    ca.issue_cert("127.0.0.1").configure_cert(context)
    return path, context


@pytest.fixture
def known(tmp_path: Path) -> KnownHosts:
    return KnownHosts(tmp_path / "known-hosts")


def trusting(
    known: KnownHosts, *, pin: bytes = b"", authorities: Path | None = None, person: Person | None = None
) -> Trust:
    return Trust(known, pin, authorities, (person or Person(answer=False)).ask)


@asynccontextmanager
async def listening(handler: Handler) -> AsyncGenerator[ServerAddress, None]:
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, handler, 0, host="127.0.0.1"))
        yield ServerAddress("127.0.0.1", listeners[0].socket.getsockname()[1])
        nursery.cancel_scope.cancel()


def speaking_tls(context: ssl.SSLContext) -> Handler:
    async def handle(raw: trio.SocketStream) -> None:
        channel = TlsChannel(take_socket(raw), context)
        try:
            with suppress(ChannelClosedError, ssl.SSLError):
                await channel.handshake()
                await channel.receive()
            with trio.move_on_after(1):
                await channel.aclose()
        finally:
            channel.abort()

    return handle


async def visit(server: ServerAddress, decided: Trust) -> bytes:
    channel, pin = await trust.connect(server, decided)
    with trio.move_on_after(1):
        await channel.aclose()
    return pin


# What flags and file say


@pytest.mark.parametrize(
    ("entry", "flags"),
    [
        (Entry(frozenset({OTHER_PIN})), {"pin": b"p" * 32}),
        (CA, {"pin": b"p" * 32}),
        (Entry(frozenset({OTHER_PIN})), {"authorities": Path("ca.pem")}),
    ],
)
async def test_flags_that_contradict_what_is_known_connect_to_nothing(
    known: KnownHosts, entry: Entry, flags: dict[str, object]
) -> None:
    known.add(str(NOWHERE), entry)
    with pytest.raises(NotTrustedError, match="is known by") as caught:
        await trust.connect(NOWHERE, trusting(known, **flags))  # type: ignore[arg-type]
    assert f"securechat known-hosts remove {NOWHERE}" in caught.value.next_step


async def test_a_pin_that_is_given_needs_no_question_and_is_remembered(known: KnownHosts, tls: ServerTls) -> None:
    person = Person()
    async with listening(speaking_tls(tls.context)) as server:
        assert await visit(server, trusting(known, pin=tls.pin, person=person)) == tls.pin
        assert known.entries() == {str(server): Entry(frozenset({tls.pin}))}
        assert await visit(server, trusting(known, person=person)) == tls.pin
    assert person.asked == []


async def test_another_key_than_the_given_one_is_not_trusted_and_not_remembered(
    known: KnownHosts, tls: ServerTls
) -> None:
    async with listening(speaking_tls(tls.context)) as server:
        with pytest.raises(NotTrustedError, match="is not the expected one") as caught:
            await trust.connect(server, trusting(known, pin=OTHER_PIN))
    assert format_pin(OTHER_PIN) in caught.value.message
    assert format_pin(tls.pin) in caught.value.message
    assert known.entries() == {}


async def test_a_key_that_changed_is_not_trusted_and_nobody_is_asked(known: KnownHosts, tls: ServerTls) -> None:
    person = Person(answer=True)
    async with listening(speaking_tls(tls.context)) as server:
        known.add(str(server), Entry(frozenset({OTHER_PIN})))
        with pytest.raises(NotTrustedError, match="has changed"):
            await trust.connect(server, trusting(known, person=person))
        assert known.entries() == {str(server): Entry(frozenset({OTHER_PIN}))}
    assert person.asked == []


async def test_one_of_several_known_keys_is_enough_and_a_flag_narrows_them(known: KnownHosts, tls: ServerTls) -> None:
    both = Entry(frozenset({OTHER_PIN, tls.pin}))
    async with listening(speaking_tls(tls.context)) as server:
        known.add(str(server), both)
        assert await visit(server, trusting(known)) == tls.pin
        assert await visit(server, trusting(known, pin=tls.pin)) == tls.pin
        with pytest.raises(NotTrustedError):
            await trust.connect(server, trusting(known, pin=OTHER_PIN))
        assert known.entries() == {str(server): both}


# A first contact


async def test_a_first_contact_is_asked_about_and_remembered(known: KnownHosts, tls: ServerTls) -> None:
    person = Person(answer=True)
    async with listening(speaking_tls(tls.context)) as server:
        assert await visit(server, trusting(known, person=person)) == tls.pin
        ((asked, pin, why),) = person.asked
        assert (asked, pin) == (str(server), tls.pin)
        assert "No authority vouches" in why
        assert known.entries() == {str(server): Entry(frozenset({tls.pin}))}
        await visit(server, trusting(known, person=person))
        assert len(person.asked) == 1


async def test_a_first_contact_that_nobody_trusts_is_refused_with_its_pin(known: KnownHosts, tls: ServerTls) -> None:
    async with listening(speaking_tls(tls.context)) as server:
        with pytest.raises(NotTrustedError, match="not trusted") as caught:
            await trust.connect(server, trusting(known, person=Person(answer=False)))
    assert format_pin(tls.pin) in caught.value.message
    assert caught.value.exit_code == 4
    assert known.entries() == {}


async def test_a_server_that_an_authority_vouches_for_needs_no_question(
    known: KnownHosts, authority: tuple[Path, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, context = authority
    monkeypatch.setenv("SSL_CERT_FILE", str(path))  # what OpenSSL takes for the system's
    person = Person(answer=False)
    async with listening(speaking_tls(context)) as server:
        await visit(server, trusting(known, person=person))
        assert known.entries() == {str(server): CA}
    assert person.asked == []


async def test_given_authorities_are_trusted_in_place_of_the_systems(
    known: KnownHosts, authority: tuple[Path, ssl.SSLContext], tls: ServerTls
) -> None:
    path, context = authority
    async with listening(speaking_tls(context)) as server:
        await visit(server, trusting(known, authorities=path))
        assert known.entries() == {str(server): CA}
    async with listening(speaking_tls(tls.context)) as server:
        with pytest.raises(NotTrustedError, match="No authority vouches"):
            await trust.connect(server, trusting(known, authorities=path))


async def test_a_server_known_by_authority_is_not_recognised_by_a_key(known: KnownHosts, tls: ServerTls) -> None:
    person = Person(answer=True)
    async with listening(speaking_tls(tls.context)) as server:
        known.add(str(server), CA)
        with pytest.raises(NotTrustedError, match="No authority vouches"):
            await trust.connect(server, trusting(known, person=person))
    assert person.asked == []


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
async def test_a_file_without_authorities_is_named(known: KnownHosts, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match="cannot be read" if content is None else "holds no usable certificates"):
        await trust.connect(NOWHERE, trusting(known, authorities=path))


# What is no securechat server


async def test_a_closed_port_cannot_be_reached(known: KnownHosts) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # and nobody listens
        server = ServerAddress("127.0.0.1", bound.getsockname()[1])
        with pytest.raises(UnreachableError, match="connection refused") as caught:
            await trust.connect(server, trusting(known, pin=OTHER_PIN))
    assert f"securechat doctor {server}" in caught.value.next_step
    assert caught.value.exit_code == 3


async def test_a_server_that_does_not_speak_tls_is_named_as_one(known: KnownHosts) -> None:
    async def speak_http(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")

    async with listening(speak_http) as server:
        with pytest.raises(UnreachableError, match="does not speak TLS"):
            await trust.connect(server, trusting(known, pin=OTHER_PIN))


async def test_a_server_that_hangs_up_is_no_securechat_server(known: KnownHosts) -> None:
    async def hang_up(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.aclose()

    async def reset(stream: trio.SocketStream) -> None:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await hang_up(stream)

    async with listening(hang_up) as server:
        with pytest.raises(UnreachableError, match="TLS"):
            await trust.connect(server, trusting(known, pin=OTHER_PIN))
    async with listening(reset) as server:
        with pytest.raises(UnreachableError, match="ended the TLS handshake"):
            await trust.connect(server, trusting(known, pin=OTHER_PIN))


async def test_a_server_with_tls_1_2_only_is_told(known: KnownHosts, authority: tuple[Path, ssl.SSLContext]) -> None:
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    trustme.CA().issue_cert("127.0.0.1").configure_cert(old)
    async with listening(speaking_tls(old)) as server:
        with pytest.raises(UnreachableError, match=r"does not speak TLS 1\.3"):
            await trust.connect(server, trusting(known, pin=OTHER_PIN))


async def test_a_web_server_with_tls_is_no_securechat_server_and_not_remembered(known: KnownHosts) -> None:
    web = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca = trustme.CA()
    ca.issue_cert("127.0.0.1").configure_cert(web)
    person = Person(answer=True)
    async with listening(speaking_tls(web)) as server:
        with pytest.raises(UnreachableError, match="no securechat server"):
            await trust.connect(server, trusting(known, person=person))
    assert person.asked == []
    assert known.entries() == {}


async def test_a_server_that_says_nothing_is_given_up(known: KnownHosts, mock_clock: trio.testing.MockClock) -> None:
    async def say_nothing(_: trio.SocketStream) -> None:
        await trio.testing.wait_all_tasks_blocked(0.005)
        mock_clock.jump(11)
        await trio.sleep_forever()

    async with listening(say_nothing) as server:
        with pytest.raises(UnreachableError, match="does not answer in 10 s"):
            await trust.connect(server, trusting(known, pin=OTHER_PIN))


async def test_a_look_at_a_server_takes_any_key_and_remembers_none(known: KnownHosts, tls: ServerTls) -> None:
    async with listening(speaking_tls(tls.context)) as server:
        channel, pin = await trust.open_unverified(server)
        channel.abort()
    assert pin == tls.pin
    assert known.entries() == {}


# Errors in words


def ssl_error(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, reason)
    error.reason = reason
    return error


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        ("TLSV1_ALERT_PROTOCOL_VERSION", "does not speak TLS 1.3"),
        ("UNSUPPORTED_PROTOCOL", "does not speak TLS 1.3"),
        ("TLSV1_ALERT_NO_APPLICATION_PROTOCOL", "is no securechat server"),
        ("WRONG_VERSION_NUMBER", "does not speak TLS: it is no securechat server"),
        ("HTTP_REQUEST", "does not speak TLS: it is no securechat server"),
        ("SSLV3_ALERT_HANDSHAKE_FAILURE", "failed (sslv3 alert handshake failure)"),
        ("", "failed ()"),
    ],
)
def test_what_tls_says_is_told_in_words(reason: str, text: str) -> None:
    told = trust._explain(NOWHERE, ssl_error(reason))
    assert told.startswith(f"{NOWHERE} ") or told.startswith(f"TLS with {NOWHERE} ")
    assert text in told


def test_the_cause_of_a_failed_connection_is_found_in_what_trio_raises() -> None:
    outer = OSError("all attempts to connect to host:1 failed")
    outer.__cause__ = ExceptionGroup("", [ExceptionGroup("", [OSError(113, "whatever")])])
    assert trust._reason(outer) == "no route to host"
    assert trust._reason(OSError(111, "")) == "connection refused"
    assert trust._reason(OSError("something else")) == "something else"
    assert trust._reason(socket.gaierror(-2, "Name or service not known")) == "name or service not known"
