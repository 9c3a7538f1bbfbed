"""Files and directories of a profile or a server: private, and whole or not at all."""

import os
import secrets
from pathlib import Path

from securechat.errors import StorageError


def profile_directory() -> Path:
    """Return where a person's profile is when nothing else is said."""
    return _data_directory() / "profile"


def server_directory() -> Path:
    """Return where a server's data is when nothing else is said."""
    return _data_directory() / "server"


def _data_directory() -> Path:
    import platformdirs  # noqa: PLC0415 - seldom needed by what imports this module

    return platformdirs.user_data_path("securechat")


def make_private_directory(path: Path) -> Path:
    """Make ``path`` with its parents, mode 0700, and return it.

    Raises:
        StorageError: It cannot be made.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"The directory {path} cannot be made: {error.strerror}.",
            "Name another one, or check its rights.",
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
