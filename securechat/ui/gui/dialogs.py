"""What a person is asked while a room runs on behind it: dialogs that a task waits for."""

import trio
from PySide6.QtCore import Qt, QUrl
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QDialog, QHBoxLayout, QLineEdit, QPushButton, QVBoxLayout, QWidget

from securechat.client.address import ServerAddress
from securechat.errors import InputError
from securechat.transport.pins import parse_pin
from securechat.ui import questions
from securechat.ui.gui.widgets import button, label, selectable

_WIDTH = 460


class Dialog(QDialog):
    """A window before another one, with a title, what is to be known, and buttons.

    Args:
        parent: The window that it belongs to.
        title: Of the window.
    """

    def __init__(self, parent: QWidget, title: str) -> None:
        super().__init__(parent)
        self.setWindowTitle(title)
        self.setWindowModality(Qt.WindowModality.WindowModal)
        self.column = QVBoxLayout(self)
        self.column.setContentsMargins(24, 20, 24, 20)
        self.column.setSpacing(12)
        heading = label(title, "title")
        self.column.addWidget(heading)
        self.setMinimumWidth(_WIDTH)

    def add_buttons(self, *buttons: QPushButton) -> None:
        """Put buttons at the end, the one that does no harm first."""
        row = QHBoxLayout()
        row.setSpacing(8)
        row.addStretch(1)
        for one in buttons:
            row.addWidget(one)
        self.column.addSpacing(4)
        self.column.addLayout(row)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Take no Enter for an answer, but on a button; Qt would press one that nobody chose."""
        if event.key() not in {Qt.Key.Key_Return, Qt.Key.Key_Enter}:
            super().keyPressEvent(event)

    async def wait(self) -> bool:
        """Show it, wait until it was answered, and tell whether it was accepted."""
        finished = trio.Event()
        self.finished.connect(lambda _: finished.set())
        self.open()
        try:
            await finished.wait()
            return self.result() == QDialog.DialogCode.Accepted.value
        finally:
            self.close()
            self.deleteLater()


class Question(Dialog):
    """A question with two answers; the one that does no harm has the focus.

    Args:
        parent: The window that it belongs to.
        title: Of the window.
        text: What is to be known.
        yes: What accepts.
        no: What does not.
        code: What stands apart below the text, to be compared or copied.
    """

    def __init__(self, parent: QWidget, title: str, text: str, yes: str, no: str, code: str = "") -> None:
        super().__init__(parent, title)
        self.column.addWidget(label(text))
        if code:
            self.column.addWidget(selectable(code, "code"))
        self.refuse = button(no, self.reject)
        self.agree = button(yes, self.accept, is_primary=True)
        self.add_buttons(self.refuse, self.agree)
        self.refuse.setFocus()


class TrustQuestion(Dialog):
    """Asks about a server that is met for the first time, as the terminal does: yes, no, or its pin."""

    def __init__(self, parent: QWidget, server: ServerAddress, pin: bytes, why: str) -> None:
        super().__init__(parent, "Is this your server?")
        self._pin = pin
        self.column.addWidget(selectable(questions.first_contact(server, pin, why)))
        self._field = QLineEdit(placeholderText="Paste the pin that the server printed, or leave this empty")
        self._field.setAccessibleName("Pin of the server")
        self._error = label("", "error")
        self._error.hide()
        self.column.addWidget(self._field)
        self.column.addWidget(self._error)
        refuse = button("Do not trust it", self.reject)
        self.add_buttons(refuse, button("Trust it from now on", self.accept, is_primary=True))
        self._field.returnPressed.connect(self._accept_pin)
        self._field.setFocus()

    def _accept_pin(self) -> None:
        if self._field.text().strip():
            self.accept()

    async def is_trusted(self) -> bool:
        """Ask until the answer is one.

        Raises:
            NotTrustedError: The pin of another server was pasted.
        """
        return await self.wait() and questions.is_trusted(self._field.text().strip() or "yes", self._pin)

    def accept(self) -> None:
        """Take the answer, or say what is wrong with it."""
        try:
            if typed := self._field.text().strip():
                parse_pin(typed)
        except InputError as error:
            self._error.setText(str(error))
            self._error.show()
            self._field.setFocus()
        else:
            super().accept()


def link_question(parent: QWidget, url: QUrl) -> Question:
    """Return the question before a link is opened; it shows what will be asked for, in ASCII."""
    host = bytes(QUrl.toAce(url.host()).data()).decode("ascii")
    full = bytes(url.toEncoded().data()).decode("ascii")
    text = f"Somebody in the room wrote this link. It leads to {host}, whose owner then sees your network address."
    return Question(parent, "Open this link?", text, "Open in the browser", "Stay here", code=full)


def leave_question(parent: QWidget, waiting: int, drafts: int, where: str) -> Question:
    """Return the question before what is not sent yet would be lost."""
    parts = []
    if waiting:
        what = "1 message waits" if waiting == 1 else f"{waiting} messages wait"
        parts.append(f"{what} for the server, and nobody has read {'it' if waiting == 1 else 'them'} yet.")
    if drafts:
        parts.append("A message is being written." if drafts == 1 else f"{drafts} messages are being written.")
    text = " ".join(parts) + f" Whoever leaves {where} now loses that."
    return Question(parent, "Leave now?", text, "Leave and lose it", "Stay")
