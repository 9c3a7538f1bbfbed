"""The real program with bad readers and disks for its logs and announcements: its members go on."""

import fcntl
import json
import os
import re
import signal
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from securechat.protocol.messages import Deliver
from securechat.transport.certificates import make_pair
from tests.support.patience import PATIENCE
from tests.support.peers import free_port
from tests.support.programs import READY, Home, ServerProgram
from tests.support.terminals import Terminal
from tests.support.visitors import KEY, OTHER_KEY, open_visitor

_PIPE_BYTES = 4096  # of a pipe that is soon full
_MANY = 60  # joins and leaves, of which such a pipe holds less than half


async def start(home: Home, *arguments: str, **settings: Any) -> ServerProgram:
    return await trio.to_thread.run_sync(partial(home.serve, *arguments, **settings))


async def visit(port: int, times: int = 1) -> None:
    """Join and leave."""
    for _ in range(times):
        async with open_visitor(port, OTHER_KEY) as visitor:
            await visitor.is_well()


async def ends(server: ServerProgram) -> None:
    """Check that the server ends as it should when it is asked to."""
    result = await trio.to_thread.run_sync(server.stop)
    assert result.code == 0, result


@contextmanager
def small_pipe() -> Iterator[tuple[int, int]]:
    """Make a pipe that is soon full; yield its reading and its writing end."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    try:
        yield reader, writer
    finally:
        os.close(reader)


def read_all(reader: int) -> str:
    """Return what is in a pipe whose writing ends are closed."""
    with os.fdopen(os.dup(reader), "rb") as file:
        return file.read().decode()


async def test_a_reader_that_stops_reading_stops_nobody(box: Home) -> None:
    with small_pipe() as (reader, writer):
        with await start(box, stderr=writer) as server:
            os.close(writer)
            async with open_visitor(server.port, KEY) as member:
                await visit(server.port, _MANY)
                member.send(b"on")
                await member.until(Deliver)
            await ends(server)
        lines = read_all(reader).splitlines()
    assert 10 < len(lines) < _MANY, "the pipe was full, and what did not fit is lost"
    assert all(re.fullmatch(r"\S+ \S+ (created|joined|left) .*", line) for line in lines), "each line is whole"


async def test_a_reader_that_reads_again_gets_every_line(box: Home) -> None:
    with small_pipe() as (reader, writer), await start(box, stderr=writer) as server:
        os.close(writer)
        await visit(server.port, _MANY)
        with os.fdopen(os.dup(reader)) as file:
            lines = [await trio.to_thread.run_sync(file.readline) for _ in range(2 * _MANY)]
            await ends(server)
            lines += file.readlines()
    assert [line.split()[2] for line in lines] == ["created", "left", *["joined", "left"] * (_MANY - 1), "stopped;"]


async def test_a_terminal_that_is_halted_halts_nobody(box: Home) -> None:
    data = str(box.directory / "data")
    with Terminal(box, "server", "--host", "127.0.0.1", "--port", "0", "--data", data) as terminal:
        port = int(terminal.sees(r"^ready 127\.0\.0\.1:(\d+) ")[1])
        terminal.sees(r"^Join with: ")
        terminal.halt()
        async with open_visitor(port, KEY) as member:
            await visit(port, 3)
            member.send(b"on")
            await member.until(Deliver)
        assert " joined " not in terminal.screen
        terminal.halt(False)
        await trio.to_thread.run_sync(terminal.sees, r"( left .*\n[^$]*){4}")
        terminal.halt()
        await visit(port, 3)
        terminal.process.send_signal(signal.SIGTERM)
        assert await trio.to_thread.run_sync(terminal.process.wait, PATIENCE) == 0


async def test_an_access_log_that_is_gone_lets_everybody_in(box: Home, tmp_path: Path) -> None:
    directory = tmp_path / "logs"
    directory.mkdir()
    path = directory / "access.log"
    with await start(box, "--access-log", str(path)) as server:
        await visit(server.port)
        directory.rename(tmp_path / "away")
        directory.touch()  # not even a directory can be made there
        async with open_visitor(server.port, KEY, presence=b"alice") as alice:
            await alice.join(OTHER_KEY, b"alice")
            await visit(server.port, 5)
        server.wait_for("the access log .* cannot be opened: Not a directory", "err")
        server.wait_for(r"( left .*\n[^$]*){8}", "err")
        async with open_visitor(server.port, None) as bob:
            assert (await bob.join(KEY)).listed == 0, "alice is gone from the list"
        directory.unlink()
        (tmp_path / "away").rename(directory)
        await visit(server.port)
        server.wait_for("the access log .* can be written again", "err")
        await ends(server)
    assert server.err.count("cannot be opened") == 1
    changes = re.findall(r" (created|joined|left) ", path.read_text())
    assert changes == re.findall(r" (created|joined|left) ", server.err), "nothing is missing, twice or torn"


async def test_a_full_disk_under_the_access_log_is_said_once(box: Home) -> None:
    port = free_port()
    with await start(box, "--access-log", "/dev/full", "--metrics", str(port)) as server:
        await visit(server.port, 20)
        server.wait_for("the access log /dev/full cannot be written: No space left on device", "err")
        metrics = await trio.to_thread.run_sync(scrape, port)
        await ends(server)
    assert server.err.count("/dev/full") == 1
    assert "Traceback" not in server.err
    assert float(metrics['securechat_log_failures_total{sink="access-log"}']) > 0
    assert metrics['securechat_log_failures_total{sink="stderr"}'] == "0.0"
    assert metrics['securechat_log_dropped_total{sink="access-log"}'] == "0.0"
    assert float(metrics['securechat_log_waiting{sink="access-log"}']) > 0
    assert metrics['securechat_changes_total{change="joined"}'] == "19.0"


def scrape(port: int) -> dict[str, str]:
    """Return the metrics by their names."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE) as answer:
        lines = answer.read().decode().splitlines()
    return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))


