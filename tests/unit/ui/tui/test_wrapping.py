import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from securechat.text import legible
from securechat.ui.tui.wrapping import cut, wrap


@pytest.mark.parametrize(
    ("text", "width", "lines"),
    [
        ("", 10, [""]),
        ("short", 10, ["short"]),
        ("one two three", 7, ["one two", "three"]),
        ("one two three", 8, ["one two", "three"]),
        ("a\n\nb", 5, ["a", "", "b"]),
        ("  indented", 20, ["  indented"]),
        ("abcdefghij", 4, ["abcd", "efgh", "ij"]),
        ("ab abcdefghij k", 4, ["ab", "abcd", "efgh", "ij k"]),
        ("\u6f22\u5b57\u6f22\u5b57", 5, ["\u6f22\u5b57", "\u6f22\u5b57"]),
        ("e\u0301e\u0301e\u0301", 2, ["e\u0301e\u0301", "e\u0301"]),
        ("x   y", 3, ["x", "y"]),
    ],
)
def test_text_is_broken_between_words_where_that_is_possible(text: str, width: int, lines: list[str]) -> None:
    assert wrap(text, width) == lines


def test_the_first_line_may_have_less_room() -> None:
    assert wrap("one two three", 9, 4) == ["one", "two three"]
    assert wrap("unbreakable", 11, 4) == ["", "unbreakable"]


@given(st.text(max_size=200), st.integers(2, 40), st.integers(0, 40))
def test_no_line_is_wider_than_its_room_and_no_letter_is_lost(text: str, width: int, first: int) -> None:
    text = legible(text)
    lines = wrap(text, width, min(first, width))
    assert all(cell_len(line) <= width for line in lines)
    assert cell_len(lines[0]) <= max(min(first, width), 0)
    assert "".join(lines).replace(" ", "") == text.replace("\n", "").replace(" ", "")


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [("alice", 5, "alice"), ("alice", 4, "ali\u2026"), ("\u6f22\u5b57\u6f22", 4, "\u6f22\u2026"), ("alice", 0, "")],
)
def test_text_is_cut_with_an_ellipsis(text: str, width: int, expected: str) -> None:
    assert cut(text, width) == expected
