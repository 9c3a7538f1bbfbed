"""From what was typed in the sheet to a conversation: the same checks and rules as on the command line."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from functools import partial

import trio

from securechat.client.address import DEFAULT_PORT, ServerAddress, parse_server
from securechat.client.conversation import Conversation
from securechat.client.profile import Profile
from securechat.client.session import Options, open_conversation
from securechat.client.state import State
from securechat.client.strength import check_new
from securechat.client.trust import AskTrust, Trust
from securechat.errors import InputError, SecurechatError, WeakPassphraseError
from securechat.legacy.client import DEFAULT_PORT as OLD_PORT
from securechat.legacy.client import LegacyOptions, open_legacy
from securechat.legacy.codec import clean
from securechat.sealing.identity import Identity
from securechat.sealing.keys import RoomKeys, RoomSecret, derive_secret
from securechat.sealing.names import normalise_nick, normalise_passphrase, normalise_room

Opener = Callable[[], AbstractAsyncContextManager[Conversation]]


@dataclass(frozen=True)
class Typed:
    """What the sheet holds, as it was typed.

    Attributes:
        server: HOST, HOST:PORT or a join line.
        pin: The pin of a join line that was pasted before, 32 bytes; empty for none.
        room: The room's name.
        nick: The nickname.
        passphrase: The passphrase; empty to use the remembered secret.
        remembers: Whether the room's secret is kept in the profile.
        is_old: Whether it is the old base64 mode.
        is_bare: Whether that goes without TLS.
    """

    server: str = ""
    pin: bytes = b""
    room: str = ""
    nick: str = ""
    passphrase: str = field(default="", repr=False)
    remembers: bool = False
    is_old: bool = False
    is_bare: bool = False


@dataclass(frozen=True)
class Answers:
    """Who answers questions and hears how far it is.

    Attributes:
        trust: Answers about a first contact.
        create: Answers about a room that nobody has used.
        stage: Called with what is being done.
    """

    trust: AskTrust
    create: Callable[[ServerAddress, RoomKeys], Awaitable[bool]]
    stage: Callable[[str], None]


class Entering:
    """Checks what was typed, and makes what opens a conversation.

    Args:
        profile: The profile's directory.
        state: Its database, open.
    """

    def __init__(self, profile: Profile, state: State) -> None:
        self._known = profile.known_hosts
        self._identity: Identity = profile.load_identity()
        self._state = state

    def server(self, typed: Typed) -> ServerAddress:
        """Return the server, with the pin that goes with it.

        Raises:
            InputError: It is none.
        """
        server = parse_server(typed.server.strip(), OLD_PORT if typed.is_old else DEFAULT_PORT)
        return replace(server, pin=server.pin or typed.pin)

    def room(self, typed: Typed) -> str:
        """Return the room's name in its one form.

        Raises:
            InputError: It is none.
        """
        if not typed.is_old:
            return normalise_room(typed.room)
        if not (room := clean(typed.room)):
            raise InputError("The room name is empty.", "Type at least one visible character.")
        return room

    def nick(self, typed: Typed) -> str:
        """Return the nickname in its one form.

        Raises:
            InputError: It is none.
        """
        nick = normalise_nick(typed.nick.strip())
        return clean(nick) if typed.is_old else nick

    def is_remembered(self, typed: Typed) -> bool:
        """Tell whether the room's secret is in the profile."""
        try:
            return not typed.is_old and self._state.secret(self.room(typed)) is not None
        except InputError:
            return False

    def passphrase(self, typed: Typed) -> str:
        """Return the passphrase in its one form; empty where the secret is remembered, or none is needed.

        Raises:
            InputError: It is none.
        """
        if typed.is_old or (not typed.passphrase and self.is_remembered(typed)):
            return ""
        return normalise_passphrase(typed.passphrase)

    def opener(self, typed: Typed, answers: Answers) -> Opener:
        """Return what opens the conversation.

        Raises:
            InputError: Something that was typed is unusable.
        """
        server, room, nick = self.server(typed), self.room(typed), self.nick(typed)
        passphrase = self.passphrase(typed)
        trust = Trust(self._known, server.pin, None, answers.trust)
        self._state.set_setting("nick", nick)
        if typed.is_old:
            answers.stage("Connecting ...")
            return partial(open_legacy, LegacyOptions(server, room, nick, None if typed.is_bare else trust))
        self._state.set_setting("room", room)
        options = Options(
            server=server,
            room=room,
            nick=nick,
            identity=self._identity,
            derive=partial(self._derive, room, passphrase, answers.stage),
            trust=trust,
            state=self._state,
            ask_create=partial(_ask_create, server, passphrase, [room, nick], answers),
            keeps_secret=typed.remembers,
        )
        answers.stage("Deriving the room's keys ..." if passphrase else "Connecting ...")
        return partial(open_conversation, options)

    def _derive(self, room: str, passphrase: str, stage: Callable[[str], None]) -> RoomSecret:
        """Make the room secret, in a thread of its own: it takes half a second and 256 MiB."""
        remembered = None if passphrase else trio.from_thread.run_sync(self._state.secret, room)
        secret = RoomSecret(remembered) if remembered else derive_secret(room, passphrase)
        trio.from_thread.run_sync(stage, "Connecting ...")
        return secret


async def _ask_create(
    server: ServerAddress, passphrase: str, names: list[str], answers: Answers, keys: RoomKeys
) -> bool:
    """Ask about a room that nobody has used; a passphrase that can be guessed is refused first.

    Raises:
        WeakPassphraseError: It can.
    """
    if passphrase:
        try:
            check_new(passphrase, names)
        except WeakPassphraseError as error:
            raise WeakPassphraseError(error.message, "Take a generated one, and hand it to the others.") from None
    return await answers.create(server, keys)


def first_of(group: BaseExceptionGroup[SecurechatError]) -> SecurechatError:
    """Return the first error in a group, from whichever depth of nurseries it comes."""
    first = group.exceptions[0]
    return first_of(first) if isinstance(first, BaseExceptionGroup) else first