async def test_an_access_log_that_nobody_reads_waits_for_its_reader(box: Home, tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path, 0o600)
    with await start(box, "--access-log", str(path)) as server:
        await visit(server.port, 3)
        server.wait_for("the access log .* cannot be written: No such device or address", "err")
        with await trio.to_thread.run_sync(path.open) as reader:
            lines = [await trio.to_thread.run_sync(reader.readline) for _ in range(6)]
        await ends(server)
    assert [line.split()[2] for line in lines] == ["created", "left", "joined", "left", "joined", "left"]


@pytest.mark.parametrize("signals", [True, False])
async def test_rotation_neither_loses_nor_repeats_a_line(box: Home, tmp_path: Path, signals: bool) -> None:
    path = tmp_path / "access.log"
    with await start(box, "--access-log", str(path)) as server:
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(visit, server.port, 20)
            for number in range(10):
                await visit(server.port)
                await until_there(path)
                path.rename(tmp_path / f"access.log.{number}")
                if signals:
                    server.process.send_signal(signal.SIGHUP)
                    await until_there(path)
        await ends(server)
    files = [tmp_path / f"access.log.{number}" for number in range(10)]
    written = "".join(file.read_text() for file in (*files, path) if file.exists())
    assert re.findall(r" (?:created|joined|left) .*", written) == re.findall(r" (?:created|joined|left) .*", server.err)
    assert len(written.splitlines()) == 2 * 70
    assert {oct(file.stat().st_mode & 0o777) for file in files} == {"0o600"}


async def until_there(path: Path) -> None:
    """Wait until a file is there."""
    with trio.fail_after(PATIENCE):
        while not await trio.Path(path).exists():
            pass


