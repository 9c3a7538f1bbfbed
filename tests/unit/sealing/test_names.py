"""What no vector shows of names and texts."""

import pytest

from securechat.errors import InputError
from securechat.sealing import names


@pytest.mark.parametrize("text", ["a", "two\nlines", "\U0001f600", "x" * 32_000, "\u8336" * 10_666])
def test_nam_4_a_text_of_1_to_32000_bytes_may_be_sent(text: str) -> None:
    names.check_text(text)


@pytest.mark.parametrize("text", ["", "a\0b", "a\ud800", "x" * 32_001, "\u8336" * 10_667])
def test_nam_4_any_other_text_may_not(text: str) -> None:
    with pytest.raises(InputError) as caught:
        names.check_text(text)
    assert caught.value.next_step


def test_names_are_told_apart_where_they_should_be() -> None:
    spellings = ["tea house", "teahouse", "tea-house", "tea house 2", "t\u00e9a house"]
    assert len({names.normalise_room(spelling) for spelling in spellings}) == len(spellings)
