"""How people name a server: ``HOST[:PORT]`` or ``securechat://HOST[:PORT][/ROOM][?pin=sha256:...]``."""

import ipaddress
import re
from dataclasses import dataclass
from typing import Final
from unicodedata import normalize
from urllib.parse import parse_qs, quote, unquote, urlsplit

from securechat.errors import InputError
from securechat.transport.pins import format_pin, parse_pin

DEFAULT_PORT: Final = 7443
_SCHEME: Final = "securechat"
_WHERE: Final = re.compile(r"(?:\[([^\[\]]+)\]|([^\[\]:/@?#\s]+))(?::([0-9]{1,5}))?")
_ZONE: Final = re.compile(r"[A-Za-z0-9._~-]+")
_MOST_PORT: Final = 65535


@dataclass(frozen=True)
class ServerAddress:
    """Where a server is, and what a join line may say besides.

    Attributes:
        host: A DNS name or an IP address, without brackets.
        port: The TCP port.
        room: The room's name; empty when not said.
        pin: The server's pin, 32 bytes; empty when not said.
    """

    host: str
    port: int = DEFAULT_PORT
    room: str = ""
    pin: bytes = b""

    def __str__(self) -> str:
        """Return ``HOST:PORT``, with brackets around an IPv6 address: the name in the known hosts."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def to_line(self) -> str:
        """Return the ``securechat://`` line to hand to friends; the passphrase is never in it."""
        room = "/" + quote(self.room, safe="") if self.room else ""
        pin = f"?pin={format_pin(self.pin)}" if self.pin else ""
        return f"{_SCHEME}://{self}{room}{pin}"


def parse_server(text: str, default_port: int = DEFAULT_PORT) -> ServerAddress:
    """Return what ``text`` names, at ``default_port`` where it says none.

    Raises:
        InputError: It is neither form.
    """
    if "://" not in text:
        return _parse_host(text, default_port)
    try:
        parts = urlsplit(text)
        query = parse_qs(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        if parts.scheme != _SCHEME or set(query) - {"pin"} or parts.fragment or parts.username is not None:
            raise ValueError(text)
        room = unquote(parts.path.removeprefix("/"), errors="strict")
        room.encode()  # what an argument held that is not UTF-8 is no room's name
    except ValueError as error:
        raise InputError(
            "This is not a join line.", "It reads securechat://HOST[:PORT][/ROOM][?pin=sha256:...]."
        ) from error
    pin = parse_pin(query["pin"][0]) if "pin" in query else b""
    where = _parse_host(parts.netloc, default_port)
    return ServerAddress(where.host, where.port, room, pin)


def _parse_host(text: str, default_port: int) -> ServerAddress:
    if _is_ipv6(text):
        return ServerAddress(_lower_ipv6(text), default_port)
    match = _WHERE.fullmatch(text)
    if match is not None:
        ipv6, name, port = match.groups()
        number = int(port) if port else default_port
        is_host = _is_ipv6(ipv6) if ipv6 else _is_name(name)
        if is_host and 1 <= number <= _MOST_PORT:
            return ServerAddress(_lower_ipv6(ipv6) if ipv6 else name.rstrip(".").lower(), number)
    raise InputError(f"{text!r} names no server.", "Give HOST, HOST:PORT or a securechat:// line.")


def _is_name(text: str) -> bool:
    """Tell whether ``text`` may be a DNS name, and is none that contains a delimiter of URLs in another form."""
    return text.isprintable() and bool(text.strip(".")) and not set("[]:/@?#") & set(normalize("NFKC", text))


def _is_ipv6(text: str) -> bool:
    """Tell whether ``text`` is an IPv6 address, with or without a zone (RFC 4007, section 11)."""
    address, _, zone = text.partition("%")
    try:
        ipaddress.IPv6Address(address)
    except ValueError:
        return False
    return "%" not in text or _ZONE.fullmatch(zone) is not None


def _lower_ipv6(text: str) -> str:
    """Return an address in lower case; the zone is the name of an interface and stays."""
    address, mark, zone = text.partition("%")
    return address.lower() + mark + zone
