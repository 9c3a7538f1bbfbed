"""A signal at any moment of a start ends a server, also where it is the first process of a container."""

import os
import shutil
import signal
import subprocess
import sys

import pytest

from tests.support.patience import PATIENCE
from tests.support.programs import READY, Home, Program, Result

# Sends itself a signal the first time that something happens: a module is imported, a file opened, a port bound.
CODE = """
import os, sys
number, event, part = int(sys.argv.pop(1)), sys.argv.pop(1), sys.argv.pop(1)

def watch(happened, details):
    global number
    if number and happened == event and any(part in str(detail) for detail in details):
        sent, number = number, 0
        os.kill(os.getpid(), sent)

sys.addaudithook(watch)
from securechat.__main__ import main
main()
"""
MOMENTS = [
    ("import", "securechat.cli"),
    ("import", "cryptography"),
    ("open", "lock"),
    ("sqlite3.connect", "history.sqlite"),
    ("socket.bind", "127.0.0.1"),
]
INSIDE = ("unshare", "--pid", "--fork", "--kill-child")


def is_possible() -> bool:
    """Tell whether a process can be the first one of a namespace."""
    if not shutil.which("unshare") or os.geteuid() != 0:
        return False
    return subprocess.run((*INSIDE, "true"), capture_output=True, check=False).returncode == 0


contained = pytest.mark.skipif(not is_possible(), reason="needs root and unshare")


def start(box: Home, number: int, moment: tuple[str, str], *before: str) -> Result:
    """Start a server that gets a signal at a moment, and return how it ended."""
    data = str(box.directory / "server")
    line = (*before, sys.executable, "-c", CODE, str(number), *moment)
    with Program((*line, "server", "--host", "127.0.0.1", "--port", "0", "--data", data), box.env) as program:
        program.process.wait(PATIENCE)
        return program.finish()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("before", [(), pytest.param(INSIDE, marks=contained)], ids=["any", "first"])
def test_a_signal_during_the_start_is_never_lost(box: Home, number: signal.Signals, before: tuple[str, ...]) -> None:
    for moment in MOMENTS:
        result = start(box, number, moment, *before)
        assert result.code in {0, 128 + number, -number}, moment
        assert "Traceback" not in result.err
        assert "internal" not in result.err
    with box.serve() as server:
        assert server.stop().code == 0


@pytest.mark.parametrize("before", [(), pytest.param(INSIDE, marks=contained)], ids=["any", "first"])
def test_a_blocked_signal_from_before_the_start_is_kept(box: Home, before: tuple[str, ...]) -> None:
    line = (*before, "env", "--block-signal=TERM", "sh", "-c", 'kill -TERM $$; exec "$@"', "sh", *box.command, "server")
    with Program((*line, "--data", str(box.directory / "server")), box.env) as program:
        program.process.wait(PATIENCE)
        result = program.finish()
    assert result.code in {128 + signal.SIGTERM, -signal.SIGTERM}
    assert (result.out, result.err) == ("", "")


def test_a_signal_that_is_ignored_stays_so(box: Home) -> None:
    """As a shell has it for what it starts in the background; SIGTERM ends it then."""

    def ignore() -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    data = str(box.directory / "server")
    line = (sys.executable, "-c", CODE, str(int(signal.SIGINT)), "import", "click")
    arguments = ("server", "--host", "127.0.0.1", "--port", "0", "--data", data)
    with Program((*line, *arguments), box.env, preexec_fn=ignore) as server:
        server.wait_for(READY.pattern)
        assert server.stop().code == 0


def test_an_interrupted_start_of_a_client_is_quiet(box: Home) -> None:
    line = (sys.executable, "-c", CODE, str(int(signal.SIGINT)), "import", "click", "passphrase")
    with Program(line, box.env) as program:
        assert program.finish() == (130, "", "")
