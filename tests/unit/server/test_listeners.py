"""Where a server listens: what is there of a place, on one port; and which option an error names."""

import errno
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
import trio

from securechat import limits
from securechat.server import listeners
from securechat.server.listeners import COMPAT, METRICS, SERVED, ListenError, Options, format_place, open_listeners
from tests.support.peers import listening

Places = list[tuple[str, int]]


class Names(trio.abc.HostnameResolver):
    """A resolver that knows one name.

    Args:
        answers: The addresses that every name stands for, if any; None for a name server that does not answer.
    """

    def __init__(self, *answers: str | None) -> None:
        self._answers = answers

    async def getaddrinfo(self, host: Any, port: Any, *_: Any, **__: Any) -> Any:
        if None in self._answers:
            await trio.sleep_forever()
        if not self._answers:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        found = []
        for answer in self._answers:
            found += socket.getaddrinfo(answer, port, type=socket.SOCK_STREAM)
        return found

    async def getnameinfo(self, *_: Any) -> Any:
        raise NotImplementedError


class Families(trio.abc.SocketFactory):
    """A kernel that lacks a family."""

    def __init__(self, missing: socket.AddressFamily) -> None:
        self._missing = missing

    def socket(self, family: Any = socket.AF_INET, kind: Any = socket.SOCK_STREAM, proto: int = 0) -> Any:
        if family == self._missing:
            raise OSError(errno.EAFNOSUPPORT, "no such family")
        return trio.socket.from_stdlib_socket(socket.socket(family, kind, proto))


async def places(host: str | None, port: int = 0, options: Options = SERVED) -> Places:
    """Listen, and return where."""
    found = await open_listeners(host, port, options)
    try:
        return [listener.socket.getsockname()[:2] for listener in found]
    finally:
        for listener in found:
            listener.socket.close()


@contextmanager
def refusing(monkeypatch: pytest.MonkeyPatch, family: socket.AddressFamily, *numbers: int) -> Iterator[list[int]]:
    """Let the first attempts to listen in a family fail, with these errors; yield the ports that were tried."""
    tried: list[int] = []
    real: Callable[..., Any] = listeners._open

    async def listen(wanted: socket.AddressFamily, where: tuple[Any, ...]) -> trio.SocketListener:
        if wanted == family:
            tried.append(where[1])
            if len(tried) <= len(numbers):
                raise OSError(numbers[len(tried) - 1], "no")
        listener: trio.SocketListener = await real(wanted, where)
        return listener

    with monkeypatch.context() as patch:
        patch.setattr(listeners, "_open", listen)
        yield tried


@contextmanager
def reserved() -> Iterator[int]:
    """Keep a port from all other programs; who shares addresses may listen on it, as long as nobody else listens."""
    with ExitStack() as stack:
        while True:
            four, six = (stack.enter_context(socket.socket(family)) for family in (socket.AF_INET, socket.AF_INET6))
            for sock in (four, six):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            six.bind(("::", 0))
            port: int = six.getsockname()[1]
            try:
                four.bind(("", port))
            except OSError:  # taken in this family
                continue
            break
        yield port


# What is there


@pytest.mark.parametrize("host", [None, "localhost"])
async def test_one_port_serves_both_families_ipv4_first(host: str | None) -> None:
    trio.socket.set_custom_hostname_resolver(Names("::1", "127.0.0.1", "127.0.0.1"))
    first, second = await places(host)
    assert ("." in first[0], ":" in second[0]) == (True, True)
    assert first[1] == second[1]


@pytest.mark.parametrize("host", [None, "localhost"])
@pytest.mark.parametrize("missing", [socket.AF_INET, socket.AF_INET6])
async def test_a_family_that_is_not_there_is_left_out(host: str | None, missing: socket.AddressFamily) -> None:
    trio.socket.set_custom_hostname_resolver(Names("::1", "127.0.0.1"))
    trio.socket.set_custom_socket_factory(Families(missing))
    ((address, _),) = await places(host)
    assert (":" in address) == (missing == socket.AF_INET)


