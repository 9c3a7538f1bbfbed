"""Why a server let this client in no room, in words and in what may be done about it."""

from securechat import limits
from securechat.client.address import ServerAddress
from securechat.client.link import clamp
from securechat.errors import NoSuchRoomError, SecurechatError, ServerRefusedError, UnreachableError
from securechat.protocol.messages import Code, Error


def on_first_attempt(server: ServerAddress, error: Exception) -> SecurechatError:
    """Return what to report of a first attempt to join that failed."""
    if isinstance(error, SecurechatError):
        return error
    return UnreachableError(f"{server} ended the connection: {error}.", "Try again later.", is_busy=True)


def on_join(error: Error, server: ServerAddress) -> SecurechatError:
    """Return what to report of an ERROR that answers a JOIN."""
    if error.code == Code.NO_SUCH_ROOM:
        return NoSuchRoomError(
            f"Nobody has used this room name and passphrase on {server}.",
            "Check both; to open a new room, give --create.",
        )
    if error.code == Code.ROOMS_CLOSED:
        said = f" ({error.text})" if error.text else ""
        return ServerRefusedError(
            f"{server} takes no new rooms{said}.", "Check name and passphrase, or ask who runs it."
        )
    retry_after = clamp(error.retry_after, limits.RETRY_SECONDS) if error.retry_after else 0
    when = f"Try again in {retry_after} s." if retry_after else "Tell who runs it."
    why = error.text or f"error {error.code}"
    refused = f"{server} refused to let this client in: {why}."
    is_busy = error.code == Code.RATE and error.retry_after > 0
    return ServerRefusedError(refused, when, retry_after=retry_after, is_busy=is_busy)
