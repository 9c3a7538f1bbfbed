"""The error tree: types with data, each a sentence and the next step for a person.

``exit_code`` is what the command line ends with when the error reaches it. No message ever holds a
secret: a passphrase, a key, the text of a message.
"""

from enum import StrEnum
from typing import ClassVar


class SecurechatError(Exception):
    """Anything that securechat reports to a person.

    Args:
        message: One sentence saying what is wrong.
        next_step: What to do about it; empty where nothing can be done.
        option: The option whose value is at fault, as in ``--port``; the command line says where that value came from.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, next_step: str = "", *, option: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step
        self.option = option

    def __str__(self) -> str:
        return f"{self.message} {self.next_step}".rstrip()


class InputError(SecurechatError):
    """What a person or a script gave is unusable; found before anything was connected."""

    exit_code = 2


class UnreachableError(SecurechatError):
    """The server cannot be reached, or what answers is not a securechat server.

    Args:
        is_busy: Whether it may answer soon: others keep it busy, perhaps at this network address.
    """

    exit_code = 3

    def __init__(self, message: str, next_step: str = "", *, is_busy: bool = False) -> None:
        super().__init__(message, next_step)
        self.is_busy = is_busy


class ServerRefusedError(SecurechatError):
    """The server said no, or broke the protocol.

    Args:
        retry_after: Seconds until another attempt may succeed; 0 if the server names no time.
        is_busy: Whether a limit that others use up too is the reason.
    """

    exit_code = 3

    def __init__(self, message: str, next_step: str = "", *, retry_after: int = 0, is_busy: bool = False) -> None:
        super().__init__(message, next_step)
        self.retry_after = retry_after
        self.is_busy = is_busy


class NotTrustedError(SecurechatError):
    """The server's key is not the one that this client trusts."""

    exit_code = 4


class NoSuchRoomError(SecurechatError):
    """Nobody has used this room name and passphrase on this server."""

    exit_code = 5


class WeakPassphraseError(SecurechatError):
    """A new room would have a passphrase that can be guessed."""

    exit_code = 6


class CertificateError(SecurechatError):
    """A certificate or its key cannot be read, or cannot be used for TLS."""


class StorageError(SecurechatError):
    """A database or file cannot be read or written."""


class StorageFullError(StorageError):
    """The disk is full, or a quota is: nothing was written."""


class CorruptError(StorageError):
    """A database is damaged, or no database."""


class LogFullError(StorageFullError):
    """A room log has reached the size that its operator allows: nothing was written."""


class ChannelClosedError(Exception):
    """The connection ended, in good order (close_notify) or because this side closed it."""


class ChannelBrokenError(ChannelClosedError):
    """The connection broke: a reset, a time-out, or an end without close_notify (truncation)."""


class Violation(StrEnum):
    """How a peer broke the relay protocol (PROTOCOL.md, section 4)."""

    LENGTH = "length"
    TYPE = "type"
    MALFORMED = "malformed"
    STATE = "state"
    HANDLE = "handle"
    REFERENCE = "reference"


class ProtocolError(Exception):
    """A frame that is malformed, oversized, out of state or from the future.

    Args:
        violation: The rule that was broken.
        detail: What was found, in sizes and numbers only.
    """

    def __init__(self, violation: Violation, detail: str) -> None:
        super().__init__(f"{violation}: {detail}")
        self.violation = violation


class Failure(StrEnum):
    """Why an envelope does not open (PROTOCOL.md, section 3): the first check that failed."""

    VERSION = "version"
    LENGTH = "length"
    COMMITMENT = "commitment"
    TAG = "tag"
    PADDING = "padding"
    IDENTITY = "identity"
    SIGNATURE = "signature"
    BODY = "body"


class OpenError(Exception):
    """An envelope that does not open under this room's keys.

    Args:
        failure: The first check that failed.
    """

    def __init__(self, failure: Failure) -> None:
        super().__init__(f"the envelope does not open: {failure}")
        self.failure = failure