@contextmanager
def announcing(home: Home, *arguments: str) -> Iterator[tuple[Any, int, int]]:
    """Run a server whose standard output a test reads; yield the server, its port and the reading end."""
    reader, writer = os.pipe()
    line = ("server", "--host", "127.0.0.1", "--port", "0", "--data", str(home.directory / "data"), *arguments)
    with home.start(*line, stdout=writer) as server:
        os.close(writer)
        text = b""
        while b"\n" not in text:
            text += os.read(reader, 1)
        match = READY.match(text.decode().strip())
        assert match is not None
        yield server, int(match[2]), reader


async def test_closing_stdout_after_one_line_ends_nothing(box: Home, tmp_path: Path) -> None:
    pair = make_pair(tmp_path / "pair", ["127.0.0.1"], overwrite=False)
    with announcing(box, "--cert", str(pair.certificate), "--key", str(pair.key)) as (server, port, reader):
        os.close(reader)
        await visit(port)
        make_pair(tmp_path / "pair", ["127.0.0.1"], overwrite=True)
        server.process.send_signal(signal.SIGHUP)
        server.wait_for("standard output cannot be written: Broken pipe", "err")
        await visit(port)
        result = await trio.to_thread.run_sync(server.stop)
    assert result.code == 0
    assert result.err.count("standard output") == 1


async def test_a_full_disk_under_the_announcement_ends_nothing(box: Home) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    port = free_port()
    line = ("server", "--host", "127.0.0.1", "--port", str(port), "--data", str(box.directory / "data"), "--log-json")
    with box.start(*line, stdout=full) as server:
        os.close(full)
        server.wait_for("standard output cannot be written: No space left on device", "err")
        await visit(port)
        result = await trio.to_thread.run_sync(server.stop)
    assert result.code == 0
    assert json.loads(result.err.splitlines()[0])["sink"] == "stdout"


async def test_endless_joins_and_leaves_fill_no_disk(box: Home) -> None:
    port = free_port()
    with await start(box, "--limit", "log-lines=10:0.001", "--metrics", str(port)) as server:
        await visit(server.port, _MANY)
        metrics = await trio.to_thread.run_sync(scrape, port)
        await ends(server)
    assert len(re.findall(r" (?:created|joined|left) ", server.err)) == 10
    assert metrics['securechat_changes_total{change="created"}'] == "1.0"
    assert metrics['securechat_changes_total{change="joined"}'] == f"{_MANY - 1}.0"
    assert float(metrics["securechat_log_left_out_total"]) >= 2 * _MANY - 11


async def test_scanners_fill_no_disk_either(box: Home) -> None:
    port = free_port()
    limits = ("--limit", "log-lines=5:0.001", "--metrics", str(port))
    with await start(box, "--compat", "127.0.0.1:0", *limits) as server:
        old_port = int(server.wait_for(r"old programs are served on 127\.0\.0\.1:(\d+);", "err")[1])
        for _ in range(20):
            stream = await trio.open_tcp_stream("127.0.0.1", old_port)
            await stream.send_all(b"!!!!")
            with suppress(trio.BrokenResourceError):
                assert await stream.receive_some() == b""
            await stream.aclose()
        await visit(server.port)
        metrics = await trio.to_thread.run_sync(scrape, port)
        await ends(server)
    assert server.err.count(" refused 127.0.0.1: ") == 5
    assert float(metrics["securechat_log_left_out_total"]) >= 16


async def test_a_background_job_is_not_halted_by_its_output(box: Home, tmp_path: Path) -> None:
    shell_home = Home(box.directory)
    shell_home.command = ("/bin/bash", "--norc", "-i")
    with Terminal(shell_home) as shell:
        shell.types("stty tostop\n")
        line = (*box.command, "server", "--host", "127.0.0.1", "--port", "0", "--data", str(tmp_path / "data"))
        shell.types(" ".join(line) + " &\n")
        port = await trio.to_thread.run_sync(shell.sees, r"ready 127\.0\.0\.1:(\d+) ")
        await visit(int(port[1]))
        await trio.to_thread.run_sync(shell.sees, " left 127")
        shell.types("kill %1; wait; stty -tostop; exit\n")
        assert await trio.to_thread.run_sync(shell.process.wait, PATIENCE) == 0
