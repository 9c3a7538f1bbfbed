"""A window as somebody uses it: what is on it, and the keys that are pressed."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio
from PySide6.QtCore import QCoreApplication, QEvent, QPoint, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QAbstractButton, QApplication, QDialog, QLabel, QLineEdit, QWidget

from securechat.ui.gui.entering import Typed
from securechat.ui.gui.page import Page
from securechat.ui.gui.sheet import Sheet
from securechat.ui.gui.window import Window
from tests.support.patience import wait_until
from tests.support.programs import ROOM, Home, ServerProgram


class Desk:
    """A window and what can be done with it.

    Attributes:
        window: The window.
        server: The server that its person knows.
        has_ended: Whether the window was closed, and every task of it has ended.
    """

    def __init__(self, window: Window, server: ServerProgram) -> None:
        self.window = window
        self.server = server
        self.has_ended = False

    async def run(self) -> None:
        """Run the window to its end."""
        await self.window.run()
        self.has_ended = True

    @property
    def sheet(self) -> Sheet:
        """The sheet that is shown."""
        sheet = self.window._stack.currentWidget()
        assert isinstance(sheet, Sheet)
        return sheet

    @property
    def page(self) -> Page | None:
        """The page that is shown, if one is."""
        page = self.window._stack.currentWidget()
        return page if isinstance(page, Page) else None

    @property
    def text(self) -> str:
        """All that the conversation shows."""
        return self.page.timeline.toPlainText() if self.page else ""

    @property
    def rooms(self) -> list[str]:
        """The list of rooms, as a screen reader reads it."""
        model = self.window._side._model
        return [model.item(row).data(Qt.ItemDataRole.AccessibleTextRole) for row in range(model.rowCount())]

    def field(self, name: str) -> QLineEdit:
        """Return an edit line by its accessible name."""
        line: QLineEdit = only(w for w in self.window.findChildren(QLineEdit) if w.accessibleName() == name)
        return line

    def labels(self, name: str, within: QWidget | None = None) -> list[str]:
        """Return the texts that are shown by labels of one look."""
        shown = (within or self.window).findChildren(QLabel, name)
        return [label.text() for label in shown if label.isVisible() and label.text()]

    async def dialog(self) -> QDialog:
        """Wait for a dialog and return it."""
        return await wait_until(lambda: next((d for d in self.window.findChildren(QDialog) if d.isVisible()), None))

    async def join(self, **typed: Any) -> Page:
        """Fill the sheet in, submit it, and wait for the page of the room."""
        before = self.page
        self.sheet.fill(Typed(**{"server": self.server.address, "room": ROOM, "nick": "alice", **typed}))
        press(self.sheet, "Join")
        page = await wait_until(
            lambda: self.page if self.page is not before else None,
            lambda: (self.labels("error"), self.labels("muted")),
        )
        assert isinstance(page, Page)
        await self.shows("Here: ")
        return page

    async def shows(self, part: str) -> None:
        """Wait until the conversation shows something."""
        try:
            await wait_until(lambda: part in self.text)
        except AssertionError:
            raise AssertionError(f"no {part!r} in {self.text!r}") from None

    def say(self, text: str) -> None:
        """Type a message and press Enter."""
        assert self.page is not None
        self.page.composer.setFocus()
        self.page.composer.insertPlainText(text)
        QTest.keyClick(self.page.composer, Qt.Key.Key_Return)


def only(found: Any) -> Any:
    """Return the one thing in an iterable."""
    (thing,) = found
    return thing


def press(within: QWidget, text: str) -> None:
    """Press the button with a text, or an accessible name."""
    buttons = [b for b in within.findChildren(QAbstractButton) if b.isVisible()]
    chosen = only(b for b in buttons if text in {b.text().replace("&", ""), b.accessibleName()})
    QTest.mouseClick(chosen, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, QPoint(5, 5))


def key(widget: QWidget, name: str) -> None:
    """Press a key, or several, in a widget of the window that has the focus, as in ``Ctrl+F``."""
    widget.window().activateWindow()
    QApplication.processEvents()
    QTest.keySequence(widget, name)


@asynccontextmanager
async def open_desk(home: Home, server: ServerProgram, first: Typed | None = None) -> AsyncIterator[Desk]:
    """Open a window while the context is open."""
    with home.open_state() as state:
        desk = Desk(Window(home.profile, state, first or Typed()), server)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(desk.run)
            await wait_until(desk.window.isVisible)
            yield desk
            nursery.cancel_scope.cancel()
        desk.window.end()
        desk.window.deleteLater()
        QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
