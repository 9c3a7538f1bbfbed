"""``securechat restore``: a backup takes the place of what a server had, which is kept."""

import os
import shutil
from pathlib import Path
from typing import Final

import trio

from securechat.cli.copies import CERTIFICATE_FILE, KEY_FILE, PARTS, commit, incomplete, refuse_unsettled, settle
from securechat.cli.directory import is_in_use, only_server
from securechat.errors import CertificateError, SecurechatError, StorageError
from securechat.files import create_private, make_private_directory, sync, write_private
from securechat.history.generation import record_of, wal_of
from securechat.history.sqlite import HISTORY_FILE, SqliteLog
from securechat.history.survey import check
from securechat.transport.certificates import Pair
from securechat.transport.tls import ServerTls

_STAGE: Final = "restoring"
_CHUNK: Final = 1024 * 1024


def restore(source: Path, data: Path) -> tuple[list[str], Path | None]:
    """Put a backup in the place of what a server has.

    Args:
        source: The backup, or a copy of a data directory; it is only read.
        data: The data directory; no server runs there.

    Returns:
        The names of the files that were restored, and where what they replaced is now.

    Raises:
        SecurechatError: A server runs there, or the backup is none, or it cannot be copied; nothing has changed then.
    """
    try:
        names = _look_at(source, data)
        make_private_directory(data, "--data")
        with only_server(data):
            _remove_stages(data)
            staged = incomplete(data / _STAGE)
            try:
                make_private_directory(staged)
                _stage(source, staged, names)
                commit(data, staged)
            except BaseException:
                shutil.rmtree(staged, ignore_errors=True)
                raise
            return names, settle(data)
    except OSError as error:
        raise SecurechatError(
            f"Nothing was restored: {error.filename or data}: {error.strerror}.", "Correct that, and try again."
        ) from error


def _look_at(source: Path, data: Path) -> list[str]:
    """Return what there is to be restored, or say why not."""
    refuse_unsettled(source)
    if source.exists() and data.exists() and source.samefile(data):
        raise SecurechatError(f"{source} is the directory of the server itself.", "Name a backup.")
    if is_in_use(source):
        raise SecurechatError(
            f"{source} is the directory of a server that runs.", "Make a backup of it with 'securechat backup'."
        )
    names = [name for part in PARTS if (source / part[0]).is_file() for name in part if (source / name).is_file()]
    names = [name for name in names if name in {HISTORY_FILE, KEY_FILE, CERTIFICATE_FILE}]
    if not names:
        raise SecurechatError(f"There is no backup in {source}.", "Name a directory that 'securechat backup' made.")
    if {KEY_FILE, CERTIFICATE_FILE} <= set(names):
        try:
            ServerTls.load(Pair(source / CERTIFICATE_FILE, source / KEY_FILE))
        except CertificateError as error:
            raise CertificateError(
                error.message,
                f"Name another backup. If only {CERTIFICATE_FILE} is damaged, remove it from this one: the server "
                "signs the key again, and the pin stays.",
            ) from error
    return names


def _remove_stages(data: Path) -> None:
    """Remove what restores left that were killed before they changed anything."""
    for path in data.glob(f"{_STAGE}.incomplete-*"):
        shutil.rmtree(path, ignore_errors=True)


def _stage(source: Path, staged: Path, names: list[str]) -> None:
    """Copy the backup, and check the copy."""
    for name in names:
        if name == HISTORY_FILE:
            _stage_history(source, staged)
        else:
            write_private(staged / name, (source / name).read_bytes())
    for path in staged.iterdir():
        sync(path)
    sync(staged)


def _stage_history(source: Path, staged: Path) -> None:
    path = source / HISTORY_FILE
    for original in (path, wal_of(path), record_of(path)):  # the latter two where it is a copy of what a crash left
        if original.is_file():
            _copy(original, staged / original.name)
    try:
        check(staged / HISTORY_FILE)
        trio.run(_open_and_close, staged / HISTORY_FILE)
    except StorageError as error:
        raise StorageError(error.message.replace(str(staged), str(source)), "Name another backup.") from error


def _copy(original: Path, copied: Path) -> None:
    with original.open("rb") as reading, os.fdopen(create_private(copied), "wb") as writing:
        shutil.copyfileobj(reading, writing, _CHUNK)


async def _open_and_close(path: Path) -> None:
    """Bring a history to the version of this program."""
    await SqliteLog.open(path).aclose()
