"""The rooms that this person was in last, to be offered again."""

from typing import Final

from securechat.client.address import ServerAddress, parse_server
from securechat.client.state import State
from securechat.errors import InputError

_SETTING: Final = "recent"
_MOST: Final = 8


def recent(state: State) -> list[ServerAddress]:
    """Return where this person was, the last first; each with its room and without a pin."""
    found = []
    for line in (state.setting(_SETTING) or "").split():
        try:
            found.append(parse_server(line))
        except InputError:  # of a later version
            continue
    return found


def note_names(state: State, room: str, nick: str) -> None:
    """Offer this room and nickname from now on where none are given.

    Raises:
        StorageError: The profile cannot be written.
    """
    state.set_setting("room", room)
    state.set_setting("nick", nick)


def remember(state: State, server: ServerAddress, room: str) -> None:
    """Put a room first.

    Raises:
        StorageError: The profile cannot be written.
    """
    line = ServerAddress(server.host, server.port, room).to_line()
    others = [known.to_line() for known in recent(state)]
    state.set_setting(_SETTING, "\n".join([line, *(o for o in others if o != line)][:_MOST]))
