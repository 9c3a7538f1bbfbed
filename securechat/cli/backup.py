"""``securechat backup``: all that a server keeps, at one moment, in a directory that is whole or is not there."""

import errno
import os
import shutil
import stat
from pathlib import Path

from securechat.cli.copies import CERTIFICATE_FILE, INCOMPLETE, KEY_FILE, incomplete, refuse_unsettled
from securechat.errors import SecurechatError, StorageError
from securechat.files import create_private, make_private_directory, sync, write_private
from securechat.history.generation import wal_of
from securechat.history.sqlite import HISTORY_FILE
from securechat.history.survey import copy


def back_up(directory: Path, target: Path) -> list[str]:
    """Copy a server's data, while it runs or not.

    Args:
        directory: The data directory.
        target: The backup, which must not exist.

    Returns:
        The names of the files that were there to be copied: a server with --memory has no history, and one with
        --cert no key of its own.

    Raises:
        SecurechatError: There is nothing to copy, or it cannot be read or written; then nothing is left of it.
    """
    if os.path.lexists(target):
        raise SecurechatError(f"{target} exists already.", "Name a new directory.")
    try:
        refuse_unsettled(directory)
        names = [name for name in (KEY_FILE, CERTIFICATE_FILE, HISTORY_FILE) if _is_there(directory / name)]
        if not {HISTORY_FILE, KEY_FILE} & set(names):
            raise StorageError(
                f"There is no history in {directory}, and no key.",
                "Name the server's directory with --data.",
                option="--data",
            )
        _make(directory, target, names)
    except OSError as error:
        raise SecurechatError(
            f"No backup was made: {error.filename or target}: {error.strerror}.", "Correct that, and try again."
        ) from error
    return names


def _is_there(path: Path) -> bool:
    """Tell whether there is a file.

    Raises:
        OSError: That cannot be known, or it is something that cannot be copied, and may be waited for in vain.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise OSError(errno.EINVAL, "It is no regular file", str(path))
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _make(directory: Path, target: Path, names: list[str]) -> None:
    make_private_directory(target.parent)
    temporary = incomplete(target)
    try:
        make_private_directory(temporary, owner=directory)
        write_private(temporary / INCOMPLETE, b"")
        sync(temporary)
        for name in names:
            if name == HISTORY_FILE:
                _copy_history(directory, temporary)
            else:
                write_private(temporary / name, (directory / name).read_bytes())
        (temporary / INCOMPLETE).unlink()
        sync(temporary)
        temporary.rename(target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync(target.parent)


def _copy_history(directory: Path, temporary: Path) -> None:
    copied = temporary / HISTORY_FILE
    copy(directory / HISTORY_FILE, copied)
    sync(copied)
    # An empty one takes the place of that which a crash left, where somebody copies the backup there by hand.
    os.close(create_private(wal_of(copied)))
    sync(wal_of(copied))
