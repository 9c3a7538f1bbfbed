"""The commands that only the full screen has: about what is on it."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import trio

from securechat.client.conversation import Conversation, Event
from securechat.errors import InputError, StorageError
from securechat.ui.commands import Command, Commands
from securechat.ui.render import to_line
from securechat.ui.tui.app import ChatApp
from securechat.ui.tui.themes import PALETTES

_HISTORY = 100
_KEYS = (
    "PgUp PgDn turn pages, Ctrl-Home Ctrl-End go to the first and the last line; older messages load by themselves.",
    "Ctrl-R searches upwards. F2 shows or hides the members. Esc takes note of warnings and goes to the end.",
    "Tab completes nicknames and commands. Up and Down recall what was typed. Alt-Enter begins a new line.",
    "Ctrl-A Ctrl-E Alt-B Alt-F move; Ctrl-K Ctrl-U Ctrl-W Alt-D cut, Ctrl-Y inserts what was cut.",
    "Ctrl-C clears the input, then asks whether to leave; Ctrl-D leaves; Ctrl-Z suspends. Shift and mouse select text.",
)


class ScreenCommands:
    """Adds them to the commands of a room.

    Args:
        conversation: The room.
        app: The screen.
        commands: To which to add.
        tell: Shows a notice.
    """

    def __init__(
        self, conversation: Conversation, app: ChatApp, commands: Commands, tell: Callable[[str], None]
    ) -> None:
        self._conversation = conversation
        self._app = app
        self._tell = tell
        commands.add("clear", Command("/clear: empty the log on the screen; warnings stay.", self._clear))
        commands.add("search", Command("/search TEXT: search what is loaded, upwards.", self._search))
        commands.add("save", Command("/save FILE: write what is loaded to a new file, NOT ENCRYPTED.", self._save))
        commands.add("history", Command("/history [N]: load N older messages, as PgUp does.", self._history))
        commands.add("theme", Command(f"/theme {'|'.join(PALETTES)}: take other colours.", self._theme))
        commands.add("keys", Command("/keys: tell what the keys do.", self._keys))

    async def _clear(self, _: str) -> None:
        """Empty the log."""
        self._app.log_of_room.clear()
        self._app.redraw()

    async def _search(self, argument: str) -> None:
        """Search what is loaded."""
        self._app.search.begin(argument)

    async def _save(self, argument: str) -> None:
        """Write what is loaded to a file that is not there yet, for the owner's eyes.

        Raises:
            InputError: No file is named.
            StorageError: It cannot be written.
        """
        if not argument:
            raise InputError("/save takes the name of a file.", "For example /save talk.txt.")
        log = self._app.log_of_room
        events = [log[number].event for number in range(log.first, log.end)]
        render = partial(to_line, is_encrypted=self._conversation.is_encrypted)
        where = await trio.to_thread.run_sync(_write, argument, events, render)
        self._tell(f"{len(events)} lines are in {where} now, readable for you alone and not encrypted.")

    async def _history(self, argument: str) -> None:
        """Load older messages."""
        if argument and not (argument.isascii() and argument.isdigit() and 0 < int(argument[:7]) < 1_000_000):
            raise InputError("/history takes a number.", "For example /history 50.")
        events = await self._conversation.load_older(int(argument or _HISTORY))
        self._app.add_older(events)
        self._tell(
            f"{len(events)} older messages are above." if events else "There is nothing older, or no connection."
        )

    async def _theme(self, argument: str) -> None:
        """Take other colours."""
        if argument not in PALETTES:
            raise InputError(f"Themes are {', '.join(PALETTES)}.", "For example /theme light.")
        self._app.use_theme(argument)

    async def _keys(self, _: str) -> None:
        """Tell what the keys do."""
        for line in _KEYS:
            self._tell(line)


def _write(name: str, events: list[Event], render: Callable[[Event], str]) -> Path:
    """Write events to a new file and return where it is."""
    try:
        path = Path(name).expanduser().absolute()
    except RuntimeError as error:  # it begins with ~ and the name of nobody, or there is no home directory
        raise StorageError(f"{name} names no home directory.", "Name another file.") from error
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.writelines(render(event) + "\n" for event in events)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror}.", "Name another file.") from error
    return path
