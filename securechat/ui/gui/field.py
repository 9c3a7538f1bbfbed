"""The fields of a form: a name, a line to type in, and what is wrong with what was typed."""

from PySide6.QtWidgets import QHBoxLayout, QLabel, QLineEdit, QVBoxLayout, QWidget

from securechat import limits
from securechat.client.strength import generated_bits
from securechat.sealing.words import generate_passphrase
from securechat.ui.gui.widgets import Tool, label, tool


class Field(QWidget):
    """A name, an edit line with buttons behind it, and what is wrong with what was typed."""

    def __init__(self, name: str, edit: QLineEdit, *behind: Tool) -> None:
        super().__init__()
        self.edit = edit
        self._error = label("", "error")
        self._error.hide()
        caption = QLabel(name)
        caption.setObjectName("heading")
        caption.setBuddy(edit)
        edit.setAccessibleName(name.replace("&", ""))
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(5)
        row = QHBoxLayout()
        row.setSpacing(6)
        row.addWidget(edit, 1)
        for one in behind:
            one.setObjectName("field")
            row.addWidget(one)
        column.addWidget(caption)
        column.addLayout(row)
        column.addWidget(self._error)

    def show_error(self, text: str) -> None:
        """Say what is wrong; nothing takes it back."""
        if text != self._error.text():
            self._error.setText(text)
            self._error.setVisible(bool(text))
            self.edit.setAccessibleDescription(text)
            self.edit.setProperty("wrong", "true" if text else "false")
            self.edit.style().polish(self.edit)


class PassphraseField(Field):
    """A passphrase: hidden until somebody wants to see it, and made here for a new room."""

    def __init__(self, name: str) -> None:
        self._eye = tool("eye", "Show the passphrase", self._show)
        self._eye.setCheckable(True)
        wand = tool("wand", "Make a new passphrase", self._generate)
        super().__init__(name, QLineEdit(echoMode=QLineEdit.EchoMode.Password), self._eye, wand)
        self._strength = label("", "muted")
        self._strength.hide()
        column = self.layout()
        assert column is not None
        column.addWidget(self._strength)
        self.edit.textEdited.connect(lambda _: self._say_strength(""))

    def _show(self) -> None:
        is_shown = self._eye.isChecked()
        self.edit.setEchoMode(QLineEdit.EchoMode.Normal if is_shown else QLineEdit.EchoMode.Password)

    def _generate(self) -> None:
        """Put a new passphrase in, and show it: somebody has to hand it to the others."""
        self.edit.setText(generate_passphrase(limits.GENERATED_WORDS))
        self._eye.setChecked(True)
        self._show()
        self.show_error("")
        bits = generated_bits(limits.GENERATED_WORDS)
        self._say_strength(f"{bits:.0f} bits, out of anybody's reach. Hand it to the others by word of mouth.")
        self.edit.setFocus()
        self.edit.selectAll()

    def _say_strength(self, text: str) -> None:
        self._strength.setText(text)
        self._strength.setVisible(bool(text))
