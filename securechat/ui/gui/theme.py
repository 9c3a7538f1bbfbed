"""How it looks: two sets of colours, the style sheet made from them, and a colour for each sender."""

import hashlib
from dataclasses import dataclass
from string import Template
from typing import Final

from PySide6.QtCore import Qt
from PySide6.QtGui import QColor, QGuiApplication, QPalette
from PySide6.QtWidgets import QApplication


@dataclass(frozen=True)
class Theme:
    """Colours as ``#rrggbb``, by what they are for.

    Attributes:
        ground: Behind messages and fields.
        side: Behind the lists at the sides.
        raised: Behind what lies above, such as a chosen row.
        line: Between things.
        text: What is read first.
        muted: What is read second.
        accent: What can be pressed, and this person's own name.
        on_accent: On the former.
        danger: What must not be missed.
        danger_ground: Behind it.
        mention_ground: Behind a message that names this person.
        senders: Colours of names, each readable on ``ground``.
    """

    ground: str
    side: str
    raised: str
    line: str
    text: str
    muted: str
    accent: str
    on_accent: str
    danger: str
    danger_ground: str
    mention_ground: str
    senders: tuple[str, ...]


LIGHT: Final = Theme(
    ground="#ffffff",
    side="#f3f5f6",
    raised="#e2e8ea",
    line="#dde2e6",
    text="#1a2226",
    muted="#5b6871",
    accent="#0b7468",
    on_accent="#ffffff",
    danger="#b3261e",
    danger_ground="#fdeceb",
    mention_ground="#fff5d9",
    senders=(
        "#1f5fbf",
        "#8a3ab9",
        "#a34a00",
        "#a8275f",
        "#3d6b00",
        "#5a4fc4",
        "#8a5a00",
        "#00707f",
        "#b0392b",
        "#6d5a4c",
    ),
)
DARK: Final = Theme(
    ground="#171b1f",
    side="#111417",
    raised="#262d33",
    line="#2a3138",
    text="#e7ebee",
    muted="#98a4ad",
    accent="#43c9b2",
    on_accent="#04201c",
    danger="#ff8a80",
    danger_ground="#3a1c1c",
    mention_ground="#332c14",
    senders=(
        "#7ab2ff", "#d29bf5", "#ffab6b", "#ff8fb8", "#a3d15f", "#aea7ff", "#e5c15c", "#5fd0de", "#ff9d8f", "#cdb7a5",
    ),
)  # fmt: skip


_APPEARANCES: Final = ("system", "light", "dark")
_PROPERTY: Final = "securechat appearance"  # of the application


def choose_appearance(name: str | None) -> None:
    """Take light or dark whatever the system says; ``system`` or anything else to follow it."""
    _application().setProperty(_PROPERTY, name if name in _APPEARANCES else "system")


def change_appearance() -> str:
    """Go to the next of system, light and dark, and return it."""
    at = _APPEARANCES.index(_application().property(_PROPERTY) or "system")
    choose_appearance(_APPEARANCES[(at + 1) % len(_APPEARANCES)])
    return _APPEARANCES[(at + 1) % len(_APPEARANCES)]


def current() -> Theme:
    """Return the colours that were chosen, or that go with the system."""
    chosen = _application().property(_PROPERTY)
    is_dark = QGuiApplication.styleHints().colorScheme() == Qt.ColorScheme.Dark
    return DARK if chosen == "dark" or (chosen != "light" and is_dark) else LIGHT


def apply() -> None:
    """Show the whole program in the colours of now."""
    application = _application()
    application.setPalette(palette(current()))
    application.setStyleSheet(sheet(current()))


def _application() -> QApplication:
    application = QApplication.instance()
    assert isinstance(application, QApplication)
    return application


def sender_colour(theme: Theme, key: bytes) -> str:
    """Return the colour of a sender by their key, or their name where nobody has one: always the same."""
    return theme.senders[hashlib.sha256(key).digest()[0] % len(theme.senders)]


def palette(theme: Theme) -> QPalette:
    """Return the colours as Qt's own widgets take them."""
    made = QPalette()
    role = QPalette.ColorRole
    for where, colour in (
        (role.Window, theme.side),
        (role.Base, theme.ground),
        (role.AlternateBase, theme.raised),
        (role.Button, theme.side),
        (role.WindowText, theme.text),
        (role.Text, theme.text),
        (role.ButtonText, theme.text),
        (role.ToolTipBase, theme.raised),
        (role.ToolTipText, theme.text),
        (role.PlaceholderText, theme.muted),
        (role.Highlight, theme.accent),
        (role.HighlightedText, theme.on_accent),
        (role.Accent, theme.accent),
        (role.Link, theme.accent),
        (role.LinkVisited, theme.accent),
    ):
        made.setColor(where, QColor(colour))
    for where in (role.WindowText, role.Text, role.ButtonText):
        made.setColor(QPalette.ColorGroup.Disabled, where, QColor(theme.muted))
    return made


