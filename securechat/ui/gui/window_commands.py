"""The commands of the terminal in a window, where some of them have a better way to show what they answer."""

from collections.abc import Callable
from typing import NamedTuple

from securechat.client.conversation import Conversation
from securechat.client.session import RoomConversation
from securechat.ui.commands import Command, Commands, Show
from securechat.ui.room_commands import RoomCommands


class Ways(NamedTuple):
    """What a page does for commands.

    Attributes:
        clear: Forgets what is shown.
        search: Searches for a text.
        show_info: Shows the room's words, its join line and the code of that.
    """

    clear: Callable[[], None]
    search: Callable[[str], None]
    show_info: Callable[[], None]


class _RoomCommands(RoomCommands):
    """The commands of an encrypted room; what would be drawn with characters has a window."""

    show_info: Callable[[], None]

    def draw(self, rows: list[str]) -> None:
        """Show the code of the join line as a picture."""
        del rows
        self.show_info()


def commands_for(conversation: Conversation, show: Show, leave: Callable[[], None], ways: Ways) -> Commands:
    """Return the commands that a conversation has in a window."""
    commands: Commands
    if isinstance(conversation, RoomConversation):
        commands = _RoomCommands(conversation, show, leave)
        commands.show_info = ways.show_info
    else:
        commands = Commands(conversation, show, leave)

    async def clear(_: str) -> None:
        ways.clear()

    async def search(text: str) -> None:
        ways.search(text)

    commands.add("clear", Command("/clear: forget what is shown here; the server keeps it.", clear))
    commands.add("search", Command("/search TEXT: search in what is loaded.", search))
    return commands
