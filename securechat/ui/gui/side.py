"""The rooms at the left, each with what is unread in it."""

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QAction, QStandardItemModel
from PySide6.QtWidgets import QHBoxLayout, QMenu, QToolButton, QVBoxLayout, QWidget

from securechat.text import one_line
from securechat.ui.gui import theme
from securechat.ui.gui.listing import Line, LineView, item, set_line
from securechat.ui.gui.talk import Talk
from securechat.ui.gui.widgets import label, tool


def line_of(talk: Talk) -> Line:
    """Return the row of a room."""
    conversation = talk.conversation
    room = one_line(conversation.room)
    colour = theme.sender_colour(theme.current(), f"{room} {conversation.server}".encode())
    detail, is_bad = conversation.server, False
    if talk.ended:
        detail, is_bad = "left: see there", True
    elif not conversation.is_connected:
        detail, is_bad = "no connection", True
    elif talk.page.alarms:
        detail, is_bad = "a warning waits", True
    elif not conversation.is_encrypted:
        detail, is_bad = "NOT ENCRYPTED", True
    return Line(room, detail, colour, is_bad=is_bad, count=talk.unread, is_urgent=bool(talk.mentions))


class Side(QWidget):
    """The list of rooms.

    Args:
        actions: What the menu holds.

    Signals:
        chosen: The row of a room that is to be shown.
        join_wanted: Another room is to be joined.
    """

    chosen = Signal(int)
    join_wanted = Signal()

    def __init__(self, actions: list[QAction]) -> None:
        super().__init__()
        self.setObjectName("side")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self._current = -1
        self._model = QStandardItemModel(self)
        self._view = LineView("Rooms")
        self._view.setModel(self._model)
        self._view.selectionModel().currentChanged.connect(lambda current, _: self._choose(current.row()))
        menu = QMenu(self)
        menu.addActions(actions)
        self._menu = tool("menu", "Menu (F10)", lambda: None)
        self._menu.setMenu(menu)
        self._menu.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        row = QHBoxLayout()
        row.setContentsMargins(10, 10, 8, 4)
        row.setSpacing(4)
        row.addWidget(self._menu)
        row.addWidget(label("securechat", "room", wraps=False), 1)
        row.addWidget(tool("add", "Join another room (Ctrl+N)", self.join_wanted.emit))
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addLayout(row)
        column.addWidget(self._view, 1)
        self.setMinimumWidth(170)

    def show_menu(self) -> None:
        """Open the menu."""
        self._menu.showMenu()

    def show_rooms(self, talks: list[Talk], current: int) -> None:
        """Show the rooms, the current one chosen; -1 for none."""
        while self._model.rowCount() > len(talks):
            self._model.removeRow(self._model.rowCount() - 1)
        for number, talk in enumerate(talks):
            if number < self._model.rowCount():
                set_line(self._model.item(number), line_of(talk))
            else:
                self._model.appendRow(item(line_of(talk)))
        self._current = current
        self._view.setCurrentIndex(self._model.index(current, 0))

    def _choose(self, row: int) -> None:
        if row != self._current and row >= 0:
            self.chosen.emit(row)