_SHEET: Final = Template("""
QToolTip { background: $raised; color: $text; border: 1px solid $line; padding: 4px 6px; }
QWidget#page, QWidget#sheet, QScrollArea#sheetScroll, QWidget#sheetGround, QDialog { background: $ground; }
QWidget#side { background: $side; }
QFrame#rule { background: $line; border: none; }
QLabel#title { font-size: 15pt; font-weight: 600; }
QLabel#room { font-size: 12pt; font-weight: 600; }
QLabel#muted { color: $muted; }
QLabel#dot { color: $danger; font-size: 8pt; }
QLabel#dot[good="true"] { color: $accent; }
QLabel#heading { color: $muted; font-weight: 600; }
QLabel#error { color: $danger; }
QLabel#words { font-size: 12pt; font-weight: 600; }
QLabel#code { font-family: monospace; }
QLabel#plain-warning { background: $danger; color: $ground; font-weight: 700; padding: 7px 16px; }
QFrame#alarm { background: $danger_ground; border: none; border-bottom: 1px solid $danger; }
QFrame#alarm QLabel { color: $danger; font-weight: 600; }
QFrame#note { background: $raised; border: none; border-radius: 8px; }

QLineEdit, QPlainTextEdit {
    background: $ground; color: $text; border: 1px solid $line; border-radius: 8px; padding: 7px 10px;
    selection-background-color: $accent; selection-color: $on_accent;
}
QLineEdit:focus, QPlainTextEdit:focus { border: 2px solid $accent; padding: 6px 9px; }
QLineEdit:disabled { background: $side; color: $muted; }
QLineEdit[wrong="true"] { border: 1px solid $danger; }

QPushButton {
    background: $raised; color: $text; border: 2px solid transparent; border-radius: 8px; padding: 6px 14px;
    font-weight: 600;
}
QPushButton:hover { background: $line; }
QPushButton:focus { border: 2px solid $accent; }
QPushButton:disabled { color: $muted; }
QPushButton#primary { background: $accent; color: $on_accent; }
QPushButton#primary:focus { border: 2px solid $text; }
QPushButton#primary:disabled { background: $raised; color: $muted; }
QToolButton { background: transparent; border: 2px solid transparent; border-radius: 8px; padding: 4px; }
QToolButton:hover, QToolButton:checked { background: $raised; }
QToolButton:focus { border: 2px solid $accent; }
QToolButton::menu-indicator { image: none; }
QToolButton#field { background: $ground; border: 1px solid $line; padding: 6px; }
QToolButton#field:focus { border: 2px solid $accent; padding: 5px; }
QToolButton#jump { background: $accent; color: $on_accent; border-radius: 15px; padding: 5px 12px; font-weight: 600; }
QCheckBox { spacing: 8px; padding: 3px; border: 2px solid transparent; border-radius: 6px; }
QCheckBox:focus { border: 2px solid $accent; }

QListView { background: $side; border: none; outline: none; padding: 6px; }
QListView::item { border-radius: 8px; }
QTextBrowser { background: $ground; border: none; border-top: 2px solid transparent; }
QTextBrowser:focus { border-top: 2px solid $accent; }
QSplitter::handle { background: $line; }
QMenu { background: $ground; border: 1px solid $line; padding: 5px; }
QMenu::item { padding: 6px 26px 6px 12px; border-radius: 6px; }
QMenu::item:selected { background: $raised; }
QMenu::item:disabled { color: $muted; }
QMenu::separator { height: 1px; background: $line; margin: 5px 8px; }
QScrollBar:vertical { background: transparent; width: 12px; margin: 0; }
QScrollBar::handle:vertical { background: $raised; border-radius: 4px; min-height: 36px; margin: 2px; }
QScrollBar::handle:vertical:hover { background: $muted; }
QScrollBar::add-line, QScrollBar::sub-line, QScrollBar::add-page, QScrollBar::sub-page {
    background: none; height: 0;
}
QProgressBar { background: $raised; border: none; border-radius: 2px; max-height: 4px; }
QProgressBar::chunk { background: $accent; border-radius: 2px; }
""")


def sheet(theme: Theme) -> str:
    """Return Qt's style sheet in these colours."""
    return _SHEET.substitute({name: value for name, value in vars(theme).items() if isinstance(value, str)})
