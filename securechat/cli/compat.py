"""``chat``, ``send`` and ``tail`` in the old base64 mode: no passphrase, nothing encrypted."""

from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from securechat.cli import interrupt
from securechat.cli.entrance import choose_nick, profile_path
from securechat.cli.opening import ask_trust
from securechat.client.address import parse_server
from securechat.client.profile import Profile
from securechat.client.trust import Trust
from securechat.errors import InputError
from securechat.legacy.client import DEFAULT_PORT, LegacyOptions, open_legacy
from securechat.legacy.codec import clean
from securechat.transport.pins import parse_pin
from securechat.ui.lines import Opener

if TYPE_CHECKING:
    from securechat.cli.opening import Main

_SECRET_ONLY = ("create", "must_exist", "weak_passphrase")


def run(main: "Main", given: dict[str, Any], start: interrupt.Start = trio.run) -> None:
    """Run ``main`` under trio, with an opener of a conversation in the old mode.

    Raises:
        InputError: Something given is unusable.
    """
    for name in _SECRET_ONLY:
        if given[name]:
            raise InputError(f"--{name.replace('_', '-')} means nothing with --compat.", "Leave it out.")
    if given["server"] is None:
        raise InputError("No server was named.", "With --compat, give SERVER: HOST[:PORT].")
    server = parse_server(given["server"], DEFAULT_PORT)
    room = clean(given["room"] or server.room)
    if not room:
        raise InputError("No room was named.", "Give it with --room.")
    profile = Profile(profile_path(given["profile"]))
    state = profile.open_state()
    try:
        nick = clean(choose_nick(given["nick"], state))
    finally:
        state.close()
    pin = parse_pin(given["pin"]) if given["pin"] else server.pin
    trust = None if given["no_tls"] else Trust(profile.known_hosts, pin, given["ca"], ask_trust)

    def make(**decided: Any) -> Opener:
        del decided  # there is no history, and no list of members to stay out of
        return partial(open_legacy, LegacyOptions(server, room, nick, trust))

    interrupt.run(main, make, start=start)
