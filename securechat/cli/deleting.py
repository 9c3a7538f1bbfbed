"""How ``securechat rooms delete`` deletes: by hand, or through the running server, which alone may write then.

A server may start, stop or be killed meanwhile, so each room is tried in the way that is open now, until it is settled
or nothing has moved for some seconds. What is reported is what is known: deleted, kept, or that the server was told
to delete a room and has not answered.
"""

import time
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec
import trio

from securechat import limits
from securechat.cli.directory import InUseError, only_server
from securechat.errors import SecurechatError
from securechat.history.sqlite import HISTORY_FILE, SqliteLog
from securechat.server.control import GO, READY, Answer, Doomed, connect
from securechat.server.rooms import Fate, Rooms

if TYPE_CHECKING:
    import socket


class _Work:
    """The rooms to be deleted, and what became of them.

    Attributes:
        left: Those that are not settled, the next one first.
        is_told: Whether a server was told to delete the next one, and has not answered.
    """

    def __init__(self, doomed: Sequence[Doomed]) -> None:
        self.left = deque(doomed)
        self.is_told = False
        self._counts: Counter[Fate] = Counter()
        self._reasons: list[str] = []

    def settle(self, answer: Answer, *, was_told: bool) -> None:
        """Record what became of the next room; one that a server was told to delete and that is gone was deleted."""
        self.left.popleft()
        self.is_told = False
        if answer.fate is None:
            self._reasons.append(answer.reason)
        else:
            is_done = was_told and answer.fate is Fate.ABSENT
            self._counts[Fate.DELETED if is_done else answer.fate] += 1

    def report(self) -> None:
        """Print how many rooms were deleted, and how many there was no reason to delete."""
        click.echo(f"Deleted: {self._counts[Fate.DELETED]}.", err=True)
        if used := self._counts[Fate.IN_USE]:
            click.echo(f"Kept, because in use: {used}.", err=True)
        if gone := self._counts[Fate.ABSENT]:
            click.echo(f"Already gone: {gone}.", err=True)

    def check(self) -> None:
        """Say what is not settled, and what failed.

        Raises:
            SecurechatError: Not all rooms were deleted or kept.
        """
        if not self.left and not self._reasons:
            return
        sentences = []
        if failed := len(self._reasons) + len(self.left) - self.is_told:
            sentences.append(f"Not deleted: {failed}.")
        if self.is_told:
            label = self.left[0].address.hex()[:8]
            sentences.append(f"The server began to delete {label} and does not answer: it may still do so.")
        next_step = "The server does not answer: look at its log, or stop it and try again."
        raise SecurechatError(" ".join(sentences), self._reasons[0] if self._reasons else next_step)


def delete(directory: Path, doomed: Sequence[Doomed]) -> None:
    """Delete rooms, and say what became of them.

    Args:
        directory: The server's data directory.
        doomed: The rooms.

    Raises:
        SecurechatError: Not all of them are settled.
    """
    work = _Work(doomed)
    try:
        _delete_all(directory, work)
    finally:
        work.report()
    work.check()


def _delete_all(directory: Path, work: _Work) -> None:
    until = time.monotonic() + limits.CONTROL_PATIENCE
    while work.left and time.monotonic() < until:
        before = len(work.left)
        try:
            with only_server(directory):
                trio.run(_delete_by_hand, directory, work)
        except InUseError:
            _ask_server(directory, work)
        if len(work.left) < before:
            until = time.monotonic() + limits.CONTROL_PATIENCE
        elif work.left:
            time.sleep(limits.CONTROL_POLL)


async def _delete_by_hand(directory: Path, work: _Work) -> None:
    log = SqliteLog.open(directory / HISTORY_FILE)
    try:
        rooms = Rooms(log)
        while work.left:
            doomed = work.left[0]
            fate = await rooms.delete(doomed.address, doomed.log_id, doomed.newest)
            work.settle(Answer(fate), was_told=work.is_told)
        await log.compact()
    finally:
        await log.aclose()


def _ask_server(directory: Path, work: _Work) -> None:
    """Ask for one room after the other, until all are settled or the server does not answer."""
    with suppress(OSError, msgspec.DecodeError), connect(directory, limits.CONTROL_PATIENCE) as connection:
        while work.left:
            connection.settimeout(limits.CONTROL_PATIENCE)
            connection.sendall(msgspec.json.encode(work.left[0]) + b"\n")
            if _receive(connection) != READY:
                return
            connection.settimeout(limits.CONTROL_DELETION_PATIENCE)
            was_told, work.is_told = work.is_told, True
            connection.sendall(GO + b"\n")
            work.settle(msgspec.json.decode(_receive(connection), type=Answer), was_told=was_told)


def _receive(connection: "socket.socket") -> bytes:
    """Return a line.

    Raises:
        OSError: It did not come.
    """
    line = b""
    while not line.endswith(b"\n"):
        data = connection.recv(limits.CONTROL_LINE_BYTES)
        if not data:
            raise ConnectionResetError
        line += data
    return line[:-1]
