"""Text in the cells of a terminal: how wide it is, where it is broken, how it is cut."""

from rich.cells import cell_len, chop_cells, set_cell_size

_CUT = "\N{HORIZONTAL ELLIPSIS}"


def wrap(text: str, width: int, first: int | None = None) -> list[str]:
    """Break legible text into lines of at most ``width`` cells, between words where that is possible.

    A line feed ends a line. Spaces at a break are dropped, others stay.

    Args:
        text: What to break.
        width: Of a line.
        first: What the first line has of it, if that is less.
    """
    width = max(width, 2)
    beginning, *others = text.split("\n")
    lines = _wrap_line(beginning, width, width if first is None else first)
    for part in others:
        lines += _wrap_line(part, width, width)
    return lines


def _wrap_line(text: str, width: int, room: int) -> list[str]:
    if cell_len(text) <= room:
        return [text]
    lines: list[str] = []
    line, is_fresh = "", room >= width
    for word in _words(text):
        visible = cell_len(word.rstrip(" "))
        if visible > room and (line or not is_fresh):
            lines.append(line.rstrip(" "))
            line, room, is_fresh = "", width, True
        if visible > width:
            *full, rest = chop_cells(word.rstrip(" "), width)
            lines += full
            word = rest + word[len(word.rstrip(" ")) :]  # noqa: PLW2901 - what is left of it
        line += word
        room -= cell_len(word)
    return [*lines, line.rstrip(" ")]


def _words(text: str) -> list[str]:
    """Return the words of a line, each with the spaces behind it."""
    words: list[str] = []
    start = 0
    for at in range(1, len(text)):
        if text[at - 1] == " " and text[at] != " ":
            words.append(text[start:at])
            start = at
    return [*words, text[start:]]


def cut(text: str, width: int) -> str:
    """Return text of at most ``width`` cells: the beginning, and an ellipsis if that is not all."""
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, max(width - 1, 0)).rstrip(" ") + _CUT if width > 0 else ""
