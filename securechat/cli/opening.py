"""From what was found out to a conversation: how the secret is made, and what a person is asked on the way."""

import sys
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import trio

from securechat.cli import interrupt
from securechat.cli.entrance import Entrance
from securechat.client.address import ServerAddress
from securechat.client.profile import Profile
from securechat.client.session import Options, open_conversation
from securechat.client.strength import check_new
from securechat.client.trust import Trust
from securechat.errors import InputError
from securechat.sealing.keys import RoomKeys, RoomSecret, derive_secret
from securechat.ui import questions, terminal
from securechat.ui.lines import Opener
from securechat.ui.typed import ask

Make = Callable[..., Opener]
Main = Callable[[Make], Awaitable[None]]


def run(main: Main, entrance: Entrance, given: dict[str, Any], start: interrupt.Start = trio.run) -> None:
    """Run ``main`` under trio, until it ends or Ctrl-C.

    Args:
        main: An async function; it is called with one that makes an opener of the conversation, and
            takes the options that the command decides.
        entrance: What was found out.
        given: The options of the command line by name.
        start: Runs an async function under trio.
    """
    profile = Profile(entrance.profile)
    options = partial(
        Options,
        server=entrance.server,
        room=entrance.room,
        nick=entrance.nick,
        identity=profile.load_identity(),
        derive=partial(_derive, entrance),
        trust=Trust(profile.known_hosts, entrance.pin, given["ca"], ask_trust),
        state=entrance.state,
        keeps_secret=given["remember"],
        ask_create=partial(_ask_create, entrance, given),
    )

    def make(**decided: Any) -> Opener:
        return partial(open_conversation, options(**decided))

    interrupt.run(main, make, start=start)


def _derive(entrance: Entrance) -> RoomSecret:
    if entrance.secret:
        return RoomSecret(entrance.secret)
    return derive_secret(entrance.room, entrance.passphrase)


async def ask_trust(server: ServerAddress, pin: bytes, why: str) -> bool:
    """Ask about a first contact: yes, no, or the pin pasted from the server's own screen."""
    if not terminal.has_terminal():
        return False
    sys.stderr.write(f"{questions.first_contact(server, pin, why)}\n")
    while True:
        try:
            return questions.is_trusted(await ask(f"{questions.TRUST} "), pin)
        except InputError as error:
            sys.stderr.write(f"{error}\n")


async def _ask_create(entrance: Entrance, given: dict[str, Any], keys: RoomKeys) -> bool:
    """Decide about a room that nobody has used: the flag says so, or a person is asked."""
    if not given["create"]:
        if given["must_exist"] or not terminal.has_terminal():
            return False
        sys.stderr.write(f"{questions.new_room(entrance.server, keys.words)}\n")
        while not questions.is_yes(answer := await ask(f"{questions.CREATE} ")):
            if questions.is_no(answer):
                return False
    _check_strength(entrance, given)
    return True


def _check_strength(entrance: Entrance, given: dict[str, Any]) -> None:
    if entrance.passphrase and not given["weak_passphrase"]:
        check_new(entrance.passphrase, [entrance.room, entrance.nick])
