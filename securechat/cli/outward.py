"""What others may call this machine: what a server announces, and what its own certificate is for.

An announced address is of use only where somebody listens on it. A server on all addresses listens in one family or in
both, and a machine may have an outward address in either: so each family that is served is asked for its address, by
choosing a route to an address that belongs to nobody. Nothing is sent.
"""

import ipaddress
import re
import socket
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Final

from securechat.client.address import parse_server
from securechat.errors import InputError

# RFC 5737 and RFC 3849: addresses for documents.
_OUTSIDE: Final = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}
_DISCARD_PORT: Final = 9
_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_NAME: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_NAME_CHARACTERS: Final = 253  # RFC 1035
# linux/in6.h, RFC 5014: a stable address rather than one that is given up tomorrow (RFC 8981).
_ADDRESS_PREFERENCES: Final = 72
_PREFER_PUBLIC: Final = 2

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


def outward_address(family: socket.AddressFamily) -> str | None:
    """Return the address from which this machine would talk to the internet in a family; None without a route."""
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            if family == socket.AF_INET6 and sys.platform == "linux":
                with suppress(OSError):
                    probe.setsockopt(socket.IPPROTO_IPV6, _ADDRESS_PREFERENCES, _PREFER_PUBLIC)
            probe.connect((_OUTSIDE[family], _DISCARD_PORT))
            address: str = probe.getsockname()[0]
    except OSError:
        return None
    return address if _is_for_others(ipaddress.ip_address(address)) else None


def own_names() -> list[str]:
    """Return what others may call this machine: its outward addresses, then its name."""
    name = socket.gethostname()
    is_sound = len(name) <= _NAME_CHARACTERS and _NAME.fullmatch(name)
    return [found for found in (*map(outward_address, _OUTSIDE), name if is_sound else None) if found]


def announced_host(host: str | None, addresses: Sequence[str], names: Iterable[str] = ()) -> str:
    """Return the name or address by which others reach a server.

    Args:
        host: Where it was told to listen; None for everywhere.
        addresses: Where it listens.
        names: Those of a certificate that was made for it: the first that others can use is announced.
    """
    served = [_family(address) for address in map(ipaddress.ip_address, addresses) if address.is_unspecified]
    if host and not served:
        return host
    usable = (name for name in names if _is_usable(name, served))
    found = (outward_address(family) for family in _OUTSIDE if family in served)
    return next(usable, None) or next(filter(None, found), "localhost")


def _is_usable(name: str, served: Sequence[socket.AddressFamily]) -> bool:
    """Tell whether others can connect to a name of a certificate, and a join line can hold it."""
    try:
        if parse_server(name).host != name.lower():
            return False
    except InputError:
        return False
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return "localhost" not in name.lower().split(".") and not name.startswith("*")
    return _is_for_others(address) and _family(address) in served


def _is_for_others(address: IpAddress) -> bool:
    """Tell whether an address means this machine elsewhere too; an IPv6 address of one link needs a zone there."""
    is_of_a_link = address.version == 6 and address.is_link_local
    return not (address.is_loopback or address.is_unspecified or is_of_a_link)


def _family(address: IpAddress) -> socket.AddressFamily:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6
