"""Colours that can be read: WCAG 2.2, contrast of at least 4.5."""

from itertools import product

import pytest

from securechat.ui.gui import theme
from securechat.ui.gui.theme import DARK, LIGHT, Theme


def luminance(colour: str) -> float:
    parts = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_whatever_is_written_can_be_read(colours: Theme) -> None:
    grounds = (colours.ground, colours.side, colours.mention_ground)
    texts = (colours.text, colours.muted, colours.accent, colours.danger, *colours.senders)
    for text, ground in product(texts, grounds):
        assert contrast(text, ground) >= 4.5, (text, ground)
    for text, ground in (
        (colours.on_accent, colours.accent),
        (colours.ground, colours.danger),
        (colours.danger, colours.danger_ground),
        (colours.text, colours.raised),
    ):
        assert contrast(text, ground) >= 4.5, (text, ground)


def test_a_sender_has_the_same_colour_always() -> None:
    assert theme.sender_colour(LIGHT, b"k" * 32) == theme.sender_colour(LIGHT, b"k" * 32)
    assert len({theme.sender_colour(DARK, bytes([n]) * 32) for n in range(64)}) == len(DARK.senders)


def test_the_appearance_goes_round(application: object) -> None:
    theme.choose_appearance("system")
    assert [theme.change_appearance() for _ in range(3)] == ["light", "dark", "system"]
    theme.choose_appearance("light")
