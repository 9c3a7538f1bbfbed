"""Comparing words with somebody, and the words of a room; each with a code for a camera."""

import io

import segno
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication, QPixmap
from PySide6.QtWidgets import QGridLayout, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from securechat.client.conversation import Sender
from securechat.client.session import RoomConversation
from securechat.sealing.identity import verify_words
from securechat.text import legible_line, one_line
from securechat.ui.gui.dialogs import Dialog
from securechat.ui.gui.widgets import button, label, selectable

_CODE = 168  # logical pixels
_COLUMNS = 3


def code(text: str, what: str, ratio: float) -> QLabel:
    """Return a QR code (ISO/IEC 18004) of ``text``, black on white in any theme, as cameras want it.

    Args:
        text: What a camera reads.
        what: What a screen reader says.
        ratio: Device pixels in a logical one.
    """
    symbol = segno.make(text, error="m", micro=False)
    drawn = io.BytesIO()
    symbol.save(drawn, kind="png", scale=8, border=3)
    picture = QPixmap()
    picture.loadFromData(drawn.getvalue(), "PNG")
    size = round(_CODE * ratio)
    picture = picture.scaled(size, size, Qt.AspectRatioMode.KeepAspectRatio)
    picture.setDevicePixelRatio(ratio)
    shown = QLabel()
    shown.setPixmap(picture)
    shown.setAccessibleName(what)
    return shown


def fingerprint(identity: bytes) -> str:
    """Return a public key, 32 bytes, in groups of four digits."""
    digits = identity.hex()
    groups = [digits[i : i + 4] for i in range(0, len(digits), 4)]
    return "\n".join(" ".join(groups[i : i + 4]) for i in range(0, len(groups), 4))


class VerifyDialog(Dialog):
    """Twelve words that both see, and this person's key as a code.

    Args:
        parent: The window that it belongs to.
        conversation: The room.
        sender: With whom words are compared.
    """

    def __init__(self, parent: QWidget, conversation: RoomConversation, sender: Sender) -> None:
        name = legible_line(sender.name)
        super().__init__(parent, f"Is it really {name}?")
        self.column.addWidget(
            label(
                "Talk to each other by voice or face to face. Both of you open this for the other, and read the "
                "words aloud in turn: both must see the same twelve, in the same order."
            )
        )
        self.column.addLayout(_words(verify_words(conversation.identity.public, sender.identity)))
        self.column.addSpacing(6)
        self.column.addWidget(
            label("Or with a camera: each scans the other's code and compares it with the key below.", "muted")
        )
        row = QHBoxLayout()
        row.setSpacing(18)
        mine = conversation.identity.public
        row.addWidget(code(mine.hex(), "Your key as a QR code", self.devicePixelRatioF()), 0, Qt.AlignmentFlag.AlignTop)
        keys = QVBoxLayout()
        keys.setSpacing(4)
        keys.addWidget(label("Your key, which the code holds", "heading"))
        keys.addWidget(selectable(fingerprint(mine), "code"))
        keys.addWidget(label(f"What {name} should show", "heading"))
        keys.addWidget(selectable(fingerprint(sender.identity), "code"))
        row.addLayout(keys, 1)
        self.column.addLayout(row)
        self.column.addWidget(
            label("Each confirms on their own machine: this marks them as verified for you alone.", "muted")
        )
        agree = "They are the same" if not sender.verified else "Still the same"
        refuse = button("Not now", self.reject)
        self.add_buttons(refuse, button(agree, self.accept, is_primary=True))
        refuse.setFocus()


def _words(words: str) -> QGridLayout:
    """Return words in numbered rows."""
    grid = QGridLayout()
    grid.setHorizontalSpacing(20)
    grid.setVerticalSpacing(8)
    for number, word in enumerate(words.split()):
        shown = label(f"{number + 1}  {word}", "words", wraps=False)
        grid.addWidget(shown, number // _COLUMNS, number % _COLUMNS)
    return grid


class InfoDialog(Dialog):
    """The room's words, and the line with which others join."""

    def __init__(self, parent: QWidget, conversation: RoomConversation) -> None:
        super().__init__(parent, one_line(conversation.room))
        self.column.addWidget(label("Room words", "heading"))
        self.column.addWidget(selectable(conversation.keys.words, "words"))
        self.column.addWidget(
            label("Whoever sees other words is in another room: its name or passphrase differs.", "muted")
        )
        self.column.addSpacing(6)
        self.column.addWidget(label("To join, besides the passphrase", "heading"))
        line = conversation.join_line
        row = QHBoxLayout()
        row.setSpacing(18)
        row.addWidget(code(line, "The join line as a QR code", self.devicePixelRatioF()))
        row.addWidget(selectable(line.replace("/", "/\u200b").replace("?", "\u200b?"), "code"), 1)
        self.column.addLayout(row)
        copy = button("Copy the line", lambda: QGuiApplication.clipboard().setText(line))
        close = button("Close", self.accept, is_primary=True)
        self.add_buttons(copy, close)
        close.setFocus()
