"""What a server inherits when it starts: it works with that, or says one sentence."""

import os
import resource
import socket
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.patience import PATIENCE
from tests.support.programs import READY, Home, Program


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """A service manager, which is told when the server is ready."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(PATIENCE)
        yield manager


def command(box: Home) -> tuple[str, ...]:
    data = str(box.directory / "server")
    return (*box.command, "server", "--host", "127.0.0.1", "--port", "0", "--data", data)


@pytest.mark.parametrize(
    "env",
    [
        {"LC_ALL": "xx_YY.nope", "LANG": "xx", "TERM": "", "TZ": "no/such:zone"},
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "PYTHONIOENCODING": "latin-1:strict"},
        {"NOTIFY_SOCKET": "@"},
        {"NOTIFY_SOCKET": "/dev/null"},
        {"NOTIFY_SOCKET": "x" * 300},
        {"SECURECHAT_PORT_7443_TCP": "tcp://10.96.0.12:7443", "SECURECHAT_SERVICE_HOST": "10.96.0.12"},
    ],
    ids=["locale", "ascii", "abstract", "no-socket", "long-socket", "kubernetes"],
)
def test_odd_variables_keep_no_server_from_starting(box: Home, env: dict[str, str]) -> None:
    with Program(command(box), box.env | env) as server:
        server.wait_for(READY.pattern)
        result = server.stop()
    assert result.code == 0
    assert len(result.err.splitlines()) == 1, "that it stopped"


def test_a_service_link_is_ignored_with_one_warning(box: Home) -> None:
    box.env["SECURECHAT_HOST"] = "tcp://10.96.0.12:7443"
    line = (*box.command, "server", "--port", "0", "--memory", "--data", str(box.directory))
    with Program(line, box.env) as server:
        server.wait_for(READY.pattern)
        warnings = [line for line in server.stop().err.splitlines() if "tcp://10.96.0.12:7443" in line]
    assert len(warnings) == 1
    assert "SECURECHAT_HOST in the environment" in warnings[0]


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_keep_no_server_from_starting(
    box: Home, manager: socket.socket, closed: str, tmp_path: Path
) -> None:
    box.env["NOTIFY_SOCKET"] = str(tmp_path / "notify")
    with Program(("sh", "-c", f'exec "$@" {closed}', "sh", *command(box)), box.env) as server:
        assert manager.recv(100) == b"READY=1"
        assert server.stop().code == 0


def test_a_service_manager_that_does_not_read_holds_nothing_up(
    box: Home, manager: socket.socket, tmp_path: Path
) -> None:
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as another:
        another.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                another.sendto(b"x", path)
    with Program(command(box), box.env | {"NOTIFY_SOCKET": path}) as server:
        server.wait_for(READY.pattern)
        assert server.stop().code == 0


@pytest.mark.parametrize("mask", [0o777, 0o277, 0])
def test_what_is_made_is_private_and_usable_with_any_umask(box: Home, mask: int) -> None:
    with box.serve(preexec_fn=lambda: os.umask(mask)) as server:
        assert server.stop().code == 0
    made = [server.data, *server.data.iterdir()]
    assert len(made) > 3
    for path in made:
        mode = stat.S_IMODE(path.stat().st_mode)
        wanted = {"cert.pem": 0o644, "server": 0o700}.get(path.name, 0o600)
        assert mode == wanted, path


@pytest.mark.parametrize(
    ("kind", "most", "said"),
    [
        (resource.RLIMIT_NOFILE, 12, "This system gives 12 file descriptors, and a server needs 32 or more."),
        (resource.RLIMIT_NOFILE, 31, "This system gives 31 file descriptors, and a server needs 32 or more."),
        (resource.RLIMIT_FSIZE, 0, "File too large."),
    ],
)
def test_limits_that_are_too_low_are_one_sentence(box: Home, kind: int, most: int, said: str) -> None:
    # Whoever measures coverage could not write down what it found, and would say so, too.
    env = {name: value for name, value in box.env.items() if not name.startswith("COV")}
    with Program(command(box), env, preexec_fn=lambda: resource.setrlimit(kind, (most, most))) as server:
        result = server.finish()
    assert (result.code, result.out) == (1, "")
    (line,) = result.err.splitlines()
    assert line.startswith("securechat: ")
    assert said in line


def test_with_the_fewest_descriptors_a_server_starts(box: Home) -> None:
    with box.serve(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))) as server:
        assert server.stop().code == 0
