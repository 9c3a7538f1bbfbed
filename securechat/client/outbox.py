"""What was typed and not acknowledged yet: sealed once, sent in order, sent again after a reconnect."""

import os
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass

from securechat import limits
from securechat.client.clock import now_ms
from securechat.client.transcript import Transcript
from securechat.errors import InputError
from securechat.protocol import chain
from securechat.sealing.body import Action, Here, Seen, Text, encode
from securechat.sealing.envelope import SALT_BYTES, Context, seal
from securechat.sealing.identity import Identity
from securechat.sealing.keys import RoomKeys
from securechat.sealing.names import check_text


@dataclass
class Pending:
    """A message that waits for its acknowledgement.

    Attributes:
        counter: Its number in this run.
        clock: When it was typed, in ms since 1970 UTC.
        nick: The nickname under which.
        text: What.
        is_action: Told in the third person.
    """

    counter: int
    clock: int
    nick: str
    text: str
    is_action: bool


class Outbox:
    """This member's messages and presence, as they go out.

    Args:
        keys: The room's.
        identity: The member's.
        transcript: Tells what this member has seen of the log.
        session: This run, 16 random bytes.
        random: Returns so many random bytes.

    Attributes:
        refused: How many messages were given up, because the server will never take them.
    """

    def __init__(
        self,
        keys: RoomKeys,
        identity: Identity,
        transcript: Transcript,
        session: bytes,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._keys = keys
        self._identity = identity
        self._transcript = transcript
        self._random = random
        self._session = session
        self.refused = 0
        self._last_counter = 0
        self._last_presence = 0
        self._waiting: deque[Pending] = deque()  # not sent on this connection
        self._sent: OrderedDict[bytes, Pending] = OrderedDict()  # by envelope id
        self._sealed: dict[int, bytes] = {}  # by counter
        self._sealed_for = b""  # the log whose state the sealed ones name

    def __len__(self) -> int:
        return len(self._waiting) + len(self._sent)

    @property
    def pending(self) -> list[Pending]:
        """What was not acknowledged yet, in the order in which it was typed."""
        return sorted((*self._sent.values(), *self._waiting), key=lambda p: p.counter)

    @property
    def acknowledged(self) -> int:
        """The counter up to which every message of this run was acknowledged."""
        counters = [p.counter for p in self._sent.values()] + [p.counter for p in self._waiting]
        return min(counters, default=self._last_counter + 1) - 1

    def add(self, text: str, nick: str, *, is_action: bool) -> None:
        """Take in a message.

        Raises:
            InputError: It cannot be sent, or too much is pending.
        """
        check_text(text)
        if len(self) >= limits.PENDING_MESSAGES:
            raise InputError(
                f"{len(self)} messages wait for the server already.",
                "Wait until the connection is back.",
            )
        self._last_counter += 1
        self._waiting.append(Pending(self._last_counter, now_ms(), nick, text, is_action))

    def resume(self) -> None:
        """Begin anew on a new connection: all that is pending is to be sent, in order."""
        if self._sealed_for != self._transcript.log_id:
            self._sealed.clear()  # what they say to have seen was another log
            self._sealed_for = self._transcript.log_id
        self._rewind(list(self._sent))

    def _rewind(self, ids: list[bytes]) -> None:
        pending = sorted((self._sent.pop(i) for i in ids), key=lambda p: p.counter)
        self._waiting.extendleft(reversed(pending))

    def take(self) -> bytes | None:
        """Return the next envelope to send, or None when there is none, or enough is in flight."""
        if not self._waiting or len(self._sent) >= limits.SEND_WINDOW:
            return None
        pending = self._waiting.popleft()
        envelope = self._sealed.get(pending.counter)
        if envelope is None:
            envelope = self._sealed[pending.counter] = self._seal(pending)
        self._sent[chain.envelope_id(envelope)] = pending
        return envelope

    def _seal(self, pending: Pending) -> bytes:
        kind = Action if pending.is_action else Text
        seen = Seen(self._transcript.newest, self._transcript.head)
        body = kind(self._session, pending.counter, pending.clock, pending.nick, seen, pending.text)
        salt = self._random(SALT_BYTES)
        return seal(self._keys, Context.MESSAGE, self._identity, encode(body), salt, self._transcript.log_id)

    def acknowledge(self, envelope_id: bytes) -> bool:
        """Note that the log holds an envelope; tell whether it was one of these."""
        pending = self._sent.pop(envelope_id, None)
        if pending is None:
            return False
        del self._sealed[pending.counter]
        return True

    def refuse(self, envelope_id: bytes) -> bool:
        """Note that the server refused an envelope for now: it and all behind it are to be sent again.

        Returns:
            Whether it was one of these.
        """
        if envelope_id not in self._sent:
            return False
        ids = list(self._sent)
        self._rewind(ids[ids.index(envelope_id) :])
        return True

    def drop(self, envelope_id: bytes) -> Pending | None:
        """Give up a message that the server will never take."""
        pending = self._sent.pop(envelope_id, None)
        if pending is not None:
            self.refused += 1
            del self._sealed[pending.counter]
        return pending

    def seal_presence(self, nick: str, *, is_reader: bool, is_joining: bool) -> bytes:
        """Return this member's sealed presence; one that joins or reads yet cannot say what it has seen."""
        self._last_presence += 1
        has_seen = self._transcript.follows and not is_joining
        seen = Seen(self._transcript.newest, self._transcript.head) if has_seen else None
        here = Here(self._session, self._last_presence, now_ms(), nick, seen, self.acknowledged, is_reader)
        return seal(self._keys, Context.PRESENCE, self._identity, encode(here), self._random(SALT_BYTES))
