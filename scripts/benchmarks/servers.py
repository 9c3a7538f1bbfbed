"""The servers that are measured: how each is started on a free port, with TLS 1.3 and its flood limits off."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from scripts.benchmarks.dialects import Dialect, Irc, Lines, Mqtt, Nats
from scripts.benchmarks.ours import Relay
from securechat.transport.certificates import make_pair
from securechat.transport.pins import parse_pin

_PATIENCE: Final = 20.0
_READY: Final = re.compile(rb"^ready \S+:(\d+) (sha256:\S+)", re.MULTILINE)

_NGIRCD: Final = """
[Global]
Name = irc.bench.test
Info = bench
AdminEMail = admin@bench.test
Listen = 127.0.0.1
Ports = 1
MotdPhrase = hello
PidFile = {directory}/pid
[Limits]
MaxConnections = 0
MaxConnectionsIP = 0
MaxJoins = 0
MaxPenaltyTime = 0
PingTimeout = 3600
[Options]
DNS = no
Ident = no
PAM = no
[SSL]
CertFile = {directory}/cert.pem
KeyFile = {directory}/key.pem
Ports = {port}
"""

_INSPIRCD: Final = """
<server name="irc.bench.test" description="bench" network="bench">
<admin name="a" nick="a" email="admin@bench.test">
<module name="ssl_gnutls">
<sslprofile name="tls" provider="gnutls" certfile="{directory}/cert.pem" keyfile="{directory}/key.pem"
    priority="NORMAL:-VERS-ALL:+VERS-TLS1.3">
<bind address="127.0.0.1" port="{port}" type="clients" sslprofile="tls">
<connect name="all" allow="*" maxchans="1000" timeout="60" pingfreq="3600" hardsendq="64M" softsendq="64M" recvq="1M"
    threshold="1000000" commandrate="1000000000" fakelag="no" localmax="100000" globalmax="100000"
    resolvehostnames="no" useident="no" maxconnwarn="no">
<performance softlimit="12800" somaxconn="1024" clonesonconnect="no" quietbursts="yes">
<pid file="{directory}/pid">
<log method="file" type="* -USERINPUT -USEROUTPUT" level="default" target="{directory}/log">
<options modesinlist="no">
"""

_MOSQUITTO: Final = """
listener {port} 127.0.0.1
certfile {directory}/cert.pem
keyfile {directory}/key.pem
tls_version tlsv1.3
allow_anonymous true
max_connections -1
max_queued_messages 0
persistence false
user root
set_tcp_nodelay true
log_type error
"""

_NATS: Final = """
listen: "127.0.0.1:{port}"
tls {{ cert_file: "{directory}/cert.pem", key_file: "{directory}/key.pem", timeout: 20 }}
ping_interval: "1h"
max_connections: 100000
"""


class Running(NamedTuple):
    """A server that takes connections."""

    pid: int
    port: int
    dialect: Dialect


@dataclass(frozen=True)
class Contender:
    """A server that can be measured.

    Attributes:
        name: Its name in the command line and in tables.
        about: What it is, for the notes under the table.
        program: What has to be installed; None for what this checkout has.
        command: Returns its command line for a directory with ``cert.pem``, ``key.pem`` and a port.
        dialect: What it speaks; None for ours.
    """

    name: str
    about: str
    program: str | None
    command: Callable[[Path, int], list[str]]
    dialect: Callable[[], Dialect] | None

    @property
    def is_ours(self) -> bool:
        """Whether it is this checkout's server."""
        return self.dialect is None

    @property
    def path(self) -> str | None:
        """Where its program is; None if it is not installed."""
        return find(self.program) if self.program else sys.executable

    @contextmanager
    def run(self, directory: Path) -> Iterator[Running]:
        """Start it in an empty directory, wait until it takes connections, and end it."""
        make_pair(directory, ["localhost", "127.0.0.1"])
        port = _free_port()
        with (directory / "output").open("wb") as output:
            # with every time zone, locale and limit as this process has it; in a group of its own, to end all of it
            process = subprocess.Popen(
                self.command(directory, port), stdin=subprocess.DEVNULL, stdout=output, stderr=output, process_group=0
            )
        try:
            yield self._await(process, directory / "output", port)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _await(self, process: subprocess.Popen[bytes], output: Path, port: int) -> Running:
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.02)
            if self.dialect is None:
                if match := _READY.search(output.read_bytes()):
                    return Running(process.pid, int(match[1]), Relay(parse_pin(match[2].decode())))
            elif _listens(port):
                return Running(process.pid, port, self.dialect())
        said = output.read_text(errors="replace")[-2000:]
        raise RuntimeError(f"{self.name} did not start: {said}")


def find(program: str) -> str | None:
    """Return where a program is installed, also where only administrators look."""
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def _listens(port: int) -> bool:
    """Tell whether a port is listened on, without a connection: some servers take count of those that say nothing."""
    wanted = f"0100007F:{port:04X}"
    rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    return any(row[1] == wanted and row[3] == "0A" for row in rows)


def _configured(program: str, text: str, *arguments: str) -> Callable[[Path, int], list[str]]:
    """Return what makes a command line of ``arguments``, in which FILE is the configuration file."""

    def command(directory: Path, port: int) -> list[str]:
        file = directory / "configuration"
        file.write_text(text.format(directory=directory, port=port))
        path = find(program)
        assert path is not None, "only what is installed is started"
        return [path, *(str(file) if argument == "FILE" else argument for argument in arguments)]

    return command


def _ours(*options: str) -> Callable[[Path, int], list[str]]:
    def command(directory: Path, _port: int) -> list[str]:
        own = ["--host", "127.0.0.1", "--port", "0", "--data", str(directory / "data")]
        pair = ["--cert", str(directory / "cert.pem"), "--key", str(directory / "key.pem")]
        return [sys.executable, "-m", "securechat", "server", *own, *pair, *options]

    return command


def _naive(_directory: Path, port: int) -> list[str]:
    return [sys.executable, "-m", "scripts.benchmarks.naive", str(port)]


CONTENDERS: Final = (
    Contender("securechat", "this server as it comes: every message on disk before its delivery", None, _ours(), None),
    Contender("securechat --memory", "this server, messages in memory only", None, _ours("--memory"), None),
    Contender("ngircd", "IRC, C", "ngircd", _configured("ngircd", _NGIRCD, "-n", "-f", "FILE"), Irc),
    Contender(
        "inspircd",
        "IRC, C++",
        "inspircd",
        _configured("inspircd", _INSPIRCD, "--nofork", "--runasroot", "--config", "FILE"),
        Irc,
    ),
    Contender("mosquitto", "MQTT at QoS 0, C", "mosquitto", _configured("mosquitto", _MOSQUITTO, "-c", "FILE"), Mqtt),
    Contender("nats-server", "NATS, Go", "nats-server", _configured("nats-server", _NATS, "-c", "FILE"), Nats),
    Contender("naive threads", "a Python thread for each connection, no TLS", None, _naive, Lines),
)
