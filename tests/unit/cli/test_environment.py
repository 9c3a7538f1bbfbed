"""A secret of the environment is used once, and then not there to be inherited or read."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from securechat.cli.environment import withdraw

CODE = """
import os, pathlib, subprocess, sys
from securechat.cli.environment import withdraw
own = pathlib.Path("/proc/self/environ")
before = own.read_bytes() if own.exists() else b"SECRET=tea \\xff house\\0"
assert b"SECRET=tea \\xff house\\0" in before
assert os.fsencode(withdraw("SECRET")) == b"tea \\xff house"
after = own.read_bytes() if own.exists() else b""
assert b"tea" not in after, after
assert len(after) in {0, len(before)}
assert b"SECRETARY=stays\\0" in after or not after
assert os.environ["SECRETARY"] == "stays"
assert withdraw("SECRET") is None
child = subprocess.run([sys.executable, "-c", "import os; print(dict(os.environb))"], capture_output=True, check=True)
assert b"SECRETARY" in child.stdout and b"tea" not in child.stdout
"""


def test_a_secret_is_returned_once_and_is_gone() -> None:
    env = {b"SECRET": b"tea \xff house", b"SECRETARY": b"stays", b"PYTHONPATH": os.fsencode(Path.cwd())}
    done = subprocess.run([sys.executable, "-c", CODE], env=env, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("error", [OSError, ValueError, ImportError])
def test_where_memory_cannot_be_written_it_is_not_inherited(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def refuse(_: object) -> None:
        raise error

    monkeypatch.setattr("ctypes.CDLL", refuse)
    monkeypatch.setenv("SECRET", "tea house")
    assert withdraw("SECRET") == "tea house"
    assert "SECRET" not in os.environ


@pytest.mark.parametrize("value", ["", "\u8336", "x" * 100_000])
def test_a_secret_of_any_length_is_withdrawn(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("SECRET", value)
    assert withdraw("SECRET") == value
    assert withdraw("SECRET") is None
