"""A room as it is seen: head, warnings, conversation, members, and the field to type in."""

from PySide6.QtCore import QEvent, Qt, QUrl, Signal
from PySide6.QtGui import QFont, QResizeEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QSplitter, QToolButton, QVBoxLayout, QWidget

from securechat.client.conversation import Conversation
from securechat.text import one_line
from securechat.ui.gui.composer import Composer
from securechat.ui.gui.find_bar import FindBar
from securechat.ui.gui.members import Members
from securechat.ui.gui.timeline import Timeline
from securechat.ui.gui.widgets import button, label, rule, tool

_NARROW = 620  # pixels of width below which the members are not shown unless asked for
_MEMBERS_WIDTH = 210
_READING_POINTS = 1  # what is read at length is a little larger than the rest


class Page(QWidget):
    """What belongs to one room.

    Args:
        conversation: The room.

    Signals:
        info_wanted: The room's words and join line are to be shown.
        link_wanted: A link was pressed.
        alarms_seen: Somebody has seen the warnings.
    """

    info_wanted = Signal()
    link_wanted = Signal(QUrl)
    alarms_seen = Signal()

    def __init__(self, conversation: Conversation) -> None:
        super().__init__()
        self.setObjectName("page")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self._conversation = conversation
        self._alarms = 0
        self._wants_members: bool | None = None  # None until somebody chose
        self.timeline = Timeline(lambda: conversation.nick)
        self.search = FindBar(self.timeline)
        self.composer = Composer()
        self.members = Members()
        self._jump = self._make_jump()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addLayout(self._make_head())
        column.addWidget(rule())
        for part in (*self._make_warnings(), self.search):
            column.addWidget(part)
        column.addWidget(self._make_middle(), 1)
        column.addLayout(self._make_foot())
        self.timeline.anchorClicked.connect(self.link_wanted.emit)
        self.composer.paged.connect(self._page)
        self.setTabOrder(self.composer, self.timeline)

    # Making it

    def _make_head(self) -> QHBoxLayout:
        conversation = self._conversation
        row = QHBoxLayout()
        row.setContentsMargins(20, 10, 12, 9)
        row.setSpacing(4)
        words = QVBoxLayout()
        words.setSpacing(1)
        name = label(one_line(conversation.room), "room", wraps=False)
        self._state = label("", "muted", wraps=False)
        self._state.setMinimumWidth(40)
        self._dot = label("", "dot", wraps=False)
        below = QHBoxLayout()
        below.setSpacing(6)
        below.addWidget(self._dot)
        below.addWidget(self._state, 1)
        words.addWidget(name)
        words.addLayout(below)
        row.addLayout(words, 1)
        self._info = tool("info", "The room, its words, and how others join (Ctrl+I)", self.info_wanted.emit)
        self._info.setVisible(conversation.is_encrypted)
        self._members_tool = tool("members", "Who is here (Ctrl+M)", self.toggle_members)
        self._members_tool.setCheckable(True)
        row.addWidget(tool("search", "Search (Ctrl+F)", self.search.open_bar))
        row.addWidget(self._info)
        row.addWidget(self._members_tool)
        return row

    def _make_warnings(self) -> tuple[QWidget, QWidget]:
        plain = label(
            "NOT ENCRYPTED: whoever runs the server, or is on the way without TLS, reads everything.", "plain-warning"
        )
        plain.setVisible(not self._conversation.is_encrypted)
        self._alarm = QFrame()
        self._alarm.setObjectName("alarm")
        self._alarm_text = label()
        row = QHBoxLayout(self._alarm)
        row.setContentsMargins(20, 8, 12, 8)
        row.addWidget(self._alarm_text, 1)
        row.addWidget(button("I have seen it", self._forget_alarms))
        self._alarm.hide()
        return plain, self._alarm

    def _make_middle(self) -> QSplitter:
        self._split = QSplitter(Qt.Orientation.Horizontal)
        self._split.setHandleWidth(1)
        self._split.setChildrenCollapsible(False)
        self._split.addWidget(self.timeline)
        self._split.addWidget(self.members)
        self._split.setStretchFactor(0, 1)
        self._split.setSizes([700, _MEMBERS_WIDTH])
        return self._split

    def _make_foot(self) -> QHBoxLayout:
        row = QHBoxLayout()
        row.setContentsMargins(16, 8, 12, 14)
        row.setSpacing(6)
        self.composer.setPlaceholderText(f"Message to {one_line(self._conversation.room)}")
        row.addWidget(self.composer, 1)
        self._send = tool("send", "Send (Enter)", self.composer.send)
        row.addWidget(self._send, 0, Qt.AlignmentFlag.AlignBottom)
        return row

    def _make_jump(self) -> QToolButton:
        jump = QToolButton(self.timeline)
        jump.setObjectName("jump")
        jump.setText("\u2193 to the end")
        jump.clicked.connect(lambda _: self.timeline.scroll_to_end())
        jump.hide()
        self.timeline.followed.connect(lambda follows: jump.setVisible(not follows))
        self.timeline.installEventFilter(self)
        return jump

    # What it shows

    def show_state(self, text: str, *, is_good: bool) -> None:
        """Say how the connection is, with a sign that does not hang on its colour alone."""
        self._state.setText(text)
        self._dot.setText("\u25cf" if is_good else "\u25cb")
        self._dot.setProperty("good", "true" if is_good else "false")
        self._dot.style().polish(self._dot)

    def show_alarm(self, text: str) -> None:
        """Show a warning that stays until it was seen; what it says stays in the conversation besides."""
        self._alarms += 1
        more = f" (and {self._alarms - 1} more: they are in the conversation)" if self._alarms > 1 else ""
        self._alarm_text.setText(f"{one_line(text)}{more}")
        self._alarm.show()

    @property
    def alarms(self) -> int:
        """How many warnings were not seen yet."""
        return self._alarms

    def _forget_alarms(self) -> None:
        self._alarms = 0
        self._alarm.hide()
        self.alarms_seen.emit()
        self.composer.setFocus()

    def show_new_below(self, count: int) -> None:
        """Say how much came below what is in view."""
        self._jump.setText(f"\u2193 {count} new" if count else "\u2193 to the end")
        self._place_jump()

    def end(self) -> None:
        """Take no more messages: the room is left."""
        self.composer.setEnabled(False)
        self._send.setEnabled(False)

    def toggle_members(self) -> None:
        """Show who is here, or hide them."""
        self._wants_members = not self.members.isVisible()
        self._place_members()

    def _place_members(self) -> None:
        wants = self._wants_members if self._wants_members is not None else self.width() >= _NARROW
        self.members.setVisible(wants)
        self._members_tool.setChecked(wants)

    def _page(self, by: int) -> None:
        bar = self.timeline.verticalScrollBar()
        bar.setValue(bar.value() + by * bar.pageStep())

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Make room for the conversation first."""
        super().resizeEvent(event)
        self._place_members()

    def eventFilter(self, watched: object, event: QEvent) -> bool:
        """Keep the way to the end in its corner."""
        if watched is self.timeline and event.type() == QEvent.Type.Resize:
            self._place_jump()
        return False

    def _place_jump(self) -> None:
        self._jump.adjustSize()
        view = self.timeline.viewport()
        self._jump.move(view.width() - self._jump.width() - 20, view.height() - self._jump.height() - 14)

    def set_zoom(self, points: int) -> None:
        """Show what is said and typed larger or smaller than usual."""
        font = QFont(self.font())
        font.setPointSizeF(max(5.0, font.pointSizeF() + _READING_POINTS + points))
        self.timeline.setFont(font)
        self.composer.setFont(font)
        self.composer.refit()

    def refresh(self) -> None:
        """Draw everything in the colours and sizes of now."""
        self.timeline.refresh()
        self.members.refresh()
        self.composer.refit()
