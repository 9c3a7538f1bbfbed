"""What people type, paste and write into files."""

import unicodedata
from collections.abc import Callable
from typing import Final

import click

from securechat import limits
from securechat.cli.config import read_config
from securechat.cli.group import main
from securechat.cli.limiting import read_limits, show
from securechat.cli.options import duration
from securechat.client.address import ServerAddress, parse_server
from securechat.errors import InputError, StorageError
from securechat.limits import SERVER, Rate
from securechat.protocol.messages import Welcome
from securechat.sealing import names
from securechat.sealing.identity import Identity
from securechat.transport.known_hosts import CA, Entry, KnownHosts
from securechat.transport.pins import format_pin, parse_pin
from tests.fuzz.harness import Harness, make_directory, to_bytes, to_text, vectors

_FILE: Final = make_directory() / "file"
_PIN: Final = bytes(range(32))
_LIMIT_NAMES: Final = [name.replace("_", "-") for name in vars(SERVER)]


def _check_said(error: InputError | StorageError) -> None:
    """Hold an error against its form: a sentence, and one line where the input was short."""
    assert error.message.endswith((".", "'.", ")."))
    assert error.next_step


def pin(data: bytes) -> None:
    """A pin has 32 bytes and one printed form, or is refused."""
    try:
        parsed = parse_pin(to_text(data))
    except InputError as error:
        _check_said(error)
    else:
        assert len(parsed) == 32
        assert parse_pin(format_pin(parsed)) == parsed


def address(data: bytes) -> None:
    """A server has one name, which names it again, as does its join line."""
    try:
        server = parse_server(to_text(data))
    except InputError as error:
        _check_said(error)
        return
    assert server.host
    assert 1 <= server.port <= 65535
    assert len(server.pin) in {0, 32}
    assert parse_server(str(server)) == ServerAddress(server.host, server.port)
    assert parse_server(server.to_line()) == server
    assert len(str(server).split()) == 1, "one word in the known hosts"
    assert str(server).isprintable()


def known_hosts(data: bytes) -> None:
    """A file is entries or an error that names the line; what is added is found, and the rest stays."""
    _FILE.write_bytes(data)
    hosts = KnownHosts(_FILE)
    try:
        before = hosts.entries()
    except (InputError, StorageError) as error:
        _check_said(error)
        return
    for entry in (Entry(frozenset({_PIN})), CA):
        hosts.add("new.example.org:7443", entry)
        assert hosts.entries() == before | {"new.example.org:7443": entry}
    assert hosts.remove("new.example.org:7443")
    before.pop("new.example.org:7443", None)
    assert hosts.entries() == before


def config(data: bytes) -> None:
    """A configuration is defaults with which each command starts or says what is wrong, or an error."""
    _FILE.write_bytes(data)
    assert isinstance(main, click.Group)
    try:
        file = read_config(main, _FILE)
    except InputError as error:
        _check_said(error)
        return
    assert file is not None
    for name, values in file.defaults.items():
        arguments = [] if name == "server" else ["chat.example.org"]
        try:
            main.commands[name].make_context(name, arguments, default_map=values)
        except (click.ClickException, InputError) as error:
            assert str(error)


def limit(data: bytes) -> None:
    """A limit is above 0 and fits where it is announced, or is refused.

    The first byte chooses a limit, or none of them.
    """
    text = to_text(data[1:])
    if data[:1] < bytes([len(_LIMIT_NAMES)]):
        text = f"{_LIMIT_NAMES[int.from_bytes(data[:1], 'big')]}={text}"
    try:
        allowed = read_limits([text])
    except InputError as error:
        _check_said(error)
        return
    for name, default in vars(SERVER).items():
        value = getattr(allowed, name)
        assert type(value) is type(default)
        for number in value if isinstance(value, Rate) else (value,):
            assert number > 0
    Welcome(bytes(32), limits.ENVELOPE_BYTES, allowed.keepalive, 0).encode()


def time_span(data: bytes) -> None:
    """A time span is seconds, or is refused."""
    try:
        assert 0 <= duration(to_text(data)) < 10**9 * 604_800
    except click.BadParameter as error:
        assert "is no time span" in error.message


