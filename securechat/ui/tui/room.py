"""The trio side of the full screen: a conversation is shown, and what is typed there is run."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress

import trio

from securechat import limits
from securechat.client.clock import now_ms
from securechat.client.conversation import Conversation, Event, Kind, Sender
from securechat.ui import guest, terminal
from securechat.ui.commands import Commands
from securechat.ui.leaving import settle
from securechat.ui.room_commands import RoomCommands, commands_for
from securechat.ui.tui.app import Calls, ChatApp
from securechat.ui.tui.panels import View
from securechat.ui.tui.screen_commands import ScreenCommands
from securechat.ui.tui.scrollback import Entry

_HUNG_UP = 129  # as of a program that SIGHUP has ended

Opener = Callable[[], AbstractAsyncContextManager[Conversation]]


async def chat(opener: Opener, theme: str) -> None:
    """Talk on the full screen, until the person leaves and what is pending was sent.

    Raises:
        SecurechatError: As ``opener``, perhaps in an ExceptionGroup; or what was typed last was not acknowledged.
    """
    async with opener() as conversation:
        await _Room(conversation, theme).run()
        await settle(conversation, 0, limits.LEAVE_TIMEOUT)


def view_of(conversation: Conversation) -> View:
    """Return the state of a conversation at this moment."""
    return View(
        conversation.room,
        conversation.server,
        conversation.is_encrypted,
        Sender(conversation.nick, b"", verified=True, is_me=True),
        conversation.is_connected,
        conversation.retry_in,
        conversation.lag,
        tuple(conversation.unsent),
        tuple(conversation.present.values()),
    )


class _Room:
    """A conversation on the screen.

    Args:
        conversation: The room.
        theme: The name of the colours.
    """

    def __init__(self, conversation: Conversation, theme: str) -> None:
        self._conversation = conversation
        self._token = trio.lowlevel.current_trio_token()
        self._give, self._typed = trio.open_memory_channel[str](limits.SCREEN_REQUESTS)
        calls = Calls(
            enter=lambda line: self._token.run_sync_soon(self._enter, line),
            load_older=lambda: self._token.run_sync_soon(self._want_older),
        )
        self._older = trio.Event()
        self._app = ChatApp(view_of(conversation), calls, theme)
        self._commands: Commands = commands_for(conversation, self._show, self._app.exit)
        ScreenCommands(conversation, self._app, self._commands, self._app.tell)
        if isinstance(self._commands, RoomCommands):
            self._commands.draw = self._draw
        calls.commands = self._commands.names
        self._first_new: int | None = None  # the number of the mark before what is new since the last run
        self._new = 0

    async def run(self) -> None:
        """Show the room until the person leaves."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read)
            nursery.start_soon(self._greet)
            nursery.start_soon(self._run_typed)
            nursery.start_soon(self._load_older)
            nursery.start_soon(self._watch)
            await guest.run_on_host(self._app.run_to_end, self._app.exit)
            nursery.cancel_scope.cancel()
        await self._run_rest()

    # From the room to the screen

    async def _read(self) -> None:
        events = self._conversation.events
        async for event in events:
            self._show(event)
            with suppress(trio.WouldBlock):  # what is there already is looked at together
                for _ in range(limits.SCREEN_PAGE):
                    self._show(events.receive_nowait())
            self._look()

    def _show(self, event: Event) -> None:
        if self._commands.is_ignored(event):
            return
        self._count_new(event)
        self._app.add(Entry(event))

    def _count_new(self, event: Event) -> None:
        """Part what came while this person was away from what they have read before."""
        seen = self._conversation.read_before
        if not (seen and event.is_backlog and event.sequence and event.sequence > seen):
            return
        self._new += 1
        mark = Entry(Event(Kind.NOTICE, now_ms(), f"{self._new} while you were away"), is_mark=True)
        if self._first_new is None:
            self._first_new = self._app.add(mark)
        else:
            self._app.replace(self._first_new, mark)

    async def _greet(self) -> None:
        await self._conversation.wait_caught_up()
        await self._commands.greet()
        self._app.tell("Type a message and press Enter. /help lists the commands, /keys the keys, Ctrl-D leaves.")

    async def _watch(self) -> None:
        """Look at the state of the connection now and then: not all of it is told by events.

        Raises:
            SystemExit: The terminal is gone.
        """
        while True:
            if terminal.is_gone():
                raise SystemExit(_HUNG_UP)
            self._look()
            await trio.sleep(limits.SCREEN_TICK)

    def _look(self) -> None:
        self._app.update(view_of(self._conversation))

    def _draw(self, rows: list[str]) -> None:
        self._app.add(Entry(Event(Kind.NOTICE, now_ms(), "QR code"), picture=tuple(rows)))

    # From the screen to the room

    def _enter(self, line: str) -> None:
        try:
            self._give.send_nowait(line)
        except trio.WouldBlock:
            self._app.tell("That was too fast: the last line was not taken. Up brings it back.")

    async def _run_typed(self) -> None:
        async for line in self._typed:
            await self._commands.run(line)
            self._look()

    async def _run_rest(self) -> None:
        """Run what was entered just before the person left."""
        with suppress(trio.WouldBlock):
            while True:
                await self._commands.run(self._typed.receive_nowait())

    def _want_older(self) -> None:
        self._older.set()

    async def _load_older(self) -> None:
        while True:
            await self._older.wait()
            self._older = trio.Event()
            older = await self._conversation.load_older(limits.SCREEN_PAGE)
            self._app.add_older([event for event in older if not self._commands.is_ignored(event)])
