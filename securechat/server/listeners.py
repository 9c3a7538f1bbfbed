"""Where a server listens, and why it cannot."""

import errno
import socket

import trio

from securechat import limits
from securechat.errors import SecurechatError


async def open_listeners(host: str | None, port: int) -> list[trio.SocketListener]:
    """Listen on ``host`` (None: all addresses, IPv4 and IPv6, on one port).

    Raises:
        SecurechatError: The port is in use, or the address is not this machine's.
    """
    try:
        if port or host not in {None, "localhost"}:
            return await trio.open_tcp_listeners(port, host=host, backlog=limits.ACCEPT_BACKLOG)
        both = ("0.0.0.0", "::") if host is None else ("127.0.0.1", "::1")  # noqa: S104
        listeners = await trio.open_tcp_listeners(0, host=both[0], backlog=limits.ACCEPT_BACKLOG)
        port = listeners[0].socket.getsockname()[1]
        try:
            return listeners + await trio.open_tcp_listeners(port, host=both[1], backlog=limits.ACCEPT_BACKLOG)
        except OSError:  # no IPv6 here
            return listeners
    except OSError as error:
        raise _explain(error, host, port) from error


def _explain(error: OSError, host: str | None, port: int) -> SecurechatError:
    where = f"{host or 'this machine'}, port {port}"
    if isinstance(error, socket.gaierror):
        return SecurechatError(f"{host!r} is no address of this machine.", "Give one of its addresses with --host.")
    # trio raises EADDRINUSE of its own making, with a message and a cause in place of a number
    numbers = {error.errno, getattr(error.__cause__, "errno", None)}
    if errno.EADDRINUSE in numbers:
        return SecurechatError(f"The port is in use: {where}.", "Stop the other program, or choose another --port.")
    if errno.EACCES in numbers:
        return SecurechatError(f"This user may not listen on {where}.", "Choose a --port of 1024 or above.")
    if errno.EADDRNOTAVAIL in numbers:
        return SecurechatError(f"{host} is no address of this machine.", "Give one of its addresses with --host.")
    return SecurechatError(f"Cannot listen on {where}: {error}.", "Choose another --host or --port.")
