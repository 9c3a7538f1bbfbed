"""Files and directories of a profile or a server: private, whole or not at all, and the right user's.

An operator is often root, and the server is not: what root makes in a directory of somebody else has to be
theirs, or the server cannot read it. Everything in this program that makes a file or a directory passes
through here, and gives what root made to the owner of the directory where it stands. That is done on the
descriptor of what was made just now, and never by name: who owns the directory could put a link there.
"""

import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Literal

from securechat.errors import StorageError

_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)  # Windows has neither
_DIRECTORY = getattr(os, "O_DIRECTORY", 0)


def profile_directory() -> Path | None:
    """Return where a person's profile is when nothing else is said; None as ``user_directory``."""
    return _data_directory("profile")


def server_directory() -> Path | None:
    """Return where a server's data is when nothing else is said; None as ``user_directory``."""
    return _data_directory("server")


def _data_directory(name: str) -> Path | None:
    directory = user_directory("data")
    return directory and directory / name


def user_directory(kind: Literal["config", "data"]) -> Path | None:
    """Return this user's directory for configuration or data, absolute.

    None where there is no home directory: HOME is not set or no absolute path, and the user is in no user database,
    as in a container that runs as any number. Where XDG_CONFIG_HOME or XDG_DATA_HOME says is used without a home.
    """
    import platformdirs  # noqa: PLC0415 - seldom needed by what imports this module

    find = platformdirs.user_config_path if kind == "config" else platformdirs.user_data_path
    try:
        directory = find("securechat")
    except RuntimeError:
        return None
    return directory if directory.is_absolute() else None


def make_private_directory(path: Path, option: str = "", *, owner: Path | None = None) -> Path:
    """Make ``path``, mode 0700, with its parents, and return it.

    Args:
        path: Where; it may exist.
        option: The option of the command line that names it, if one does.
        owner: Where root makes it, it belongs to the owner of this directory; by default, of its parent.

    Raises:
        StorageError: It cannot be made.
    """
    try:
        for missing in reversed([parent for parent in path.parents if not parent.exists()]):
            missing.mkdir(exist_ok=True)
            _give_directory(missing, missing.parent)
        if not path.is_dir():
            path.mkdir(mode=0o700, exist_ok=True)
            _give_directory(path, owner or path.parent)
    except OSError as error:
        raise StorageError(
            f"The directory {path} cannot be made: {error.strerror}.",
            f"Name another one{option and f' with {option}'}, or check its rights.",
            option=option,
        ) from error
    return path


def create_private(path: Path, mode: int = 0o600, flags: int = os.O_RDWR) -> int:
    """Create the file at ``path`` and return its descriptor.

    Args:
        path: Where; nothing has that name.
        mode: Its rights, less those that the umask takes away.
        flags: How it is opened, see open(2).

    Raises:
        FileExistsError: Something has that name, be it a link that leads nowhere.
        OSError: It cannot be made.
    """
    descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL | _NO_FOLLOW, mode)
    _give(descriptor, path.parent)
    return descriptor


def write_private(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Write a file so that a crash leaves the old content or the new, never half of it.

    Args:
        path: The file; it is replaced if it exists.
        content: What it holds then.
        mode: Its rights, whatever the umask.

    Raises:
        OSError: It cannot be written; the old file, if any, is as it was.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(create_private(temporary), "wb") as file:
            if mode != 0o600:
                os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def sync(path: Path) -> None:
    """Wait until a file, or the names in a directory, are on the disk.

    Raises:
        OSError: They cannot be brought there.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _give_directory(path: Path, owner: Path) -> None:
    """Give a directory that was made just now to the owner of ``owner``; one that is not empty is another one."""
    if not _is_root():
        return
    descriptor = os.open(path, os.O_RDONLY | _DIRECTORY | _NO_FOLLOW)
    try:
        if not os.listdir(descriptor):  # noqa: PTH208 - of the descriptor, and of no name
            _give(descriptor, owner)
    finally:
        os.close(descriptor)


def _give(descriptor: int, directory: Path) -> None:
    """Give what root made to the owner of ``directory``."""
    if not _is_root():
        return
    owner = directory.stat()
    if owner.st_uid:
        with suppress(OSError):  # a file system without owners, or a root without that power
            os.fchown(descriptor, owner.st_uid, owner.st_gid)


def _is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0
