"""What the listeners of a server show: one certificate, loaded for all of them together.

Files are read in a thread, with a deadline: a dead network file system, or a pipe in place of a file, delays a reload
and nothing else. One load runs at a time, and what was asked for meanwhile is done after it, once. Whatever is wrong
with the files, listeners go on with what they have.
"""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import trio

from securechat import limits
from securechat.errors import CertificateError, SecurechatError
from securechat.transport.certificates import Leaf, Pair
from securechat.transport.own import OwnPair, is_due
from securechat.transport.signing import clamp_instant
from securechat.transport.tls import ServerTls, load_for_all

Use = Callable[[Sequence[ServerTls]], None]
_DAY: Final = 24 * 3600.0
_logger = logging.getLogger("securechat.server")


class _Loaded(NamedTuple):
    """What came of a look at the files: what to serve with, and what the operator should know."""

    tls: list[ServerTls]
    remarks: list[str]


class CertificateKeeper:
    """Loads the certificate of a server, again when it is asked to, and renews the server's own.

    Args:
        files: Where the certificate is: a pair that was given, or the server's own.
        alpns: The application protocol of each listener.
        wall: Returns seconds since 1970 UTC.
    """

    def __init__(self, files: Pair | OwnPair, alpns: Sequence[str], wall: Callable[[], float] = time.time) -> None:
        self._own = files if isinstance(files, OwnPair) else None
        self._pair = files if isinstance(files, Pair) else files.pair
        self._alpns = alpns
        self._wall = wall
        self._asked = trio.Event()
        self._said: dict[str, float] = {}  # and when, of the last day
        self._limiter = trio.CapacityLimiter(1)  # a thread that hangs is not joined by others
        self._served: Leaf | None = None

    async def load(self) -> list[ServerTls]:
        """Return what the listeners begin to serve with, in the order of their protocols.

        Raises:
            SecurechatError: There is no certificate to be served.
        """
        loaded = await self._read(is_start=True)
        self._served = loaded.tls[0].leaf
        self._warn(loaded.remarks, is_asked=True)
        return loaded.tls

    def request(self) -> None:
        """Ask for the files to be loaded again, soon; several requests are one."""
        self._asked.set()

    async def run(self, use: Use) -> None:
        """Run until cancelled, after ``load``; whatever goes wrong, what is served stays.

        Args:
            use: Called with what the listeners are to serve new connections with.
        """
        while True:
            with trio.move_on_after(limits.CERTIFICATE_INTERVAL):
                await self._asked.wait()
            try:
                await self._obey(use)
            except Exception:
                _logger.exception("the certificate stays as it was, by a fault of this server; please report it")

    async def _obey(self, use: Use) -> None:
        if self._asked.is_set():
            self._asked = trio.Event()
            await self._reload(use, is_asked=True)
        else:
            await self._look(use)

    async def _look(self, use: Use) -> None:
        """Renew the server's own certificate when it is due, and remind of dates."""
        assert self._served is not None, "load comes first"
        if self._own is not None and is_due(self._served, clamp_instant(self._wall())):
            await self._reload(use, is_asked=False)
        else:
            self._warn([], is_asked=False)

    async def _reload(self, use: Use, *, is_asked: bool) -> None:
        try:
            loaded = await self._read(is_start=False)
        except SecurechatError as error:
            self._warn([f"the certificate stays as it was: {error}"], is_asked=is_asked, level=logging.ERROR)
            return
        before, self._served = self._served, loaded.tls[0].leaf
        if is_asked or before != self._served:
            _logger.info("the certificate was reloaded")  # nobody can connect before the next line has run
        use(loaded.tls)
        self._warn(loaded.remarks, is_asked=is_asked)

    async def _read(self, *, is_start: bool) -> _Loaded:
        """Read, and write where the pair is the server's own, in a thread.

        Raises:
            SecurechatError: The files are of no use, or do not come in time.
        """
        with trio.move_on_after(limits.CERTIFICATE_TIMEOUT):
            return await trio.to_thread.run_sync(
                self._read_now, is_start, abandon_on_cancel=True, limiter=self._limiter
            )
        raise CertificateError(
            f"{self._pair.certificate} and its key could not be read in {limits.CERTIFICATE_TIMEOUT:.0f} s.",
            "Check the disk or network that they are on.",
        )

    def _read_now(self, is_start: bool) -> _Loaded:
        remarks = []
        if self._own is not None:
            now = clamp_instant(self._wall())
            remarks = self._own.settle(now) if is_start else self._own.renew(now)
        return _Loaded(load_for_all(self._pair, *self._alpns), remarks)

    def _warn(self, remarks: Sequence[str], *, is_asked: bool, level: int = logging.WARNING) -> None:
        """Log what the operator should know: at once when something was asked for, else once a day while it lasts."""
        assert self._served is not None, "load comes first"
        is_renewed = self._own is not None and self._served.is_ours
        if not remarks and not is_renewed:
            remarks = judge_dates(self._served, self._wall())
        now = trio.current_time()
        self._said = {text: at for text, at in self._said.items() if now - at < limits.CERTIFICATE_REMINDER}
        for text in remarks:
            if is_asked or text not in self._said:
                _logger.log(level, "%s", text)
                self._said[text] = now


def judge_dates(leaf: Leaf, wall: float) -> list[str]:
    """Return what there is to say about the dates of a certificate; nothing when all is well.

    Args:
        leaf: The certificate.
        wall: Seconds since 1970 UTC.
    """
    left = leaf.not_after.timestamp() - wall
    if wall < leaf.not_before.timestamp():
        what = f"is not valid before {leaf.not_before:%Y-%m-%d %H:%M} UTC"
    elif left < 0:
        what = f"has expired on {leaf.not_after:%Y-%m-%d}"
    elif left < limits.CERTIFICATE_WARNING_DAYS * _DAY:
        what = f"expires on {leaf.not_after:%Y-%m-%d}"
    else:
        return []
    return [f"the certificate {what}; only clients that know its pin accept it. Replace it and send SIGHUP"]
