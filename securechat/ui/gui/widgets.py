"""The small widgets that every part of the window is made of."""

from collections.abc import Callable

from PySide6.QtCore import QEvent, QSize, Qt
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QPushButton, QScrollArea, QToolButton, QWidget

from securechat.ui.gui import theme
from securechat.ui.gui.icons import icon


class Tool(QToolButton):
    """A button with an icon alone; what it does is its tool tip and its accessible name."""

    def __init__(self, name: str, what: str) -> None:
        super().__init__()
        self._name = name
        self.setToolTip(what)
        self.setAccessibleName(what.partition(" (")[0])
        self.setIconSize(QSize(20, 20))
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self._draw()

    def _draw(self) -> None:
        self.setIcon(icon(self._name, theme.current().muted))

    def changeEvent(self, event: QEvent) -> None:
        """Draw the icon in the colours of now."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange:
            self._draw()


def tool(name: str, what: str, pressed: Callable[[], object]) -> Tool:
    """Return a button with an icon."""
    made = Tool(name, what)
    made.clicked.connect(lambda _: pressed())
    return made


class Button(QPushButton):
    """A button with a text, which Enter presses too."""

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Press on Enter as on the space bar."""
        if event.key() in {Qt.Key.Key_Return, Qt.Key.Key_Enter}:
            self.click()
        else:
            super().keyPressEvent(event)


def button(text: str, pressed: Callable[[], object], *, is_primary: bool = False) -> Button:
    """Return a button with a text."""
    made = Button(text)
    made.setAutoDefault(False)
    if is_primary:
        made.setObjectName("primary")
    made.clicked.connect(lambda _: pressed())
    return made


def label(text: str = "", name: str = "", *, wraps: bool = True) -> QLabel:
    """Return a label of plain text; ``name`` says how it looks."""
    made = QLabel(text)
    made.setTextFormat(Qt.TextFormat.PlainText)
    made.setWordWrap(wraps)
    made.setObjectName(name)
    return made


def selectable(text: str, name: str = "") -> QLabel:
    """Return a label whose text can be selected and copied, with the keyboard too."""
    made = label(text, name)
    flag = Qt.TextInteractionFlag
    made.setTextInteractionFlags(flag.TextSelectableByMouse | flag.TextSelectableByKeyboard)
    made.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    return made


def rule() -> QFrame:
    """Return a thin line."""
    made = QFrame()
    made.setObjectName("rule")
    made.setFixedHeight(1)
    return made


def centred(widget: QWidget) -> QScrollArea:
    """Return an area that holds a widget in its middle, and scrolls where there is too little room."""
    middle = QWidget()
    middle.setObjectName("sheetGround")
    row = QHBoxLayout(middle)
    row.setContentsMargins(0, 0, 0, 0)
    row.addStretch(1)
    row.addWidget(widget, 100)
    row.addStretch(1)
    scroll = QScrollArea()
    scroll.setObjectName("sheetScroll")
    scroll.setFrameShape(QFrame.Shape.NoFrame)
    scroll.setWidgetResizable(True)
    scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    scroll.setWidget(middle)
    return scroll
