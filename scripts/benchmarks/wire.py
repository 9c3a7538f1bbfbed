"""The load's end of a connection: non-blocking, plain or TLS 1.3, as cheap as Python allows."""

import socket
import ssl
from typing import Final

_READ_BYTES: Final = 256 * 1024
_RECORD_BYTES: Final = 16 * 1024
_PATIENCE: Final = 20.0
_buffer: Final = bytearray(_READ_BYTES)
_view: Final = memoryview(_buffer)


class LostError(Exception):
    """A server closed a connection, or did not deliver what it had to."""


def open_socket(port: int, source: int) -> socket.socket:
    """Connect to 127.0.0.1 from the ``source``-th address of 127.1.0.0/16, and block while it greets.

    Members come from addresses of their own, as they do outside: what a server allows one address stays as it is.
    """
    address = f"127.1.{source // 250}.{source % 250 + 1}"
    sock = socket.create_connection(("127.0.0.1", port), _PATIENCE, (address, 0))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


class Wire:
    """A connection without TLS.

    Args:
        sock: Connected; blocking until ``stop_blocking``.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.unsent = bytearray()

    def stop_blocking(self) -> None:
        """From now on ``send`` and ``receive`` take what is possible."""
        self.sock.setblocking(False)

    def send(self, data: bytes) -> None:
        """Send; what the socket does not take waits in ``unsent``."""
        self.unsent += data
        self.push()

    def push(self) -> None:
        """Send what waits, as far as the socket takes it."""
        try:
            while self.unsent:
                del self.unsent[: self.sock.send(self.unsent)]
        except BlockingIOError:
            pass

    def receive(self) -> bytes:
        """Return what has come; nothing when nothing has.

        Raises:
            LostError: The server has closed the connection.
        """
        return bytes(_view[: self._read()])

    def _read(self) -> int:
        try:
            size = self.sock.recv_into(_buffer)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise LostError(f"the server broke a connection: {error}") from error
        if not size:
            raise LostError("the server closed a connection")
        return size

    def close(self) -> None:
        """Close."""
        self.sock.close()


class TlsWire(Wire):
    """A connection inside TLS.

    Args:
        sock: Connected, blocking.
        context: The client's context.
    """

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        super().__init__(sock)
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing)
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                sock.sendall(self._outgoing.read())
                self._incoming.write(_view[: self._read()])
            else:
                break
        sock.sendall(self._outgoing.read())

    def send(self, data: bytes) -> None:
        """See ``Wire.send``: one record for each call."""
        self._tls.write(data)
        super().send(self._outgoing.read())

    def receive(self) -> bytes:
        """See ``Wire.receive``."""
        size = self._read()
        if not size:
            return b""
        self._incoming.write(_view[:size])
        chunks = []
        try:
            while True:
                chunk = self._tls.read(_RECORD_BYTES)
                if not chunk:
                    raise LostError("the server closed a connection")
                chunks.append(chunk)
                if not self._incoming.pending and not self._tls.pending():
                    break
        except ssl.SSLWantReadError:
            pass
        return b"".join(chunks)


def client_context(alpn: str | None = None) -> ssl.SSLContext:
    """Return a context for TLS 1.3 alone. Certificates are not checked: the servers are this program's own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols([alpn])
    return context
