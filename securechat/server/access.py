"""The access log: who joined and left when, as the program that this one descends from had it.

A room is its address's first 8 digits: a name is nothing that the server knows.

What peers do is logged within a bound for each address, so that nobody fills a disk by joining and leaving.
"""

import logging
from collections import Counter
from collections.abc import Callable
from typing import Any

import trio

from securechat import limits
from securechat.limits import Rate
from securechat.server.buckets import AddressBuckets, network
from securechat.server.gate import Gate
from securechat.server.room import Room

_OTHERS = "other addresses"
_logger = logging.getLogger("securechat.access")


class AccessLog:
    """Writes one line for each join and leave. All listeners of a server share one.

    Args:
        gate: Knows how many connections there are.
        rate: The lines that one address may cause.
        clock: Returns the time in seconds.

    Attributes:
        changes: How many joins and leaves there were, by kind, logged or not.
        left_out: How many lines were left out.
    """

    def __init__(
        self, gate: Gate, rate: Rate = limits.SERVER.log_lines, clock: Callable[[], float] = trio.current_time
    ) -> None:
        self._gate = gate
        self._lines = AddressBuckets(*rate, clock)
        self._recently: Counter[str] = Counter()  # lines left out since the last report, by address
        self.changes: Counter[str] = Counter()
        self.left_out = 0

    def may_log(self, peer: str) -> bool:
        """Tell whether another line about a peer may be logged now; one that may not is counted.

        Each line that a peer can cause asks this, whatever it says.

        Args:
            peer: Its address.
        """
        if not self._lines.of(peer).take():
            return True
        key = network(peer)
        self._recently[
            key if key in self._recently or len(self._recently) < limits.HELD_BACK_ADDRESSES else _OTHERS
        ] += 1
        self.left_out += 1
        return False

    async def run(self) -> None:
        """Run for ever: report once a minute how many lines were left out."""
        while True:
            await trio.sleep(limits.REPORT_INTERVAL)
            self.report()

    def report(self) -> None:
        """Log one line for each address about which lines were left out since the last report."""
        recently, self._recently = self._recently, Counter()
        for peer, lines in recently.items():
            fields = {"change": "left out", "peer": peer, "lines": lines}
            _logger.warning("lines left out about %s: %d", peer, lines, extra={"fields": fields})

    def joined(self, peer: str, room: Room, *, created: bool) -> None:
        """Record a join."""
        self._record("created" if created else "joined", peer, room)

    def left(self, peer: str, room: Room) -> None:
        """Record a leave."""
        self._record("left", peer, room)

    def legacy(self, what: str, peer: str, name: str, room: str, members: int) -> None:
        """Record a join or leave of the old base64 mode, where names are no secret."""
        fields = {"peer": peer, "name": name, "room": room, "members": members, "connections": self._gate.total}
        self._log(what, "%s %s as %r in room %r (not encrypted), members %d, connections %d", fields)

    def _record(self, what: str, peer: str, room: Room) -> None:
        fields = {
            "peer": peer,
            "room": room.label,
            "members": len(room.members),
            "connections": self._gate.total,
        }
        self._log(what, "%s %s room %s, members %d, connections %d", fields)

    def _log(self, what: str, line: str, fields: dict[str, Any]) -> None:
        """Count a change and log it.

        Args:
            what: The change.
            line: A format for it and the values of ``fields``.
            fields: What is said of it, with the peer's address as ``peer``.
        """
        self.changes[what] += 1
        if self.may_log(str(fields["peer"])):
            _logger.info(line, what, *fields.values(), extra={"fields": {"change": what, **fields}})
