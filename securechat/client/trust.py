"""Whether a server is the one that this person trusts, decided before a byte of the protocol is sent.

PROTOCOL.md, section 6: a pin is met by that key alone, a ``ca`` entry by a valid chain and name alone,
and only a server of which nothing is known is tried and asked about.
"""

import os
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import trio

from securechat import labels, limits
from securechat.client.address import ServerAddress
from securechat.errors import CertificateError, ChannelClosedError, InputError, NotTrustedError, UnreachableError
from securechat.transport import known_hosts, pins
from securechat.transport.certificates import spki_hash
from securechat.transport.channel import SocketChannel, take_socket
from securechat.transport.known_hosts import Entry, KnownHosts
from securechat.transport.tls import client_context
from securechat.transport.tls_channel import TlsChannel

_HINT = "Check the address and that 'securechat server' runs there; 'securechat doctor {}' tells more."

AskTrust = Callable[[ServerAddress, bytes, str], Awaitable[bool]]


@dataclass(frozen=True)
class Trust:
    """What there is to decide with.

    Attributes:
        known: The known hosts.
        pin: The pin that was given, 32 bytes; empty for none.
        authorities: A PEM file of authorities that was given, or None.
        ask: Asks the person about a first contact: server, pin, and what speaks against its certificate.
    """

    known: KnownHosts
    pin: bytes
    authorities: Path | None
    ask: AskTrust


async def connect(server: ServerAddress, trust: Trust, alpn: str = labels.ALPN) -> tuple[TlsChannel, bytes]:
    """Return a channel to ``server``, its TLS handshake done, and the key's SHA-256 (32 bytes).

    Args:
        server: Where.
        trust: How it is recognised.
        alpn: The application protocol to speak.

    Raises:
        UnreachableError: Nothing answers, or what answers is no securechat server.
        NotTrustedError: Its key is not the one that is trusted, or nobody trusted it.
    """
    entry = trust.known.entries().get(str(server))
    wanted = _given(server, trust, entry)
    if wanted is not None:
        forget = "" if entry is None else trust.known.how_to_forget(str(server))
        channel, pin = await _open(server, wanted, trust.authorities, alpn, forget)
    else:
        channel, pin, wanted = await _first_contact(server, trust, alpn)
    if entry is None:
        trust.known.add(str(server), wanted)
    return channel, pin


async def open_unverified(server: ServerAddress) -> tuple[TlsChannel, bytes]:
    """Return a channel to ``server`` and the SHA-256 of its key, whichever that is; only to look at it.

    Raises:
        UnreachableError: Nothing answers, or what answers is no securechat server.
    """
    return await _open(server, None, None, labels.ALPN)


async def open_plain(server: ServerAddress) -> SocketChannel:
    """Return a channel to ``server`` without TLS: for the old base64 mode alone.

    Raises:
        UnreachableError: Nothing answers.
    """
    return SocketChannel(await _open_socket(server))


def _given(server: ServerAddress, trust: Trust, entry: Entry | None) -> Entry | None:
    """Return how the server is to be recognised; None when neither flags nor file say."""
    flags = Entry(frozenset({trust.pin})) if trust.pin else known_hosts.CA if trust.authorities else None
    if entry is None or flags is None:
        return entry or flags
    if flags.pins <= entry.pins and flags.uses_ca == entry.uses_ca:
        return flags
    raise NotTrustedError(
        f"{server} is known by '{entry}', which is not what was given now ('{flags}').",
        f"If the server's key was changed on purpose: {trust.known.how_to_forget(str(server))}",
    )


async def _first_contact(server: ServerAddress, trust: Trust, alpn: str) -> tuple[TlsChannel, bytes, Entry]:
    """Try the system's authorities, then look at the key and ask about it.

    While a person thinks, no connection is held open; the one that follows has to show the same key.
    """
    try:
        return *await _open(server, known_hosts.CA, None, alpn), known_hosts.CA
    except NotTrustedError as error:
        why = error.message
    channel, pin = await _open(server, None, None, alpn)
    await _close(channel)
    if not await trust.ask(server, pin, why):
        raise NotTrustedError(
            f"The key of {server} is not trusted: {pins.format_pin(pin)}.",
            f"Compare it with what the server printed at start, then give --pin {pins.format_pin(pin)}",
        )
    entry = Entry(frozenset({pin}))
    return *await _open(server, entry, None, alpn), entry


async def _close(channel: TlsChannel) -> None:
    with trio.move_on_after(1):
        await channel.aclose()


