"""A server's data directory, and who may use it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from securechat.cli.options import default_directory
from securechat.errors import SecurechatError
from securechat.files import server_directory


class InUseError(SecurechatError):
    """A running server uses the directory."""


def data_path(given: Path | None) -> Path:
    """Return the directory of a server.

    Raises:
        InputError: None was given, and this user has no home directory.
    """
    return given or default_directory(server_directory(), "--data")


@contextmanager
def only_server(data: Path) -> Iterator[None]:
    """Keep a second server from the same directory."""
    path = data / "lock"
    lock = FileLock(path, timeout=0, mode=0o600)
    try:
        lock.acquire()
        path.write_text(str(os.getpid()))
    except Timeout:
        raise InUseError(
            f"Another securechat server (process {_read(path)}) uses {data}.",
            "Stop that one, or name another directory with --data.",
            option="--data",
        ) from None
    except OSError as error:
        raise SecurechatError(
            f"The directory {data} cannot be written: {error.strerror}.",
            "Check its rights, or name another with --data.",
            option="--data",
        ) from error
    try:
        yield
    finally:
        lock.release()


def _read(path: Path) -> str:
    try:
        return path.read_text() or "?"
    except OSError:
        return "?"
