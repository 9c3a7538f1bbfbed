"""A room in the server: its members and the fan-out.

The fan-out is where speed is bought (see ``securechat.transport.channel`` for what was measured). The
bytes of a batch are joined once and written to each member in turn, synchronously: no task is woken, no
member is awaited, and one that does not read gets a backlog of its own. All are encrypted first and then
written: with 100 members that takes a tenth off, because the writes follow each other closely.
"""

from collections import deque
from typing import Protocol

from securechat import limits
from securechat.history.log import Head
from securechat.protocol import messages
from securechat.protocol.messages import Change, Code, Joined, MemberChange, Reason


class Receiver(Protocol):
    """What a room needs of a session."""

    def send(self, data: bytes) -> None:
        """Send frames without waiting."""

    def prepare(self, data: bytes) -> None:
        """Do of ``send`` all but the writing."""

    def flush(self) -> None:
        """Write what was prepared."""

    def settle(self, size: int) -> None:
        """Hear that one message of this session, of ``size`` bytes, was appended or refused."""

    def end(self, reason: Reason, retry_after: int) -> None:
        """End the session."""


class Member:
    """One session's part in one room.

    Attributes:
        number: Its number in the room.
        presence: The sealed presence; empty for an unlisted member.
        refused: The id of the envelope that was refused and has to come first now, 16 bytes, or None.
    """

    __slots__ = ("number", "presence", "receiver", "refused", "room")

    def __init__(self, room: "Room", number: int, receiver: Receiver, presence: bytes) -> None:
        self.room = room
        self.number = number
        self.receiver = receiver
        self.presence = presence
        self.refused: bytes | None = None

    def refuse(self, envelope_id: bytes, code: Code, retry_after: int, text: str) -> None:
        """Answer a SEND with ERROR; what this member sends meanwhile has to wait, so that its order holds."""
        if self.refused is None:
            self.refused = envelope_id
        self.receiver.send(messages.Error(code, 0, retry_after, envelope_id, text).encode())


Sent = tuple[Member, bytes]  # an envelope and its sender


class Room:
    """A room that has members, or messages on their way into the log.

    Args:
        handle: Its name in frames.
        address: The room address, 32 bytes.
        head: Where its log stands.
    """

    def __init__(self, handle: int, address: bytes, head: Head) -> None:
        self.handle = handle
        self.address = address
        self.number = head.room
        self.oldest = head.oldest
        self._log_id = head.log_id
        self._newest = head.newest
        self._hash = head.hash
        self._last_member = 0
        self.members: dict[int, Member] = {}
        self.in_flight = 0  # messages that were taken in and not answered
        self.waiting: deque[Sent] = deque()  # those of them that no commit has taken
        self._changes: dict[int, MemberChange] = {}

    @property
    def is_idle(self) -> bool:
        """Whether nothing in this process needs the room."""
        return not self.members and not self.in_flight

    @property
    def label(self) -> str:
        """The room in logs: the first 8 hexadecimal digits of its address."""
        return self.address.hex()[:8]

    def join(self, receiver: Receiver, ref: int, presence: bytes, *, created: bool) -> tuple[Member, bytes]:
        """Add a member and return it with its JOINED and the list of the others.

        Where the log stands and who gets the next DELIVER are decided in this one step.
        """
        self._last_member += 1
        member = Member(self, self._last_member, receiver, presence)
        listed = [MemberChange(Change.HERE, m.number, m.presence) for m in self.members.values() if m.presence]
        joined = Joined(
            ref,
            self.handle,
            member.number,
            created,
            self._log_id,
            self.oldest,
            self._newest,
            self._hash,
            len(listed),
        )
        self.members[member.number] = member
        return member, joined.encode() + messages.list_members(self.handle, listed)

    def leave(self, member: Member) -> None:
        """Remove a member."""
        del self.members[member.number]

    def send_away(self) -> None:
        """End the sessions of all members; they may come back."""
        for member in list(self.members.values()):
            member.receiver.end(Reason.SHUTDOWN, 1)

    def advance(self, sequence: int, head: bytes) -> None:
        """Note that the log holds one more message, about to be fanned out."""
        self._newest = sequence
        self._hash = head

    def fan_out(self, data: bytes) -> None:
        """Write the same frames to every member."""
        receivers = [member.receiver for member in self.members.values()]
        if len(data) * len(receivers) > limits.FAN_OUT_BYTES:
            for receiver in receivers:
                receiver.send(data)
            return
        for receiver in receivers:
            receiver.prepare(data)
        for receiver in receivers:
            receiver.flush()

    def note(self, change: Change, member: Member) -> None:
        """Note a change of presence for ``tell_changes``; only what a member looks like at last is told."""
        before = self._changes.pop(member.number, None)
        if change is Change.LEFT:
            if before is None or before.change is not Change.JOINED:
                self._changes[member.number] = MemberChange(Change.LEFT, member.number, b"")
            return
        if before is not None and before.change is Change.JOINED:
            change = Change.JOINED
        self._changes[member.number] = MemberChange(change, member.number, member.presence)

    @property
    def tells_at_once(self) -> bool:
        """Whether the room is small enough to tell each change of presence by itself."""
        return len(self.members) <= limits.PRESENCE_AT_ONCE

    def tell_changes(self) -> None:
        """Tell every member what was noted."""
        changes = list(self._changes.values())
        self._changes.clear()
        if changes:
            self.fan_out(messages.list_members(self.handle, changes))
