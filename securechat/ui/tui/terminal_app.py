"""What any program on the full screen owes its terminal: to give it back, whatever happens."""

import os
import signal
import sys
from typing import ClassVar

from textual.app import App
from textual.binding import Binding, BindingType
from textual.driver import Driver

from securechat.ui.tui.patient_file import PatientFile

_PUSH_TITLE = "\x1b[22;2t"  # as xterm has it: the window gets its title back at the end
_POP_TITLE = "\x1b[23;2t"


class TerminalApp(App[None]):
    """A textual app that leaves nothing behind.

    Attributes:
        failure: The error of our own that ended the screen.
    """

    TITLE = "securechat"
    ENABLE_COMMAND_PALETTE = False
    ALLOW_SELECT = False
    BINDINGS: ClassVar[list[BindingType]] = [
        # Textual's own are put out of the way: the input obeys all keys, in the order in which they come.
        Binding("ctrl+c", "ask_to_leave", show=False),
        Binding("ctrl+q", "ask_to_leave", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.failure: Exception | None = None
        self._has_title = False

    def set_terminal_title(self, text: str) -> None:
        """Set the title of the terminal's window, which textual has no call for.

        Args:
            text: Without control characters.
        """
        if self._driver is not None and not self.is_headless:
            push = "" if self._has_title else _PUSH_TITLE
            self._has_title = True
            self._driver.write(f"{push}\x1b]2;{text}\x07")

    def suspend_job(self) -> None:
        """Suspend, as the terminal would: the whole job, also a script that has started this program.

        The terminal is given back first: the shell takes it as soon as its job stops.
        """
        if self._driver is None or not self._driver.can_suspend:
            return
        with self.suspend():
            handler = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
            os.killpg(os.getpgrp(), signal.SIGTSTP)
            signal.signal(signal.SIGTSTP, handler)

    def _handle_exception(self, error: Exception) -> None:
        """Leave without textual's own report, which shows the values of variables: messages may be among them."""
        self.failure = self.failure or error
        super()._handle_exception(error)
        self._exit_renderables.clear()

    def _build_driver(self, headless: bool, inline: bool, mouse: bool, size: tuple[int, int] | None) -> Driver:
        """Let the thread that writes outlive the terminal: without it, the next write waits for ever."""
        driver = super()._build_driver(headless, inline, mouse, size)
        if (file := getattr(driver, "_file", None)) is not None:
            driver._file = PatientFile(file)  # type: ignore[attr-defined]
        return driver

    async def run_to_end(self) -> None:
        """Run until somebody leaves.

        Raises:
            Exception: The screen failed; the terminal is as it was before.
        """
        await self.run_async()
        if self._has_title and sys.__stderr__ is not None:
            terminal = PatientFile(sys.__stderr__)
            terminal.write(_POP_TITLE)
            terminal.flush()
        if self.failure is not None:
            raise self.failure
