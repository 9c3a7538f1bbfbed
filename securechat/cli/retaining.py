"""``--retain`` and ``--retain-messages``: how long and how many messages are kept, as click types."""

import re
from typing import Final

import click

from securechat.cli.options import duration

FOR_EVER: Final = "forever"
ALL: Final = "all"
_COUNT: Final = re.compile(r"[0-9]{1,30}")  # there is no need for a larger number, and "all" has no bound


def read_time(value: str | int) -> int | None:
    """Read how long to keep messages for click, in seconds; None for no bound."""
    if value == FOR_EVER:
        return None
    seconds = duration(value)
    if not seconds:
        raise click.BadParameter(f"0 would keep nothing; write {FOR_EVER} to keep messages without a bound, or 1s.")
    return seconds


def read_count(value: str | int) -> int | None:
    """Read how many messages of each room to keep for click; None for no bound."""
    if value == ALL:
        return None
    if not _COUNT.fullmatch(str(value)):
        raise click.BadParameter(f"{value!r} is no number of messages; write one from 1 on, or {ALL}.")
    if not int(value):
        raise click.BadParameter(f"0 would keep nothing; write {ALL} to keep messages without a bound, or 1.")
    return int(value)
