"""The window: the list of rooms, the page of one of them or the sheet, and the task that each room is.

One nursery holds all of it, so that nothing outlives the window. What ends a room is told on its page or in
the sheet; it never ends another room.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import trio
from PySide6.QtCore import QEvent, Qt, QUrl
from PySide6.QtGui import QCloseEvent, QDesktopServices, QResizeEvent
from PySide6.QtWidgets import QMainWindow, QSplitter, QStackedWidget

from securechat.client import recent
from securechat.client.address import ServerAddress
from securechat.client.conversation import Conversation, Event
from securechat.client.profile import Profile
from securechat.client.state import State
from securechat.errors import SecurechatError
from securechat.sealing.keys import RoomKeys
from securechat.text import one_line
from securechat.ui import questions
from securechat.ui.gui import dialogs, menu, theme
from securechat.ui.gui.entering import Answers, Entering, Opener, Typed, first_of
from securechat.ui.gui.icons import application_icon
from securechat.ui.gui.menu import Entry
from securechat.ui.gui.notify import Notifier
from securechat.ui.gui.sheet import Sheet
from securechat.ui.gui.side import Side
from securechat.ui.gui.talk import Talk

_NARROW = 560  # pixels of width below which the list of rooms is hidden
_SIZES = (-4, 14)  # points smaller and larger than usual


class Window(QMainWindow):
    """See above.

    Args:
        profile: The profile's directory.
        state: Its database, open.
        first: What the sheet holds at first; it is submitted at once where nothing is missing.
    """

    def __init__(self, profile: Profile, state: State, first: Typed) -> None:
        super().__init__()
        self._state = state
        self._entering = Entering(profile, state)
        self._first = first
        self._talks: list[Talk] = []
        self._joining: trio.CancelScope | None = None
        self._sheet: Sheet | None = None
        self._closing = trio.Event()
        self._nursery: trio.Nursery
        self._is_asking = False
        self._wants_side: bool | None = None  # None until somebody chose
        self._size = int(state.setting("zoom") or 0)
        self.setWindowIcon(application_icon())
        self.resize(1000, 700)
        self.setMinimumSize(340, 420)
        self._notifier = Notifier(self)
        self._make_actions()
        self._side = Side(self.actions())
        self._side.chosen.connect(self._show_talk)
        self._side.join_wanted.connect(self.open_sheet)
        menu.add_shortcuts(self, {"F10": self._side.show_menu})
        self._stack = QStackedWidget()
        self._split = QSplitter(Qt.Orientation.Horizontal)
        self._split.setHandleWidth(1)
        self._split.setChildrenCollapsible(False)
        self._split.addWidget(self._side)
        self._split.addWidget(self._stack)
        self._split.setStretchFactor(1, 1)
        self._split.setSizes([220, 780])
        self.setCentralWidget(self._split)
        self._update()

    async def run(self) -> None:
        """Show the window until it is closed."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            self.open_sheet()
            self.show()
            if self._first.server and self._entering.is_remembered(self._first):
                self._submit(self._first)
            await self._closing.wait()
            nursery.cancel_scope.cancel()

    @property
    def waiting(self) -> int:
        """How many messages were typed in all rooms and not acknowledged."""
        return sum(talk.waiting for talk in self._talks)

    # What the keyboard and the menu do

    def _make_actions(self) -> None:
        here = self._for_current
        menu.add_actions(
            self,
            Entry("Join another room", self.open_sheet, "Ctrl+N"),
            Entry("Leave this room", self._leave_current, "Ctrl+W"),
            Entry("The room, and how others join", here(Talk.show_info), "Ctrl+I"),
            Entry("Search", here(lambda talk: talk.page.search.open_bar()), "Ctrl+F"),
            Entry("Show or hide the members", here(lambda talk: talk.page.toggle_members()), "Ctrl+M"),
            Entry("Show or hide the rooms", self._toggle_side, "Ctrl+L"),
            Entry("Next room", partial(self._step, 1), "Ctrl+PgDown"),
            Entry("Previous room", partial(self._step, -1), "Ctrl+PgUp"),
            Entry("Larger text", partial(self._zoom, 1), "Ctrl++ Ctrl+="),
            Entry("Smaller text", partial(self._zoom, -1), "Ctrl+-"),
            Entry("Usual text", partial(self._zoom, 0), "Ctrl+0"),
            Entry("Light, dark, or as the system", self._change_appearance, "Ctrl+Shift+D"),
            Entry("Quit", self.close, "Ctrl+Q"),
        )
        menu.add_shortcuts(self, {f"Alt+{number + 1}": partial(self._show_talk, number) for number in range(9)})

    def _for_current(self, do: Callable[[Talk], object]) -> Callable[[], None]:
        def act() -> None:
            if (talk := self._current) is not None:
                do(talk)

        return act

    def _step(self, by: int) -> None:
        if self._talks:
            at = self._talks.index(self._current) if self._current else -1
            self._show_talk((at + by) % len(self._talks))

    def _toggle_side(self) -> None:
        self._wants_side = not self._side.isVisible()
        self._place_side()

    def _place_side(self) -> None:
        wants = self._wants_side if self._wants_side is not None else self.width() >= _NARROW
        self._side.setVisible(wants)

    def _zoom(self, by: int) -> None:
        self._size = max(_SIZES[0], min(_SIZES[1], self._size + by)) if by else 0
        for talk in self._talks:
            talk.page.set_zoom(self._size)
        self._state.set_setting("zoom", str(self._size))

    def _change_appearance(self) -> None:
        self._state.set_setting("appearance", theme.change_appearance())
        self.refresh()

    def refresh(self) -> None:
        """Draw everything in the colours of now."""
        theme.apply()
        for talk in self._talks:
            talk.page.refresh()
        self._update()

    # What is shown

    @property
    def _current(self) -> Talk | None:
        """The room that is shown."""
        page = self._stack.currentWidget()
        return next((talk for talk in self._talks if talk.page is page), None)

    def _show_talk(self, number: int) -> None:
        if number < len(self._talks):
            talk = self._talks[number]
            self._stack.setCurrentWidget(talk.page)
            talk.page.composer.setFocus()
            talk.see()
            self._update()

    def _is_seen(self, talk: Talk) -> bool:
        return self.isActiveWindow() and self._current is talk

    def _update(self) -> None:
        """Bring the list of rooms and the title up to date."""
        current = self._current
        self._side.show_rooms(self._talks, self._talks.index(current) if current else -1)
        unread = sum(talk.unread for talk in self._talks)
        room = f"{one_line(current.conversation.room)} \u2013 " if current else ""
        self.setWindowTitle(f"({unread}) {room}securechat" if unread else f"{room}securechat")
        self._notifier.show_count(unread)

    def _note_change(self, talk: Talk, event: Event | None) -> None:
        if event is not None and not self._is_seen(talk):
            nick = event.sender.name if event.sender else ""
            self._notifier.tell(talk.conversation.room, nick, is_urgent=talk.names_me(event))
        self._update()

    # Joining

    def open_sheet(self) -> None:
        """Show where a room is chosen."""
        if self._sheet is None:
            self._sheet = Sheet(self._entering, recent.recent(self._state))
            self._sheet.submitted.connect(self._submit)
            self._sheet.cancelled.connect(self._cancel_sheet)
            self._stack.addWidget(self._sheet)
            self._sheet.fill(self._first if not self._talks else replace(self._first, server="", room=""))
        self._sheet.can_be_closed(is_possible=bool(self._talks))
        self._stack.setCurrentWidget(self._sheet)
        self._sheet.focus_first()
        self._update()

    def _close_sheet(self) -> None:
        if self._sheet is not None:
            self._stack.removeWidget(self._sheet)
            self._sheet.deleteLater()
            self._sheet = None

    def _cancel_sheet(self) -> None:
        if self._joining is not None:
            self._joining.cancel()
        elif self._talks:
            self._close_sheet()
            self._show_talk(len(self._talks) - 1)

    def _submit(self, typed: Typed) -> None:
        assert self._sheet is not None
        answers = Answers(self._ask_trust, self._ask_create, self._sheet.show_stage)
        try:
            opener = self._entering.opener(typed, answers)
            number = self._find(str(self._entering.server(typed)), self._entering.room(typed))
        except SecurechatError as error:
            self._sheet.show_failure(str(error))
            return
        if number is None:
            self._nursery.start_soon(self._stay, opener)
        else:
            self._close_sheet()
            self._show_talk(number)

    def _find(self, server: str, room: str) -> int | None:
        """Return the number of a room that is open already."""
        for number, talk in enumerate(self._talks):
            if not talk.ended and (talk.conversation.server, talk.conversation.room) == (server, room):
                return number
        return None

    async def _ask_trust(self, server: ServerAddress, pin: bytes, why: str) -> bool:
        return await dialogs.TrustQuestion(self, server, pin, why).is_trusted()

    async def _ask_create(self, server: ServerAddress, keys: RoomKeys) -> bool:
        text = questions.new_room(server, keys.words)
        return await dialogs.Question(self, "Create this room?", text, "Create the room", "Go back").wait()

    # Being in a room

    async def _stay(self, opener: Opener) -> None:
        """Be in a room from the sheet to its end; what ends it is told, and ends nothing else."""
        talk: Talk | None = None
        why = ""
        with trio.CancelScope() as scope:
            self._joining = scope
            try:
                async with opener() as conversation:
                    self._joining = None
                    talk = self._add_talk(conversation)
                    await talk.run()
            except* SecurechatError as group:
                why = str(first_of(group))
        if talk is None:
            self._joining = None
            if self._sheet is not None:
                self._sheet.show_failure(why)
        elif why:
            self._end_talk(talk, why)
        else:
            self._remove_talk(talk)

    def _add_talk(self, conversation: Conversation) -> Talk:
        talk = Talk(conversation, lambda: self._is_seen(talk), self._note_change)
        self._talks.append(talk)
        self._stack.addWidget(talk.page)
        talk.page.set_zoom(self._size)
        talk.page.link_wanted.connect(lambda url: self._nursery.start_soon(self._open_link, url))
        self._close_sheet()
        self._show_talk(len(self._talks) - 1)
        return talk

    async def _open_link(self, url: QUrl) -> None:
        if await dialogs.link_question(self, url).wait():
            QDesktopServices.openUrl(url)

    def _end_talk(self, talk: Talk, why: str) -> None:
        """Leave the page of a room that cannot go on where it is, with the reason."""
        talk.end(why)
        self._update()

    def _remove_talk(self, talk: Talk) -> None:
        was_current = self._current is talk
        self._talks.remove(talk)
        self._stack.removeWidget(talk.page)
        talk.page.deleteLater()
        if was_current and self._talks:
            self._show_talk(len(self._talks) - 1)
        elif not self._talks:
            self.open_sheet()
        self._update()

    def _leave_current(self) -> None:
        talk = self._current
        if talk is None:
            self._cancel_sheet()
        else:
            leave = partial(self._remove_talk, talk) if talk.ended else talk.leave
            self._nursery.start_soon(self._leave, [talk], leave, "the room")

    # Leaving

    async def _leave(self, talks: list[Talk], leave: Callable[[], None], what: str) -> None:
        """Leave, once nothing is lost by it or somebody said that it may be."""
        if self._is_asking:
            return
        self._is_asking = True
        waiting, drafts = sum(talk.waiting for talk in talks), sum(talk.has_draft for talk in talks)
        try:
            if not (waiting or drafts) or await dialogs.leave_question(self, waiting, drafts, what).wait():
                leave()
        finally:
            self._is_asking = False

    def closeEvent(self, event: QCloseEvent) -> None:
        """Close only when every task has ended: that happens after ``run``."""
        event.ignore()
        self._nursery.start_soon(self._leave, self._talks, self._closing.set, "securechat")

    def end(self) -> None:
        """Hide what is left to see."""
        self._notifier.close()
        self.hide()

    def changeEvent(self, event: QEvent) -> None:
        """Note that somebody looks at the window again."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.ActivationChange and self.isActiveWindow() and self._current is not None:
            self._current.see()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Make room for the conversation first."""
        super().resizeEvent(event)
        self._place_side()
