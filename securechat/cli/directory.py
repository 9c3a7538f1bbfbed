"""A server's data directory, and who may use it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs
from filelock import FileLock, Timeout

from securechat.errors import SecurechatError


class InUseError(SecurechatError):
    """A running server uses the directory."""


def data_path(given: Path | None) -> Path:
    """Return the directory of a server."""
    return given or platformdirs.user_data_path("securechat") / "server"


@contextmanager
def only_server(data: Path) -> Iterator[None]:
    """Keep a second server from the same directory."""
    lock = FileLock(data / "lock", timeout=0, mode=0o600)
    try:
        lock.acquire()
    except Timeout:
        raise InUseError(
            f"Another securechat server uses {data}.",
            "Stop that one, or name another directory with --data.",
        ) from None
    except OSError as error:
        raise SecurechatError(
            f"The directory {data} cannot be written: {error.strerror}.",
            "Check its rights, or name another with --data.",
        ) from error
    try:
        yield
    finally:
        lock.release()
