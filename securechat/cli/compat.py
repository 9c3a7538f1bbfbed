"""``chat``, ``send`` and ``tail`` in the old base64 mode: no passphrase, nothing encrypted."""

from functools import partial
from typing import TYPE_CHECKING, Any

import click
import trio
from click.core import ParameterSource

from securechat import limits
from securechat.cli import interrupt
from securechat.cli.entrance import choose_nick, profile_path
from securechat.cli.opening import ask_trust
from securechat.client.address import ServerAddress, parse_server
from securechat.client.profile import Profile
from securechat.client.trust import Trust
from securechat.errors import InputError
from securechat.legacy.client import DEFAULT_PORT, LegacyOptions, open_legacy
from securechat.legacy.codec import clean, greet, spell
from securechat.ui.lines import Opener

if TYPE_CHECKING:
    from securechat.cli.opening import Main

_SECRET_ONLY = ("create", "must_exist", "weak_passphrase", "remember", "passphrase_file", "passphrase_fd")
_TLS_ONLY = ("pin", "ca")


def run(main: "Main", given: dict[str, Any], start: interrupt.Start = trio.run) -> None:
    """Run ``main`` under trio, with an opener of a conversation in the old mode.

    Raises:
        InputError: Something given is unusable.
    """
    _refuse_flags(_SECRET_ONLY, "--compat: nothing is encrypted there")
    if given["server"] is None:
        raise InputError("No server was named.", "With --compat, give SERVER: HOST[:PORT].")
    server = parse_server(given["server"], DEFAULT_PORT)
    if given["no_tls"]:
        _refuse_flags(_TLS_ONLY, "--no-tls: no key is shown there")
        if server.pin:
            raise InputError("?pin= means nothing with --no-tls: no key is shown there.", "Leave it out.")
    profile = Profile(profile_path(given["profile"]))
    room, nick = _choose_names(given, server, profile)
    trust = None if given["no_tls"] else Trust(profile.known_hosts, given["pin"] or server.pin, given["ca"], ask_trust)

    def make(**decided: Any) -> Opener:
        del decided  # there is no history, and no list of members to stay out of
        return partial(open_legacy, LegacyOptions(server, room, nick, trust))

    interrupt.run(main, make, start=start)


def _refuse_flags(names: tuple[str, ...], why: str) -> None:
    """Refuse options of the command line; what the environment or the configuration says is for other rooms.

    Raises:
        InputError: One was given.
    """
    context = click.get_current_context()
    for name in names:
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise InputError(f"--{name.replace('_', '-')} means nothing with {why}.", "Leave it out.")


def _choose_names(given: dict[str, Any], server: ServerAddress, profile: Profile) -> tuple[str, str]:
    """Return room and nickname as the old protocol carries them.

    Raises:
        InputError: It does not, or there is no room.
    """
    room = clean(given["room"] or server.room)
    if not room:
        raise InputError("No room was named.", "Give it with --room.")
    if spell(room) != room:
        raise InputError("The old protocol has no characters for this room's name.", "Choose one that GBK can write.")
    state = profile.open_state()
    try:
        nick = spell(clean(choose_nick(given["nick"], state)))
    finally:
        state.close()
    if not nick.strip("? "):
        raise InputError("The old protocol has no characters for this nickname.", "Give another one with --nick.")
    if len(greet(room, nick)) > limits.LEGACY_GREETING_CHARACTERS:
        raise InputError("The names are too long for the old protocol.", "Take a shorter name for the room.")
    return room, nick
