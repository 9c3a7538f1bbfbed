"""Who is here, and whether their key was compared."""

from collections.abc import Mapping

from PySide6.QtCore import QModelIndex, QPoint, Qt, Signal
from PySide6.QtGui import QStandardItemModel
from PySide6.QtWidgets import QMenu, QVBoxLayout, QWidget

from securechat.client.conversation import Conversation, Present, Sender
from securechat.text import legible_line
from securechat.ui.gui import theme
from securechat.ui.gui.listing import Line, LineView, item
from securechat.ui.gui.widgets import label


def line_of(present: Present, *, is_encrypted: bool) -> Line:
    """Return the row of somebody, with the state of their key in words and a sign."""
    sender = present.sender
    if sender.is_me:
        detail = "you"
    elif not is_encrypted:
        detail = "nobody is proven here"
    else:
        detail = "\u2713 verified" if sender.verified else "? not verified"
    detail += ", reading" if present.is_reader else ""
    colours = theme.current()
    key = sender.identity or sender.nick.encode(errors="replace")
    colour = colours.accent if sender.is_me else theme.sender_colour(colours, key)
    return Line(
        legible_line(sender.name), detail, colour, is_good=sender.verified and is_encrypted and not sender.is_me
    )


class Members(QWidget):
    """The list beside a conversation.

    Signals:
        verify: Words are to be compared with this sender.
        mention: This sender's nickname is to be typed.
        ignore: This sender is to be hidden, or shown again.
    """

    verify = Signal(object)
    mention = Signal(object)
    ignore = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("side")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self._people: list[Present] = []
        self._is_encrypted = True
        self._model = QStandardItemModel(self)
        self._heading = label("Here", "heading")
        self._heading.setContentsMargins(16, 12, 0, 2)
        self._view = LineView("Members")
        self._view.setModel(self._model)
        self._view.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self._view.customContextMenuRequested.connect(self._show_menu)
        self._view.activated.connect(self._activate)
        self._heading.setBuddy(self._view)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self._heading)
        column.addWidget(self._view, 1)
        self.setMinimumWidth(170)

    def show_present(self, conversation: Conversation, me: Sender, present: Mapping[int, Present]) -> None:
        """Show who is here, this person first."""
        others = sorted(present.values(), key=lambda p: p.sender.name.casefold())
        people = [Present(me, is_reader=False), *others]
        if people == self._people:
            return
        self._people, self._is_encrypted = people, conversation.is_encrypted
        self._heading.setText(f"Here \u00b7 {len(people)}")
        self.refresh()

    def refresh(self) -> None:
        """Show the same people anew."""
        row = self._view.currentIndex().row()
        self._model.clear()
        for present in self._people:
            self._model.appendRow(item(line_of(present, is_encrypted=self._is_encrypted)))
        if 0 <= row < self._model.rowCount():
            self._view.setCurrentIndex(self._model.index(row, 0))

    def _activate(self, index: QModelIndex) -> None:
        sender = self._people[index.row()].sender
        if not sender.is_me:
            (self.verify if self._is_encrypted else self.mention).emit(sender)

    def _show_menu(self, where: QPoint) -> None:
        index = self._view.indexAt(where)
        index = index if index.isValid() else self._view.currentIndex()
        if not index.isValid() or self._people[index.row()].sender.is_me:
            return
        sender = self._people[index.row()].sender
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        if self._is_encrypted:
            menu.addAction("Compare words ...", lambda: self.verify.emit(sender))
        menu.addAction("Mention", lambda: self.mention.emit(sender))
        menu.addAction("Hide, or show again", lambda: self.ignore.emit(sender))
        menu.popup(self._view.viewport().mapToGlobal(where))
