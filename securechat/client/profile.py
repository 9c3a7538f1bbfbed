"""A person's profile on one machine: identity, known hosts, state; one directory, private."""

import os
from pathlib import Path
from typing import Final

from securechat.client.state import State
from securechat.errors import InputError, SecurechatError, StorageError
from securechat.files import make_private_directory, profile_directory, write_private
from securechat.sealing.identity import SEED_BYTES, Identity
from securechat.transport.known_hosts import KnownHosts

IDENTITY_FILE: Final = "identity.pem"


class Profile:
    """A profile directory, made (0700) if absent.

    Args:
        directory: Where.

    Raises:
        StorageError: It cannot be made.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = make_private_directory(directory, "--profile")

    @property
    def known_hosts(self) -> KnownHosts:
        """The servers that this person trusts."""
        is_usual = self.directory == profile_directory()
        return KnownHosts(self.directory / "known-hosts", "" if is_usual else f" --profile {self.directory}")

    def open_state(self) -> State:
        """Open what is remembered between runs.

        Raises:
            StorageError: It cannot be used.
        """
        return State.open(self.directory / "state.sqlite")

    def load_identity(self) -> Identity:
        """Return this person's identity; made at the first use.

        Raises:
            SecurechatError: The file cannot be read or written, or holds something else.
        """
        path = self.directory / IDENTITY_FILE
        try:
            return Identity.from_pem(path.read_bytes())
        except FileNotFoundError:
            pass
        except InputError as error:
            raise StorageError(
                f"{path} holds no identity of securechat.", "Restore it from a copy, or move it away to become another."
            ) from error
        except OSError as error:
            raise StorageError(f"{path} cannot be read: {error.strerror}.", "Check its rights.") from error
        return self._make_identity(path)

    def _make_identity(self, path: Path) -> Identity:
        """Make an identity, unless another program is faster."""
        made = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            write_private(made, Identity(os.urandom(SEED_BYTES)).to_pem())
            try:
                os.link(made, path)
            except FileExistsError:
                pass
            finally:
                made.unlink()
            return Identity.from_pem(path.read_bytes())
        except OSError as error:
            raise StorageError(f"{path} cannot be written: {error.strerror}.", "Name another --profile.") from error

    def save_identity(self, identity: Identity, *, overwrite: bool) -> None:
        """Put an identity in place.

        Raises:
            SecurechatError: There is one already and it is not to be replaced, or it cannot be written.
        """
        path = self.directory / IDENTITY_FILE
        if path.exists() and not overwrite:
            raise SecurechatError(
                f"{path} exists already: this profile has an identity.",
                "Export it first if it matters, then give --force; or name another --profile.",
            )
        try:
            write_private(path, identity.to_pem())
        except OSError as error:
            raise StorageError(f"{path} cannot be written: {error.strerror}.", "Check the directory.") from error
