"""Who gets into a room: the answer to a JOIN whose proof was verified.

**A peer that proves a room that exists is let in**, whatever other peers at its network address do, and it costs no
token. Tokens pay for rooms that are created, and for answers that let nobody in: somebody who guesses passphrases wants
to hear "no such room". A token pays for one room address (see ``rations``).

**Creation is decided under one lock**: look again, decide, create, admit. A peer that loses the race joins.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

import trio

from securechat.errors import StorageError
from securechat.limits import ServerLimits
from securechat.protocol.messages import Code, Join
from securechat.server.buckets import network
from securechat.server.held_back import HeldBack
from securechat.server.rations import Rations
from securechat.server.room import Room
from securechat.server.rooms import Rooms

Enter = Callable[[Room, bool], None]
"""Admits a peer to a room, given whether the room was created just now; it must not wait."""


class Refusal(NamedTuple):
    """Why a JOIN lets nobody in.

    Attributes:
        code: For programs.
        text: For people.
        retry_after: Seconds until another attempt may succeed; 0 if none will.
    """

    code: Code
    text: str
    retry_after: float = 0

    @property
    def is_failure(self) -> bool:
        """Whether the peer asked for what is not there, or gave a proof that is none."""
        return self.code in _FAILURES


_FAILURES: Final = {Code.BAD_PROOF, Code.NO_SUCH_ROOM, Code.ROOMS_CLOSED, Code.RATE}
_NO_SUCH_ROOM: Final = Refusal(Code.NO_SUCH_ROOM, "nobody has used this address")
_CLOSED: Final = Refusal(Code.ROOMS_CLOSED, "this server takes no new rooms")


class Admission:
    """Decides for all sessions of a server.

    Args:
        rooms: The rooms in use.
        allowed: The limits.

    Attributes:
        may_create: Whether members may create rooms.
    """

    def __init__(self, rooms: Rooms, allowed: ServerLimits, *, may_create: bool) -> None:
        self.may_create = may_create
        self._rooms = rooms
        self._maximum = allowed.rooms
        self._refused = Rations(allowed.refused_joins, trio.current_time)
        self._creations = Rations(allowed.creations, trio.current_time)
        self._creating = trio.Lock()
        self._held_back = HeldBack("joins")

    async def join(self, peer: str, message: Join, patience: float, enter: Enter) -> Refusal | None:
        """Let a peer into the room whose proof was verified, or return why not.

        Args:
            peer: Its address.
            message: What it asks for.
            patience: Seconds for which it may wait for tokens.
            enter: Admits it.

        Raises:
            StorageError: The log cannot be read or written.
        """
        if await self._enter(message.address, enter):
            return None
        began = trio.current_time()
        refusal = await self._refuse_or_create(peer, message, began + patience, enter)
        if refusal and trio.current_time() > began and await self._enter(message.address, enter):
            return None  # somebody created it meanwhile
        return refusal

    async def _refuse_or_create(self, peer: str, message: Join, deadline: float, enter: Enter) -> Refusal | None:
        """Return why a room that does not exist lets nobody in; None if it was created, and the peer is in it."""
        refusal: Refusal | None = _NO_SUCH_ROOM
        if message.may_create and not self.may_create:
            refusal = _CLOSED
        elif message.may_create:
            if wait := await self._claim(self._creations, peer, message.address, deadline):
                return Refusal(Code.RATE, "too many new rooms from your address", wait)
            refusal = await self._create(peer, message.address, enter)
        if refusal and (wait := await self._claim(self._refused, peer, message.address, deadline)):
            return Refusal(Code.RATE, "too many refused joins from your address", wait)
        return refusal

    async def _claim(self, rations: Rations, peer: str, address: bytes, deadline: float) -> float:
        """Get a token, as ``Rations.claim`` does, and report a refusal."""
        wait = await rations.claim(peer, address, max(0.0, deadline - trio.current_time()))
        if wait:
            self._held_back.report(network(peer), "it asks for too many rooms that do not exist")
        return wait

    async def _enter(self, address: bytes, enter: Enter) -> bool:
        """Let the peer in if the room exists; return whether it does."""
        found = await self._rooms.find(address, may_create=False)
        if found is not None:
            enter(*found)
        return found is not None

    async def _create(self, peer: str, address: bytes, enter: Enter) -> Refusal | None:
        """Create a room for which a token was granted, unless somebody was faster; return why not."""
        async with self._creating:
            is_created = False
            try:
                if await self._enter(address, enter):
                    return None
                if not await self._rooms.make_way(self._maximum):
                    return Refusal(Code.ROOMS_CLOSED, f"this server has its {self._maximum} rooms")
                is_created = True  # also if the next call is cancelled: the log may hold it by then
                found = await self._rooms.find(address, may_create=True)
                assert found is not None, "it was to be created"
                enter(*found)
            except StorageError:
                is_created = False
                raise
            else:
                return None
            finally:
                settle = self._creations.use_up if is_created else self._creations.give_back
                settle(peer, address)
