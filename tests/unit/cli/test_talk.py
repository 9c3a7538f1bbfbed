"""Where ``chat`` is held: on the full screen, or in lines."""

import importlib.util
import sys
from typing import Any

import pytest

from securechat.cli import talk


class Stream:
    def __init__(self, *, is_terminal: bool = True) -> None:
        self.is_terminal = is_terminal
        self.written = ""

    def isatty(self) -> bool:
        return self.is_terminal

    def write(self, text: str) -> None:
        self.written += text


def sit_at_a_terminal(monkeypatch: pytest.MonkeyPatch) -> dict[str, Stream]:
    """Replace the standard streams, in the test itself: pytest puts its own there after the fixtures."""
    made = {name: Stream() for name in ("stdin", "stdout", "stderr")}
    for name, stream in made.items():
        monkeypatch.setattr(sys, name, stream)
    monkeypatch.setenv("TERM", "xterm")
    return made


def test_a_terminal_has_the_full_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    streams = sit_at_a_terminal(monkeypatch)
    assert talk.has_screen()
    assert streams["stderr"].written == ""


@pytest.mark.parametrize("name", ["stdin", "stdout", "stderr"])
def test_a_pipe_has_none(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    streams = sit_at_a_terminal(monkeypatch)
    streams[name].is_terminal = False
    assert not talk.has_screen()


@pytest.mark.parametrize("terminal", ["dumb", ""])
def test_a_dumb_terminal_has_none(monkeypatch: pytest.MonkeyPatch, terminal: str) -> None:
    streams = sit_at_a_terminal(monkeypatch)
    monkeypatch.setenv("TERM", terminal)
    assert not talk.has_screen()
    assert streams["stderr"].written == ""


def test_where_only_the_package_is_lacking_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    streams = sit_at_a_terminal(monkeypatch)
    find = importlib.util.find_spec

    def lacks_textual(name: str) -> Any:
        return None if name == "textual" else find(name)

    monkeypatch.setattr(importlib.util, "find_spec", lacks_textual)
    assert not talk.has_screen()
    assert streams["stderr"].written.count("\n") == 1
    assert "pip install 'securechat[tui]'" in streams["stderr"].written
