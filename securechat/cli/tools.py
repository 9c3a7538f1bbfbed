"""The small commands: certificates, passphrases, known hosts, identity."""

import sys
from pathlib import Path

import click

from securechat import limits
from securechat.cli.options import FILE, option


@click.command()
@click.argument("names", nargs=-1)
@click.option("--out", type=FILE, default="certs", show_default=True, help="Directory.")
@click.option("--force", is_flag=True, help="Replace an existing pair; this changes the pin.")
@click.option(
    "--renew",
    is_flag=True,
    help="Sign the existing key again, for NAMES if given; this keeps the pin.",
)
def cert(names: tuple[str, ...], out: Path, *, force: bool, renew: bool) -> None:
    """Make a self-signed certificate for NAMES (default: localhost, 127.0.0.1, ::1) and print its pin.

    If there is a key and no certificate, the key is signed again and its pin stays.
    """
    from securechat.transport import certificates
    from securechat.transport.certificates import Pair, pin_of
    from securechat.transport.pins import format_pin

    if renew and force:
        raise click.UsageError("--renew keeps the key, --force replaces it: give one of them.")
    pair = Pair(out / "cert.pem", out / "key.pem")
    is_finished = not force and certificates.is_there(pair.key) and not certificates.is_there(pair.certificate)
    if renew:
        certificates.renew(pair, names)
    else:
        certificates.make_pair(out, names, overwrite=force)
    if is_finished:
        click.echo(f"{pair.key} is the old one, with the same pin.", err=True)
    click.echo(f"{pair.certificate} and {pair.key}", err=True)
    click.echo(format_pin(pin_of(pair)))


@click.command()
@click.option("--words", type=click.IntRange(4, 24), default=limits.GENERATED_WORDS, show_default=True)
def passphrase(words: int) -> None:
    """Print a new passphrase of random words; how strong it is goes to stderr."""
    from securechat.client.strength import generated_bits
    from securechat.sealing.words import generate_passphrase

    click.echo(generate_passphrase(words))
    click.echo(f"{generated_bits(words):.0f} bits", err=True)


_profile = option("--profile", type=FILE, help="Directory of the profile.")


@click.group("known-hosts")
def known_hosts() -> None:
    """List or forget the servers that you trust."""


@known_hosts.command("list")
@_profile
def list_hosts(profile: Path | None) -> None:
    """Print one line for each server."""
    from securechat.cli.entrance import profile_path
    from securechat.client.profile import Profile

    for server, entry in sorted(Profile(profile_path(profile)).known_hosts.entries().items()):
        click.echo(f"{server} {entry}")


@known_hosts.command("remove")
@click.argument("server")
@_profile
def remove_host(server: str, profile: Path | None) -> None:
    """Forget SERVER: the next connection asks again."""
    from securechat.cli.entrance import profile_path
    from securechat.client.address import parse_server
    from securechat.client.profile import Profile
    from securechat.errors import SecurechatError

    name = str(parse_server(server))
    if not Profile(profile_path(profile)).known_hosts.remove(name):
        raise SecurechatError(f"{name} is not known.", "See 'securechat known-hosts list'.")


@click.group()
def identity() -> None:
    """Show, export or import who you are: one key, by which others know you."""


@identity.command("show")
@_profile
def show_identity(profile: Path | None) -> None:
    """Print your fingerprint."""
    from securechat.cli.entrance import profile_path
    from securechat.client.profile import Profile

    click.echo(Profile(profile_path(profile)).load_identity().public.hex())


@identity.command("export")
@click.argument("file", type=FILE)
@_profile
def export_identity(file: Path, profile: Path | None) -> None:
    """Write your private key to FILE (0600), to carry it to another machine."""
    from securechat.cli.entrance import profile_path
    from securechat.client.profile import Profile
    from securechat.errors import SecurechatError
    from securechat.files import write_private

    if file.exists():
        raise SecurechatError(f"{file} exists already.", "Name another file.")
    try:
        write_private(file, Profile(profile_path(profile)).load_identity().to_pem())
    except OSError as error:
        raise SecurechatError(f"{file} cannot be written: {error.strerror}.", "Name another file.") from error
    sys.stderr.write("Whoever has this file can speak as you: carry it safely, and delete it after.\n")


@identity.command("import")
@click.argument("file", type=FILE)
@_profile
@click.option("--force", is_flag=True, help="Replace the identity of this profile.")
def import_identity(file: Path, profile: Path | None, *, force: bool) -> None:
    """Take the identity in FILE for this profile."""
    from securechat.cli.entrance import profile_path
    from securechat.client.profile import Profile
    from securechat.errors import SecurechatError
    from securechat.sealing.identity import Identity

    try:
        taken = Identity.from_pem(file.read_bytes())
    except OSError as error:
        raise SecurechatError(f"{file} cannot be read: {error.strerror}.", "Name another file.") from error
    Profile(profile_path(profile)).save_identity(taken, overwrite=force)
    click.echo(taken.public.hex())
