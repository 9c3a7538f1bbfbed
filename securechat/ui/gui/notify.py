"""Telling somebody who looks elsewhere: the task bar, and a note on the desktop where there is a tray."""

from PySide6.QtWidgets import QApplication, QSystemTrayIcon, QWidget

from securechat.text import legible_line

_SHOWN_MS = 6000
_MARKUP = str.maketrans("<>&", "\u2039\u203a+")  # some desktops take a note for markup


class Notifier:
    """Tells of messages; what they say is not repeated outside the window, where others may see or log it."""

    def __init__(self, window: QWidget) -> None:
        self._window = window
        self._tray: QSystemTrayIcon | None = None
        if QSystemTrayIcon.isSystemTrayAvailable():
            self._tray = QSystemTrayIcon(window.windowIcon(), window)
            self._tray.setToolTip("securechat")
            self._tray.activated.connect(lambda _: self._raise())
            self._tray.messageClicked.connect(self._raise)
            self._tray.show()

    def tell(self, room: str, nick: str, *, is_urgent: bool) -> None:
        """Tell that ``nick`` wrote in ``room``; a note appears only for what is urgent."""
        QApplication.alert(self._window)
        if is_urgent and self._tray is not None:
            title, text = (legible_line(part).translate(_MARKUP) for part in (room, f"{nick} names you"))
            self._tray.showMessage(title, text, self._window.windowIcon(), _SHOWN_MS)

    def show_count(self, count: int) -> None:
        """Say on the tray and the program's icon how much is unread."""
        application = QApplication.instance()
        assert isinstance(application, QApplication)
        application.setBadgeNumber(count)
        if self._tray is not None:
            self._tray.setToolTip(f"securechat, {count} new" if count else "securechat")

    def close(self) -> None:
        """Take the icon out of the tray."""
        if self._tray is not None:
            self._tray.hide()

    def _raise(self) -> None:
        self._window.showNormal()
        self._window.raise_()
        self._window.activateWindow()
