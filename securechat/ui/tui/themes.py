"""Colours: three themes, and a style for each kind of thing in the log. No meaning hangs on a colour alone."""

from typing import Final, NamedTuple

from rich.style import Style
from textual.theme import Theme

DEFAULT: Final = "dark"


class Palette(NamedTuple):
    """A theme.

    Attributes:
        theme: What textual is told.
        styles: How each kind of thing in the log is drawn, over the background.
    """

    theme: Theme
    styles: dict[str, Style]


def _palette(
    name: str, *, is_dark: bool, ground: str, bar: str, text: str, faint: str, colours: str, bold: str
) -> Palette:
    """Make a theme.

    Args:
        name: Of it.
        is_dark: Whether the ground is.
        ground: The background.
        bar: The background of title and status.
        text: The foreground.
        faint: For what is beside the text.
        colours: Red, green, yellow, then six for nicknames.
        bold: "bold" where more contrast is wanted, or nothing.
    """
    red, green, yellow, *nicks = colours.split()
    plain = {
        "text": text,
        "notice": faint,
        "time": faint,
        "bar": faint,
        "sign": green,
        "pending": f"italic {faint}",
        "mention": f"bold {text}",
        "me": f"bold {text}",
        "alarm": f"bold {ground} on {red}",
        "mark": f"bold {yellow}",
        "day": faint,
        "picture": "#000000 on #ffffff",
        "found": f"{ground} on {yellow}",
        **{f"nick{number}": f"{bold} {colour}" for number, colour in enumerate(nicks)},
    }
    theme = Theme(
        name=f"securechat-{name}",
        primary=nicks[0],
        secondary=nicks[1],
        warning=yellow,
        error=red,
        success=green,
        accent=nicks[2],
        foreground=text,
        background=ground,
        surface=ground,
        panel=bar,
        boost=ground,
        dark=is_dark,
    )
    return Palette(theme, {style: Style.parse(definition) for style, definition in plain.items()})


PALETTES: Final = {
    "dark": _palette(
        "dark",
        is_dark=True,
        ground="#14161a",
        bar="#262b33",
        text="#d8dce3",
        faint="#8b93a1",
        colours="#ff6b6b #7bc77b #e5c07b #61afef #c792ea #56b6c2 #d19a66 #98c379 #ef8fb0",
        bold="",
    ),
    "light": _palette(
        "light",
        is_dark=False,
        ground="#ffffff",
        bar="#e4e7ec",
        text="#1f2328",
        faint="#626a75",
        colours="#c1121f #1a7f37 #8a5a00 #0550ae #8250df #0a6c74 #953800 #3b6e22 #a40e5f",
        bold="",
    ),
    "high-contrast": _palette(
        "high-contrast",
        is_dark=True,
        ground="#000000",
        bar="#000000",
        text="#ffffff",
        faint="#ffffff",
        colours="#ff8080 #80ff80 #ffff00 #80d0ff #ffb0ff #80ffff #ffd080 #b0ffb0 #ffc0d8",
        bold="bold",
    ),
}
