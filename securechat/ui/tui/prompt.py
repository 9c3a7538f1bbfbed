"""The input: one to five lines, the keys of Emacs and readline, a history, completion, and questions."""

from collections import deque
from collections.abc import Callable
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import TextArea

from securechat import limits
from securechat.text import sanitise
from securechat.ui.tui.completion import Completed
from securechat.ui.tui.question import Question

Complete = Callable[[str], Completed]


def _bind(keys: str, action: str) -> Binding:
    return Binding(keys, action, show=False)


class Prompt(TextArea):
    """Takes what a person types.

    Args:
        complete: Says what the text before the cursor may become.
        question: Takes the keys while it is open.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        _bind("alt+enter,ctrl+j,shift+enter", "newline"),
        _bind("home,ctrl+a", "line_start"),
        _bind("ctrl+k", "kill_to_end"),
        _bind("ctrl+u", "kill_to_start"),
        _bind("ctrl+w,alt+backspace,ctrl+backspace", "kill_word_left"),
        _bind("alt+d,alt+delete", "kill_word_right"),
        _bind("ctrl+y", "yank"),
        _bind("ctrl+b", "cursor_left"),
        _bind("ctrl+f", "cursor_right"),
        _bind("alt+b,ctrl+left", "cursor_word_left"),
        _bind("alt+f,ctrl+right", "cursor_word_right"),
        _bind("ctrl+h", "delete_left"),
        _bind("ctrl+underscore,ctrl+slash", "undo"),
        _bind("up", "up_or_older"),
        _bind("down", "down_or_newer"),
        _bind("ctrl+p", "older"),
        _bind("ctrl+n", "newer"),
        _bind("tab", "complete"),
    ]

    class Entered(Message):
        """A line was entered."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class Pasted(Message):
        """Many lines were pasted: they are not in the input before that was confirmed."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    def __init__(self, complete: Complete, question: Question) -> None:
        super().__init__(
            placeholder="Type a message, or /help",
            compact=True,
            highlight_cursor_line=False,
            soft_wrap=True,
            show_line_numbers=False,
            tab_behavior="focus",
        )
        self._question = question
        self._complete = complete
        self._completed: Completed | None = None
        self._chosen = 0
        self._killed = ""
        self._history: deque[str] = deque(maxlen=limits.INPUT_HISTORY)
        self._at = 0  # so many entries back in the history; 0 is what is typed now
        self._draft = ""

    # Keys

    async def _on_key(self, event: events.Key) -> None:
        if self._question.is_open:
            event.stop()
            event.prevent_default()
            self._question.take(event.character if event.is_printable and event.character else event.key)
            return
        if event.key != "tab":
            self._completed = None
        if event.key == "enter":
            event.stop()
            event.prevent_default()
            self._enter()

    async def _on_paste(self, event: events.Paste) -> None:
        event.stop()
        event.prevent_default()
        text = sanitise(event.text.replace("\r\n", "\n").replace("\r", "\n"))
        if self._question.is_open:
            return
        if text.rstrip("\n").count("\n") + 1 > limits.PASTED_LINES:
            self.post_message(self.Pasted(text.rstrip("\n")))
        else:
            self.put(text)

    def put(self, text: str) -> None:
        """Insert text at the cursor."""
        self.replace(text, *self.selection, maintain_selection_offset=False)
        self._completed = None

    def _enter(self) -> None:
        text = self.text.rstrip("\n")
        if not text.strip():
            return
        if not self._history or self._history[-1] != text:
            self._history.append(text)
        self._at = 0
        self.text = ""
        self.post_message(self.Entered(text))

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
            self._completed, self._chosen = self._complete(line[:column]), 0
        else:
            self._chosen += 1
        if self._completed.candidates:
            word = self._completed.candidates[self._chosen % len(self._completed.candidates)]
            self.replace(word, (row, self._completed.start), (row, column), maintain_selection_offset=False)
            self.move_cursor((row, self._completed.start + len(word)))
