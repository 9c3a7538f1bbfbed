"""What stands around the log: title, members, state of the connection; pure, as styled text."""

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

from rich.cells import cell_len
from rich.text import Text

from securechat.client.conversation import Present, Sender, Unsent
from securechat.text import legible_line
from securechat.ui.tui.layout import nick_style, shown_name
from securechat.ui.tui.themes import Palette
from securechat.ui.tui.wrapping import cut

MEMBERS_WIDTH: Final = 22
_VERIFIED: Final = "\N{CHECK MARK}"
_NARROW: Final = 50  # columns
_NOT_ENCRYPTED: Final = " NOT ENCRYPTED "


class View(NamedTuple):
    """The state of a conversation at one moment.

    Attributes:
        room: The room's name.
        server: Where.
        is_encrypted: Whether the server cannot read it.
        me: This member.
        is_connected: Whether the room is joined.
        retry_in: Seconds until the next attempt; None while at it.
        lag: Seconds to the server and back, if known.
        unsent: What the server has not acknowledged.
        present: Who else is here.
    """

    room: str
    server: str
    is_encrypted: bool
    me: Sender
    is_connected: bool = True
    retry_in: float | None = None
    lag: float | None = None
    unsent: tuple[Unsent, ...] = ()
    present: tuple[Present, ...] = ()


def title(view: View, width: int, palette: Palette) -> Text:
    """Return the first line: room, lock, members."""
    lock = Text(" encrypted ", palette.styles["sign"])
    if not view.is_encrypted:
        lock = Text(_NOT_ENCRYPTED, palette.styles["alarm"])
    people = _others(view)
    here = f"{len(people) + 1} here"
    if width >= _NARROW and view.is_encrypted and (verified := sum(sender.verified for sender in people)):
        here += f", {verified} {_VERIFIED} verified"
    room = cut(legible_line(view.room), width - cell_len(lock.plain) - cell_len(here) - 4)
    return Text.assemble((f" {room} ", "bold"), lock, f" {here}", no_wrap=True, end="")


def _others(view: View) -> list[Sender]:
    """Return who else is here: each key once, or each name as often as it is here where nobody has a key."""
    senders = [present.sender for present in view.present]
    return [sender for sender in set(senders) if not sender.is_me] if view.is_encrypted else senders


def status(view: View, width: int, palette: Palette, *, below: int, missed: int) -> Text:
    """Return the line above the input: connection, what is pending and unseen, the server.

    Args:
        view: The state.
        width: In cells.
        palette: In which styles.
        below: How many messages are below what is seen.
        missed: How many came while nobody looked.
    """
    parts = [_connection(view, palette, "retry" if width < _NARROW else "reconnecting")]
    if not view.is_encrypted:
        parts.insert(0, Text(_NOT_ENCRYPTED, palette.styles["alarm"]))
    if below or missed:
        news = f"{below} new below \N{DOWNWARDS ARROW}" if below else f"{missed} new"
        parts.append(Text(news, palette.styles["mark"]))
    if view.unsent:
        parts.append(Text(f"{len(view.unsent)} pending", palette.styles["mark"]))
    line = Text(" ", no_wrap=True, end="").append_text(Text(" \N{MIDDLE DOT} ").join(parts))
    server = f" \N{MIDDLE DOT} {legible_line(view.server)}"
    if line.cell_len + cell_len(server) <= width:
        line.append(server, palette.styles["notice"])
    line.truncate(width)
    return line


def _connection(view: View, palette: Palette, what: str) -> Text:
    if view.is_connected:
        lag = "" if view.lag is None else f" {view.lag * 1000:.0f} ms"
        return Text(f"\N{BLACK CIRCLE} connected{lag}", palette.styles["sign"])
    if view.retry_in is None:
        return Text("\N{WHITE CIRCLE} lost, connecting", palette.styles["alarm"])
    return Text(f"\N{WHITE CIRCLE} lost, {what} in {math.ceil(view.retry_in)} s", palette.styles["alarm"])


def members(view: View, height: int, palette: Palette) -> Text:
    """Return the list of who is here, each once: who is verified first, and said so in words."""
    people = sorted({present.sender: present.is_reader for present in view.present}.items(), key=_order)
    rows = [_member(view.me, palette, "(you)")]
    if verified := [one for one in people if one[0].verified]:
        rows += [Text(f"{_VERIFIED} verified", palette.styles["time"])]
        rows += [_member(sender, palette, "(reads)" if is_reader else "") for sender, is_reader in verified]
    if others := [one for one in people if not one[0].verified]:
        heading = "not verified" if view.is_encrypted else "here"
        rows += [Text(heading, palette.styles["time"])]
        rows += [_member(sender, palette, "(reads)" if is_reader else "") for sender, is_reader in others]
    if len(rows) > height:
        rows[max(height - 1, 0) :] = [Text(f"... {len(rows) - height + 1} more: /names", palette.styles["time"])]
    return Text("\n", end="").join(rows)


def _order(one: tuple[Sender, bool]) -> str:
    return one[0].name.casefold()


def _member(sender: Sender, palette: Palette, what: str) -> Text:
    sign = _VERIFIED if sender.verified and not sender.is_me else " "
    name = shown_name(sender, MEMBERS_WIDTH - 4 - (len(what) + 1 if what else 0))
    row = Text(f"{sign} ", palette.styles["sign"], no_wrap=True)
    row.append(name, palette.styles[nick_style(sender)])
    return row.append(f" {what}" if what else "", palette.styles["time"])


def nicks(view: View, recent: Sequence[str]) -> list[str]:
    """Return the names that Tab offers: who spoke last first; where two have one nickname, with their keys."""
    senders = {present.sender for present in view.present if not present.sender.is_me}
    counts = [sender.nick for sender in senders]
    names = [sender.nick if counts.count(sender.nick) == 1 else sender.name for sender in senders]
    order = {name: -number for number, name in enumerate(recent)}
    return [legible_line(name) for name in sorted(names, key=lambda name: (order.get(name, 1), name.casefold()))]
