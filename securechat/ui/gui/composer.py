"""Where a message is typed: Enter sends, Shift+Enter begins a line, the arrows bring back what was sent."""

from collections import deque

from PySide6.QtCore import QMimeData, QSize, Qt, Signal
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QPlainTextEdit, QSizePolicy, QWidget

from securechat import limits

_MOST_LINES = 6
_FRAME = 18  # pixels of border and padding, above and below


class Composer(QPlainTextEdit):
    """A field of one to six lines.

    Signals:
        sent: A text that is to be sent.
        paged: The conversation is to be scrolled, by -1 or 1 page.
    """

    sent = Signal(str)
    paged = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._lines: deque[str] = deque(maxlen=limits.INPUT_HISTORY)
        self._back = 0  # how far back in them; 0 for what is being typed
        self.setTabChangesFocus(True)
        self.setAccessibleName("Message")
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.document().setDocumentMargin(2)
        self.document().documentLayout().documentSizeChanged.connect(self._fit)
        self._fit()

    def _fit(self) -> None:
        lines = max(1, min(_MOST_LINES, round(self.document().size().height())))
        height = lines * self.fontMetrics().lineSpacing() + _FRAME
        if height != self.height():
            self.setFixedHeight(height)
        is_full = self.document().size().height() > _MOST_LINES
        policy = Qt.ScrollBarPolicy.ScrollBarAsNeeded if is_full else Qt.ScrollBarPolicy.ScrollBarAlwaysOff
        self.setVerticalScrollBarPolicy(policy)

    def refit(self) -> None:
        """Take the height that goes with the font."""
        self._fit()

    def sizeHint(self) -> QSize:
        """Return no more than the height of what is typed."""
        return QSize(200, self.height())

    def send(self) -> None:
        """Send what is typed, if anything is."""
        text = self.toPlainText().strip("\n")
        if text.strip():
            self._lines.append(text)
            self._back = 0
            self.clear()
            self.sent.emit(text)

    def insertFromMimeData(self, source: QMimeData) -> None:
        """Paste text, and nothing else."""
        if source.hasText():
            self.insertPlainText(source.text())

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Send on Enter, bring back on the arrows, scroll the conversation on the page keys."""
        modifiers = event.modifiers() & ~Qt.KeyboardModifier.KeypadModifier
        if modifiers != Qt.KeyboardModifier.NoModifier or not self._take(Qt.Key(event.key())):
            super().keyPressEvent(event)

    def _take(self, key: Qt.Key) -> bool:
        """Do what a key alone does here; tell whether it does something."""
        match key:
            case Qt.Key.Key_Return | Qt.Key.Key_Enter:
                self.send()
            case Qt.Key.Key_PageUp:
                self.paged.emit(-1)
            case Qt.Key.Key_PageDown:
                self.paged.emit(1)
            case Qt.Key.Key_Up:
                return self._may_recall() and self._recall(1)
            case Qt.Key.Key_Down:
                return self._may_recall() and self._recall(-1)
            case _:
                return False
        return True

    def _may_recall(self) -> bool:
        """Tell whether the arrows may replace what is typed: it is empty, or was brought back unchanged."""
        text = self.toPlainText()
        return not text or (bool(self._back) and text == self._lines[-self._back])

    def _recall(self, step: int) -> bool:
        back = self._back + step
        if not 0 <= back <= len(self._lines):
            return bool(self._back)
        self._back = back
        self.setPlainText(self._lines[-back] if back else "")
        self.moveCursor(self.textCursor().MoveOperation.End)
        return True