def identity(data: bytes) -> None:
    """A file is an identity that is written again, or an error that does not quote it."""
    try:
        found = Identity.from_pem(data)
    except InputError as error:
        _check_said(error)
    else:
        assert Identity.from_pem(found.to_pem()).public == found.public


def name(data: bytes) -> None:
    """A name has one form, which is its own, or is refused without being quoted."""
    text = to_text(data)
    normalise: Callable[[str], str]
    for normalise, most in (
        (names.normalise_room, limits.ROOM_NAME_BYTES),
        (names.normalise_passphrase, limits.PASSPHRASE_BYTES),
        (names.normalise_nick, 4 * limits.NICK_CODE_POINTS),
    ):
        try:
            normal = normalise(text)
        except InputError as error:
            _check_said(error)
        else:
            assert normalise(normal) == normal
            assert 1 <= len(normal.encode()) <= most
            assert unicodedata.is_normalized("NFC", normal)
            assert not {unicodedata.category(char) for char in normal} & {"Cc", "Cs", "Co", "Cn"}


def message_text(data: bytes) -> None:
    """A text can be sent, or is refused."""
    text = to_text(data)
    try:
        names.check_text(text)
    except InputError as error:
        _check_said(error)
    else:
        assert 1 <= len(text.encode()) <= limits.TEXT_BYTES


_PINS = [vector["text"] for vector in vectors("pins")]
_ADDRESSES = [
    *("chat.example.org", "CHAT.Example.ORG.:443", "192.0.2.7:1", "::1", "[2001:DB8::1]:8443", "host:0"),
    f"securechat://chat.example.org:443/our%20room?pin={_PINS[0]}",
    *("securechat://[::1]/%E8%8C%B6", "securechat://user:secret@host", "https://host", "securechat://host/%ff"),
    *("fe80::1%two words", "[fe80::1%a]b]:1", "FE80::1%Wlan0", "\u2100.example.org", "securechat://host/\udcff"),
]
_KNOWN_HOSTS = [
    "",
    f"# mine\n\nchat.example.org:7443 pin {_PINS[0]},{_PINS[1]}\n[::1]:7443 ca\n",
    "a:1 ca\r\na:1 ca",
    "new.example.org:7443 ca\nhalf",
]
_CONFIGS = [
    '[server]\nretain-messages = 100\nhost = "127.0.0.1"\n[client]\nnick = "ann"\n',
    '[server]\nretain = "7d"\nlimit = ["rooms=5"]\n[client]\nprofile = "/tmp"\n',
    "[servers]\n",
    "server = 1\n",
    "[client]\nnick = 1979-05-27\n",
    '[client]\nca = "\\u0000"\n',
    "[server]\nretain-messages = [1]\ndata = 1\nmemory = 1\nport = inf\n",
    "a = " + "[" * 2000,
]
_LIMITS = [
    *(bytes([number]) + show(value, "bytes").encode() for number, value in enumerate(vars(SERVER).values())),
    b"\xffrooms=7",
    b"\xffx=1",
    b"\x000.5",
    bytes([_LIMIT_NAMES.index("keepalive")]) + b"70000",
    bytes([_LIMIT_NAMES.index("joins")]) + b"0.5:1",
]
_PEM = Identity(bytes(32)).to_pem()
_PEMS = [
    _PEM,
    _PEM.replace(b"AwBQYDK2Vw", b"AwBQYDK2V1"),  # a key of a kind that nobody has
    b"-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n",
]

HARNESSES = {
    "pin": Harness(pin, to_bytes(_PINS), 256),
    "address": Harness(address, to_bytes(_ADDRESSES), 512),
    "known-hosts": Harness(known_hosts, to_bytes(_KNOWN_HOSTS), 1024),
    "config": Harness(config, to_bytes(_CONFIGS), 1024, memory=256),
    "limit": Harness(limit, _LIMITS, 64),
    "time-span": Harness(time_span, to_bytes(["90", "30m", "7d", "1y", ""]), 64),
    "identity": Harness(identity, _PEMS, 1024),
    "name": Harness(name, to_bytes(vector["input"] for vector in vectors("names")), memory=128),
    "message-text": Harness(message_text, to_bytes(["hello", "", "two\nlines", "\0", "\ud800"])),
}
