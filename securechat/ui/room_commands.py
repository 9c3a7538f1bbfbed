"""The commands that only an encrypted room has: who is who, and what was seen."""

from collections.abc import Callable

from securechat.client.conversation import Conversation
from securechat.client.session import RoomConversation
from securechat.client.tally import Tally
from securechat.errors import InputError
from securechat.sealing.identity import verify_words
from securechat.ui.commands import Command, Commands, Show
from securechat.ui.qr import qr_rows
from securechat.ui.render import local_time


class RoomCommands(Commands):
    """Runs what a person types in an encrypted room; see ``Commands``."""

    def __init__(self, conversation: RoomConversation, show: Show, leave: Callable[[], None]) -> None:
        super().__init__(conversation, show, leave)
        self._room_conversation = conversation
        self.draw: Callable[[list[str]], None] = self._draw  # a screen with a better way puts it here
        self._commands |= {
            "whois": Command("/whois NICK: show somebody's key.", self._whois),
            "verify": Command("/verify NICK [yes|no]: compare twelve words with somebody, then confirm.", self._verify),
            "room": Command(
                "/room [qr]: show the room, its words and the line to hand to friends, or that as QR code.", self._room
            ),
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
        nick, _, answer = argument.rpartition(" ") if argument.endswith((" yes", " no")) else (argument, "", "")
        sender = self._find(nick)
        if answer == "yes":
            self._room_conversation.people.verify(sender)
            self._tell(f"{sender.nick} is verified on this machine, and {sender.nick} has to confirm you as well.")
            return
        if answer == "no":
            self._tell(
                f"Then {sender.name} is not who you talk to, or somebody is in between. Say nothing in confidence "
                "here, and agree on another passphrase face to face."
            )
            return
        compared = verify_words(self._room_conversation.identity.public, sender.identity)
        self._tell(f"Read these words to {sender.name} over the phone or face to face: {compared}")
        self._tell(
            f"{sender.name} sees the same with /verify {self._room_conversation.nick}? Then both of you confirm: "
            f"/verify {sender.name} yes. If not: /verify {sender.name} no"
        )

    async def _room(self, argument: str) -> None:
        """Show the room, its words, and the line to hand to friends."""
        conversation = self._room_conversation
        if argument == "qr":
            self.draw(qr_rows(conversation.join_line))
            return
        self._tell(
            f"Room {conversation.room}, room words: {conversation.keys.words}. All here must see the same words."
        )
        self._tell(f"To join, besides the passphrase: {conversation.join_line}")

    def _draw(self, rows: list[str]) -> None:
        """Show a picture made of characters, row by row."""
        for row in rows:
            self._tell(row)

    async def _check(self, _: str) -> None:
        """Show words of the history so far."""
        transcript = self._room_conversation.transcript
        if not transcript.follows:
            raise InputError("The history is not loaded yet.", "Try again in a moment.")
        compared = self._room_conversation.keys.check_words(transcript.newest, transcript.head)
        self._tell(f"After message {transcript.newest}: {compared}. Who sees the same has seen the same history.")

    async def _server_view(self, _: str) -> None:
        """Show what the server holds on this room."""
        transcript, here = self._room_conversation.transcript, len(self._room_conversation.present)
        self._tell(f"The server knows this room as {self._room_conversation.keys.address.hex()}.")
        kept = max(0, transcript.newest + 1 - transcript.oldest)
        self._tell(
            f"Its log {transcript.log_id.hex()} is at message {transcript.newest}; it keeps {kept} of them, "
            f"from message {transcript.oldest} on."
        )
        self._tell(_sizes(transcript.tally))
        self._tell(
            "Of each message it has that time, the ciphertext and its size; of each member (you and "
            f"{here} more) the network address, when it is here, and sealed presence. "
            "It has no name, nickname, passphrase or text."
        )


def _sizes(tally: Tally) -> str:
    """Say how many messages of which size were read, and when the server took them in."""
    if tally.span is None:
        return "This client has read none of them yet."
    of_each = ", ".join(f"{count} of {size} bytes" for size, count in sorted(tally.sizes.items()))
    first, last = (f"{local_time(clock):%Y-%m-%d %H:%M:%S}" for clock in tally.span)
    return f"Of those that this client has read, it took in {of_each}; the first at {first}, the last at {last}."


def commands_for(conversation: Conversation, show: Show, leave: Callable[[], None]) -> Commands:
    """Return the commands that a conversation has."""
    if isinstance(conversation, RoomConversation):
        return RoomCommands(conversation, show, leave)
    return Commands(conversation, show, leave)
