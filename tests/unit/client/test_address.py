import pytest
from hypothesis import given
from hypothesis import strategies as st

from securechat.client.address import DEFAULT_PORT, ServerAddress, parse_server
from securechat.errors import InputError
from securechat.transport.pins import format_pin

PIN = bytes(range(32))


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("chat.example.org", "chat.example.org", DEFAULT_PORT),
        ("chat.example.org:443", "chat.example.org", 443),
        ("CHAT.Example.ORG.", "chat.example.org", DEFAULT_PORT),
        ("localhost:65535", "localhost", 65535),
        ("192.0.2.7", "192.0.2.7", DEFAULT_PORT),
        ("192.0.2.7:1", "192.0.2.7", 1),
        ("::1", "::1", DEFAULT_PORT),
        ("2001:DB8::1", "2001:db8::1", DEFAULT_PORT),
        ("[::1]", "::1", DEFAULT_PORT),
        ("FE80::1%Wlan0", "fe80::1%Wlan0", DEFAULT_PORT),
        ("[FE80::1%Wlan0]:443", "fe80::1%Wlan0", 443),
        ("[::1]:8443", "::1", 8443),
        ("securechat://chat.example.org", "chat.example.org", DEFAULT_PORT),
        ("securechat://chat.example.org:443/", "chat.example.org", 443),
        ("securechat://[2001:db8::1]:443/room", "2001:db8::1", 443),
        ("SECURECHAT://chat.example.org", "chat.example.org", DEFAULT_PORT),
    ],
)
def test_a_server_is_named_by_host_and_port(text: str, host: str, port: int) -> None:
    server = parse_server(text)
    assert (server.host, server.port) == (host, port)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":7443",
        "host:",
        "host:0",
        "host:65536",
        "host:-1",
        "host:port",
        "host:" + "9" * 5000,
        "host:\u0661",
        "two words",
        "fe80::1%two words",
        "fe80::1%a]b",
        "fe80::1%",
        "\u2100.example.org",
        "securechat://host/\udcff",
        "user@host",
        "host/room",
        "host?pin",
        "host\n",
        "host\x07",
        "[]:7443",
        "https://chat.example.org",
        "securechat://",
        "securechat://host:port",
        "securechat://user@host",
        "securechat://user:secret@host",
        "securechat://host/room?pin",
        "securechat://host/room?pin=sha256:short",
        "securechat://host/room?key=1",
        "securechat://host/room#fragment",
        "securechat://host/%ff",
        "securechat://[::1/room",
    ],
)
def test_what_names_no_server_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_server(text)


def test_a_join_line_tells_room_and_pin() -> None:
    server = parse_server(f"securechat://chat.example.org:443/our%20room?pin={format_pin(PIN)}")
    assert server == ServerAddress("chat.example.org", 443, "our room", PIN)


def test_a_bare_address_tells_neither_room_nor_pin() -> None:
    server = parse_server("chat.example.org")
    assert (server.room, server.pin) == ("", b"")
    assert server.to_line() == f"securechat://chat.example.org:{DEFAULT_PORT}"


def test_the_name_in_the_known_hosts_has_brackets_around_ipv6() -> None:
    assert str(ServerAddress("::1", 443)) == "[::1]:443"
    assert str(ServerAddress("host", 443)) == "host:443"
    assert parse_server(str(ServerAddress("::1", 443))) == ServerAddress("::1", 443)


@given(
    host=st.sampled_from(["chat.example.org", "192.0.2.7", "2001:db8::1", "localhost"]),
    port=st.integers(1, 65535),
    room=st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    pin=st.sampled_from([b"", PIN]) | st.binary(min_size=32, max_size=32),
)
def test_a_join_line_is_read_back_as_it_was_written(host: str, port: int, room: str, pin: bytes) -> None:
    server = ServerAddress(host, port, room, pin)
    assert parse_server(server.to_line()) == server


@given(st.text(st.characters(exclude_characters=":"), max_size=30))
def test_no_text_without_a_port_does_worse_than_being_refused(text: str) -> None:
    try:
        server = parse_server(text)
    except InputError:
        return
    assert server.host
    assert not any(c.isspace() or not c.isprintable() for c in server.host)


@pytest.mark.parametrize(
    "text", ["[::1", "::1]", "a:b:7443", "[a]:1", "securechat://host/room?pin=", "host:", "host:0x1", "[::1]7443"]
)
def test_half_an_address_is_none(text: str) -> None:
    with pytest.raises(InputError):
        parse_server(text)
