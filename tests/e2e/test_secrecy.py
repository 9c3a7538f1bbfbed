"""What a server has of what members say: every byte that it writes is searched for it."""

import base64
import re
import threading
import urllib.parse
from pathlib import Path
from typing import Self

import pytest
import trio

from securechat.sealing.names import normalise_room
from securechat.transport.certificates import Pair
from securechat.transport.tls import ServerTls, client_context
from tests.support.patience import PATIENCE
from tests.support.programs import PASSPHRASE, ROOM, Home, Program, ServerProgram, member_home

SAID = ("meet me at the old lighthouse", "bring the green umbrella", "never mind the weather")
NICKS = ("aliceliddell", "bobthebuilder")
_TELLING = 5  # bytes: a shorter piece of a short word is in any certificate by chance
SECRETS = (*SAID, *NICKS, ROOM, normalise_room(ROOM), PASSPHRASE, *PASSPHRASE.split())


def disguises(secret: str) -> set[bytes]:
    """Return what a secret may look like when it is stored or sent carelessly."""
    plain = {secret, secret.upper(), secret.casefold(), urllib.parse.quote(secret)}
    found = {text.encode(code) for text in plain for code in ("utf-8", "utf-16-le", "utf-16-be")}
    for raw in (secret.encode(), secret.casefold().encode()):
        found |= {raw.hex().encode(), raw.hex().upper().encode(), raw[::-1]}
        # base64 of a text that contains the secret, at each of the three offsets
        for offset in range(3):
            encoded = base64.b64encode(bytes(offset) + raw).rstrip(b"=")
            found.add(encoded[4 if offset else 0 : -1][1:])
    return {disguise for disguise in found if len(disguise) >= _TELLING}


