import errno
import os
from pathlib import Path
from typing import Any

import click
import pytest

from securechat import limits
from securechat.cli.config import config_path, read_config
from securechat.cli.group import main
from securechat.errors import InputError

GROUP = main
assert isinstance(GROUP, click.Group)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def defaults(path: Path, text: str) -> dict[str, dict[str, Any]]:
    path.write_text(text, encoding="utf-8")
    file = read_config(GROUP, path)
    assert file is not None
    return file.defaults


def test_no_file_is_no_defaults(path: Path) -> None:
    assert read_config(GROUP, path) is None
    assert read_config(GROUP, path / "below" / "config.toml") is None
    assert defaults(path, "") == {}
    assert defaults(path, "# nothing but a comment\n[client]\n") == {}
    path.unlink()
    path.write_text("")
    assert read_config(GROUP, path / "config.toml") is None, "a file in place of the directory"


def test_the_file_is_where_the_system_has_such_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert config_path() == tmp_path / "securechat" / "config.toml"


def test_a_table_applies_to_the_commands_that_know_its_keys(path: Path) -> None:
    found = defaults(
        path,
        "[server]\nport = 9000\nretain-messages = 5\nretain = '30d'\n"
        "\n[client]\nnick = 'ann'\ntimeout = 5\nsince = '1h'\n",
    )
    assert found == {
        "server": {"port": "9000", "retain_messages": "5", "retain": "30d"},
        "chat": {"nick": "ann"},
        "gui": {"nick": "ann"},
        "send": {"nick": "ann", "timeout": "5"},
        "tail": {"nick": "ann", "since": "1h"},
    }


def test_switches_and_lists_stay_what_they_are(path: Path) -> None:
    found = defaults(path, "[server]\nmemory = true\nlimit = ['rooms=5', 'joins=1:1']\n")
    assert found["server"] == {"memory": True, "limit": ["rooms=5", "joins=1:1"]}


@pytest.mark.parametrize(
    ("table", "line"),
    [
        *(("server", line) for line in ("port = [1]", "port = {}", "port = true", "data = [1]", "retain = 1979-05-27")),
        *(("server", line) for line in ("memory = 1", "memory = 'yes'", "limit = 'rooms=5'", "limit = [1]")),
        *(("client", line) for line in ('ca = "\\u0000"', "nick = {a = 1}")),
    ],
)
def test_a_value_of_another_kind_is_named_with_its_line(path: Path, table: str, line: str) -> None:
    with pytest.raises(InputError, match=r"config\.toml, line 2: '\w+' has a value of another kind"):
        defaults(path, f"[{table}]\n{line}\n")


def test_arrays_without_end_are_no_configuration(path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        defaults(path, "a = " + "[" * 5000)


@pytest.mark.parametrize("key", ["passphrase-file", "passphrase_file", '"passphrase-file"'])
def test_a_key_is_an_option_with_either_dash(path: Path, key: str) -> None:
    assert defaults(path, f'[client]\n{key} = "/run/pass"\n')["chat"] == {"passphrase_file": "/run/pass"}


@pytest.mark.parametrize(
    ("text", "line", "key"),
    [
        ("[server]\nport = 1\nprot = 2\n", 3, "prot"),
        ("# comment\n\n[client]\n  nick = 'ann'\n  nic = 'ann'\n", 5, "nic"),
        ("[client]\nport = 7443\n", 2, "port"),
        ("[server]\nnick = 'ann'\n", 2, "nick"),
        ('[client]\n"odd key" = 1\n', 2, "odd key"),
        ("[client]\na.b = 1\n", 2, "a"),
        ("[sever]\nport = 1\n", 1, "sever"),
        ("port = 7443\n", 1, "port"),
        ("server = 7443\n", 1, "server"),
        ("[client]\nnick = 'ann'\n[client.more]\n", None, "more"),
        ("[[client]]\nnick = 'ann'\n", None, "client"),
    ],
)
def test_what_is_no_setting_is_named_with_its_line(path: Path, text: str, line: int | None, key: str) -> None:
    with pytest.raises(InputError) as caught:
        defaults(path, text)
    assert str(path) in caught.value.message
    assert repr(key) in caught.value.message
    if line is not None:
        assert f", line {line}:" in caught.value.message


@pytest.mark.parametrize("flag", ["create", "must-exist", "weak-passphrase", "help", "debug"])
def test_what_has_to_be_said_each_time_is_no_setting(path: Path, flag: str) -> None:
    with pytest.raises(InputError, match="is no setting"):
        defaults(path, f"[client]\n{flag} = true\n")


@pytest.mark.parametrize("content", [b"[client\n", b"nick = \n", b"[client]\nnick = 'a'\nnick = 'b'\n", b"\xff\xfe"])
def test_what_is_not_toml_is_refused_with_the_path(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(InputError, match="cannot be read") as caught:
        read_config(GROUP, path)
    assert str(path) in caught.value.message
    assert caught.value.exit_code == 2


def test_a_file_that_cannot_be_read_is_told(path: Path) -> None:
    path.mkdir()
    with pytest.raises(InputError, match="cannot be read"):
        read_config(GROUP, path)


def test_a_file_of_an_editor_that_begins_with_a_mark_is_read(path: Path) -> None:
    path.write_bytes(b"\xef\xbb\xbf[client]\nnick = 'ann'\n")
    file = read_config(GROUP, path)
    assert file is not None
    assert file.defaults["chat"] == {"nick": "ann"}


def test_a_pipe_in_place_of_the_file_is_not_waited_for(path: Path) -> None:
    os.mkfifo(path)
    file = read_config(GROUP, path)
    assert file is not None
    assert file.defaults == {}


@pytest.mark.parametrize(
    "content",
    [b"#" * (limits.CONFIG_BYTES + 1), b"[server]\nport = " + b"9" * 5000, b"[server]\nport = 0x" + b"f" * 9000],
    ids=["large", "long-number", "long-hexadecimal"],
)
def test_a_file_of_unreasonable_size_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"config\.toml cannot be read: .{10,160}\. Correct the file\.$"):
        read_config(GROUP, path)


@pytest.mark.parametrize("is_private", [True, False])
def test_only_a_file_in_a_private_home_may_be_out_of_reach(
    path: Path, monkeypatch: pytest.MonkeyPatch, is_private: bool
) -> None:
    """Root, which may run the tests, can read everything: the system's answers are made up."""

    def refuse(*_: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(os, "access", lambda *_: not is_private)
    if is_private:
        assert read_config(GROUP, path) is None
    else:
        with pytest.raises(InputError, match=r"config\.toml cannot be read: Permission denied\. Check its rights"):
            read_config(GROUP, path)


@pytest.mark.parametrize(
    ("text", "key", "line"),
    [
        ("[server]\nport = 1\nretain_messages = 5\n", "retain-messages", 3),
        ("[server]\nretain-messages = 5\n", "retain-messages", 2),
        ("server.port = 1\n", "port", 1),
        ("# first\nserver = {port = 1}\n", "port", 2),
    ],
)
def test_a_value_has_the_line_of_its_key_or_of_its_table(path: Path, text: str, key: str, line: int) -> None:
    path.write_text(text)
    file = read_config(GROUP, path)
    assert file is not None
    assert file.place_for("server", f"--{key}") == f"{path}, line {line}"
