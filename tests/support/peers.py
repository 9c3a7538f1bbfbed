"""Things that listen and are no securechat server."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.patience import PATIENCE


def _serve(listener: socket.socket, context: ssl.SSLContext | None, greeting: bytes, is_short: bool) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with contextlib.suppress(OSError), connection:
            connection.settimeout(PATIENCE)
            with context.wrap_socket(connection, server_side=True) if context else connection as talking:
                talking.sendall(greeting)
                while not is_short and talking.recv(4096):
                    pass


@contextmanager
def listening(
    context: ssl.SSLContext | None = None, greeting: bytes = b"", *, is_short: bool = False, port: int = 0
) -> Iterator[int]:
    """Listen on a port of 127.0.0.1, by default a free one, inside TLS if there is a context, and yield the port."""
    with socket.create_server(("127.0.0.1", port)) as listener:
        thread = threading.Thread(target=_serve, args=(listener, context, greeting, is_short), daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
    thread.join(PATIENCE)


def free_port() -> int:
    """Return a port of 127.0.0.1 on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port
