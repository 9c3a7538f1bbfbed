"""The servers that this person trusts, one line each (PROTOCOL.md, section 6).

::

    HOST:PORT pin sha256:...[,sha256:...]
    HOST:PORT ca

Blank lines and lines that begin with ``#`` are kept as they are.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from securechat.errors import InputError, StorageError
from securechat.files import make_private_directory, write_private
from securechat.transport.pins import format_pin, parse_pin

_LOCK_SECONDS: Final = 10.0


@dataclass(frozen=True)
class Entry:
    """How one server is recognised.

    Attributes:
        pins: SHA-256 of each acceptable key; empty for ``ca``: a valid chain and name.
    """

    pins: frozenset[bytes]

    @property
    def uses_ca(self) -> bool:
        """Whether certificate authorities vouch for the server."""
        return not self.pins

    def __str__(self) -> str:
        return "ca" if self.uses_ca else "pin " + ",".join(sorted(map(format_pin, self.pins)))


CA: Final = Entry(frozenset())


def parse_line(line: str) -> tuple[str, Entry]:
    """Return the server and the entry of one line.

    Raises:
        InputError: It is not of the form above.
    """
    match line.split():
        case [server, "ca"]:
            return server, CA
        case [server, "pin", pins]:
            return server, Entry(frozenset(map(parse_pin, pins.split(","))))
    raise InputError("A line is 'HOST:PORT pin PIN[,PIN]' or 'HOST:PORT ca'.", "Mend or remove it.")


class KnownHosts:
    """The file of known hosts. Every call reads it afresh; changes are atomic and under a lock.

    Args:
        path: The file; it need not exist.
        profile: What a command needs besides to act on this file: ``--profile DIR``, or nothing.
    """

    def __init__(self, path: Path, profile: str = "") -> None:
        self._path = path
        self._profile = profile

    def how_to_forget(self, server: str) -> str:
        """Return the command that forgets a server."""
        return f"securechat known-hosts remove {server}{self._profile}"

    def _lines(self) -> list[str]:
        try:
            return self._path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
        except FileNotFoundError:
            return []
        except (OSError, UnicodeDecodeError) as error:
            reason = "it is not UTF-8" if isinstance(error, ValueError) else error.strerror
            raise StorageError(f"{self._path} cannot be read: {reason}.", "Check the file.") from error

    def entries(self) -> dict[str, Entry]:
        """Return all entries by ``HOST:PORT``.

        Raises:
            StorageError: The file cannot be read, or a line is malformed; it is named by its number.
        """
        entries = {}
        for number, line in enumerate(self._lines(), 1):
            if not line.strip() or line.startswith("#"):
                continue
            try:
                server, entry = parse_line(line)
            except InputError as error:
                raise StorageError(f"{self._path}, line {number}: {error.message}", error.next_step) from error
            entries[server] = entry
        return entries

    def add(self, server: str, entry: Entry) -> None:
        """Remember ``server``, in place of what was known of it.

        Raises:
            StorageError: The file cannot be written.
        """
        self._rewrite(server, lambda kept: [*kept, f"{server} {entry}"])

    def remove(self, server: str) -> bool:
        """Forget ``server``; tell whether it was known.

        Raises:
            StorageError: The file cannot be written.
        """
        known = any(line.split()[:1] == [server] for line in self._lines())
        self._rewrite(server, lambda kept: kept)
        return known

    def _rewrite(self, server: str, change: Callable[[list[str]], list[str]]) -> None:
        make_private_directory(self._path.parent)
        try:
            with FileLock(self._path.with_name(self._path.name + ".lock"), timeout=_LOCK_SECONDS, mode=0o600):
                kept = [line for line in self._lines() if line.split()[:1] != [server]]
                write_private(self._path, "".join(line + "\n" for line in change(kept)).encode())
        except (OSError, Timeout) as error:
            raise StorageError(
                f"{self._path} cannot be written: {error}.", "Check the directory and its rights."
            ) from error
