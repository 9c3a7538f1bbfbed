"""A conversation shown in order, from one moment to another."""

from collections.abc import Awaitable, Callable
from contextlib import suppress

import trio

from securechat.client.conversation import Conversation, Event

Show = Callable[[Event], None]


async def show_until(conversation: Conversation, show: Show, is_over: Callable[[], Awaitable[object]]) -> None:
    """Show what happens, in order, until ``is_over`` returns, and what had happened by then."""
    async with trio.open_nursery() as nursery:

        async def wait() -> None:
            await is_over()
            nursery.cancel_scope.cancel()

        nursery.start_soon(wait)
        async for event in conversation.events:
            show(event)
    with suppress(trio.WouldBlock):
        while True:
            show(conversation.events.receive_nowait())
