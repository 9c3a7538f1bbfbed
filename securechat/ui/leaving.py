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
        if not waiting.cancelled_caught:
            continue
        if not conversation.is_encrypted:
            raise unknown(conversation)
        what, it = ("1 message was", "it") if pending == 1 else (f"{pending} messages were", "they")
        raise UnreachableError(
            f"{what} not acknowledged within {patience:.0f} s: {it} may or may not have been stored.",
            "Look with 'securechat tail' before you send again.",
        )


def unknown(conversation: Conversation) -> UnreachableError:
    """Return what is not known of messages in the old mode, which keeps no history to look at."""
    pending = conversation.pending
    is_under_way = conversation.is_connected
    lost = conversation.refused + (pending if is_under_way else 0)
    told = f"{_count(lost)} may or may not have arrived" if lost else ""
    unsent = f"{_count(pending)} did not leave this machine" if pending and not is_under_way else ""
    return UnreachableError(f"{' and '.join(filter(None, (told, unsent)))}.", "Ask in the room before you send again.")


def _count(messages: int) -> str:
    return "1 message" if messages == 1 else f"{messages} messages"
