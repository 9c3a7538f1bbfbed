"""The commands that only an encrypted room has: who is who, and what was seen."""

from collections.abc import Callable

from securechat.client.conversation import Conversation
from securechat.client.session import RoomConversation
from securechat.errors import InputError
from securechat.sealing.identity import verify_words
from securechat.ui.commands import Command, Commands, Show


class RoomCommands(Commands):
    """Runs what a person types in an encrypted room; see ``Commands``."""

    def __init__(self, conversation: RoomConversation, show: Show, leave: Callable[[], None]) -> None:
        super().__init__(conversation, show, leave)
        self._room_conversation = conversation
        self._commands |= {
            "whois": Command("/whois NICK: show somebody's key.", self._whois),
            "verify": Command("/verify NICK [yes]: compare twelve words with somebody, then confirm.", self._verify),
            "room": Command("/room: show the room and its words, and the line to hand to friends.", self._room),
            "check": Command("/check: show words of the history so far, to compare aloud.", self._check),
            "server-view": Command("/server-view: show what the server holds on this room.", self._server_view),
        }

    async def greet(self) -> None:
        """Tell where this person is now; whoever opened the room, how others come in."""
        conversation = self._room_conversation
        if conversation.was_created:
            self._tell(f"You opened the room {conversation.room}.")
            await self._room("")
        else:
            self._tell(f"You are in the room {conversation.room}; its words are: {conversation.keys.words}")
        await super().greet()

    async def _whois(self, argument: str) -> None:
        """Show somebody's key."""
        sender = self._find(argument)
        state = "verified" if sender.verified else "not verified: /verify " + sender.name
        self._tell(f"{sender.name} has the key {sender.identity.hex()} ({state}).")

    async def _verify(self, argument: str) -> None:
        """Compare twelve words with somebody, then confirm."""
        nick, _, answer = argument.partition(" ")
        sender = self._find(nick)
        if answer == "yes":
            self._room_conversation.people.verify(sender)
            self._tell(f"{sender.nick} is verified on this machine.")
            return
        compared = verify_words(self._room_conversation.identity.public, sender.identity)
        self._tell(f"Read these words to {sender.name} over the phone or face to face: {compared}")
        self._tell(f"If they see the same with /verify {self._room_conversation.nick}: /verify {sender.name} yes")

    async def _room(self, _: str) -> None:
        """Show the room, its words, and the line to hand to friends."""
        conversation = self._room_conversation
        self._tell(
            f"Room {conversation.room}, room words: {conversation.keys.words}. All here must see the same words."
        )
        self._tell(f"To join, besides the passphrase: {conversation.join_line}")

    async def _check(self, _: str) -> None:
        """Show words of the history so far."""
        transcript = self._room_conversation.transcript
        if not transcript.follows:
            raise InputError("The history is not loaded yet.", "Try again in a moment.")
        compared = self._room_conversation.keys.check_words(transcript.newest, transcript.head)
        self._tell(f"After message {transcript.newest}: {compared}. Who sees the same has seen the same history.")

    async def _server_view(self, _: str) -> None:
        """Show what the server holds on this room."""
        transcript = self._room_conversation.transcript
        self._tell(f"The server knows this room as {self._room_conversation.keys.address.hex()}.")
        kept = max(0, transcript.newest + 1 - transcript.oldest)
        self._tell(f"Its log {transcript.log_id.hex()} is at message {transcript.newest}; it keeps {kept} of them.")
        self._tell(
            "Of each it has the time, the ciphertext and its size (329, 585, 1097 ... 32841 bytes); of each member the "
            "network address, when it is here, and sealed presence. It has no name, nickname, passphrase or text."
        )


def commands_for(conversation: Conversation, show: Show, leave: Callable[[], None]) -> Commands:
    """Return the commands that a conversation has."""
    if isinstance(conversation, RoomConversation):
        return RoomCommands(conversation, show, leave)
    return Commands(conversation, show, leave)
