"""What the menu and the keyboard do."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from PySide6.QtGui import QAction, QKeySequence, QShortcut
from PySide6.QtWidgets import QWidget


class Entry(NamedTuple):
    """An entry of the menu: its text, what it does, and its key or keys, apart by a space."""

    text: str
    do: Callable[[], object]
    keys: str


def add_actions(window: QWidget, *entries: Entry) -> None:
    """Give a window the actions of its menu."""
    for entry in entries:
        _add(window, entry)


def _add(window: QWidget, entry: Entry) -> None:
    action = QAction(entry.text, window)
    action.setShortcuts([QKeySequence(key) for key in entry.keys.split()])
    action.triggered.connect(lambda _: entry.do())
    window.addAction(action)


def add_shortcuts(window: QWidget, keys: Mapping[str, Callable[[], object]]) -> None:
    """Let keys do what is in no menu."""
    for key, do in keys.items():
        QShortcut(QKeySequence(key), window).activated.connect(do)
