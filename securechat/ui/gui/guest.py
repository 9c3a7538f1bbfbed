"""trio as a guest on Qt's loop: one thread runs both, and each wakes the other.

Widgets and conversations live in that one thread, so a slot may call a conversation, and a task may
change a widget. A slot never waits: it sets an event, or starts a task in a nursery.
"""

import sys
from collections.abc import Awaitable, Callable
from types import TracebackType

import outcome
import trio
from PySide6.QtCore import QObject, Qt, Signal, Slot
from PySide6.QtWidgets import QApplication


class _Host(QObject):
    """Calls functions on Qt's loop, whichever thread asks for it."""

    called = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.called.connect(self._call, Qt.ConnectionType.QueuedConnection)

    @Slot(object)
    def _call(self, function: Callable[[], object]) -> None:
        function()


class Guest:
    """Runs an async function as long as Qt's loop runs, and ends that loop with it."""

    def __init__(self, application: QApplication) -> None:
        self._application = application
        self._host = _Host()
        self._scope = trio.CancelScope()
        self._outcome: outcome.Outcome[None] | None = None
        self._bug: BaseException | None = None

    def run(self, main: Callable[[], Awaitable[None]]) -> None:
        """Run ``main`` to its end.

        A bug in a slot, which Qt could only print, cancels ``main`` and is raised here.

        Raises:
            BaseException: What ``main`` raised, as trio gives it.
        """
        before, sys.excepthook = sys.excepthook, self._note_bug
        try:
            trio.lowlevel.start_guest_run(
                self._run,
                main,
                run_sync_soon_threadsafe=self._host.called.emit,
                done_callback=self._finish,
                host_uses_signal_set_wakeup_fd=False,  # Qt uses none: trio's lets Ctrl-C wake the loop
            )
            while self._outcome is None:
                self._application.exec()
                self._scope.cancel()  # Qt was told to quit by others, such as a session that ends
        finally:
            sys.excepthook = before
        if self._bug is not None:
            raise self._bug
        self._outcome.unwrap()

    async def _run(self, main: Callable[[], Awaitable[None]]) -> None:
        with self._scope:
            await main()

    def _finish(self, result: "outcome.Outcome[None]") -> None:
        self._outcome = result
        self._application.exit()

    def _note_bug(self, _: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        self._bug = self._bug or error.with_traceback(traceback)
        self._scope.cancel()
