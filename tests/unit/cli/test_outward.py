"""What a server announces is an address on which somebody listens."""

import ipaddress
import socket
from collections.abc import Callable

import pytest

from securechat.cli import outward
from securechat.cli.outward import announced_host, outward_address, own_names
from securechat.client.address import ServerAddress, parse_server

ANY4, ANY6 = str(ipaddress.IPv4Address(0)), "::"
V4, V6 = "198.51.100.7", "2001:db8::7"
Machine = Callable[..., None]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Let this machine have these outward addresses."""

    def have(v4: str | None, v6: str | None) -> None:
        addresses = {socket.AF_INET: v4, socket.AF_INET6: v6}
        monkeypatch.setattr(outward, "outward_address", addresses.__getitem__)

    return have


@pytest.mark.parametrize(
    ("v4", "v6", "host", "addresses", "announced"),
    [
        (V4, V6, None, (ANY4, ANY6), V4),
        (V4, None, None, (ANY4, ANY6), V4),
        (None, V6, None, (ANY4, ANY6), V6),
        (None, None, None, (ANY4, ANY6), "localhost"),
        (V4, V6, ANY6, (ANY6,), V6),
        (V4, None, ANY6, (ANY6,), "localhost"),
        (V4, V6, ANY4, (ANY4,), V4),
        (None, V6, ANY4, (ANY4,), "localhost"),
        (None, V6, None, (ANY4,), "localhost"),
        (V4, V6, "0", (ANY4,), V4),
        (V4, V6, "::0", (ANY6,), V6),
        (V4, V6, "chat.example.org", (V4, V6), "chat.example.org"),
        (V4, V6, "192.0.2.9", ("192.0.2.9",), "192.0.2.9"),
        (V4, V6, "::1", ("::1",), "::1"),
        (V4, V6, "localhost", ("127.0.0.1", "::1"), "localhost"),
        (V4, V6, "fe80::1%eth0", ("fe80::1",), "fe80::1%eth0"),
    ],
)
def test_the_announced_address_is_one_that_is_served(
    machine: Machine, v4: str | None, v6: str | None, host: str | None, addresses: tuple[str, ...], announced: str
) -> None:
    machine(v4, v6)
    assert announced_host(host, addresses) == announced
    line = ServerAddress(announced).to_line()
    assert parse_server(line).host == announced


@pytest.mark.parametrize(
    ("names", "announced"),
    [
        (("chat.example.org", V4), "chat.example.org"),
        (("localhost", "127.0.0.1", "::1", "chat.example.org"), "chat.example.org"),
        (("*.example.org", "chat.example.org"), "chat.example.org"),
        (("localhost.localdomain", "db.localhost", "localhosting.example"), "localhosting.example"),
        (("fe80::1", ANY4, ANY6, "203.0.113.9"), "203.0.113.9"),
        (("a b.example", "a'b:1", "chat.example.org:1", "http://x", "", "b.example"), "b.example"),
        (("xn--bcher-kva.example",), "xn--bcher-kva.example"),
        (("localhost", "::1"), V4),
        ((), V4),
    ],
)
def test_the_first_usable_name_of_a_certificate_is_announced(
    machine: Machine, names: tuple[str, ...], announced: str
) -> None:
    machine(V4, V6)
    assert announced_host(None, (ANY4, ANY6), names) == announced
    assert announced_host("192.0.2.9", ("192.0.2.9",), names) == "192.0.2.9"


@pytest.mark.parametrize(("served", "announced"), [((ANY4,), "203.0.113.9"), ((ANY6,), "2001:db8::9")])
def test_a_served_address_of_a_certificate_is_announced(
    machine: Machine, served: tuple[str, ...], announced: str
) -> None:
    machine(V4, V6)
    for names in (("203.0.113.9", "2001:db8::9"), ("2001:db8::9", "203.0.113.9")):
        assert announced_host(None, served, names) == announced


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_an_outward_address_is_this_machines(family: socket.AddressFamily) -> None:
    address = outward_address(family)
    if address is not None:  # there may be no route
        with socket.socket(family) as sock:
            sock.bind((address, 0))


@pytest.mark.parametrize("address", ["fe80::1", "fe80::1%eth0", "::1"])
def test_an_address_without_meaning_elsewhere_is_none(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setattr(socket.socket, "connect", lambda *_: None)
    monkeypatch.setattr(socket.socket, "getsockname", lambda _: (address, 1, 0, 2))
    assert outward_address(socket.AF_INET6) is None


@pytest.mark.parametrize(
    ("hostname", "is_name"),
    [("box", True), ("box-1.example.org", True), ("x" * 64, False), ("a..b", False), ("-", False), ("b\u00fcx", False)],
)
def test_a_valid_host_name_is_one_of_the_own_names(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, hostname: str, is_name: bool
) -> None:
    machine(None, V6)
    monkeypatch.setattr(socket, "gethostname", lambda: hostname)
    assert own_names() == [V6, *[hostname] * is_name]
