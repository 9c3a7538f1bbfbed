"""Line mode: ``chat`` without a screen of its own, ``send`` and ``tail``; streams and nothing else."""

import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from functools import partial
from typing import Final

import trio

from securechat import limits
from securechat.client.conversation import Conversation, Event, Kind
from securechat.errors import InputError
from securechat.ui.following import show_until
from securechat.ui.leaving import settle, unknown
from securechat.ui.render import to_json, to_line
from securechat.ui.room_commands import commands_for
from securechat.ui.typed import input_lines

_LEAVE: Final = "esc"  # as in the program that this one descends from
_SEND_AHEAD: Final = limits.PENDING_MESSAGES // 2

Show = Callable[[Event], None]
Opener = Callable[[], AbstractAsyncContextManager[Conversation]]


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _complain(error: InputError) -> None:
    sys.stderr.write(f"{error}\n")
    sys.stderr.flush()


def _usable_lines() -> AsyncGenerator[str, None]:
    """Yield the lines of standard input; one that cannot be used is complained about, and the next is read."""
    return input_lines(_complain)


async def chat(opener: Opener, typed: Callable[[], AsyncGenerator[str, None]] = _usable_lines) -> None:
    """Talk: each line of input is a message or a command, each event a line of output.

    Args:
        opener: Joins the room.
        typed: Yields the lines of input.

    Raises:
        SecurechatError: As ``opener``, perhaps in an ExceptionGroup; or what was typed last
            was not acknowledged.
    """
    async with opener() as conversation, trio.open_nursery() as nursery:
        typing = trio.CancelScope()
        has_left = trio.Event()

        def show(event: Event) -> None:
            if not commands.is_ignored(event):
                _print(to_line(event, is_encrypted=conversation.is_encrypted))

        async def show_all() -> None:
            await show_until(conversation, show, partial(_first_of, conversation.wait_caught_up, has_left.wait))
            await commands.greet()
            await show_until(conversation, show, has_left.wait)

        commands = commands_for(conversation, show, typing.cancel)
        nursery.start_soon(show_all)
        with typing:
            async with aclosing(typed()) as lines:
                async for line in lines:
                    if line == _LEAVE:
                        break
                    if line.strip():
                        await commands.run(line)
                    if typing.cancel_called:  # /quit: what is behind it was not meant to be said
                        break
        await settle(conversation, 0, limits.LEAVE_TIMEOUT)
        has_left.set()


async def _first_of(*waits: Callable[[], Awaitable[object]]) -> None:
    """Return when one of them does."""
    async with trio.open_nursery() as nursery:

        async def wait(one: Callable[[], Awaitable[object]]) -> None:
            await one()
            nursery.cancel_scope.cancel()

        for one in waits:
            nursery.start_soon(wait, one)


async def send(opener: Opener, texts: Sequence[str], *, patience: float, as_json: bool) -> None:
    """Send messages and return when the server has stored every one.

    Args:
        opener: Joins the room.
        texts: The messages; none to take each line of standard input.
        patience: Seconds without an acknowledgement after which to give up.
        as_json: Print an object for each message that was stored.

    Raises:
        SecurechatError: As ``opener``, perhaps in an ExceptionGroup; or a message cannot be
            sent, or was not acknowledged.
    """

    def show(event: Event) -> None:
        if as_json and event.is_own and event.kind is Kind.MESSAGE:
            _print(to_json(event, is_encrypted=conversation.is_encrypted))

    async with opener() as conversation:

        async def send_all() -> None:
            count = 0
            try:
                async with aclosing(_source(texts)) as source:
                    async for text in source:
                        await settle(conversation, _SEND_AHEAD, patience)
                        conversation.say(text)
                        count += 1
            except InputError as error:
                await settle(conversation, 0, patience)
                before = f"{count} of the messages were sent before it. " if count else ""
                raise InputError(error.message, before + error.next_step) from error
            await settle(conversation, 0, patience)

        await show_until(conversation, show, send_all)
        if conversation.refused and not conversation.is_encrypted:
            raise unknown(conversation)
        if conversation.refused:
            raise InputError(
                f"{conversation.refused} of the messages were refused by the server.",
                "Send less at once.",
            )


async def _source(texts: Sequence[str]) -> AsyncGenerator[str, None]:
    """Yield the messages to send; an empty line of input is none."""
    for text in texts:
        yield text
    if not texts:
        async with aclosing(input_lines()) as lines:
            async for line in lines:
                if line:
                    yield line


async def tail(opener: Opener, *, since: int, follows: bool, as_json: bool) -> None:
    """Print the room's messages.

    Args:
        opener: Joins the room, and reads as much of its log as is asked for.
        since: Show no older message than this, by the server's clock in ms since 1970 UTC.
        follows: Go on with what is said from now on.
        as_json: One JSON object for each event.

    Raises:
        SecurechatError: As ``opener``, perhaps in an ExceptionGroup.
    """

    def show(event: Event) -> None:
        if event.is_backlog and event.time - event.clock_error < since:
            return
        render = to_json if as_json else to_line
        _print(render(event, is_encrypted=conversation.is_encrypted))

    async with opener() as conversation:
        await show_until(conversation, show, trio.sleep_forever if follows else conversation.wait_caught_up)
