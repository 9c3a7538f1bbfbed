"""Where a server listens, and why it cannot.

A place is a name or an address, and a port. What it stands for depends on the machine: ``localhost`` is often in both
families where only one is there, as in a container whose IPv6 is off. The rule is the same for every place: listen on
what is there of it, on one port, and fail when nothing is. That a port is taken or not allowed is no lack of a family,
and always fails: another program would have half of our connections.
"""

import errno
import socket
from typing import Any, Final, NamedTuple

import trio

from securechat import limits
from securechat.errors import SecurechatError

# What binding says of an address that this machine, or its kernel, does not have.
_NOT_HERE: Final = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT})

Address = tuple[socket.AddressFamily, tuple[Any, ...]]  # as getaddrinfo has them: family, and what bind takes


class Options(NamedTuple):
    """The options of the command line that name a host and a port to listen on; they may be the same."""

    host: str
    port: str


SERVED: Final = Options("--host", "--port")
METRICS: Final = Options("--metrics", "--metrics")
COMPAT: Final = Options("--compat", "--compat")


class ListenError(SecurechatError):
    """Nothing can listen at a place."""


async def open_listeners(host: str | None, port: int, options: Options) -> list[trio.SocketListener]:
    """Listen at a place, on one port in all families, IPv4 first.

    Args:
        host: A name or an address; None for all addresses, IPv4 and IPv6.
        port: The TCP port; 0 picks a free one.
        options: What errors name.

    Raises:
        ListenError: The port is in use or not allowed, or the host is not this machine's.
    """
    addresses = _everywhere(port) if host is None else await _find(host, port, options)
    attempts = 1 if port else limits.FREE_PORT_ATTEMPTS
    for attempt in range(attempts):
        try:
            return await _open_all(addresses)
        except OSError as error:
            # A port that is free in one family may be taken in the other.
            if error.errno != errno.EADDRINUSE or attempt == attempts - 1:
                raise _explain(error, host, port, options) from error
    raise AssertionError


def format_place(listener: trio.SocketListener) -> str:
    """Return ``ADDRESS:PORT`` of a listener, with brackets around an IPv6 address."""
    address, port = listener.socket.getsockname()[:2]
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _everywhere(port: int) -> list[Address]:
    return [(socket.AF_INET, ("0.0.0.0", port)), (socket.AF_INET6, ("::", port))]  # noqa: S104


async def _find(host: str, port: int, options: Options) -> list[Address]:
    """Return the addresses that a host stands for, each once, IPv4 first.

    Raises:
        ListenError: It stands for none, or that is not found out in time.
    """
    try:
        with trio.fail_after(limits.LOOK_UP_TIMEOUT):
            answers = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except trio.TooSlowError as error:
        raise ListenError(
            f"Looking {host!r} up takes longer than {limits.LOOK_UP_TIMEOUT:g} s.",
            f"Give an address in place of the name with {options.host}.",
            option=options.host,
        ) from error
    except (OSError, ValueError) as error:  # it is unknown; or it is no name: too long, or with a NUL
        raise ListenError(
            f"{host!r} is no address of this machine.",
            f"Give one of its addresses with {options.host}.",
            option=options.host,
        ) from error
    found: set[Address] = {(family, where) for family, _, _, _, where in answers}
    return sorted(found, key=lambda address: (address[0] != socket.AF_INET, address[1]))


async def _open_all(addresses: list[Address]) -> list[trio.SocketListener]:
    """Listen on those addresses that are there; what the first gets for port 0 is the port of all.

    Raises:
        OSError: None is there, or one of those that are cannot be listened on.
    """
    listeners: list[trio.SocketListener] = []
    missing = OSError(errno.EADDRNOTAVAIL, "no such address")
    try:
        for family, (host, port, *rest) in addresses:
            number = listeners[0].socket.getsockname()[1] if listeners else port
            try:
                listeners.append(await _open(family, (host, number, *rest)))
            except OSError as error:
                if error.errno not in _NOT_HERE:
                    raise
                missing = error
        if not listeners:
            raise missing
    except BaseException:
        for listener in listeners:
            listener.socket.close()
        raise
    return listeners


async def _open(family: socket.AddressFamily, where: tuple[Any, ...]) -> trio.SocketListener:
    sock = trio.socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        await sock.bind(where)
        sock.listen(limits.ACCEPT_BACKLOG)
    except BaseException:
        sock.close()
        raise
    return trio.SocketListener(sock)


def _explain(error: OSError, host: str | None, port: int, options: Options) -> ListenError:
    where = f"{host or 'this machine'}, port {port}"
    if error.errno == errno.EADDRINUSE:
        step = f"Stop the other program, or choose another port with {options.port}."
        return ListenError(f"The port is in use: {where}.", step, option=options.port)
    if error.errno == errno.EACCES:
        step = f"Choose a port of 1024 or above with {options.port}."
        return ListenError(f"This user may not listen on {where}.", step, option=options.port)
    if error.errno in _NOT_HERE:
        step = f"Give one of its addresses with {options.host}."
        return ListenError(f"{host} is no address of this machine.", step, option=options.host)
    step = f"Choose another address or port with {' or '.join(dict.fromkeys(options))}."
    return ListenError(f"Cannot listen on {where}: {error.strerror}.", step, option=options.host)
