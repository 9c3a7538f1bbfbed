"""The program around the window: Qt's application, its looks, and how it ends."""

import signal
import sys
from pathlib import Path

import trio
from PySide6.QtWidgets import QApplication

from securechat.client.profile import Profile
from securechat.ui.gui import theme
from securechat.ui.gui.entering import Typed
from securechat.ui.gui.guest import Guest
from securechat.ui.gui.icons import application_icon
from securechat.ui.gui.window import Window

_END_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


def run(directory: Path, first: Typed) -> None:
    """Show the window until it is closed.

    Args:
        directory: The profile.
        first: What is known already of the room to join; it is joined at once where nothing is missing.

    Raises:
        SecurechatError: The profile cannot be used.
        BaseException: A bug, or KeyboardInterrupt after Ctrl-C in the terminal.
    """
    profile = Profile(directory)
    state = profile.open_state()
    try:
        application = make_application()
        theme.choose_appearance(state.setting("appearance"))
        theme.apply()
        window = Window(profile, state, first)
        application.styleHints().colorSchemeChanged.connect(lambda _: window.refresh())
        try:
            Guest(application).run(lambda: _run_until_signal(window))
        finally:
            window.end()
            if window.waiting:
                sys.stderr.write(f"securechat: {window.waiting} messages were not sent.\n")
    finally:
        state.close()


def make_application() -> QApplication:
    """Return Qt's application, made once in a process."""
    made = QApplication.instance() or QApplication(["securechat"])
    assert isinstance(made, QApplication)
    made.setApplicationName("securechat")
    made.setApplicationDisplayName("securechat")
    made.setDesktopFileName("securechat")
    made.setQuitOnLastWindowClosed(False)
    made.setStyle("Fusion")
    made.setWindowIcon(application_icon())
    return made


async def _run_until_signal(window: Window) -> None:
    """Show the window until it is closed, or a signal ends it.

    Raises:
        KeyboardInterrupt: A signal did.
    """
    async with trio.open_nursery() as nursery:

        async def wait(*, task_status: trio.TaskStatus[None]) -> None:
            with trio.open_signal_receiver(*_END_SIGNALS) as signals:
                task_status.started()
                await anext(signals)
            raise KeyboardInterrupt

        await nursery.start(wait)
        await window.run()
        nursery.cancel_scope.cancel()
