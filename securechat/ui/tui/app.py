"""The full screen: title, log, members, status, input. It knows nothing of trio: what is typed goes out by a call."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.geometry import Size
from textual.message import Message
from textual.widgets import Static

from securechat import limits
from securechat.client.clock import now_ms
from securechat.client.conversation import Event, Kind
from securechat.text import legible_line
from securechat.ui.tui import panels, themes
from securechat.ui.tui.attention import Attention
from securechat.ui.tui.completion import Completed, complete
from securechat.ui.tui.layout import NARROW
from securechat.ui.tui.log_view import LogView
from securechat.ui.tui.panels import View
from securechat.ui.tui.prompt import Prompt, Uses
from securechat.ui.tui.question import Question
from securechat.ui.tui.scrollback import Entry, Scrollback
from securechat.ui.tui.search import Search
from securechat.ui.tui.terminal_app import TerminalApp

_SHOWS_MEMBERS = 100  # columns; below, F2 shows them


@dataclass
class Calls:
    """What the screen asks for; each returns at once.

    Attributes:
        enter: Runs a line that was typed.
        load_older: Loads older messages.
        commands: The names of the commands.
    """

    enter: Callable[[str], None]
    load_older: Callable[[], None]
    commands: list[str] = field(default_factory=list)


class ChatApp(TerminalApp):
    """One room on the full screen.

    Args:
        view: The state at first.
        calls: What the screen asks for.
        theme_name: One of ``themes.PALETTES``.

    Attributes:
        log_of_room: What the screen has to show; ``changed`` says that there is more in it.
        is_dirty: Whether something is to be drawn soon.
        prompt: Where people type.
        search: What Ctrl-R does.
    """

    CSS = f"""
    Screen {{ layout: vertical; }}
    #title {{ height: 1; background: $panel; }}
    #middle {{ height: 1fr; }}
    LogView {{ width: 1fr; height: 1fr; }}
    #members {{ width: {panels.MEMBERS_WIDTH}; height: 1fr; padding: 0 1; background: $panel; }}
    #banner {{ height: auto; max-height: 4; padding: 0 1; background: $error; color: $background; text-style: bold; }}
    #status {{ height: 1; background: $panel; }}
    Question {{ height: auto; max-height: 3; padding: 0 1; background: $warning; color: $background; }}
    Prompt {{ height: auto; max-height: {limits.INPUT_ROWS}; min-height: 1; border: none; padding: 0 1; }}
    """

    class Changed(Message):
        """There is something else to show."""

    def __init__(self, view: View, calls: Calls, theme_name: str = themes.DEFAULT) -> None:
        super().__init__()
        self.log_of_room = Scrollback()
        self.palette = themes.PALETTES[theme_name]
        for palette in themes.PALETTES.values():
            self.register_theme(palette.theme)
        self.theme = self.palette.theme.name
        self._view = view
        self._calls = calls
        self.is_dirty = False
        self._is_asking_older = False
        self._shows_members: bool | None = None  # as there is room
        self._attention = Attention()
        self._log_view = LogView(self.log_of_room, self.palette, view.me)
        self._question = Question()
        self.prompt = Prompt(Uses(self._enter, self._paste, self._complete, self._keys()), self._question)
        self.search = Search(self.log_of_room, self._log_view, self._question)

    def compose(self) -> ComposeResult:
        """Put the screen together."""
        yield Static(id="title")
        with Horizontal(id="middle"):
            yield self._log_view
            yield Static(id="members")
        yield Static(id="banner")
        yield Static(id="status")
        yield self._question
        yield self.prompt

    @property
    def title_of_terminal(self) -> str:
        """What the terminal's window is called while nobody is called for."""
        warning = "" if self._view.is_encrypted else "NOT ENCRYPTED "
        return f"{warning}{legible_line(self._view.room)} - securechat"

    def on_mount(self) -> None:
        """Begin."""
        self.set_terminal_title(self.title_of_terminal)
        self.query_one("#banner").display = False
        self.prompt.focus()
        self._refresh_panels()

    # What happens in the room; called from trio's side of the loop

    def add(self, entry: Entry) -> int:
        """Show one thing more, and return its number."""
        forgotten = self.log_of_room.forgotten
        number = self.log_of_room.append(entry)
        if self.log_of_room.forgotten != forgotten:
            self.redraw()
        if self._attention.note(entry.event, self._view.me.nick, is_looked_at=self.app_focus):
            self.bell()
            self.set_terminal_title(f"! {self.title_of_terminal}")
        self.changed()
        return number

    def tell(self, text: str) -> None:
        """Show a notice of the screen itself."""
        self.add(Entry(Event(Kind.NOTICE, now_ms(), text)))

    def update(self, view: View) -> None:
        """Show another state of the conversation."""
        if view != self._view:
            self._view = view
            self.changed()

    def add_older(self, events_before: list[Event]) -> None:
        """Show older messages above the others."""
        self._is_asking_older = False
        if events_before:
            self.log_of_room.prepend(events_before)
            for event in events_before:
                self._attention.note_alarm(event)
            self.redraw()

    def replace(self, number: int, entry: Entry) -> None:
        """Show another thing in the place of one."""
        self.log_of_room.replace(number, entry)
        self._log_view.forget(number)
        self.changed()

    def redraw(self) -> None:
        """Draw what is another log now."""
        self._log_view.redraw(anew=True)
        self.changed()

    def changed(self) -> None:
        """Draw again soon: what changes within a short time is drawn once."""
        if not self.is_dirty:
            self.is_dirty = True
            asyncio.get_running_loop().call_later(limits.SCREEN_REFRESH, self.post_message, self.Changed())

    # Drawing

    def on_chat_app_changed(self) -> None:
        """Draw what changed."""
        self.is_dirty = False
        self._log_view.show(self._pending().unsent, self._view.me)
        self._refresh_panels()

    def _pending(self) -> View:
        """Return the state without messages that are in the log already, a moment before they are acknowledged."""
        log = self.log_of_room
        last = range(max(log.first, log.end - 2 * limits.SEND_WINDOW), log.end)
        taken = {(event.time, event.text) for event in (log[number].event for number in last) if event.is_own}
        return self._view._replace(unsent=tuple(m for m in self._view.unsent if (m.time, m.text) not in taken))

    def _refresh_panels(self, size: Size | None = None) -> None:
        width, height = size or self.size
        self.query_one("#title", Static).update(panels.title(self._view, width, self.palette))
        state = panels.status(
            self._pending(), width, self.palette, below=self._log_view.unseen, missed=self._attention.missed
        )
        self.query_one("#status", Static).update(state)
        members = self.query_one("#members", Static)
        members.display = (
            width >= _SHOWS_MEMBERS if self._shows_members is None else self._shows_members and width >= NARROW
        )
        members.update(panels.members(self._view, height - 3, self.palette))
        banner = self.query_one("#banner", Static)
        banner.display = self._attention.alarms > 0
        banner.update(Text(self._attention.banner))

    def on_resize(self, event: events.Resize) -> None:
        """Draw for another size, which the event knows before the app does."""
        self._refresh_panels(event.size)

    def use_theme(self, name: str) -> None:
        """Take another theme."""
        self.palette = themes.PALETTES[name]
        self.theme = self.palette.theme.name
        self._log_view.use(self.palette)
        self._refresh_panels()

    # Typing

    def _enter(self, text: str) -> None:
        self.set_terminal_title(self.title_of_terminal)
        self._log_view.to_end()
        self._calls.enter(text)

    def _paste(self, text: str) -> None:
        lines = text.count("\n") + 1
        size = len(text.encode())
        if size > limits.TEXT_BYTES:
            self.tell(
                f"What you pasted has {size} bytes, a message at most {limits.TEXT_BYTES}: it was not taken. "
                "Send it in parts, or as a file: securechat send SERVER < FILE"
            )
        else:
            self._question.ask(f"Paste {lines} lines as one message? (y/n)", lambda: self.prompt.put(text))

    def _complete(self, before: str) -> Completed:
        return complete(before, self._calls.commands, panels.nicks(self._view, self._attention.speakers))

    # Keys

    def _keys(self) -> dict[str, Callable[[], None]]:
        return {
            "ctrl+c": self.action_clear_or_leave,
            "ctrl+d": self.action_delete_or_leave,
            "ctrl+z": self.suspend_job,
            "ctrl+l": self.action_redraw,
            "ctrl+r": self.action_search,
            "pageup": partial(self._log_view.page, -1),
            "pagedown": partial(self._log_view.page, 1),
            "ctrl+home": self._log_view.to_start,
            "alt+less_than_sign": self._log_view.to_start,
            "ctrl+end": self._log_view.to_end,
            "alt+greater_than_sign": self._log_view.to_end,
            "f2": self.action_toggle_members,
            "escape": self.action_dismiss,
        }

    def action_clear_or_leave(self) -> None:
        """Clear the input; if it is empty, ask whether to leave; if that was asked, leave."""
        if self._question.is_open:
            self._question.take("ctrl+c")
        elif self.prompt.text:
            self.prompt.text = ""
        else:
            self.action_ask_to_leave()

    def action_ask_to_leave(self) -> None:
        """Ask whether to leave."""
        self._question.ask("Leave the chat? (y, or Ctrl-C once more; any other key stays)", self.exit, again="ctrl+c")

    def action_delete_or_leave(self) -> None:
        """Leave if nothing is typed, else delete a character."""
        if self._question.is_open:
            self._question.take("ctrl+d")
        elif self.prompt.text:
            self.prompt.action_delete_right()
        else:
            self.exit()

    def action_search(self) -> None:
        """Search upwards, or go on with it."""
        if self.search.is_open:
            self.search.take("ctrl+r")
        else:
            self.search.begin()

    def action_redraw(self) -> None:
        """Draw everything anew."""
        self.refresh(layout=True)
        self._log_view.redraw(anew=True)

    def action_toggle_members(self) -> None:
        """Show the members, or hide them."""
        self._shows_members = not self.query_one("#members").display
        self._refresh_panels()

    def action_dismiss(self) -> None:
        """Take note of the alarms, and go to the end; of an open question, it is the answer."""
        if self._question.is_open:
            self._question.take("escape")
            return
        self._attention.alarms = 0
        self._log_view.to_end()

    def on_app_focus(self) -> None:
        """Note that somebody looks."""
        self._attention.missed = 0
        self.set_terminal_title(self.title_of_terminal)
        self._refresh_panels()

    def on_log_view_moved(self) -> None:
        """Tell how much is below."""
        self._refresh_panels()

    def on_log_view_nears_top(self) -> None:
        """Load what was before."""
        if not self._is_asking_older and self.log_of_room.has_room:
            self._is_asking_older = True
            self._calls.load_older()
