"""``securechat gui``: the window."""

from pathlib import Path

import click

from securechat.cli.options import option


@click.command()
@click.argument("server", required=False)
@option("--room", help="The room's name; case and spacing do not matter.")
@option("--nick", help="Your nickname there; by default the last one, or your user name.")
@option("--profile", type=click.Path(path_type=Path), help="Directory of identity, known hosts and state.")
def gui(server: str | None, room: str | None, nick: str | None, profile: Path | None) -> None:
    """Talk in a window; SERVER and room may be chosen there. Needs the extra gui."""
    from securechat.ui.gui import display

    display.check()
    from securechat.cli.entrance import choose_nick, profile_path
    from securechat.client.address import parse_server
    from securechat.client.profile import Profile
    from securechat.ui.gui.application import run
    from securechat.ui.gui.entering import Typed

    directory = profile_path(profile)
    state = Profile(directory).open_state()
    try:
        nick = choose_nick(nick, state)
    finally:
        state.close()
    address = parse_server(server) if server else None
    where, pin, named = (str(address), address.pin, address.room) if address else ("", b"", "")
    run(directory, Typed(server=where, pin=pin, room=room or named, nick=nick))
