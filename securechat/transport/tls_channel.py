"""The channel over TLS (RFC 8446).

After the handshake, what is already in the incoming BIO is decrypted before waiting: a first frame can
arrive together with the client's Finished. close_notify goes both ways, and an end without it is an
error (truncation). What waits behind a full socket is plaintext: it is encrypted when its turn comes.
"""

import socket
import ssl
from contextlib import suppress
from typing import Final

import trio

from securechat import limits
from securechat.errors import ChannelBrokenError, ChannelClosedError
from securechat.transport.channel import SocketChannel

_READ_BYTES: Final = 64 * 1024
TLS_HANDSHAKE: Final = b"\x16"  # the first byte of a TLS connection (RFC 8446, section 5.1)
_RECORD_HEAD_BYTES: Final = 5
_RECORD_BYTES: Final = 16 * 1024  # of plaintext in one record at the most (RFC 8446, section 5.1)


class TlsChannel(SocketChannel):
    """See ``Channel``. Made around a connected socket; ``handshake`` comes first.

    Args:
        sock: A connected, non-blocking TCP socket; the channel closes it.
        context: The TLS context.
        server_name: For a client: the name to ask for and, under a verifying context, to check.
        received: For a server: what was read from the socket already.
    """

    def __init__(
        self, sock: socket.socket, context: ssl.SSLContext, server_name: str | None = None, received: bytes = b""
    ) -> None:
        super().__init__(sock)
        self._incoming = ssl.MemoryBIO()
        self._incoming.write(received)
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming,
            self._outgoing,
            server_side=server_name is None,
            server_hostname=server_name,
        )
        self._may_hold_data = False  # decrypted or decryptable bytes besides what a read brings

    @property
    def alpn(self) -> str | None:
        """The application protocol that the handshake agreed on; None for none."""
        return self._tls.selected_alpn_protocol()

    @property
    def peer_certificate(self) -> bytes:
        """The peer's certificate in DER, as a client sees it after the handshake."""
        certificate = self._tls.getpeercert(binary_form=True)
        assert certificate is not None, "a TLS server always shows one"
        return certificate

    async def handshake(self) -> None:
        """Do the TLS handshake, or the rest of it. The caller sets the deadline.

        Raises:
            ssl.SSLError: It failed; the peer has been told why.
            ChannelBrokenError: The connection ended in it.
        """
        while not self.advance_handshake():
            await self.drain()
            self._take_in(await self._read_some())
        self._may_hold_data = True

    def advance_handshake(self) -> bool:
        """Do what can be done of the handshake without waiting; return whether it is complete.

        Raises:
            ssl.SSLError: It failed; the peer has been told why.
            ChannelBrokenError: The connection ended in it.
        """
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLEOFError as error:
            raise ChannelBrokenError(_describe(error)) from error
        else:
            return True
        finally:
            self._flush()

    def _encode(self, data: bytes) -> bytes:
        """Encrypt ``data``; TLS refuses when what came from the peer has ended it."""
        try:
            if len(data) <= _RECORD_BYTES:
                self._tls.write(data)
                return self._outgoing.read()
            records = []  # one by one: a BIO never gives back the memory that it has once filled
            for start in range(0, len(data), _RECORD_BYTES):
                self._tls.write(data[start : start + _RECORD_BYTES])
                records.append(self._outgoing.read())
            return b"".join(records)
        except ssl.SSLError as error:
            self._break(error)
            return b""

    def _flush(self) -> None:
        """Send what TLS has to say by itself."""
        self._hold(self._outgoing.read())
        self.flush()

    def _take_in(self, data: memoryview) -> None:
        """Note what was read from the socket; nothing is its end."""
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    async def receive(self) -> bytes:
        """See ``Channel.receive``."""
        while True:
            if self._may_hold_data:
                data = self._decrypt()
                if data:
                    return data
            self._take_in(await self._read_some())
            self._may_hold_data = True

    def _decrypt(self) -> bytes:
        """Return what can be decrypted without another read; the last record leaves no exception behind."""
        chunks = []
        try:
            while True:
                chunk = self._tls.read(_READ_BYTES)
                if not chunk:
                    break
                chunks.append(chunk)
                if not self._incoming.pending and not self._tls.pending():
                    self._may_hold_data = False
                    break
        except ssl.SSLWantReadError:
            self._may_hold_data = False
        except ssl.SSLZeroReturnError:
            pass
        except ssl.SSLError as error:
            if not chunks:  # otherwise they come first, and the next call meets the error again
                self._flush()
                self._break(error)
                raise ChannelBrokenError(_describe(error)) from error
        if self._outgoing.pending:  # a key update's answer
            self._flush()
            if self.backlog > limits.KEY_UPDATE_BYTES:
                raise ChannelBrokenError("the peer asks for key updates and does not read the answers")
        if self._may_hold_data and not chunks:
            raise ChannelClosedError("the peer closed the connection")
        return b"".join(chunks)

    async def _say_close(self) -> None:
        """Send close_notify too."""
        self._is_over = True
        with suppress(ssl.SSLError):  # the usual: the peer has not said it yet
            self._tls.unwrap()
        self._flush()
        await self.drain()
        await super()._say_close()


async def read_hello(sock: socket.socket) -> bytes:
    """Return the first record of a TLS client, once it is complete. The caller sets the deadline.

    With it, a handshake needs no further wait. A peer that does not begin as TLS does is not worth a handshake.

    Args:
        sock: A connected, non-blocking socket.

    Raises:
        ChannelClosedError: The peer closed the connection before it was complete.
        ChannelBrokenError: The connection broke, or the peer does not speak TLS.
    """
    hello = b""
    while not _is_record(hello):
        try:
            received = sock.recv(limits.HELLO_BYTES - len(hello))
        except (BlockingIOError, InterruptedError):
            await trio.lowlevel.wait_readable(sock)
            continue
        except OSError as error:
            raise ChannelBrokenError(f"the connection broke: {error.strerror}") from error
        if not received:
            raise ChannelClosedError("the peer closed the connection")
        hello += received
    await trio.lowlevel.checkpoint()
    return hello


def _is_record(received: bytes) -> bool:
    """Return whether a first record (RFC 8446, section 5.1) is complete.

    Raises:
        ChannelBrokenError: It is not one of a TLS client.
    """
    length = int.from_bytes(received[3:_RECORD_HEAD_BYTES])
    if received[:1] not in {b"", TLS_HANDSHAKE} or length > _RECORD_BYTES:
        raise ChannelBrokenError("the peer does not speak TLS")
    return len(received) >= _RECORD_HEAD_BYTES + length


def has_gone(sock: socket.socket) -> bool:
    """Return whether the peer has closed the connection already, as far as this machine knows."""
    try:
        return not sock.recv(1, socket.MSG_PEEK)
    except (BlockingIOError, InterruptedError):
        return False
    except OSError:
        return True


def _describe(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLEOFError) or error.reason == "UNEXPECTED_EOF_WHILE_READING":
        return "the connection broke off"
    return f"TLS failed: {error.reason}"
