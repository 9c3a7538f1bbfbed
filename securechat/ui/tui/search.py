"""Searching what is loaded: from the end upwards, while the text is typed."""

from securechat.ui.tui.log_view import LogView
from securechat.ui.tui.question import Question
from securechat.ui.tui.scrollback import Scrollback

_OLDER = {"ctrl+r", "up", "ctrl+p"}
_NEWER = {"ctrl+s", "down", "ctrl+n"}
_LEAVE = {"escape", "ctrl+c", "ctrl+g"}


class Search:
    """A search with Ctrl-R or ``/search``.

    Args:
        scrollback: Where to search.
        log_view: Where to show what is found.
        question: Where the text is typed.
    """

    def __init__(self, scrollback: Scrollback, log_view: LogView, question: Question) -> None:
        self._scrollback = scrollback
        self._log_view = log_view
        self._question = question
        self._text = ""
        self._is_open = False

    @property
    def is_open(self) -> bool:
        """Whether a search is under way."""
        return self._is_open and self._question.is_open

    def begin(self, text: str = "") -> None:
        """Begin to search."""
        self._text = text
        self._is_open = True
        self._question.open("", self.take)
        self._find()

    def take(self, key: str) -> bool:
        """Take a key; tell whether the search is over."""
        if key in _LEAVE or key == "enter":
            self._is_open = False
            if key == "enter":
                self._log_view.lose()
            else:
                self._log_view.to_end()
            return True
        if key in _OLDER:
            self._step(self._scrollback.find(self._text, self._here), "older")
        elif key in _NEWER:
            self._step(self._scrollback.find_forward(self._text, self._here), "newer")
        elif key == "backspace":
            self._text = self._text[:-1]
            self._find()
        elif len(key) == 1:
            self._text += key
            self._find()
        return False

    @property
    def _here(self) -> int:
        return self._scrollback.end if self._log_view.found is None else self._log_view.found

    def _find(self) -> None:
        found = self._scrollback.find(self._text, self._scrollback.end) if self._text else None
        if found is None:
            self._log_view.to_end()
            self._say("nothing loaded says that" if self._text else "")
        else:
            self._log_view.reveal(found)
            self._say("")

    def _step(self, found: int | None, direction: str) -> None:
        if not self._text:
            return
        if found is None:
            self._say(f"nothing {direction} among what is loaded")
        else:
            self._log_view.reveal(found)
            self._say("")

    def _say(self, what: str) -> None:
        self._question.say(f"Search: {self._text}_  {what or 'Ctrl-R older, Ctrl-S newer, Enter stays, Esc ends'}")
