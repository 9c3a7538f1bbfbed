"""The end of a chat: what is pending goes out first."""

import trio

from securechat.client.conversation import Conversation
from securechat.errors import UnreachableError


async def settle(conversation: Conversation, most: int, patience: float) -> None:
    """Wait until at most ``most`` messages are pending.

    Raises:
        UnreachableError: For ``patience`` seconds, none was acknowledged.
    """
    while (pending := conversation.pending) > most:
        with trio.move_on_after(patience) as waiting:
            await conversation.wait_acknowledged()
        if waiting.cancelled_caught:
            what, it = ("1 message was", "it") if pending == 1 else (f"{pending} messages were", "they")
            raise UnreachableError(
                f"{what} not acknowledged within {patience:.0f} s: {it} may or may not have been stored.",
                "Look with 'securechat tail' before you send again.",
            )
