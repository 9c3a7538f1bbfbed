"""Windows in this process: Qt draws off the screen, and a task of trio runs its events."""

import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import pytest
import trio

from securechat.errors import SecurechatError
from securechat.ui.gui import display
from tests.support.programs import Home, ServerProgram, member_home

if TYPE_CHECKING:
    from PySide6.QtWidgets import QApplication

    from tests.support.desk import Desk

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")


def _missing() -> str:
    """Return why there can be no windows here; empty where there can."""
    try:
        display.check()
    except SecurechatError as error:
        return str(error)
    return ""


MISSING = _missing()
if MISSING and os.environ.get("REQUIRE_WINDOWS"):
    raise RuntimeError(MISSING)


class _LeftOut(pytest.Module):
    """A module that is not imported, because Qt is not there."""

    def collect(self) -> Any:
        pytest.skip(f"no windows here: {MISSING}", allow_module_level=True)


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    """Leave the tests of windows out, with the reason, where Qt cannot be loaded."""
    return _LeftOut.from_parent(parent, path=module_path) if MISSING else None


@pytest.fixture(scope="session")
def application() -> "QApplication":
    """Qt's application."""
    from securechat.ui.gui import theme
    from securechat.ui.gui.application import make_application

    made = make_application()
    theme.choose_appearance("light")
    theme.apply()
    return made


@pytest.fixture
def no_bugs() -> Iterator[None]:
    """Fail when a slot raised, which Qt only prints."""
    bugs: list[BaseException] = []

    def note(_: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        bugs.append(error.with_traceback(traceback))

    before, sys.excepthook = sys.excepthook, note
    yield
    sys.excepthook = before
    if bugs:
        raise bugs[0]


@pytest.fixture
async def qt(application: "QApplication", no_bugs: None, nursery: trio.Nursery) -> Callable[[], None]:
    """Qt's events, run while the test waits; called, they are run at once."""
    from PySide6.QtCore import QCoreApplication, QEvent

    def run_events() -> None:
        application.processEvents()
        QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)

    async def pump() -> None:
        while True:
            run_events()
            await trio.sleep(0.002)

    nursery.start_soon(pump)
    return run_events


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProgram]:
    """A running server."""
    (tmp_path / "box").mkdir()
    with Home(tmp_path / "box").serve() as running:
        yield running


@pytest.fixture
def home(tmp_path: Path, server: ServerProgram) -> Home:
    """The machine of somebody who knows the server and the room's secret."""
    return member_home(tmp_path / "member", server)


@pytest.fixture
async def desk(qt: Callable[[], None], home: Home, server: ServerProgram) -> AsyncIterator["Desk"]:
    """A window of somebody who knows the server and the room's secret, with the sheet in it."""
    from tests.support.desk import open_desk

    async with open_desk(home, server) as running:
        yield running