class Wiretap:
    """Stands between a member and the server with the server's own key, and records what the server says inside TLS."""

    def __init__(self, server: ServerProgram) -> None:
        self._target = server.port
        self._pair = Pair(server.data / "cert.pem", server.data / "key.pem")
        self.port = 0
        self.recorded = bytearray()
        self._is_listening = threading.Event()
        self._thread = threading.Thread(target=trio.run, args=(self._run,))

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._is_listening.wait(PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        trio.from_thread.run_sync(self._scope.cancel, trio_token=self._token)
        self._thread.join(10)

    async def _run(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.port = listener.socket.getsockname()[1]
        with trio.CancelScope() as self._scope:
            self._is_listening.set()
            await trio.serve_listeners(self._relay, [listener])

    async def _relay(self, stream: trio.SocketStream) -> None:
        near = trio.SSLStream(stream, ServerTls.load(self._pair).context, server_side=True)
        far = await trio.open_ssl_over_tcp_stream(
            "127.0.0.1", self._target, ssl_context=client_context(verify=False), https_compatible=False
        )
        async with near, far, trio.open_nursery() as nursery:
            nursery.start_soon(self._pump, near, far, None)
            await self._pump(far, near, self.recorded)
            nursery.cancel_scope.cancel()

    async def _pump(self, source: trio.abc.Stream, sink: trio.abc.Stream, record: bytearray | None) -> None:
        try:
            while data := await source.receive_some():
                if record is not None:
                    record += data
                await sink.send_all(data)
            await sink.aclose()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return


def talk(tmp_path: Path, server: ServerProgram, through: str) -> None:
    """Let two members talk, one of them through the relay, and come back later."""
    alice, bob = (member_home(tmp_path / nick, server) for nick in NICKS)
    env = {"SECURECHAT_PASSPHRASE": PASSPHRASE}
    pin = ("--pin", server.pin, "--plain", "--room", ROOM)
    with (
        alice.chat(server, NICKS[0], "--create") as one,
        bob.start("chat", through, *pin, "--nick", NICKS[1], env=env) as two,
    ):
        one.wait_for(rf"{NICKS[1]}\S* joined")
        one.write(SAID[0] + "\n")
        two.wait_for(SAID[0])
        two.write(f"{SAID[1]}\n/me {SAID[2]}\n/nick {NICKS[1]}2\n")
        one.wait_for(SAID[2])
        one.wait_for(r"is now called")
        assert two.finish().code == 0
        assert one.finish().code == 0
    result = bob.run("tail", through, *pin[:2], "--room", ROOM, "--no-follow", env=env)
    assert all(said in result.out for said in SAID)


def test_nothing_that_it_writes_holds_a_text_a_nickname_a_room_name_or_a_passphrase(tmp_path: Path, box: Home) -> None:
    log = tmp_path / "access.log"
    with box.serve("--access-log", str(log)) as server:
        with Wiretap(server) as wiretap:
            talk(tmp_path, server, f"127.0.0.1:{wiretap.port}")
        disk = {path: path.read_bytes() for path in server.data.rglob("*") if path.is_file()}
        server.stop()
        disk |= {path: path.read_bytes() for path in server.data.rglob("*") if path.is_file()}
        written = {"access log": log.read_bytes(), "console": server.raw, "wire": bytes(wiretap.recorded)}
    assert {path.name for path in disk} >= {"history.sqlite", "history.sqlite-wal", "cert.pem", "key.pem"}
    assert all(written.values())
    assert wiretap.recorded.startswith((49).to_bytes(4, "big") + b"\1"), "a WELCOME, in the clear"
    assert len(written["wire"]) > 10 * 329, "every message and presence"
    for secret in SECRETS:
        for disguise in disguises(secret):
            for where, data in (*disk.items(), *written.items()):
                assert disguise not in data, f"{secret!r} is in {where}"


def test_the_search_would_find_what_it_looks_for() -> None:
    for text in ("..meet me at the old lighthouse..", "MEET ME AT THE OLD LIGHTHOUSE"):
        assert any(disguise in text.encode() for disguise in disguises(SAID[0]))
    for prefix in ("", "a", "ab"):
        encoded = base64.b64encode(f"{prefix}{SAID[0]}xyz".encode())
        assert any(disguise in encoded for disguise in disguises(SAID[0]))


def test_a_running_server_has_not_loaded_what_can_open(tmp_path: Path, box: Home) -> None:
    """The interpreter itself lists every module that the process imports, from start to end."""
    box.command = (box.command[0], "-X", "importtime", *box.command[1:])
    with box.serve() as server:
        member = member_home(tmp_path / "member", server)
        assert member.send(server, "--create", "hi").code == 0
        assert member.tail(server).out
        result = server.stop()
    modules = set(re.findall(r"\|\s+([\w.]+)$", result.err, re.MULTILINE))
    assert {"securechat.server.session", "securechat.protocol.chain", "securechat.history.sqlite"} <= modules
    forbidden = {m for m in modules if m.startswith(("securechat.sealing", "securechat.client.session"))}
    ciphers = {m for m in modules if m.endswith((".aead", ".kdf.argon2", ".kdf.hkdf"))}
    assert not forbidden
    assert not ciphers


def test_a_passphrase_is_in_no_command_line_environment_or_output_of_a_client(
    tmp_path: Path, server: ServerProgram
) -> None:
    member = member_home(tmp_path / "member", server)
    env = {"SECURECHAT_PASSPHRASE": PASSPHRASE}
    with member.start("chat", server.address, "--plain", "--room", ROOM, "--create", env=env) as program:
        program.wait_for("-- Here: ")
        program.write("/help\n/room\n/server-view\n/whois x\n")
        program.wait_for(r"Nobody here is called x")
        assert PASSPHRASE.encode() not in Path(f"/proc/{program.process.pid}/cmdline").read_bytes()
        result = program.finish()
    assert PASSPHRASE not in result.out + result.err
    with Program(
        (*member.command, "--debug", "send", "--room", ROOM, "127.0.0.1:1", "x"), {**member.env, **env}
    ) as bad:
        failed = bad.finish()
    assert failed.code == 1
    assert "Traceback" in failed.err
    assert PASSPHRASE not in failed.err


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
def test_the_environment_of_a_process_hides_the_passphrase(tmp_path: Path, box: Home, server: ServerProgram) -> None:
    member = member_home(tmp_path / "member", server)
    assert member.send(server, "--create", "hi").code == 0
    env = {"SECURECHAT_PASSPHRASE": PASSPHRASE, "OTHER": "stays"}
    file = tmp_path / "file"
    file.write_text(PASSPHRASE)
    for given in ((), ("--passphrase-file", str(file))):
        line = ("chat", server.address, "--plain", "--room", ROOM, *given)
        with member.start(*line, env=env) as program:
            program.wait_for("-- Here: ")
            variables = Path(f"/proc/{program.process.pid}/environ").read_bytes()
        assert PASSPHRASE.encode() not in variables
        assert {b"OTHER=stays", b"SECURECHAT_PASSPHRASE="} <= set(variables.split(b"\0"))
    box.env |= env
    with box.serve("--data", str(tmp_path / "other")) as other:
        assert PASSPHRASE.encode() not in Path(f"/proc/{other.process.pid}/environ").read_bytes()


def test_a_profile_holds_no_text(tmp_path: Path, server: ServerProgram) -> None:
    member = member_home(tmp_path / "member", server)
    with member.chat(server, NICKS[0], "--create") as program:
        program.write(SAID[0] + "\n")
        program.wait_for(SAID[0])
        assert program.finish().code == 0
    for path in member.directory.rglob("*"):
        if path.is_file():
            assert SAID[0].encode() not in path.read_bytes(), path
            assert path.stat().st_mode & 0o077 == 0, path
