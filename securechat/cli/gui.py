"""``securechat gui``: the window."""

from pathlib import Path

import click

from securechat.cli.options import FILE, judging, option


@click.command()
@click.argument("server", required=False)
@option("--room", help="The room's name; case and spacing do not matter.")
@option("--nick", help="Your nickname there; by default the last one, or your user name.")
@option("--profile", type=FILE, help="Directory of identity, known hosts and state.")
def gui(server: str | None, room: str | None, nick: str | None, profile: Path | None) -> None:
    """Talk in a window; SERVER and room may be chosen there. Needs the extra gui."""
    from securechat.ui.gui import display

    display.check()
    from securechat.cli.entrance import choose_nick, profile_path
    from securechat.client.address import parse_server
    from securechat.client.profile import Profile
    from securechat.sealing.names import normalise_room

    directory = profile_path(profile)
    state = Profile(directory).open_state()
    try:
        nick = choose_nick(nick, state)
    finally:
        state.close()
    with judging("--room", room):
        room = room if room is None else normalise_room(room)
    address = parse_server(server) if server else None
    where, pin, named = (str(address), address.pin, address.room) if address else ("", b"", "")
    from securechat.ui.gui.application import run  # takes a while: all that can be wrong was found before
    from securechat.ui.gui.entering import Typed

    run(directory, Typed(server=where, pin=pin, room=room or named, nick=nick))