async def test_an_address_that_is_not_there_is_left_out() -> None:
    trio.socket.set_custom_hostname_resolver(Names("192.0.2.1", "2001:db8::1", "::1"))
    ((address, _),) = await places("everywhere.example")
    assert address == "::1"


async def test_a_given_port_is_the_port_of_all() -> None:
    with reserved() as port:
        assert [number for _, number in await places(None, port)] == [port, port]


async def test_a_free_port_is_free_in_both_families(monkeypatch: pytest.MonkeyPatch) -> None:
    with refusing(monkeypatch, socket.AF_INET6, errno.EADDRINUSE, errno.EADDRINUSE) as tried:
        found = await places(None)
    assert len(tried) == 3
    assert {port for _, port in found} == {tried[-1]}


async def test_the_search_for_a_free_port_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    number = errno.EADDRINUSE
    with (
        refusing(monkeypatch, socket.AF_INET6, *[number] * 1000) as tried,
        pytest.raises(ListenError, match="The port is in use: this machine, port 0"),
    ):
        await places(None)
    assert len(tried) == limits.FREE_PORT_ATTEMPTS


async def test_a_port_that_another_family_has_is_no_missing_family(monkeypatch: pytest.MonkeyPatch) -> None:
    with reserved() as port:
        with (
            refusing(monkeypatch, socket.AF_INET6, errno.EADDRINUSE),
            pytest.raises(ListenError, match=f"The port is in use: this machine, port {port}"),
        ):
            await places(None, port)
        assert len(await places(None, port)) == 2, "the other listener was closed"


# What is not


@pytest.mark.parametrize("options", [SERVED, METRICS, COMPAT])
@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::7", "unknown.example", "x" * 70, "a..b", "a\0b", "::1%no"])
async def test_what_is_no_address_here_names_the_option_of_the_host(options: Options, host: str) -> None:
    if host == "unknown.example":
        trio.socket.set_custom_hostname_resolver(Names())
    with pytest.raises(ListenError, match="is no address of this machine") as caught:
        await places(host, 0, options)
    assert caught.value.option == options.host
    assert options.host in caught.value.next_step


@pytest.mark.parametrize("options", [SERVED, METRICS, COMPAT])
async def test_a_port_in_use_names_the_option_of_the_port(options: Options) -> None:
    with listening() as port, pytest.raises(ListenError, match=rf"in use: 127\.0\.0\.1, port {port}\.") as caught:
        await places("127.0.0.1", port, options)
    assert caught.value.option == options.port
    assert caught.value.next_step == f"Stop the other program, or choose another port with {options.port}."


@pytest.mark.parametrize("options", [SERVED, METRICS, COMPAT])
@pytest.mark.parametrize(("number", "step"), [(errno.EACCES, "a port of 1024 or above"), (errno.ENOBUFS, "another")])
async def test_a_port_that_is_not_to_be_had_names_its_option(
    options: Options, number: int, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with refusing(monkeypatch, socket.AF_INET, number), pytest.raises(ListenError) as caught:
        await places("127.0.0.1", 80, options)
    assert step in caught.value.next_step
    assert options.port in caught.value.next_step
    assert all(other not in str(caught.value) for other in {"--port", "--metrics", "--compat"} - {options.port})


async def test_a_name_server_that_does_not_answer_has_a_deadline(autojump_clock: trio.testing.MockClock) -> None:
    trio.socket.set_custom_hostname_resolver(Names(None))
    with pytest.raises(ListenError, match=r"Looking 'slow\.example' up takes longer than 10 s\."):
        await places("slow.example")


@pytest.mark.parametrize(("host", "shown"), [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")])
async def test_a_place_is_shown_as_a_url_has_it(host: str, shown: str) -> None:
    (listener,) = await open_listeners(host, 0, SERVED)
    port = listener.socket.getsockname()[1]
    assert format_place(listener) == f"{shown}:{port}"
    await listener.aclose()