async def _open(
    server: ServerAddress, entry: Entry | None, authorities: Path | None, alpn: str, forget: str = ""
) -> tuple[TlsChannel, bytes]:
    """Connect and recognise the server by ``entry``.

    Args:
        server: Where.
        entry: How it is recognised; None recognises anything, to read the pin only.
        authorities: A PEM file of authorities in place of the system's.
        alpn: The application protocol to speak.
        forget: The command that forgets the server; empty where nothing is known of it.
    """
    try:
        context = client_context(verify=entry is not None and entry.uses_ca, authorities=authorities, alpn=alpn)
    except OSError as error:
        what = "holds no usable certificates" if isinstance(error, ssl.SSLError) else "cannot be read"
        raise InputError(f"{authorities} {what}.", "Give a PEM file with --ca.", option="--ca") from error
    channel = TlsChannel(await _open_socket(server), context, server.host)
    try:
        is_known = entry is not None and bool(entry.pins or authorities or forget)
        await _shake_hands(server, channel, forget, is_known=is_known)
        return channel, _recognise(server, channel, entry, alpn, forget)
    except BaseException:
        channel.abort()
        raise


async def _open_socket(server: ServerAddress) -> socket.socket:
    try:
        with trio.fail_after(limits.CONNECT_TIMEOUT):
            return take_socket(await trio.open_tcp_stream(server.host, server.port))
    except trio.TooSlowError:
        raise _too_slow(server) from None
    except OSError as error:
        raise UnreachableError(f"{server} cannot be reached: {_reason(error)}.", _HINT.format(server)) from error


async def _shake_hands(server: ServerAddress, channel: TlsChannel, forget: str, *, is_known: bool) -> None:
    hint = _HINT.format(server)
    try:
        with trio.fail_after(limits.CONNECT_TIMEOUT):
            await channel.handshake()
    except trio.TooSlowError:
        raise _too_slow(server, is_busy=is_known) from None
    except ssl.SSLCertVerificationError as error:
        raise NotTrustedError(
            f"No authority vouches for {server}: {error.verify_message.rstrip('.')}.",
            f"If that is as it should be: {forget}"
            if forget
            else "Check its name, its dates and this machine's clock; or trust its key with --pin.",
        ) from error
    except ssl.SSLError as error:
        raise UnreachableError(_explain(server, error), hint) from error
    except ChannelClosedError as error:
        raise UnreachableError(
            f"{server} ended the TLS handshake: it is no securechat server, or is busy.", hint, is_busy=is_known
        ) from error


def _too_slow(server: ServerAddress, *, is_busy: bool = False) -> UnreachableError:
    said = f"{server} does not answer in {limits.CONNECT_TIMEOUT:.0f} s."
    return UnreachableError(said, _HINT.format(server), is_busy=is_busy)


def _recognise(server: ServerAddress, channel: TlsChannel, entry: Entry | None, alpn: str, forget: str) -> bytes:
    try:
        pin = spki_hash(channel.peer_certificate)
    except CertificateError as error:
        raise UnreachableError(
            f"{server} shows a damaged certificate, whose key cannot be found.", _HINT.format(server)
        ) from error
    if entry is not None and entry.pins and pin not in entry.pins:
        expected = " or ".join(sorted(map(pins.format_pin, entry.pins)))
        what = "has changed" if forget else "is not the expected one"
        raise NotTrustedError(
            f"The key of {server} {what}. Expected {expected}, found {pins.format_pin(pin)}. "
            "Nothing was sent. Somebody may be in between, or the server has a new key: ask who runs it.",
            f"If it is new on purpose: {forget}" if forget else "Give the pin that the server prints at start.",
        )
    if channel.alpn != alpn:
        raise UnreachableError(f"{server} speaks TLS but is no securechat server.", _HINT.format(server))
    return pin


def _explain(server: ServerAddress, error: ssl.SSLError) -> str:
    reason = error.reason or ""
    if "PROTOCOL_VERSION" in reason or "UNSUPPORTED_PROTOCOL" in reason:
        return f"{server} does not speak TLS 1.3."
    if "NO_APPLICATION_PROTOCOL" in reason:
        return f"{server} speaks TLS but is no securechat server."
    if reason in {
        "WRONG_VERSION_NUMBER",
        "HTTP_REQUEST",
        "RECORD_LAYER_FAILURE",
        "PACKET_LENGTH_TOO_LONG",
    }:
        return f"{server} does not speak TLS: it is no securechat server."
    return f"TLS with {server} failed ({reason.lower().replace('_', ' ')})."


def _reason(error: OSError) -> str:
    """Say an OSError of ``trio.open_tcp_stream`` in words; it may carry one cause for each address tried."""
    cause = error.__cause__
    while isinstance(cause, BaseExceptionGroup):
        cause = cause.exceptions[0]
    if isinstance(cause, OSError):
        error = cause
    if isinstance(error, socket.gaierror) or not error.errno:
        return (error.strerror or str(error)).lower()
    return os.strerror(error.errno).lower()
