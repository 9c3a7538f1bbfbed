"""A server run from the command line: its certificate, its signals, and what its operator sees."""

import logging
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Protocol

import trio

from securechat import labels, limits
from securechat.cli.attend import Announcer, obey_signals, obey_typing, outward_address
from securechat.cli.directory import data_path, only_server
from securechat.cli.limiting import read_limits
from securechat.cli.logs import set_up_logs
from securechat.errors import InputError, SecurechatError
from securechat.files import make_private_directory
from securechat.history.log import Retention
from securechat.legacy.server import LegacyServer
from securechat.limits import ServerLimits
from securechat.server.access import log_to_file
from securechat.server.certificate import CertificateKeeper
from securechat.server.gate import Gate
from securechat.server.listeners import open_listeners
from securechat.server.serve import Configuration, Server, Started
from securechat.transport.certificates import DEFAULT_NAMES, Pair
from securechat.transport.own import OwnPair
from securechat.transport.signing import is_name
from securechat.transport.tls import ServerTls

_ANY: Final = "0.0.0.0"  # noqa: S104
_LOOPBACK: Final = "127.0.0.1"
_MOST_PORT: Final = 65535
_logger = logging.getLogger("securechat.server")


def operate(given: dict[str, Any]) -> None:
    """Run a server until it is stopped.

    Args:
        given: The options of ``securechat server`` by name.

    Raises:
        SecurechatError: It cannot start.
    """
    if given["metrics"] and not find_spec("prometheus_client"):
        raise SecurechatError("--metrics needs two more libraries.", "Install them: pip install 'securechat[metrics]'")
    set_up_logs(as_json=given["log_json"])
    if given["access_log"]:
        log_to_file(given["access_log"])
    trio.run(_serve, given)


async def _serve(given: dict[str, Any]) -> None:
    data = make_private_directory(data_path(given["data"]))
    with only_server(data):
        files = _choose_pair(given["cert"], given["key"], data)
        allowed = _within_descriptors(read_limits(given["limit"]))
        configuration = Configuration(
            data=None if given["memory"] else data,
            host=given["host"],
            port=given["port"],
            retention=Retention(given["retain"], given["retain_messages"], allowed.room_bytes, allowed.kept_bytes),
            may_create=given["rooms"] == "open",
            allowed=allowed,
            metrics=_read_place("metrics", given["metrics"], _LOOPBACK) if given["metrics"] else None,
        )
        gate = Gate(configuration.allowed)
        alpns = [labels.ALPN] if given["compat"] is None else [labels.ALPN, labels.LEGACY_ALPN]
        keeper = CertificateKeeper(files, alpns)
        tls = await keeper.load()
        server = Server(configuration, tls[0], gate)
        legacy = None if given["compat"] is None else LegacyServer(tls[1], gate)
        running: list[_Running] = [server, legacy] if legacy else [server]
        async with trio.open_nursery() as nursery:

            async def run(*, task_status: trio.TaskStatus[Started]) -> None:
                async with trio.open_nursery() as servers:
                    if legacy:
                        await servers.start(legacy.serve, await _open_compat(given["compat"]))
                    await server.serve(task_status=task_status)
                nursery.cancel_scope.cancel()

            def stop() -> None:
                for one in running:
                    one.stop()

            def use(loaded: Sequence[ServerTls]) -> None:
                for one, its_own in zip(running, loaded, strict=True):
                    one.use(its_own)
                announcer.announce_change(server.started)

            announcer = Announcer(given["host"], is_own=given["cert"] is None)
            await nursery.start(obey_signals, stop, keeper.request, nursery.cancel_scope)
            announcer.announce(await nursery.start(run))
            nursery.start_soon(keeper.run, use)
            nursery.start_soon(obey_typing, stop)


class _Running(Protocol):
    """What is stopped, and served with another certificate, together."""

    def stop(self) -> None:
        """End in good order."""

    def use(self, tls: ServerTls) -> None:
        """Serve new connections with another certificate."""


def _read_place(option: str, where: str, default: str) -> tuple[str, int]:
    """Return host and port of ``[HOST:]PORT``.

    Raises:
        InputError: It is neither.
    """
    host, _, port = where.rpartition(":")
    if not port.isascii() or not port.isdigit() or len(port) > len(str(_MOST_PORT)) or int(port) > _MOST_PORT:
        raise InputError(f"{where!r} is no place to listen.", f"Give --{option} [HOST:]PORT.")
    return host.strip("[]") or default, int(port)


async def _open_compat(where: str) -> list[trio.SocketListener]:
    """Listen for old programs at ``[HOST:]PORT``, and warn of it.

    Raises:
        SecurechatError: The port is in use, or the address is not this machine's.
    """
    place = _read_place("compat", where, _ANY)
    try:
        listeners = await open_listeners(*place)
    except SecurechatError as error:
        raise SecurechatError(error.message, "Give --compat another [HOST:]PORT.") from error
    address, number = listeners[0].socket.getsockname()[:2]
    _logger.warning(
        "NOT ENCRYPTED: old programs are served on %s:%d; whoever is on the way reads everything there", address, number
    )
    return listeners


def _within_descriptors(allowed: ServerLimits) -> ServerLimits:
    """Raise the soft limit of file descriptors to the hard one, and take no more connections than they carry."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(OSError, ValueError):  # macOS refuses what it calls unlimited
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    most = soft - min(limits.RESERVED_DESCRIPTORS, soft // 2)
    if soft == resource.RLIM_INFINITY or allowed.connections <= most:
        return allowed
    _logger.warning("this system gives %d file descriptors: at most %d connections are taken", soft, most)
    return replace(allowed, connections=most)


def _choose_pair(cert: Path | None, key: Path | None, data: Path) -> Pair | OwnPair:
    """Return the pair that was given, or the data directory's own."""
    return OwnPair(data, _own_names) if cert is None else Pair(cert, key or cert)


def _own_names() -> list[str]:
    """Return what a certificate of this machine is for: its outward address and its name, then those within it."""
    name = socket.gethostname()
    is_sound = name.isascii() and name.replace("-", "").replace(".", "").isalnum() and is_name(name)
    found = (outward_address(), name if is_sound else None, *DEFAULT_NAMES)
    return list(dict.fromkeys(one for one in found if one))
