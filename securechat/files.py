"""Files and directories of a profile or a server: private, and whole or not at all."""

import os
import secrets
from pathlib import Path
from typing import Literal

from securechat.errors import StorageError


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


def make_private_directory(path: Path, option: str = "") -> Path:
    """Make ``path`` with its parents, mode 0700, and return it.

    Args:
        path: Where.
        option: The option of the command line that names it, if one does.

    Raises:
        StorageError: It cannot be made.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"The directory {path} cannot be made: {error.strerror}.",
            f"Name another one{option and f' with {option}'}, or check its rights.",
            option=option,
        ) from error
    return path


def write_private(path: Path, content: bytes) -> None:
    """Write a file of mode 0600 so that a crash leaves the old content or the new, never half of it.

    Raises:
        OSError: It cannot be written; the old file, if any, is as it was.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
