"""What ``securechat doctor`` looks at, one step after another; it trusts nothing and remembers nothing."""

import time
from collections.abc import Callable
from pathlib import Path

import trio

from securechat.client import trust
from securechat.client.address import ServerAddress
from securechat.client.clock import now_ms
from securechat.client.link import Link
from securechat.client.trust import Trust
from securechat.errors import CertificateError, ChannelClosedError, NotTrustedError, UnreachableError
from securechat.protocol.messages import VERSION
from securechat.transport.certificates import read_leaf
from securechat.transport.known_hosts import KnownHosts
from securechat.transport.pins import format_pin
from securechat.transport.signing import clamp_instant
from securechat.transport.tls_channel import TlsChannel

Tell = Callable[[str], None]
_TOLERATED_SKEW_MS = 30_000


async def diagnose(server: ServerAddress, known: KnownHosts, pin: bytes, authorities: Path | None, tell: Tell) -> None:
    """Check a server and tell of each step.

    Raises:
        UnreachableError: A step failed; the message says which.
        NotTrustedError: The key is not the one that is known or was given.
    """
    addresses = await _resolve(server)
    tell(f"ok    name       {server.host} is {', '.join(addresses)}")
    began = trio.current_time()
    channel, found = await trust.open_unverified(server)
    try:
        tell(f"ok    TLS 1.3    handshake with securechat/{VERSION} in {(trio.current_time() - began) * 1000:.0f} ms")
        tell(f"      pin        {format_pin(found)}")
        _tell_certificate(channel, tell)
        _tell_trust(server, known, pin, found, tell)
        await _tell_protocol(Link(channel, found), tell)
    except ChannelClosedError as error:
        raise UnreachableError(
            f"{server} ended the connection: {error}.", "Look at what the server's own log says."
        ) from error
    finally:
        with trio.move_on_after(1):
            await channel.aclose()
    _compare(server, known, pin, found)
    entry = known.entries().get(str(server))
    if authorities is not None or (entry is not None and entry.uses_ca):
        await _check_authority(server, Trust(known, b"", authorities, _refuse), tell)


async def _refuse(*_: object) -> bool:
    """Trust nobody: a diagnosis asks nothing."""
    return False


async def _check_authority(server: ServerAddress, decided: Trust, tell: Tell) -> None:
    """Connect once more, as a client that knows the server by its authority does."""
    channel, _ = await trust.connect(server, decided)
    tell("ok    authority  an authority vouches for its name and dates")
    with trio.move_on_after(1):
        await channel.aclose()


async def _resolve(server: ServerAddress) -> list[str]:
    try:
        found = await trio.socket.getaddrinfo(server.host, server.port, type=trio.socket.SOCK_STREAM)
    except OSError as error:
        raise UnreachableError(
            f"The name {server.host} is not known: {error.strerror}.",
            "Check how it is spelt, or give the IP address.",
        ) from error
    return sorted({str(address[4][0]) for address in found})


def _tell_certificate(channel: TlsChannel, tell: Tell) -> None:
    try:
        leaf = read_leaf(channel.peer_certificate)
    except CertificateError:
        tell("note  dates      the certificate is damaged or of a rare kind; a pin does not mind")
        return
    now = clamp_instant(time.time())
    until = f"{leaf.not_after:%Y-%m-%d}"
    if now < leaf.not_before:
        since = f"{leaf.not_before:%Y-%m-%d}"
        tell(f"note  dates      the certificate is valid from {since} on only; a pin does not mind")
    elif now <= leaf.not_after:
        tell(f"ok    dates      the certificate is valid until {until}")
    else:
        tell(f"note  dates      the certificate is valid until {until} only; a pin does not mind")


def _tell_trust(server: ServerAddress, known: KnownHosts, pin: bytes, found: bytes, tell: Tell) -> None:
    entry = known.entries().get(str(server))
    if entry is None:
        tell("note  trust      this server is not in the known hosts yet")
    elif entry.uses_ca:
        tell("      trust      known by its certificate authority")
    else:
        tell(("ok    " if found in entry.pins else "FAIL  ") + f"trust      known by {entry}")
    if pin:
        tell(("ok    " if found == pin else "FAIL  ") + f"pin        given: {format_pin(pin)}")


def _compare(server: ServerAddress, known: KnownHosts, pin: bytes, found: bytes) -> None:
    entry = known.entries().get(str(server))
    if entry is not None and entry.pins and found not in entry.pins:
        raise NotTrustedError(
            f"The key of {server} is not the expected one.",
            f"If it is new on purpose: {known.how_to_forget(str(server))}",
        )
    if pin and found != pin:
        raise NotTrustedError(
            f"The key of {server} is not the expected one.", "Give the pin that the server prints at start."
        )


async def _tell_protocol(link: Link, tell: Tell) -> None:
    await link.greet()
    tell(f"ok    protocol   version {VERSION}, messages up to {link.welcome.largest} bytes")
    skew = link.welcome.clock - now_ms()
    state = "ok    " if abs(skew) <= _TOLERATED_SKEW_MS else "note  "
    tell(f"{state}clock      the server's is {skew / 1000:+.1f} s off this machine's")
    lag = await link.measure()
    tell(f"ok    latency    {lag * 1000:.1f} ms")
