"""The commands of a chat, for any screen: ``/name argument``; what they answer are lines to show."""

import re
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from securechat.client.clock import now_ms
from securechat.client.conversation import Conversation, Event, Kind, Present, Sender
from securechat.errors import InputError, SecurechatError
from securechat.text import legible_line, one_line

Show = Callable[[Event], None]
_HISTORY: Final = 20


class Command(NamedTuple):
    """A command: how it is used, and what it does with its argument."""

    usage: str
    run: Callable[[str], Awaitable[None]]


class Commands:
    """Runs what a person types, in any conversation.

    Args:
        conversation: The room.
        show: Shows an event.
        leave: Leaves the chat.
    """

    def __init__(self, conversation: Conversation, show: Show, leave: Callable[[], None]) -> None:
        self._conversation = conversation
        self._show = show
        self._quit = leave
        self._ignored: dict[bytes, Sender] = {}
        self._commands = {
            "help": Command("/help [COMMAND]: tell what the commands do.", self._help),
            "nick": Command("/nick NICK: take another nickname.", self._nick),
            "me": Command("/me TEXT: say what you do.", self._me),
            "names": Command("/names: tell who is here.", self._names),
            "ignore": Command("/ignore NICK: hide somebody until this chat ends, or show them again.", self._ignore),
            "history": Command("/history [N]: show N older messages.", self._history),
            "reconnect": Command("/reconnect: make a new connection.", self._reconnect),
            "quit": Command("/quit [TEXT]: say TEXT and leave.", self._leave),
        }

    @property
    def names(self) -> list[str]:
        """The names of the commands, without the stroke."""
        return sorted(self._commands)

    def add(self, name: str, command: Command) -> None:
        """Add a command that only one kind of screen has, or put it in the place of another."""
        self._commands[name] = command

    def is_ignored(self, event: Event) -> bool:
        """Tell whether an event is of somebody whom this person ignores; alarms never are."""
        return (
            event.sender is not None
            and _key(event.sender) in self._ignored
            and event.kind in {Kind.MESSAGE, Kind.JOINED, Kind.LEFT, Kind.RENAMED}
        )

    async def greet(self) -> None:
        """Tell who is here."""
        await self._names("")

    async def run(self, line: str) -> None:
        """Run a line: a command, or a message. What is wrong with it is shown, and nothing is sent."""
        try:
            if line.startswith("//") or not line.startswith("/"):
                self._conversation.say(line.removeprefix("/") if line.startswith("//") else line)
                return
            name, _, argument = line[1:].partition(" ")
            command = self._commands.get(name)
            if command is None:
                raise InputError(
                    f"There is no command /{name}.",
                    "Type /help, or // to send a line that begins with /.",
                )
            await command.run(argument.strip())
        except SecurechatError as error:
            self._tell(str(error))

    def _tell(self, text: str) -> None:
        self._show(Event(Kind.NOTICE, now_ms(), text))

    async def _help(self, argument: str) -> None:
        """Tell what the commands do."""
        chosen = (
            {argument.removeprefix("/"): self._commands.get(argument.removeprefix("/"))} if argument else self._commands
        )
        for name, command in chosen.items():
            if command is None:
                raise InputError(f"There is no command /{name}.", "Type /help.")
            self._tell(command.usage)

    async def _nick(self, argument: str) -> None:
        """Take another nickname."""
        self._conversation.rename(argument)
        self._tell(f"You are called {self._conversation.nick} now.")

    async def _me(self, argument: str) -> None:
        """Say what one does."""
        self._conversation.say(argument, is_action=True)

    async def _names(self, _: str) -> None:
        """Tell who is here."""
        others = sorted(map(_describe, self._conversation.present.values()))
        self._tell(f"Here: {self._conversation.nick} (you)" + "".join(f", {name}" for name in others))

    def _find(self, nick: str) -> Sender:
        """Return the member of this name.

        Raises:
            InputError: There is none, or more than one.
        """
        here = {_key(p.sender): p.sender for p in self._conversation.present.values() if not p.sender.is_me}
        senders = self._ignored | here
        found = [s for s in senders.values() if nick and nick in {s.nick, s.name, *map(legible_line, (s.nick, s.name))}]
        if not found:
            who = f"Nobody here is called {one_line(nick)}." if nick else "Whom?"
            raise InputError(who, "Type the nickname behind the command; /names lists them.")
        if len(found) > 1:
            names = " or ".join(s.name for s in found)
            raise InputError(f"More than one is called {nick}.", f"Say which: {names}.")
        return found[0]

    async def _ignore(self, argument: str) -> None:
        """Hide somebody, or show them again."""
        sender = self._find(argument)
        if self._ignored.pop(_key(sender), None):
            self._tell(f"{sender.name} is shown again.")
        else:
            self._ignored[_key(sender)] = sender
            self._tell(f"{sender.name} is hidden until this chat ends.")

    async def _history(self, argument: str) -> None:
        """Show older messages."""
        if argument and not re.fullmatch(r"[1-9][0-9]{0,5}", argument):
            raise InputError("/history takes a number.", "For example /history 50.")
        events = await self._conversation.load_older(int(argument or _HISTORY))
        for event in events:
            self._show(event)
        self._tell(f"{len(events)} older messages." if events else "There is nothing older, or no connection.")

    async def _reconnect(self, _: str) -> None:
        """Make a new connection."""
        self._conversation.reconnect()

    async def _leave(self, argument: str) -> None:
        """Leave, perhaps with a last word."""
        if argument:
            self._conversation.say(argument)
        self._quit()


def _describe(present: Present) -> str:
    """Return a name, with what is to be known of its bearer."""
    sender = present.sender
    what = " (you, elsewhere)" if sender.is_me else " (verified)" if sender.verified else ""
    return f"{sender.name}{what}{' (reading)' if present.is_reader else ''}"


def _key(sender: Sender) -> bytes:
    """Return by what somebody is known: their identity, or their name where nobody has one."""
    return sender.identity or sender.nick.encode(errors="replace")
