"""The group of commands."""

from typing import Final

import click

from securechat import __version__
from securechat.cli.client import chat, send, tail
from securechat.cli.config import config_path, read_config
from securechat.cli.demo import demo
from securechat.cli.doctor import doctor
from securechat.cli.gui import gui
from securechat.cli.options import Origins
from securechat.cli.server import server
from securechat.cli.tools import cert, identity, known_hosts, passphrase
from securechat.cli.upkeep import backup, restore, rooms

_ASK_FOR_PASSPHRASE: Final = frozenset({"chat", "send", "tail"})


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="See 'securechat COMMAND --help'. Two commands to the first message: 'securechat server' on your box, "
    "then 'securechat chat SERVER --room ROOM' with the line that it prints.",
)
@click.version_option(__version__, "-V", "--version", message="securechat %(version)s")
@click.option("--debug", is_flag=True, help="Show a traceback when something fails.")
@click.pass_context
def main(context: click.Context, *, debug: bool) -> None:
    """Private rooms on your own box: a passphrase is all you share."""
    group = context.command
    assert isinstance(group, click.Group)
    path = config_path()
    origins = context.ensure_object(Origins)
    if context.invoked_subcommand not in _ASK_FOR_PASSPHRASE:
        origins.pop_passphrase()
    origins.file = read_config(group, path) if path else None
    context.default_map = origins.file.defaults if origins.file else None


for command in (
    server,
    chat,
    gui,
    send,
    tail,
    cert,
    passphrase,
    doctor,
    known_hosts,
    identity,
    rooms,
    backup,
    restore,
    demo,
):
    main.add_command(command)
