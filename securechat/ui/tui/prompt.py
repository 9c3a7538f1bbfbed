"""The input: one to five lines, the keys of Emacs and readline, a history, completion, and questions."""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from textual import events
from textual.widgets import TextArea

from securechat import limits
from securechat.text import sanitise
from securechat.ui.tui.completion import Completed
from securechat.ui.tui.question import Question

_ACTIONS: Final = {
    "newline": "alt+enter ctrl+j shift+enter",
    "line_start": "home ctrl+a",
    "cursor_line_end": "end ctrl+e",
    "cursor_left": "left ctrl+b",
    "cursor_right": "right ctrl+f",
    "cursor_word_left": "alt+b ctrl+left alt+left",
    "cursor_word_right": "alt+f ctrl+right alt+right",
    "delete_left": "backspace ctrl+h",
    "delete_right": "delete",
    "kill_to_end": "ctrl+k",
    "kill_to_start": "ctrl+u",
    "kill_word_left": "ctrl+w alt+backspace ctrl+backspace",
    "kill_word_right": "alt+d alt+delete",
    "yank": "ctrl+y",
    "undo": "ctrl+underscore",
    "up_or_older": "up",
    "down_or_newer": "down",
    "older": "ctrl+p",
    "newer": "ctrl+n",
    "complete": "tab",
    "enter": "enter",
}
_KEYS: Final = {key: f"action_{action}" for action, keys in _ACTIONS.items() for key in keys.split()}


@dataclass
class Uses:
    """What the input is for.

    Attributes:
        enter: Takes a text that was entered.
        paste: Takes many lines that were pasted: they are not in the input before that was confirmed.
        complete: Says what the text before the cursor may become.
        keys: What other keys do.
    """

    enter: Callable[[str], None]
    paste: Callable[[str], None]
    complete: Callable[[str], Completed]
    keys: Mapping[str, Callable[[], None]]


class Prompt(TextArea):
    """Takes what a person types.

    All keys are obeyed here, one after the other. Textual's bindings are looked up elsewhere, before or after the
    characters that were typed with them: on a slow line "hello", Enter, Ctrl-D would leave with nothing said.

    Args:
        uses: What it is for.
        question: Takes the keys while it is open.
    """

    def __init__(self, uses: Uses, question: Question) -> None:
        super().__init__(
            placeholder="Type a message, or /help",
            compact=True,
            highlight_cursor_line=False,
            soft_wrap=True,
            show_line_numbers=False,
            tab_behavior="focus",
        )
        self._uses = uses
        self._question = question
        self._completed: Completed | None = None
        self._chosen = 0
        self._killed = ""
        self._history: deque[str] = deque(maxlen=limits.INPUT_HISTORY)
        self._at = 0  # so many entries back in the history; 0 is what is typed now
        self._draft = ""

    # Keys

    async def _on_key(self, event: events.Key) -> None:
        character = event.character if event.is_printable and event.character else ""
        if event.key not in _KEYS and event.key not in self._uses.keys and not self._question.is_open:
            self._completed = None
            return  # a character: it is put in by the class above
        event.stop()
        event.prevent_default()
        if event.key in self._uses.keys:
            self._uses.keys[event.key]()
        elif self._question.is_open:
            self._question.take(character or event.key)
        else:
            if event.key != "tab":
                self._completed = None
            getattr(self, _KEYS[event.key])()

    async def _on_paste(self, event: events.Paste) -> None:
        event.stop()
        event.prevent_default()
        text = sanitise(event.text.replace("\r\n", "\n").replace("\r", "\n"))
        if self._question.is_open:
            return
        if text.rstrip("\n").count("\n") + 1 > limits.PASTED_LINES:
            self._uses.paste(text.rstrip("\n"))
        else:
            self.put(text)

    def put(self, text: str) -> None:
        """Insert text at the cursor."""
        self.replace(text, *self.selection, maintain_selection_offset=False)
        self._completed = None

    def action_enter(self) -> None:
        """Enter what is typed, unless that is nothing."""
        text = self.text.rstrip("\n")
        if not text.strip():
            return
        if not self._history or self._history[-1] != text:
            self._history.append(text)
        self._at = 0
        self.text = ""
        self._uses.enter(text)

    def action_newline(self) -> None:
        """Begin another line of the same message."""
        self.put("\n")

    def action_line_start(self) -> None:
        """Go to the first column, whatever stands there."""
        self.move_cursor((self.cursor_location[0], 0))

    # The kill ring, of one place

    def _kill(self, start: tuple[int, int], end: tuple[int, int]) -> None:
        killed = self.get_text_range(*sorted((start, end)))
        if killed:
            self._killed = killed
            self.delete(start, end, maintain_selection_offset=False)

    def action_kill_to_end(self) -> None:
        """Cut what is between the cursor and the end of its line, or the line feed there."""
        here, end = self.cursor_location, self.get_cursor_line_end_location()
        if here == end and here[0] + 1 < self.document.line_count:
            end = (here[0] + 1, 0)
        self._kill(here, end)

    def action_kill_to_start(self) -> None:
        """Cut what is between the start of the line and the cursor."""
        self._kill((self.cursor_location[0], 0), self.cursor_location)

    def action_kill_word_left(self) -> None:
        """Cut the word before the cursor, up to a space."""
        row, column = self.cursor_location
        line = self.document.get_line(row)[:column]
        words = line.rstrip()
        self._kill((row, len(words[: words.rfind(" ") + 1])), (row, column))

    def action_kill_word_right(self) -> None:
        """Cut the word behind the cursor."""
        self._kill(self.cursor_location, self.get_cursor_word_right_location())

    def action_yank(self) -> None:
        """Insert what was cut last."""
        self.put(self._killed)

    # The history

    def action_up_or_older(self) -> None:
        """Go up, from the first line to what was entered before."""
        if self.wrapped_document.location_to_offset(self.cursor_location).y == 0:
            self.action_older()
        else:
            self.action_cursor_up()

    def action_down_or_newer(self) -> None:
        """Go down, from the last line to what was entered later."""
        if self.wrapped_document.location_to_offset(self.cursor_location).y == self.wrapped_document.height - 1:
            self.action_newer()
        else:
            self.action_cursor_down()

    def action_older(self) -> None:
        """Show what was entered before."""
        self._recall(self._at + 1)

    def action_newer(self) -> None:
        """Show what was entered later, at last what was being typed."""
        self._recall(self._at - 1)

    def _recall(self, at: int) -> None:
        if not 0 <= at <= len(self._history):
            return
        if self._at == 0:
            self._draft = self.text
        self._at = at
        self.text = self._history[-at] if at else self._draft
        self.move_cursor(self.document.end)

    # Completion

    def action_complete(self) -> None:
        """Complete the word before the cursor; again, offer the next that fits."""
        row, column = self.cursor_location
        line = self.document.get_line(row)
        if self._completed is None:
            self._completed, self._chosen = self._uses.complete(line[:column]), 0
        else:
            self._chosen += 1
        if self._completed.candidates:
            word = self._completed.candidates[self._chosen % len(self._completed.candidates)]
            self.replace(word, (row, self._completed.start), (row, column), maintain_selection_offset=False)
            self.move_cursor((row, self._completed.start + len(word)))
