"""Search in what is loaded of a conversation."""

from PySide6.QtCore import Qt, QTimer
from PySide6.QtGui import QColor, QKeyEvent, QTextCursor, QTextDocument
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QLineEdit, QTextEdit, QWidget

from securechat.ui.gui import theme
from securechat.ui.gui.timeline import Timeline
from securechat.ui.gui.widgets import tool

_MOST = 500  # places that are marked and counted
_PAUSE_MS = 150  # after a key, before searching


class FindBar(QFrame):
    """A field, how many were found, and the way up and down; the last place first."""

    def __init__(self, timeline: Timeline, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._timeline = timeline
        self._found: list[QTextCursor] = []
        self._at = 0
        self._field = QLineEdit(placeholderText="Search what is loaded here")
        self._field.setAccessibleName("Search")
        self._count = QLabel()
        self._count.setObjectName("muted")
        self._timer = QTimer(self, singleShot=True, interval=_PAUSE_MS)
        self._timer.timeout.connect(self._search)
        self._field.textChanged.connect(lambda _: self._timer.start())
        self._field.returnPressed.connect(lambda: self._step(-1))
        row = QHBoxLayout(self)
        row.setContentsMargins(16, 8, 12, 8)
        row.addWidget(self._field, 1)
        row.addWidget(self._count)
        row.addWidget(tool("up", "Earlier (Enter)", lambda: self._step(-1)))
        row.addWidget(tool("down", "Later (Shift+Enter)", lambda: self._step(1)))
        row.addWidget(tool("close", "Close the search (Esc)", self.close_bar))
        self.hide()

    def open_bar(self, text: str = "") -> None:
        """Show the field, go there, and search for ``text`` if there is any."""
        self.show()
        if text:
            self._field.setText(text)
        self._field.setFocus()
        self._field.selectAll()
        self._search()

    def close_bar(self) -> None:
        """Hide the field and the marks."""
        self.hide()
        self._timeline.setExtraSelections([])

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Close on Esc, go down on Shift+Enter."""
        if event.key() == Qt.Key.Key_Escape:
            self.close_bar()
        elif event.key() == Qt.Key.Key_Return and event.modifiers() & Qt.KeyboardModifier.ShiftModifier:
            self._step(1)
        else:
            super().keyPressEvent(event)

    def _search(self) -> None:
        text = self._field.text()
        self._found = self._find_all(text) if text else []
        self._at = len(self._found) - 1
        self._mark()

    def _find_all(self, text: str) -> list[QTextCursor]:
        """Return the last places that hold ``text``, in order."""
        document = self._timeline.document()
        found: list[QTextCursor] = []
        cursor = QTextCursor(document)
        cursor.movePosition(QTextCursor.MoveOperation.End)
        while len(found) < _MOST:
            cursor = document.find(text, cursor, QTextDocument.FindFlag.FindBackward)
            if cursor.isNull():
                break
            found.append(cursor)
        return found[::-1]

    def _step(self, by: int) -> None:
        if self._found:
            self._at = (self._at + by) % len(self._found)
            self._mark()

    def _mark(self) -> None:
        colours, marks = theme.current(), []
        for number, cursor in enumerate(self._found):
            mark = QTextEdit.ExtraSelection()
            mark.cursor = cursor
            is_here = number == self._at
            mark.format.setBackground(QColor(colours.accent if is_here else colours.mention_ground))
            mark.format.setForeground(QColor(colours.on_accent if is_here else colours.text))
            marks.append(mark)
        self._timeline.setExtraSelections(marks)
        if self._found:
            here = QTextCursor(self._found[self._at])
            here.clearSelection()
            self._timeline.setTextCursor(here)
            self._timeline.ensureCursorVisible()
        most = f"{_MOST}+" if len(self._found) == _MOST else str(len(self._found))
        empty = "nothing found" if self._field.text() else ""
        self._count.setText(f"{self._at + 1} of {most}" if self._found else empty)
