"""A server run from the command line: its certificate, its signals, and what its operator sees."""

import logging
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import trio

from securechat import labels, limits
from securechat.cli.attend import Announcer, obey_signals, obey_typing
from securechat.cli.directory import data_path, only_server
from securechat.cli.logs import Logs, open_logs
from securechat.cli.options import Place, judging
from securechat.cli.outward import own_names
from securechat.errors import SecurechatError
from securechat.files import make_private_directory
from securechat.history.log import Retention
from securechat.history.sqlite import HISTORY_FILE
from securechat.legacy.server import LegacyServer
from securechat.limits import ServerLimits
from securechat.server.access import AccessLog
from securechat.server.certificate import CertificateKeeper
from securechat.server.gate import Gate
from securechat.server.listeners import COMPAT, format_place, open_listeners
from securechat.server.serve import Configuration, Server, Started
from securechat.transport.certificates import DEFAULT_NAMES, Pair
from securechat.transport.own import OwnPair
from securechat.transport.signing import is_name
from securechat.transport.tls import ServerTls

_logger = logging.getLogger("securechat.server")


def operate(given: dict[str, Any], notices: Sequence[str] = ()) -> None:
    """Run a server until it is stopped.

    Args:
        given: The options of ``securechat server`` by name.
        notices: What the operator should know about the environment.

    Raises:
        SecurechatError: It cannot start.
    """
    if given["metrics"] and not find_spec("prometheus_client"):
        raise SecurechatError("--metrics needs two more libraries.", "Install them: pip install 'securechat[metrics]'")
    descriptors = _raise_descriptors()
    with open_logs(as_json=given["log_json"], access_log=given["access_log"]) as logs:
        for notice in notices:
            _logger.warning("%s", notice)
        trio.run(_serve, given, descriptors, logs)


async def _serve(given: dict[str, Any], descriptors: int, logs: Logs) -> None:
    data = make_private_directory(data_path(given["data"]), "--data")
    with only_server(data):
        files = _choose_pair(given["cert"], given["key"], data)
        allowed = _within_descriptors(given["limit"], descriptors)
        configuration = Configuration(
            data=None if given["memory"] else data,
            host=given["host"],
            port=given["port"],
            retention=Retention(given["retain"], given["retain_messages"], allowed.room_bytes, allowed.kept_bytes),
            may_create=given["rooms"] == "open",
            allowed=allowed,
            metrics=given["metrics"],
        )
        gate = Gate(configuration.allowed)
        access = AccessLog(gate, allowed.log_lines)
        alpns = [labels.ALPN] if given["compat"] is None else [labels.ALPN, labels.LEGACY_ALPN]
        keeper = CertificateKeeper(files, alpns)
        with judging("--cert", given["cert"]):
            tls = await keeper.load()
        server = Server(configuration, tls[0], gate, access, logs.sinks)
        legacy = None if given["compat"] is None else LegacyServer(tls[1], gate, access)
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

            def reload() -> None:
                logs.reopen()
                keeper.request()

            def use(loaded: Sequence[ServerTls]) -> None:
                for one, its_own in zip(running, loaded, strict=True):
                    one.use(its_own)
                announcer.announce_change(server.started)

            announcer = Announcer(logs.output, given["host"], is_own=given["cert"] is None)
            await nursery.start(obey_signals, stop, reload, nursery.cancel_scope)
            announcer.announce(await nursery.start(run))
            nursery.start_soon(keeper.run, use)
            nursery.start_soon(obey_typing, stop)


class _Running(Protocol):
    """What is stopped, and served with another certificate, together."""

    def stop(self) -> None:
        """End in good order."""

    def use(self, tls: ServerTls) -> None:
        """Serve new connections with another certificate."""


async def _open_compat(place: Place) -> list[trio.SocketListener]:
    """Listen for old programs at ``[HOST:]PORT``, and warn of it.

    Raises:
        SecurechatError: The port is in use, or the address is not this machine's.
    """
    listeners = await open_listeners(*place, COMPAT)
    _logger.warning(
        "NOT ENCRYPTED: old programs are served on %s; everybody on the network path can read what is said there",
        format_place(listeners[0]),
    )
    return listeners


def _raise_descriptors() -> int:
    """Raise the soft limit of file descriptors to the hard one, and return it.

    Raises:
        SecurechatError: They are too few for a server.
    """
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(OSError, ValueError):  # macOS refuses what it calls unlimited
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    if soft == resource.RLIM_INFINITY:
        return sys.maxsize
    if soft < limits.MINIMUM_DESCRIPTORS:
        raise SecurechatError(
            f"This system gives {soft} file descriptors, and a server needs {limits.MINIMUM_DESCRIPTORS} or more.",
            "Raise the limit: ulimit -n, or LimitNOFILE= of a service.",
        )
    return soft


def _within_descriptors(allowed: ServerLimits, descriptors: int) -> ServerLimits:
    """Return limits with no more connections than the file descriptors carry."""
    most = descriptors - min(limits.RESERVED_DESCRIPTORS, descriptors // 2)
    if allowed.connections <= most:
        return allowed
    _logger.warning("this system gives %d file descriptors: the server takes at most %d connections", descriptors, most)
    return replace(allowed, connections=most)


def _choose_pair(cert: Path | None, key: Path | None, data: Path) -> Pair | OwnPair:
    """Return the pair that was given, or the data directory's own."""
    if cert is not None:
        return Pair(cert, key or cert)
    return OwnPair(data, _certificate_names, is_known=(data / HISTORY_FILE).exists())


def _certificate_names() -> list[str]:
    """Return what a certificate of this machine is for: what others may call it, then the names within it."""
    return list(dict.fromkeys([*filter(is_name, own_names()), *DEFAULT_NAMES]))
