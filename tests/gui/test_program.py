"""``securechat gui`` as a program: how it begins, how it ends, and a screen on which it is really seen."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.patience import PATIENCE, until
from tests.support.programs import ROOM, Home, Program, ServerProgram

OFFSCREEN = {"QT_QPA_PLATFORM": "offscreen"}


def test_without_a_screen_it_says_so(home: Home) -> None:
    env = dict.fromkeys(("DISPLAY", "WAYLAND_DISPLAY"), "")
    home.env.pop("QT_QPA_PLATFORM", None)
    result = home.run("gui", env=env)
    assert (result.code, result.out) == (1, "")
    assert result.err == "securechat: There is no screen to show a window on. Use: securechat chat\n"


def test_a_screen_that_cannot_be_used_is_named(home: Home) -> None:
    home.env.pop("QT_QPA_PLATFORM", None)
    result = home.run("gui", env={"DISPLAY": ":4094", "WAYLAND_DISPLAY": ""})
    assert result.code == 1
    assert result.err == "securechat: The screen :4094 cannot be used. Set DISPLAY to one that can.\n"


def test_without_the_extra_it_says_how_to_get_it(home: Home) -> None:
    hidden = (
        "import sys, importlib.machinery as m\n"
        "find = m.PathFinder.find_spec\n"
        "m.PathFinder.find_spec = classmethod(lambda c, n, *a: None if n == 'PySide6' else find(n, *a))\n"
        "from securechat.cli import run\n"
        "sys.exit(run(['gui']))\n"
    )
    with Program((sys.executable, "-c", hidden), home.env) as program:
        result = program.finish()
    assert result.code == 1
    assert result.err == (
        "securechat: The desktop client is not installed. Install it: pip install 'securechat[gui]'; "
        "or use: securechat chat\n"
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_in_order(home: Home, server: ServerProgram, number: int) -> None:
    home.send(server, "--create", "hello")
    with home.start("gui", server.address, "--room", ROOM, env=OFFSCREEN) as program:
        server.wait_for("joined 127.0.0.1 .*, members 1, connections 1", "err")
        result = program.stop(number)
    assert result.code == 130
    assert result.err == ""
    server.wait_for("left 127.0.0.1", "err")


def test_what_was_not_sent_is_told_when_a_signal_ends_it(home: Home, server: ServerProgram) -> None:
    typing = (
        "import os, sys\n"
        "from PySide6.QtCore import QTimer\n"
        "from securechat.ui.gui import window\n"
        "show = window.Window._add_talk\n"
        "def add(self, conversation):\n"
        "    talk = show(self, conversation)\n"
        "    conversation._visit = None\n"
        "    conversation.say('never sent')\n"
        "    QTimer.singleShot(0, lambda: os.kill(os.getpid(), 2))\n"
        "    return talk\n"
        "window.Window._add_talk = add\n"
        "from securechat.cli import run\n"
        f"sys.exit(run(['gui', '{server.address}', '--room', '{ROOM}']))\n"
    )
    home.send(server, "--create", "hello")
    with Program((sys.executable, "-c", typing), {**home.env, **OFFSCREEN}) as program:
        result = program.finish()
    assert (result.code, result.err) == (130, "securechat: 1 messages were not sent.\n")


def test_a_bug_in_a_slot_ends_it_loudly(home: Home) -> None:
    buggy = (
        "import sys\n"
        "from PySide6.QtCore import QTimer\n"
        "from securechat.ui.gui import window\n"
        "show = window.Window.open_sheet\n"
        "def open_sheet(self):\n"
        "    show(self)\n"
        "    QTimer.singleShot(0, lambda: 1 / 0)\n"
        "window.Window.open_sheet = open_sheet\n"
        "from securechat.cli import run\n"
        "sys.exit(run(['--debug', 'gui']))\n"
    )
    with Program((sys.executable, "-c", buggy), {**home.env, **OFFSCREEN}) as program:
        result = program.finish()
    assert result.code == 1
    assert "ZeroDivisionError" in result.err


# On a screen


@pytest.fixture
def screen() -> Iterator[str]:
    """A screen that nobody sees: its DISPLAY."""
    if not shutil.which("Xvfb") or not shutil.which("xdotool"):
        if os.environ.get("REQUIRE_WINDOWS"):
            raise RuntimeError("Xvfb and xdotool are not installed.")
        pytest.skip("Xvfb and xdotool are not installed")
    reader, writer = os.pipe()
    line = ("Xvfb", "-displayfd", str(writer), "-screen", "0", "1024x768x24", "-nolisten", "tcp")
    with subprocess.Popen(line, pass_fds=(writer,), stderr=subprocess.DEVNULL) as server:
        os.close(writer)
        with os.fdopen(reader, encoding="ascii") as numbers:
            yield f":{numbers.readline().strip()}"
        server.terminate()


def test_it_is_seen_on_a_screen_and_obeys_the_keyboard(
    home: Home, server: ServerProgram, screen: str, tmp_path: Path
) -> None:
    env = {"DISPLAY": screen, "WAYLAND_DISPLAY": "", "QT_QPA_PLATFORM": "xcb"}
    home.send(server, "--create", "--nick", "alice", "hello")

    def tool(*arguments: str) -> str:
        line, there = ("xdotool", *arguments), {**os.environ, **env}
        done = subprocess.run(line, check=False, env=there, capture_output=True, text=True, timeout=PATIENCE)
        return done.stdout.strip()

    with home.start("gui", server.address, "--room", ROOM, env=env) as program:
        # xdotool's own ways to wait give up, or never return, when a window comes or goes while they look.
        window = until(lambda: tool("search", "--onlyvisible", "--name", "tea house"))
        until(lambda: (tool("windowfocus", window), tool("getwindowfocus"))[1] == window)
        tool("type", "typed on a screen")
        tool("key", "Return")
        until(lambda: "typed on a screen" in home.tail(server).out)
        picture = tmp_path / "screen.png"
        grab = (
            "import sys\n"
            "from PySide6.QtGui import QGuiApplication\n"
            "app = QGuiApplication([])\n"
            "image = app.primaryScreen().grabWindow(0).toImage()\n"
            "print(len({image.pixel(x, y) for x in range(0, 1000, 3) for y in range(0, 700, 3)}))\n"
            f"image.save({str(picture)!r})\n"
        )
        with Program((sys.executable, "-c", grab), {**home.env, **env}) as photograph:
            colours = int(photograph.finish().out)
        assert colours > 30  # a window with text in it, and no empty screen
        tool("key", "ctrl+q")
        assert program.finish().code == 0
