"""An operator who is root, beside a server that is not: what the one makes, the other can use."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.programs import member_home
from tests.support.service import USER, ServiceHome, foreign_files, needs_root, open_service

pytestmark = needs_root


@pytest.fixture
def service() -> Iterator[ServiceHome]:
    with open_service() as home:
        yield home


def test_a_server_of_root_leaves_files_that_the_service_can_use(service: ServiceHome, tmp_path: Path) -> None:
    data = service.directory / "server"
    with service.as_root().serve() as server:
        pin = server.pin
        member = member_home(tmp_path / "member", server)
        assert member.send(server, "--create", "hi").code == 0
        assert server.stop().code == 0
    assert foreign_files(data) == []
    with service.serve() as server:
        assert server.pin == pin
        member.trust(server)
        assert member.send(server, "and again").code == 0


@pytest.mark.parametrize("is_running", [True, False])
def test_root_deletes_rooms_of_the_service(service: ServiceHome, tmp_path: Path, is_running: bool) -> None:
    operator = service.as_root()
    with service.serve() as server:
        data = ("--data", str(server.data))
        member = member_home(tmp_path / "member", server)
        assert member.send(server, "--create", "hi").code == 0
        if not is_running:
            assert server.stop().code == 0
        assert operator.run("rooms", "list", *data).code == 0
        result = operator.run("rooms", "delete", "--larger", "0", *data, "--yes")
        assert (result.code, result.err) == (0, "Deleted: 1.\n")
        assert foreign_files(server.data) == []
        port = server.port
        server.stop()
    with service.serve(port=port) as server:
        assert member.send(server, "--create", "and again").code == 0
        assert service.run("rooms", "delete", "--larger", "0", *data, "--yes").code == 0


def test_a_backup_and_a_restore_of_root_are_the_services(service: ServiceHome, tmp_path: Path) -> None:
    operator = service.as_root()
    copy = tmp_path / "copy"
    with service.serve() as server:
        data = ("--data", str(server.data))
        member = member_home(tmp_path / "member", server)
        assert member.send(server, "--create", "hi").code == 0
        assert operator.run("backup", str(copy), *data).code == 0
        assert foreign_files(copy) == []
        server.stop(signal.SIGKILL)
        assert operator.run("rooms", "list", *data).code == 0
        assert operator.run("restore", str(copy), *data).code == 0
        assert foreign_files(server.data) == []
        port, pin = server.port, server.pin
    with service.serve(port=port) as server:
        assert server.pin == pin
        assert member.send(server, "and again").code == 0


def test_a_certificate_of_root_is_the_services(service: ServiceHome) -> None:
    data = service.directory / "server"
    data.mkdir()
    os.chown(data, USER, USER)
    operator = service.as_root()
    result = operator.run("cert", "--out", str(data), "localhost")
    assert result.code == 0
    assert operator.run("cert", "--out", str(data), "--renew").code == 0
    assert foreign_files(data) == []
    with service.serve() as server:
        assert server.pin == result.out.strip()
