"""One hostile peer: what it does to a server from an address that it shares with others. Each runs until cancelled."""

import os
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from securechat.errors import ChannelClosedError, ProtocolError
from securechat.protocol import proof
from securechat.protocol.messages import Join
from securechat.transport.certificates import spki_hash
from securechat.transport.tls import client_context
from tests.support.visitors import Visitor, open_socket, open_visitor

Hostile = Callable[..., Awaitable[None]]
REFUSED = (ChannelClosedError, ProtocolError, ssl.SSLError, OSError, AssertionError)  # by a server that has no place
PAUSE = 0.003  # seconds between two connections, as the server may run in the same process
_AT_ONCE = 300  # connections that it holds
_BURST = 20  # things that it does before others come
_WORKERS = 8
_JOINS = 2  # on one connection, which is slowed down then


class _Progress:
    """Reports that the hostile peer has done its worst for a start, so that what follows meets it at work."""

    def __init__(self, task_status: trio.TaskStatus[None]) -> None:
        self._left = _BURST
        self._task_status = task_status

    def report(self) -> None:
        """Count one thing that it did."""
        self._left -= 1
        if not self._left:
            self._task_status.started()


async def _hold(said: bytes, port: int, *, task_status: trio.TaskStatus[None]) -> None:
    """Connect again and again, say the same on each connection, and hold the newest ones."""
    progress = _Progress(task_status)
    held: list[socket.socket] = []
    try:
        while True:
            sock = await open_socket(port)
            progress.report()
            held.append(sock)
            with suppress(OSError):
                sock.send(said)
            await trio.sleep(PAUSE)
            if len(held) > _AT_ONCE:
                held.pop(0).close()
    finally:
        for sock in held:
            sock.close()


def _hello() -> bytes:
    """Return a ClientHello."""
    outgoing = ssl.MemoryBIO()
    tls = client_context(verify=False).wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


async def _repeat(
    visit: Callable[[Visitor], Awaitable[None]], port: int, *, task_status: trio.TaskStatus[None]
) -> None:
    """Make visits, several at a time; the server may end them as it likes."""
    progress = _Progress(task_status)

    async def work() -> None:
        while True:
            try:
                async with open_visitor(port, None) as visitor:
                    progress.report()
                    await visit(visitor)
            except* REFUSED:
                await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        for _ in range(_WORKERS):
            nursery.start_soon(work)


def _random_join(visitor: Visitor, ref: int, *, is_proven: bool, may_create: bool) -> Join:
    key = Ed25519PrivateKey.generate()
    address = key.public_key().public_bytes_raw()
    pin = spki_hash(visitor.channel.peer_certificate)
    challenge = visitor.challenge if is_proven else os.urandom(32)
    return Join(ref, address, key.sign(proof.signed_bytes(challenge, pin, address)), may_create, b"")


async def _join_at_random(visitor: Visitor, *, is_proven: bool, may_create: bool) -> None:
    for ref in range(1, _JOINS + 1):
        visitor.say(_random_join(visitor, ref, is_proven=is_proven, may_create=may_create))
        await visitor.next()


async def _idle(port: int, *, task_status: trio.TaskStatus[None]) -> None:
    """Do handshakes, join nothing, and come again when that is ended."""
    progress = _Progress(task_status)

    async def idle() -> None:
        while True:
            try:
                async with open_visitor(port, None) as visitor:
                    progress.report()
                    await visitor.next()
            except* REFUSED:
                pass
            await trio.sleep(_AT_ONCE * PAUSE)

    async with trio.open_nursery() as nursery:
        for _ in range(_AT_ONCE):
            nursery.start_soon(idle)
            await trio.sleep(PAUSE)
        await trio.sleep_forever()


HOSTILE: dict[str, Hostile] = {
    "bare connections": partial(_hold, b""),
    "half hellos": partial(_hold, _hello()[:100]),
    "hellos": partial(_hold, _hello()),
    "garbage": partial(_hold, b"GET / HTTP/1.1\r\n\r\n"),
    "handshakes": _idle,
    "bad proofs": partial(_repeat, partial(_join_at_random, is_proven=False, may_create=False)),
    "guesses": partial(_repeat, partial(_join_at_random, is_proven=True, may_create=False)),
    "creations": partial(_repeat, partial(_join_at_random, is_proven=True, may_create=True)),
}


async def _main(what: str, port: int) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(HOSTILE[what], port)
        sys.stdout.write("at work\n")
        sys.stdout.flush()


if __name__ == "__main__":
    trio.run(_main, sys.argv[1], int(sys.argv[2]))
