"""The tasks of one room: what happens goes to its page, what is typed to its conversation."""

from collections.abc import Awaitable, Callable
from contextlib import suppress

import trio

from securechat import limits
from securechat.client.clock import now_ms
from securechat.client.conversation import Conversation, Event, Kind, Sender
from securechat.client.session import RoomConversation
from securechat.errors import UnreachableError
from securechat.ui.gui import rows
from securechat.ui.gui.page import Page
from securechat.ui.gui.verify import InfoDialog, VerifyDialog
from securechat.ui.gui.window_commands import Ways, commands_for
from securechat.ui.leaving import settle


class Talk:
    """One room in the window.

    Args:
        conversation: The room.
        is_seen: Tells whether somebody looks at the page now.
        changed: Called when there is more unread, or less; with the event that made it so, if one did.

    Attributes:
        conversation: The room.
        page: How it is seen.
        unread: Messages that nobody has looked at.
        mentions: How many of them name this person.
        ended: Why the room was left against this person's will; empty while it was not.
    """

    def __init__(
        self, conversation: Conversation, is_seen: Callable[[], bool], changed: Callable[["Talk", Event | None], None]
    ) -> None:
        self.conversation = conversation
        self.page = Page(conversation)
        self.unread = 0
        self.mentions = 0
        self.ended = ""
        self._is_seen = is_seen
        self._changed = changed
        self._below = 0
        self._told = (True, 0)  # connected, and how many warnings
        self._last_backlog = 0
        self._older: list[Event] = []
        self._is_loading = False
        self._reached_start = False
        self._nursery: trio.Nursery | None = None
        self._left = trio.Event()
        self._give, self._take = trio.open_memory_channel[str](limits.SCREEN_REQUESTS)
        ways = Ways(self.page.timeline.clear_events, self.page.search.open_bar, self.show_info)
        self._commands = commands_for(conversation, self._tell, self._leave_in_order, ways)
        self._connect()

    def _connect(self) -> None:
        page = self.page
        page.composer.sent.connect(self._take_typed)
        page.timeline.top_reached.connect(self._load_older)
        page.timeline.followed.connect(self._note_followed)
        page.info_wanted.connect(self.show_info)
        page.alarms_seen.connect(self._note_seen)
        page.members.verify.connect(self._verify)
        page.members.mention.connect(self._mention)
        page.members.ignore.connect(lambda sender: self._take_typed(f"/ignore {sender.name}"))

    @property
    def waiting(self) -> int:
        """How many messages were typed and not acknowledged."""
        return self.conversation.pending + self._give.statistics().current_buffer_used

    @property
    def has_draft(self) -> bool:
        """Whether something is typed and not sent."""
        return self.page.composer.isEnabled() and bool(self.page.composer.toPlainText().strip())

    async def run(self) -> None:
        """Show the room until it is left."""
        try:
            async with trio.open_nursery() as self._nursery:
                for task in (self._show_all, self._run_typed, self._note_acknowledged, self._keep_fresh, self._greet):
                    self._nursery.start_soon(task)
                await self._wait_left()
                self._nursery.cancel_scope.cancel()
        finally:
            self._nursery = None

    def _leave_in_order(self) -> None:
        self._left.set()

    async def _wait_left(self) -> None:
        """Wait until the room is to be left, and until what was said last is acknowledged or given up."""
        while True:
            await self._left.wait()
            try:
                await settle(self.conversation, 0, limits.LEAVE_TIMEOUT)
            except UnreachableError as error:
                self._left = trio.Event()
                self._tell(Event(Kind.NOTICE, now_ms(), f"You are still here: {error}"))
            else:
                return

    def _start(self, task: Callable[[], Awaitable[object]]) -> None:
        """Start a task that ends with the room; nothing is started where the room was left."""
        if self._nursery is not None:
            self._nursery.start_soon(task)

    def see(self) -> None:
        """Note that somebody looks at the page."""
        if self.unread:
            self.unread = self.mentions = 0
            self._changed(self, None)

    # What happens

    async def _show_all(self) -> None:
        """Show what happens at once, and of what happens fast as much together as a screen has pictures."""
        events = self.conversation.events
        while True:
            event = await events.receive()
            with self.page.timeline.at_once(), suppress(trio.WouldBlock):
                self._take_event(event)
                for _ in range(limits.EVENTS):
                    self._take_event(events.receive_nowait())
            await trio.sleep(limits.SCREEN_REFRESH)

    def _take_event(self, event: Event) -> None:
        if not self._commands.is_ignored(event):
            self._show(event)

    def _show(self, event: Event) -> None:
        timeline = self.page.timeline
        is_message = event.kind is Kind.MESSAGE and event.sender is not None and not event.sender.is_me
        is_seen = self._is_seen()
        if is_message and timeline.first is not None and self._begins_new(event, is_seen=is_seen):
            timeline.mark_new()
        timeline.show_event(event)
        if event.is_own:
            timeline.acknowledge(event.text)
        if event.is_alarm:
            self.page.show_alarm(event.text)
        if is_message and not timeline.follows:
            self._below += 1
            self.page.show_new_below(self._below)
        if event.is_alarm or (is_message and not is_seen):
            self.unread += not is_seen
            self.mentions += is_message and not is_seen and rows.is_mention(event, self.conversation.nick)
            self._changed(self, event)

    def _begins_new(self, event: Event, *, is_seen: bool) -> bool:
        """Tell whether a message is the first that nobody has seen: since the last run, or since one looked away."""
        if event.is_backlog and event.sequence is not None:
            is_first = self._last_backlog <= self.conversation.read_before < event.sequence
            self._last_backlog = event.sequence
            return is_first and bool(self.conversation.read_before)
        return not is_seen and not self.unread

    def names_me(self, event: Event) -> bool:
        """Tell whether an event is worth a note on the desktop: a warning, or a mention."""
        return event.is_alarm or rows.is_mention(event, self.conversation.nick)

    def end(self, why: str) -> None:
        """Leave the page as it is, with the reason, where the room cannot go on."""
        self.ended = why
        self.page.timeline.show_event(Event(Kind.NOTICE, now_ms(), f"You have left the room: {why}"))
        self.page.show_alarm(f"You have left the room: {why}")
        self.page.show_state(f"not connected to {self.conversation.server}", is_good=False)
        self.page.end()

    def _note_seen(self) -> None:
        self._changed(self, None)

    def _tell(self, event: Event) -> None:
        """Show what a command answers; messages among it are older ones."""
        if event.kind is Kind.MESSAGE:
            self._older.append(event)
        else:
            self.page.timeline.show_event(event)

    def _note_followed(self, follows: bool) -> None:
        if follows:
            self._below = 0
        self.page.show_new_below(self._below)

    async def _note_acknowledged(self) -> None:
        while True:
            await self.conversation.wait_acknowledged()
            await trio.sleep(2 * limits.SCREEN_REFRESH)  # what was acknowledged is shown as said first
            self._show_pending()

    async def _greet(self) -> None:
        await self.conversation.wait_caught_up()
        await self._commands.greet()
        self._refresh()

    async def _keep_fresh(self) -> None:
        while True:
            self._refresh()
            await trio.sleep(limits.SCREEN_TICK)

    def _refresh(self) -> None:
        conversation = self.conversation
        self.page.show_state(self._state(), is_good=conversation.is_connected and conversation.is_encrypted)
        identity = conversation.identity.public if isinstance(conversation, RoomConversation) else b""
        me = Sender(conversation.nick, identity, verified=True, is_me=True)
        self.page.members.show_present(conversation, me, conversation.present)
        self._show_pending()
        state = conversation.is_connected, self.page.alarms
        if state != self._told:
            self._told = state
            self._changed(self, None)

    def _show_pending(self) -> None:
        conversation = self.conversation
        self.page.timeline.show_pending(conversation.unsent, is_connected=conversation.is_connected)

    def _state(self) -> str:
        conversation = self.conversation
        if not conversation.is_connected:
            soon = conversation.retry_in
            when = "now" if soon is None else f"in {soon:.0f} s"
            return f"no connection to {conversation.server}; trying again {when}"
        lag = f" \u00b7 {conversation.lag * 1000:.0f} ms" if conversation.lag is not None else ""
        kind = "end-to-end encrypted" if conversation.is_encrypted else "NOT ENCRYPTED"
        return f"{kind} \u00b7 {conversation.server}{lag}"

    # What is done

    def _take_typed(self, text: str) -> None:
        try:
            self._give.send_nowait(text)
        except trio.WouldBlock:
            self.page.composer.setPlainText(text)

    async def _run_typed(self) -> None:
        async for text in self._take:
            await self._commands.run(text)
            older, self._older = self._older, []
            self.page.timeline.show_older(older)
            self.page.timeline.scroll_to_end()
            self._refresh()

    def _load_older(self) -> None:
        if self._nursery and not self._is_loading and not self._reached_start and self.conversation.is_connected:
            self._is_loading = True
            self._start(self._load)

    async def _load(self) -> None:
        await self.conversation.wait_caught_up()
        self.page.timeline.show_top("loading what was said before ...")
        events = await self.conversation.load_older(limits.SCREEN_PAGE)
        self.page.timeline.show_older([event for event in events if not self._commands.is_ignored(event)])
        self._reached_start = not events and self.conversation.is_connected
        self.page.timeline.show_top("the server keeps nothing older" if self._reached_start else "")
        self._is_loading = False

    def _verify(self, sender: Sender) -> None:
        conversation = self.conversation
        assert isinstance(conversation, RoomConversation)

        async def verify() -> None:
            if await VerifyDialog(self.page.window(), conversation, sender).wait():
                conversation.people.verify(sender)
                self._take_typed(f"/whois {sender.nick}")
                self._refresh()

        self._start(verify)

    def _mention(self, sender: Sender) -> None:
        self.page.composer.insertPlainText(f"{sender.nick} ")
        self.page.composer.setFocus()

    def show_info(self) -> None:
        """Show the room's words and how others join."""
        if isinstance(self.conversation, RoomConversation):
            self._start(InfoDialog(self.page.window(), self.conversation).wait)

    def leave(self) -> None:
        """Leave the room, without waiting for anything."""
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()
