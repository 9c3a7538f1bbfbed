"""What our client programs take: ``send`` reading a pipe, ``tail`` opening it all again, ``chat`` until it asks."""

import os
import pty
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from scripts.benchmarks.ours import Relay
from scripts.benchmarks.scenarios import Bench, Figures
from scripts.benchmarks.servers import Contender
from securechat.client.profile import Profile
from securechat.sealing.keys import SECRET_BYTES
from securechat.sealing.names import normalise_room
from securechat.transport.pins import format_pin

_ROOM: Final = "tea house"
_LINE: Final = "the kettle is on, and somebody left the door open again"
_PIPED: Final = 5000  # what a server takes of one connection at once
_PROMPT: Final = b"assphrase"


def measure(bench: Bench, contender: Contender) -> Figures:
    """Measure the clients against a server."""
    count = bench.size.count(_PIPED)
    with tempfile.TemporaryDirectory(prefix="securechat-bench-") as directory:
        home = Path(directory)
        with contender.run(home) as server:
            assert isinstance(server.dialect, Relay)
            profile = _make_profile(home / "profile")
            where = [f"127.0.0.1:{server.port}", "--room", _ROOM, "--profile", str(profile)]
            where += ["--pin", format_pin(server.dialect.pin)]
            piped = "".join(f"{number} {_LINE}\n" for number in range(count))
            sent = [_run(["send", *where, "--create"], piped)[0] for _ in range(2)]
            took, used, out = _run(["tail", *where, "--last", str(2 * count), "--no-follow"])
            if out.count(_LINE) != 2 * count:
                raise RuntimeError(f"tail showed {out.count(_LINE)} of {2 * count} messages")
            prompts = [_time_prompt(["chat", *where[:2], "another room", *where[3:]]) for _ in range(5)]
    return {
        "send rate": count / min(sent),
        "open rate": 2 * count / took,
        "open cpu": used / (2 * count) * 1e6,
        "prompt": min(prompts) * 1e3,
    }


def _make_profile(directory: Path) -> Path:
    """Make a profile that remembers the room's secret, so that no derivation is measured."""
    state = Profile(directory).open_state()
    try:
        state.set_secret(normalise_room(_ROOM), os.urandom(SECRET_BYTES))
    finally:
        state.close()
    return directory


def _command(arguments: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "securechat", *arguments]


def _run(arguments: Sequence[str], typed: str = "") -> tuple[float, float, str]:
    """Run a command; return how long it took, its CPU time, both in seconds, and what it printed."""
    before, start = _children(), time.monotonic()
    done = subprocess.run(_command(arguments), input=typed, capture_output=True, text=True, check=False)
    took = time.monotonic() - start
    if done.returncode:
        raise RuntimeError(f"{arguments[0]} exited with {done.returncode}: {done.stderr}")
    return took, _children() - before, done.stdout


def _children() -> float:
    times = os.times()
    return times.children_user + times.children_system


def _time_prompt(arguments: Sequence[str]) -> float:
    """Return the seconds from the start of a command on a terminal to its prompt for a passphrase."""
    start = time.monotonic()
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, _command(arguments))  # noqa: S606 - this very program
    shown = b""
    while _PROMPT not in shown:
        shown += os.read(terminal, 4096)
    took = time.monotonic() - start
    os.close(terminal)
    os.waitpid(pid, 0)
    return took
