"""``securechat doctor``: each step of a connection by itself, and what is wrong with it."""

from pathlib import Path

import click

from securechat.cli.options import option


@click.command()
@click.argument("server")
@option("--profile", type=click.Path(path_type=Path), help="Directory of the profile.")
@option("--pin", help="The pin that the server should have.")
def doctor(server: str, profile: Path | None, pin: str | None) -> None:
    """Check SERVER step by step: reachable, TLS, key, protocol, clock, latency."""
    import trio

    from securechat.cli.entrance import profile_path
    from securechat.client.address import parse_server
    from securechat.client.diagnosis import diagnose
    from securechat.client.profile import Profile
    from securechat.errors import UnreachableError
    from securechat.transport.pins import parse_pin

    where = parse_server(server)
    wanted = parse_pin(pin) if pin else where.pin
    try:
        trio.run(diagnose, where, Profile(profile_path(profile)).known_hosts, wanted, click.echo)
    except UnreachableError as error:
        raise UnreachableError(error.message) from error  # the next step that others name is this very command
