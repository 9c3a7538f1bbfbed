"""The sheet in which a room is chosen: server, room, nickname, passphrase."""

from functools import partial

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QCheckBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QMenu,
    QProgressBar,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from securechat import limits
from securechat.client.address import ServerAddress, parse_server
from securechat.errors import InputError
from securechat.text import one_line
from securechat.ui.gui.entering import Entering, Typed
from securechat.ui.gui.field import Field, PassphraseField
from securechat.ui.gui.icons import logo
from securechat.ui.gui.widgets import button, centred, label, rule, tool

_WIDTH = 460


class Sheet(QWidget):
    """Where a room is chosen; says how far the joining is, and what went wrong.

    Args:
        entering: Checks what is typed.
        recent: The rooms that this person was in last.

    Signals:
        submitted: All fields are usable: what was typed.
        cancelled: The joining is to end; or, when there is none, the sheet.
    """

    submitted = Signal(object)
    cancelled = Signal()

    def __init__(self, entering: Entering, recent: list[ServerAddress]) -> None:
        super().__init__()
        self.setObjectName("sheetGround")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self._entering = entering
        self._pin = b""
        self._pinned = ""  # the server that the pin is of
        self._length = 0  # of what the field for the server held last
        self._is_busy = False
        self._can_close = False
        self._make_fields(recent)
        self._lay_out()
        self._connect()
        self._show_mode()

    # Making it

    def _make_fields(self, recent: list[ServerAddress]) -> None:
        self._server = QLineEdit(placeholderText="host, host:port, or paste a securechat:// line")
        last = tool("down", "Rooms that you were in last", lambda: None)
        last.setMenu(self._make_recent(recent))
        last.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        last.setVisible(bool(recent))
        self._room = QLineEdit()
        self._nick = QLineEdit(maxLength=limits.NICK_CODE_POINTS * 2)
        secret = PassphraseField("&Passphrase")
        self._passphrase = secret.edit
        self._fields = {
            "server": Field("&Server", self._server, last),
            "room": Field("&Room", self._room),
            "nick": Field("&Nickname", self._nick),
            "passphrase": secret,
        }
        self._pin_note = label("", "muted")
        self._remember = QCheckBox("&Keep the room's secret on this machine, and ask no more")
        self._old = QCheckBox("&Old base64 mode, for the programs of the plain-TCP chat")
        self._bare = QCheckBox("Without TLS, to an original server")
        self._warning = label(
            "NOT ENCRYPTED: whoever runs the server, or is on the way without TLS, reads everything.", "plain-warning"
        )

    def _make_recent(self, recent: list[ServerAddress]) -> QMenu:
        menu = QMenu(self)
        for known in recent:
            text = f"{one_line(known.room)}   {known}".replace("&", "&&")
            menu.addAction(text, partial(self._take_recent, known))
        return menu

    def _lay_out(self) -> None:
        self._form = QWidget()
        column = QVBoxLayout(self._form)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(12)
        names = QGridLayout()
        names.setHorizontalSpacing(12)
        names.addWidget(self._fields["room"], 0, 0, Qt.AlignmentFlag.AlignTop)
        names.addWidget(self._fields["nick"], 0, 1, Qt.AlignmentFlag.AlignTop)
        for column_number in (0, 1):
            names.setColumnStretch(column_number, 1)
        column.addWidget(self._fields["server"])
        column.addWidget(self._pin_note)
        column.addLayout(names)
        column.addWidget(self._fields["passphrase"])
        column.addWidget(self._remember)
        column.addWidget(rule())
        column.addWidget(self._old)
        column.addWidget(self._bare)
        column.addWidget(self._warning)
        self._put_in_card()

    def _put_in_card(self) -> None:
        card = QWidget()
        card.setObjectName("sheet")
        card.setMaximumWidth(_WIDTH + 48)
        column = QVBoxLayout(card)
        column.setContentsMargins(24, 24, 24, 24)
        column.setSpacing(14)
        column.addStretch(1)
        column.addLayout(self._make_head())
        column.addWidget(self._form)
        column.addWidget(self._make_outcome())
        column.addLayout(self._make_buttons())
        column.addStretch(2)
        around = QVBoxLayout(self)
        around.setContentsMargins(0, 0, 0, 0)
        around.addWidget(centred(card))

    def _make_head(self) -> QHBoxLayout:
        row = QHBoxLayout()
        row.setSpacing(14)
        picture = QLabel()
        picture.setPixmap(logo(52, self.devicePixelRatioF()))
        words = QVBoxLayout()
        words.setSpacing(1)
        words.addWidget(label("Join a room", "title"))
        words.addWidget(label("A passphrase is all you share; the server cannot read a word.", "muted"))
        row.addWidget(picture)
        row.addLayout(words, 1)
        return row

    def _make_outcome(self) -> QWidget:
        self._outcome = QWidget()
        column = QVBoxLayout(self._outcome)
        column.setContentsMargins(0, 0, 0, 0)
        self._stage = label("", "muted")
        self._bar = QProgressBar(maximum=0, textVisible=False)
        self._failure = label("", "error")
        for part in (self._stage, self._bar, self._failure):
            column.addWidget(part)
            part.hide()
        return self._outcome

    def _make_buttons(self) -> QHBoxLayout:
        row = QHBoxLayout()
        self._cancel = button("Cancel", self.cancelled.emit)
        self._join = button("Join", self._submit, is_primary=True)
        row.addStretch(1)
        row.addWidget(self._cancel)
        row.addWidget(self._join)
        return row

    def _connect(self) -> None:
        self._server.textChanged.connect(self._note_server)
        self._server.editingFinished.connect(self._take_line)
        for name, field in (("server", self._server), ("room", self._room), ("nick", self._nick)):
            field.editingFinished.connect(partial(self._check_typed, name))
        for one in self._fields.values():
            one.edit.textEdited.connect(partial(_forget_error, one))
            one.edit.returnPressed.connect(self._submit)
        self._room.textChanged.connect(lambda _: self._show_remembered())
        self._old.toggled.connect(lambda _: self._show_mode())

    # What is in it

    @property
    def typed(self) -> Typed:
        """What it holds."""
        server = self._server.text()
        return Typed(
            server,
            self._pin if server.strip() == self._pinned else b"",
            self._room.text(),
            self._nick.text(),
            self._passphrase.text(),
            self._remember.isChecked(),
            self._old.isChecked(),
            self._old.isChecked() and self._bare.isChecked(),
        )

    def fill(self, typed: Typed) -> None:
        """Put into it what is known already, and go to the first field that is empty."""
        self._pin, self._pinned = typed.pin, typed.server
        self._server.setText(typed.server)
        self._room.setText(typed.room or self._room.text())
        self._nick.setText(typed.nick)
        self._passphrase.setText(typed.passphrase)
        self._old.setChecked(typed.is_old)
        self._bare.setChecked(typed.is_bare)
        self._show_pin()
        self.focus_first()

    def focus_first(self) -> None:
        """Go to the first field that waits for something."""
        fields = (self._server, self._room, self._nick, self._passphrase)
        texts = (self._server.text(), self._room.text(), self._nick.text(), self._passphrase.text())
        empty = (f for f, text in zip(fields, texts, strict=True) if not text and f.isVisibleTo(self))
        next(empty, self._join).setFocus()

    def can_be_closed(self, *, is_possible: bool) -> None:
        """Say whether there is somewhere to go back to."""
        self._cancel.setVisible(is_possible or self._is_busy)
        self._can_close = is_possible

    def show_stage(self, text: str) -> None:
        """Say how far the joining is; the fields wait meanwhile."""
        self._is_busy = True
        self._form.setEnabled(False)
        self._join.setEnabled(False)
        self._cancel.show()
        self._cancel.setFocus()
        self._failure.hide()
        self._stage.setText(text)
        self._stage.show()
        self._bar.show()

    def show_failure(self, text: str) -> None:
        """Say why the joining ended; empty where somebody cancelled it."""
        self._is_busy = False
        self._form.setEnabled(True)
        self._join.setEnabled(True)
        self._cancel.setVisible(self._can_close)
        self._stage.hide()
        self._bar.hide()
        self._failure.setText(text)
        self._failure.setVisible(bool(text))
        self._outcome.setAccessibleDescription(text)
        (self._passphrase if self._passphrase.isVisible() else self._server).setFocus()

    # While it is filled in

    def _note_server(self, text: str) -> None:
        """Take a join line that was pasted; one that is being typed is taken when the field is left."""
        is_pasted = len(text) > self._length + 1
        self._length = len(text)
        if is_pasted:
            self._take_line()
        self._show_pin()

    def _take_line(self) -> None:
        """Let a join line fill server, room and pin."""
        text = self._server.text().strip()
        if "://" not in text:
            return
        try:
            address = parse_server(text)
        except InputError:
            return  # it is said when the field is left
        self._pin, self._pinned = address.pin, str(address)
        self._server.setText(str(address))
        if address.room:
            self._room.setText(address.room)
        self._fields["server"].show_error("")
        self._show_pin()

    def _take_recent(self, known: ServerAddress) -> None:
        self._server.setText(str(known))
        self._room.setText(known.room)
        self.focus_first()

    def _show_pin(self) -> None:
        has_pin = bool(self._pin) and self._server.text().strip() == self._pinned
        self._pin_note.setText("\u2713 Only the server with the key of that line will be trusted." if has_pin else "")
        self._pin_note.setVisible(has_pin)

    def _show_remembered(self) -> None:
        is_remembered = self._entering.is_remembered(self.typed)
        self._passphrase.setPlaceholderText("kept on this machine: leave it empty" if is_remembered else "")

    def _show_mode(self) -> None:
        is_old = self._old.isChecked()
        self._fields["passphrase"].setVisible(not is_old)
        self._remember.setVisible(not is_old)
        self._bare.setVisible(is_old)
        self._warning.setVisible(is_old)

    def _check_typed(self, name: str) -> None:
        """Check a field that was left with something in it."""
        typed = self.typed
        if getattr(typed, name).strip():
            self._check(name, typed)

    def _check(self, name: str, typed: Typed) -> bool:
        try:
            getattr(self._entering, name)(typed)
        except InputError as error:
            self._fields[name].show_error(str(error))
            return False
        self._fields[name].show_error("")
        return True

    def _submit(self) -> None:
        if self._is_busy:
            return
        self._take_line()
        typed = self.typed
        wrong = [name for name in self._fields if not self._check(name, typed)]
        self._failure.hide()
        if wrong:
            self._fields[wrong[0]].edit.setFocus()
        else:
            self.submitted.emit(typed)


def _forget_error(field: Field, _: str) -> None:
    """Say nothing more on a field that is being corrected."""
    field.show_error("")
