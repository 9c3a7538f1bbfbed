"""Machines with one family of addresses, in network namespaces: what is announced can be connected to."""

import os
import shutil
import subprocess

import pytest

from securechat.transport.certificates import Pair
from tests.support.programs import READY, Home, Program

HOSTS = "127.0.0.1 localhost\n::1 localhost\n"  # as Docker writes it
LOOPBACK = "ip link set lo up"
NO_IPV6 = f"{LOOPBACK}; for f in all lo; do echo 1 > /proc/sys/net/ipv6/conf/$f/disable_ipv6; done"
ONLY_IPV6 = f"{LOOPBACK}; ip addr add 2001:db8::7/64 dev lo nodad; ip route add default dev lo"
TRY = ("unshare", "--net", "--mount", "sh", "-ec", f"{NO_IPV6}; mount --bind /etc/hosts /etc/hosts")


def is_possible() -> bool:
    """Tell whether namespaces can be made: with root's rights and util-linux and iproute2, on Linux."""
    if not all(map(shutil.which, ("unshare", "nsenter", "ip"))) or os.geteuid() != 0:
        return False
    return subprocess.run(TRY, capture_output=True, check=False).returncode == 0


pytestmark = pytest.mark.skipif(not is_possible(), reason="needs root, unshare, nsenter and ip")


class Machine:
    """A machine of its own: a server runs on it, and commands beside it."""

    def __init__(self, home: Home, network: str) -> None:
        hosts = home.directory / "hosts"
        hosts.write_text(HOSTS)
        setup = f'{network}; mount --bind {hosts} /etc/hosts; exec "$@"'
        self._home = home
        self._enter = ("unshare", "--net", "--mount", "sh", "-ec", setup, "sh")

    def serve(self, *arguments: str) -> Program:
        """Start a server, which may fail."""
        data = str(self._home.directory / "server")
        line = (*self._enter, *self._home.command, "server", "--data", data, *arguments)
        return Program(line, self._home.env)

    def is_well(self, server: Program) -> bool:
        """Tell whether the announced line leads to the server, beside it."""
        line = server.wait_for(r"^Join with: securechat chat '(\S+)' --room ROOM$")[1]
        beside = ("nsenter", f"--target={server.process.pid}", "--net", "--mount")
        with Program((*beside, *self._home.command, "doctor", line), self._home.env) as doctor:
            return doctor.finish().code == 0


@pytest.mark.parametrize("port", ["0", "17443"])
def test_localhost_is_served_where_ipv6_is_off(box: Home, port: str) -> None:
    machine = Machine(box, NO_IPV6)
    others = ("--metrics", "localhost:9101", "--compat", "localhost:12345")
    with machine.serve("--host", "localhost", "--port", port, *others) as server:
        assert server.wait_for(READY.pattern)[1] == "localhost"
        assert machine.is_well(server)
        assert "metrics are at http://127.0.0.1:9101/metrics" in server.err
        assert "old programs are served on 127.0.0.1:12345" in server.err


@pytest.mark.parametrize("option", ["--host", "--metrics", "--compat"])
def test_an_ipv6_address_where_ipv6_is_off_is_told(box: Home, option: str) -> None:
    where = "[::1]" if option == "--host" else "[::1]:9101"
    with Machine(box, NO_IPV6).serve("--port", "0", option, where) as server:
        result = server.finish()
    assert (result.code, result.out) == (1, "")
    said = f"securechat: ::1 is no address of this machine. Give one of its addresses with {option}."
    assert result.err.splitlines()[-1] == said


@pytest.mark.parametrize("arguments", [(), ("--host", "::")])
def test_a_machine_with_ipv6_alone_announces_its_address(box: Home, arguments: tuple[str, ...]) -> None:
    machine = Machine(box, ONLY_IPV6)
    with machine.serve("--port", "0", *arguments) as server:
        assert server.wait_for(READY.pattern)[1] == "[2001:db8::7]"
        assert machine.is_well(server)
    own = box.directory / "server"
    assert "2001:db8::7" in Pair(own / "cert.pem", own / "key.pem").read_leaf().names


def test_what_is_served_in_ipv4_alone_is_not_announced_by_ipv6(box: Home) -> None:
    machine = Machine(box, ONLY_IPV6)
    with machine.serve("--port", "0", "--host", "0.0.0.0") as server:  # noqa: S104
        assert server.wait_for(READY.pattern)[1] == "localhost"
        assert machine.is_well(server)
