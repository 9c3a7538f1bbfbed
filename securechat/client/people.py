"""Nicknames and the keys behind them: trust on first use (PROTOCOL.md, section 7)."""

from contextlib import suppress

from securechat.client.conversation import Sender
from securechat.client.state import State
from securechat.errors import StorageError
from securechat.sealing.identity import Identity
from securechat.text import skeleton


class People:
    """Who had which nickname first, in one room.

    Args:
        state: The profile.
        address: The room address, 32 bytes.
        me: This profile's identity.
        learns: Whether first uses are remembered.
    """

    def __init__(self, state: State, address: bytes, me: Identity, *, learns: bool) -> None:
        self._state = state
        self._address = address
        self._me = me.public
        self._learns = learns
        self._owners: dict[str, bytes] = {}
        self._warned: set[tuple[str, bytes]] = set()
        self._verified: dict[bytes, bool] = {}

    def sender(self, nick: str, identity: bytes) -> Sender:
        """Return who speaks as ``nick`` under ``identity``, 32 bytes."""
        is_me = identity == self._me
        if identity not in self._verified:
            self._verified[identity] = is_me or self._state.is_verified(identity)
        return Sender(nick, identity, self._verified[identity], is_me)

    def claim(self, sender: Sender) -> bytes | None:
        """Let a nickname be used; return the key, 32 bytes, that had it or one like it before, if another.

        Each such pair is told once a run.
        """
        look = skeleton(sender.nick)
        owner = self._owners.get(look) or self._state.owner(self._address, look)
        if owner is None:
            owner = sender.identity
            if self._learns:
                with suppress(StorageError):  # known while this program runs; nothing else hangs on it
                    self._state.set_owner(self._address, look, owner)
        self._owners[look] = owner
        if owner == sender.identity or sender.is_me or (look, sender.identity) in self._warned:
            return None
        self._warned.add((look, sender.identity))
        return owner

    def verify(self, sender: Sender) -> None:
        """Remember that this profile's owner has compared words with ``sender``, who then owns the nickname."""
        self._state.set_verified(sender.identity)
        self._state.set_owner(self._address, skeleton(sender.nick), sender.identity)
        self._owners[skeleton(sender.nick)] = sender.identity
        self._verified[sender.identity] = True
