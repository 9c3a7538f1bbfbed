"""``securechat doctor``: each step of a connection by itself, and what is wrong with it."""

from pathlib import Path

import click

from securechat.cli.options import FILE, option, pin


@click.command()
@click.argument("server")
@option("--profile", type=FILE, help="Directory of the profile.")
@option("--pin", type=pin, help="The pin that the server should have.")
@option("--ca", type=FILE, help="Authorities (PEM) that should vouch for the server's name.")
def doctor(server: str, profile: Path | None, pin: bytes | None, ca: Path | None) -> None:
    """Check SERVER step by step: reachable, TLS, key, protocol, clock, latency."""
    import trio

    from securechat.cli.entrance import profile_path
    from securechat.client.address import parse_server
    from securechat.client.diagnosis import diagnose
    from securechat.client.profile import Profile
    from securechat.errors import UnreachableError

    where = parse_server(server)
    try:
        trio.run(diagnose, where, Profile(profile_path(profile)).known_hosts, pin or where.pin, ca, click.echo)
    except UnreachableError as error:
        # the next step that others name is this very command
        raise UnreachableError(error.message, "Check name and port, firewalls, and that the server runs.") from error
