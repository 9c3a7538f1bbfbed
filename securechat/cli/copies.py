"""A server's data as files: what a backup consists of, and the traces of a backup or restore that was interrupted.

A backup is made in a directory that says by its name and by a file in it that it is none; when it is whole, it gets
its name. A restore puts all that is to be restored into one directory below the data, checks it, and only then
renames that: from there on nothing can be wrong any more, and who comes next carries it through. It goes in two
steps, first what was there before out of the way, then what is restored into its place, and the directory's name says
which of the two is under way; both can be done again from the beginning. So a crash leaves the old state or the new
one, the lock stays where it is, and the data directory may be a mount point.
"""

import os
import re
import secrets
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from securechat.errors import StorageError
from securechat.files import make_private_directory, sync
from securechat.history.sqlite import HISTORY_FILE

KEY_FILE: Final = "key.pem"
CERTIFICATE_FILE: Final = "cert.pem"
INCOMPLETE: Final = "INCOMPLETE-BACKUP"  # the file that marks a backup as none
PARTS: Final = (  # what is replaced together; the first file of each makes it worth something
    (HISTORY_FILE, *(HISTORY_FILE + suffix for suffix in ("-wal", "-shm", "-journal", "-generation"))),
    (KEY_FILE, CERTIFICATE_FILE),
)
_INCOMPLETE_NAME: Final = re.compile(r".+\.incomplete-[0-9a-f]{8}")
_CLEARING: Final = "restoring-"
_PLACING: Final = "restored-"
_BEFORE: Final = "before-restore-"
_UNDER_WAY: Final = re.compile(r"(restoring|restored)-\d{8}T\d{6}Z(-\d+)?")


def refuse_incomplete(directory: Path) -> None:
    """Refuse a backup that was interrupted.

    Raises:
        StorageError: It is one.
    """
    if os.path.lexists(directory / INCOMPLETE) or _INCOMPLETE_NAME.fullmatch(directory.absolute().name):
        raise StorageError(
            f"{directory} is an incomplete backup: making it was interrupted.",
            "Use another backup, and delete this one.",
        )


def incomplete(path: Path) -> Path:
    """Return a new name for what is to become ``path`` when it is whole."""
    return path.with_name(f"{path.name}.incomplete-{secrets.token_hex(4)}")


def refuse_unsettled(directory: Path) -> None:
    """Refuse to read what is no state of a server: half of a backup, or half of a restore.

    Raises:
        StorageError: It is one of these.
    """
    refuse_incomplete(directory)
    with suppress(PermissionError):  # who reads the files says so
        if _under_way(directory):
            raise StorageError(
                f"A restore in {directory} is running or was interrupted.",
                "Start the server, or run 'securechat restore' again: both complete it.",
            )


def settle(directory: Path) -> Path | None:
    """Carry a restore through that was interrupted; the caller has the lock of the directory.

    Returns:
        Where the state before it is now, if there was a restore and a state.

    Raises:
        StorageError: The directory is half of a backup, or it cannot be written.
    """
    refuse_incomplete(directory)
    before = None
    try:
        for staged in _under_way(directory):
            moment = staged.name.partition("-")[2]
            before = directory / (_BEFORE + moment)
            if staged.name.startswith(_CLEARING):
                _clear(directory, staged, before)
                staged = staged.rename(directory / (_PLACING + moment))  # noqa: PLW2901
                sync(directory)
            _place(directory, staged)
    except OSError as error:
        raise StorageError(
            f"A restore in {directory} was interrupted and cannot be completed: {error.strerror}.",
            "Check the disk and the rights of the directory, and try again.",
        ) from error
    return before if before and before.exists() else None


def commit(directory: Path, staged: Path) -> None:
    """Make what is staged, whole and synced, the next state; ``settle`` puts it into its place.

    Raises:
        OSError: It cannot be renamed; nothing has changed.
    """
    moment = base = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    number = 1
    while any(os.path.lexists(directory / (kind + moment)) for kind in (_CLEARING, _PLACING, _BEFORE)):
        number += 1
        moment = f"{base}-{number}"
    staged.rename(directory / (_CLEARING + moment))
    sync(directory)


def _under_way(directory: Path) -> list[Path]:
    with suppress(FileNotFoundError, NotADirectoryError):
        return sorted(path for path in directory.iterdir() if _UNDER_WAY.fullmatch(path.name) and path.is_dir())
    return []


def _clear(directory: Path, staged: Path, before: Path) -> None:
    """Move what is to be replaced out of the way."""
    replaced = [name for part in PARTS if (staged / part[0]).exists() for name in part]
    found = [name for name in replaced if os.path.lexists(directory / name)]
    if found:
        make_private_directory(before)
    for name in found:
        (directory / name).rename(before / name)
    if found:
        sync(before)
        sync(directory)


def _place(directory: Path, staged: Path) -> None:
    """Move what is restored into its place."""
    for path in sorted(staged.iterdir()):
        path.rename(directory / path.name)
    sync(directory)
    staged.rmdir()
