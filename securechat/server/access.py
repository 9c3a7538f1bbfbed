"""The access log: who joined and left when, as the program that this one descends from had it.

A room is its address's first 8 digits: a name is nothing that the server knows.
"""

import logging
import os
from io import TextIOWrapper
from logging.handlers import WatchedFileHandler
from pathlib import Path

from securechat.errors import SecurechatError
from securechat.server.gate import Gate
from securechat.server.room import Room

_logger = logging.getLogger("securechat.access")


class AccessLog:
    """Writes one line for each join and leave.

    Args:
        gate: Knows how many connections there are.
    """

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def joined(self, peer: str, room: Room, *, created: bool) -> None:
        """Record a join."""
        self._record("created" if created else "joined", peer, room)

    def left(self, peer: str, room: Room) -> None:
        """Record a leave."""
        self._record("left", peer, room)

    def legacy(self, what: str, peer: str, name: str, room: str, members: int) -> None:
        """Record a join or leave of the old base64 mode, where names are no secret."""
        fields = {"peer": peer, "name": name, "room": room, "members": members, "connections": self._gate.total}
        line = "%s %s as %r in room %r (not encrypted), members %d, connections %d"
        _logger.info(line, what, *fields.values(), extra={"fields": {"change": what, **fields}})

    def _record(self, what: str, peer: str, room: Room) -> None:
        fields = {
            "peer": peer,
            "room": room.label,
            "members": len(room.members),
            "connections": self._gate.total,
        }
        line = "%s %s room %s, members %d, connections %d"
        _logger.info(line, what, *fields.values(), extra={"fields": {"change": what, **fields}})


class _PrivateFileHandler(WatchedFileHandler):
    """Makes files of mode 0600: there are network addresses in them."""

    def _open(self) -> TextIOWrapper:
        os.close(os.open(self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
        return super()._open()


def log_to_file(path: Path) -> None:
    """Write the access log to ``path`` too; a file that was rotated away is opened anew.

    Raises:
        SecurechatError: It cannot be opened.
    """
    try:
        handler = _PrivateFileHandler(path, encoding="utf-8")
    except OSError as error:
        raise SecurechatError(
            f"The access log {path} cannot be written: {error.strerror}.",
            "Name another file with --access-log.",
            option="--access-log",
        ) from error
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    _logger.addHandler(handler)
