"""Members of a room in this process: the real client core over real TLS on loopback."""

from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import trio

from securechat.client.address import ServerAddress
from securechat.client.conversation import Event, Kind
from securechat.client.profile import Profile
from securechat.client.session import Options, RoomConversation, open_conversation
from securechat.client.trust import Trust
from securechat.sealing.keys import RoomKeys, RoomSecret
from tests.support.patience import PATIENCE

ROOM = "tea house"
SECRET = RoomSecret(b"the secret of the tea house room")


async def always(*_: object) -> bool:
    """Answer any question with yes."""
    return True


class Listener:
    """A member whose events are collected.

    Attributes:
        conversation: The client core.
        events: What it has shown.
    """

    def __init__(self, conversation: RoomConversation) -> None:
        self.conversation = conversation
        self.events: list[Event] = []

    @property
    def texts(self) -> list[str]:
        """The messages that were shown, in order."""
        return [event.text for event in self.events if event.kind is Kind.MESSAGE]

    @property
    def kinds(self) -> set[Kind]:
        """The kinds of the events that were shown."""
        return {event.kind for event in self.events}

    def of(self, kind: Kind) -> list[str]:
        """Return what events of one kind say."""
        return [event.text for event in self.events if event.kind is kind]

    def say(self, *texts: str) -> None:
        """Say something."""
        for text in texts:
            self.conversation.say(text)

    async def until(self, is_enough: Callable[[], Any]) -> None:
        """Take events in until something is true; fail when it does not come."""
        with trio.move_on_after(PATIENCE):
            while not is_enough():
                self.events.append(await self.conversation.events.receive())
            return
        shown = [(event.kind.value, event.text) for event in self.events]
        raise AssertionError(f"it never came; shown: {shown}")

    async def hears(self, *texts: str) -> None:
        """Wait until all of these messages were shown."""
        await self.until(lambda: set(texts) <= set(self.texts))

    async def is_told(self, kind: Kind, part: str = "") -> None:
        """Wait until an event of a kind was shown that says ``part``."""
        await self.until(lambda: any(part in text for text in self.of(kind)))

    async def settles(self) -> None:
        """Wait until all that was said is acknowledged."""
        with trio.fail_after(PATIENCE):
            while self.conversation.pending:
                await self.conversation.wait_acknowledged()

    def take_rest(self) -> Collection[Event]:
        """Take in what was shown already, and return all."""
        while True:
            try:
                self.events.append(self.conversation.events.receive_nowait())
            except trio.WouldBlock:
                return self.events


@asynccontextmanager
async def open_member(
    directory: Path, port: int, pin: bytes, nick: str, secret: RoomSecret = SECRET, **changes: Any
) -> AsyncIterator[Listener]:
    """Join the room as ``nick``, with the profile in ``directory``."""
    profile = Profile(directory / nick)
    state = profile.open_state()
    try:
        options: dict[str, Any] = {
            "server": ServerAddress("127.0.0.1", port),
            "room": ROOM,
            "nick": nick,
            "identity": profile.load_identity(),
            "derive": partial(_given, secret),
            "trust": Trust(profile.known_hosts, pin, None, always),
            "state": state,
            "ask_create": always,
        }
        async with open_conversation(Options(**options | changes)) as conversation:
            yield Listener(conversation)
    finally:
        state.close()


def _given(secret: RoomSecret) -> RoomSecret:
    return secret


def room_keys() -> RoomKeys:
    """Return the keys of the room."""
    return RoomKeys(SECRET)
