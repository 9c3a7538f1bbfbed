"""A server's data directory, and who may use it.

One file is locked for as long as a server runs, or a command writes there. The kernel lets go of the lock when
its holder ends, however that ends, so that nothing has to be cleaned up after a crash. Locks of flock(2) are
the plain ones; where a file system has none, those of fcntl(2) take their place, which SQLite needs anyway. A
lock that is a mark in a file, to be removed by its owner, would outlive a crash; where there is neither of
the two, no server starts.
"""

import errno
import logging
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from securechat.cli.copies import settle
from securechat.cli.options import default_directory
from securechat.errors import SecurechatError
from securechat.files import create_private, server_directory

_logger = logging.getLogger("securechat.server")
LOCK_FILE: Final = "lock"
_HELD: Final = frozenset({errno.EAGAIN, errno.EACCES})
_ABSENT: Final = frozenset({errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL})
_PID_BYTES: Final = 20


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
    """Keep every other server, and every command that writes, from the same directory.

    An interrupted restore there is completed first.

    Raises:
        InUseError: A server runs there.
        SecurechatError: The directory cannot be written, has no locks, or is a backup that was interrupted.
    """
    path = data / LOCK_FILE
    try:
        descriptor = _open(path)
    except OSError as error:
        raise SecurechatError(
            f"{path} cannot be opened: {error.strerror}.",
            "Check the rights of the directory, or name another with --data.",
            option="--data",
        ) from error
    try:
        if not _lock(descriptor, data):
            raise InUseError(
                f"A securechat server (process {_holder(descriptor)}) uses {data}.",
                "Stop it, or name another directory with --data.",
                option="--data",
            )
        with suppress(OSError):  # on a full disk the lock is as good without the number
            os.pwrite(descriptor, f"{os.getpid()}\n".encode().ljust(_PID_BYTES), 0)
        if before := settle(data):
            _logger.warning("an interrupted restore is complete; what was there before is in %s", before)
        yield
    finally:
        os.close(descriptor)


def is_in_use(data: Path) -> bool:
    """Tell whether a server runs in ``data``, as far as this user can know; nothing is written."""
    try:
        descriptor = os.open(data / LOCK_FILE, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        return not _lock(descriptor, data, shared=True)
    except SecurechatError:
        return False
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    """Open the lock, or make it. It is never removed: two could hold locks of the same name then."""
    for _ in range(2):  # it may come or go in between
        with suppress(FileNotFoundError):
            descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW)
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                return descriptor
            os.close(descriptor)
            raise OSError(errno.EINVAL, "It is no regular file", str(path))
        with suppress(FileExistsError):
            return create_private(path)
    raise OSError(errno.EINVAL, "It changes all the time", str(path))


def _lock(descriptor: int, data: Path, *, shared: bool = False) -> bool:
    """Lock a file without waiting; tell whether that was possible."""
    import fcntl

    how = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB
    fault: OSError | None = None
    for lock in (fcntl.flock, fcntl.lockf):
        try:
            lock(descriptor, how)
        except OSError as error:
            if error.errno in _HELD:
                return False
            if error.errno not in _ABSENT:
                raise
            fault = error
        else:
            return True
    assert fault is not None
    raise SecurechatError(
        f"The file system of {data} has no locks: {fault.strerror}.",
        "Name a directory on another file system with --data.",
        option="--data",
    ) from fault


def _holder(descriptor: int) -> str:
    try:
        found = os.pread(descriptor, _PID_BYTES, 0).decode(errors="replace").split()
    except OSError:
        return "?"
    return found[0] if found else "?"
