"""What Tab makes of the word before the cursor: commands at the start of a line, nicknames everywhere."""

from collections.abc import Sequence
from typing import NamedTuple


class Completed(NamedTuple):
    """What a line becomes: the part before the cursor, in which the word begins at ``start``."""

    start: int
    candidates: list[str]


def complete(before: str, commands: Sequence[str], nicks: Sequence[str]) -> Completed:
    """Return what the last word of ``before`` may become, with what belongs behind it.

    Args:
        before: The line up to the cursor.
        commands: Their names, without the stroke.
        nicks: In the order in which they are offered.
    """
    start = before.rfind(" ") + 1
    word = before[start:]
    if start == 0 and word.startswith("/") and not word.startswith("//"):
        return Completed(0, [f"/{name} " for name in commands if name.startswith(word[1:])])
    if before.startswith("/help ") and start == len("/help "):
        return Completed(start, [name for name in commands if name.startswith(word.removeprefix("/"))])
    end = ": " if start == 0 else " "
    fits = [nick for nick in nicks if nick.casefold().startswith(word.removeprefix("@").casefold())]
    return Completed(start, [f"{nick}{end}" for nick in fits] if word else [])
