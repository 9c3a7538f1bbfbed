"""A running server and its operator: what is printed, what is typed, and the signals between them."""

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import trio

from securechat.cli.outward import announced_host
from securechat.client.address import ServerAddress
from securechat.errors import InputError
from securechat.server.serve import Started
from securechat.server.sink import Sink
from securechat.transport.pins import format_pin
from securechat.ui.typed import input_lines

_FOREGROUND_POLL: Final = 1.0
_logger = logging.getLogger("securechat.server")


class Announcer:
    """Prints where the server is. The server goes on where that cannot be printed.

    Args:
        output: Standard output.
        host: Where it was told to listen; None for everywhere.
        is_own: Whether it serves with a certificate that it made itself.
    """

    def __init__(self, output: Sink, host: str | None, *, is_own: bool) -> None:
        self._output = output
        self._host = host
        self._is_own = is_own
        self._pin = b""

    def announce(self, started: Started) -> None:
        """Print a line for programs, then one to hand to friends."""
        address = self._address(started)
        self._output.put(f"ready {address} {format_pin(started.pin)}")
        self._print_line(address)
        if path := os.environ.get("NOTIFY_SOCKET"):
            threading.Thread(target=_notify_systemd, args=(path,), name="notify", daemon=True).start()

    def announce_change(self, started: Started) -> None:
        """Print the line again when the key has changed: the old line lets nobody in."""
        if started.pin != self._pin:
            _logger.warning("the key has changed: give the new line to everybody who has the old one")
            self._print_line(self._address(started))

    def _print_line(self, address: ServerAddress) -> None:
        self._pin = address.pin
        self._output.put(f"Join with: securechat chat '{address.to_line()}' --room ROOM")

    def _address(self, started: Started) -> ServerAddress:
        host = announced_host(self._host, started.addresses, () if self._is_own else started.names)
        return ServerAddress(host, started.port, pin=started.pin)


def _notify_systemd(path: str) -> None:
    """Tell a service manager that the server is ready (sd_notify(3)), which takes as long as its socket is full."""
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.connect("\0" + path[1:] if path.startswith("@") else path)
        notify.send(b"READY=1")


async def obey_signals(
    stop: Callable[[], None],
    reload: Callable[[], None],
    scope: trio.CancelScope,
    *,
    task_status: trio.TaskStatus[None],
) -> None:
    """Stop on the first SIGTERM or SIGINT, end on the second; reload on SIGHUP, but for that of a closed terminal."""
    has_terminal = _has_terminal()
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        task_status.started()
        is_stopping = False
        async for number in signals:
            if number == signal.SIGHUP and _has_terminal() == has_terminal:
                reload()
            elif is_stopping:
                scope.cancel()
            else:
                is_stopping = True
                stop()


def _has_terminal() -> bool:
    """Tell whether standard input is a terminal that is still there."""
    try:
        os.tcgetpgrp(0)
    except OSError:
        return False
    return True


async def obey_typing(stop: Callable[[], None]) -> None:
    """Drain when ``stop`` is typed; the end of input is not that."""
    if sys.stdin is None or sys.stdin.closed:
        return
    # A job in the background may not read the terminal. It is to get an error, and not to be halted.
    signal.signal(signal.SIGTTIN, signal.SIG_IGN)
    while True:
        try:
            async for line in input_lines():
                if line.strip() == "stop":
                    stop()
        except InputError:
            continue
        except OSError:
            await trio.sleep(_FOREGROUND_POLL)
        else:
            return
