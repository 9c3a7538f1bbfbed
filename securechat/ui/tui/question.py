"""A line above the input that takes the next keys: a question, or the text of a search."""

from collections.abc import Callable
from typing import Final

from rich.text import Text
from textual.widgets import Static

Take = Callable[[str], bool]
_YES: Final = frozenset({"y", "Y", "enter"})


class Question(Static):
    """Shown while it waits for keys; hidden otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self._take: Take | None = None

    def on_mount(self) -> None:
        """Begin hidden."""
        self.display = False

    @property
    def is_open(self) -> bool:
        """Whether it waits for keys."""
        return self._take is not None

    def open(self, text: str, take: Take) -> None:
        """Show a text and give each key to ``take`` until that says that it was the last."""
        self._take = take
        self.say(text)
        self.display = True

    def say(self, text: str) -> None:
        """Show another text."""
        self.update(Text(text))

    def ask(self, text: str, yes: Callable[[], object], *, again: str = "") -> None:
        """Ask something that one key answers: y, Enter, or the key that has asked, ``again``; any other is no."""

        def take(key: str) -> bool:
            if key in _YES or key == again:
                yes()
            return True

        self.open(text, take)

    def take(self, key: str) -> None:
        """Take a key: a character, or the name of another key."""
        if self._take is not None and self._take(key):
            self.close()

    def close(self) -> None:
        """Ask no more."""
        self._take = None
        self.display = False
