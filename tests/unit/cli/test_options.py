from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from securechat.cli.group import main
from securechat.cli.options import config_path, duration, load_defaults, option
from securechat.errors import InputError

GROUP = main
assert isinstance(GROUP, click.Group)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in [name for name in os.environ if name.startswith("SECURECHAT_")]:
        monkeypatch.delenv(name)


def defaults(path: Path, text: str) -> dict[str, dict[str, Any]]:
    path.write_text(text, encoding="utf-8")
    return load_defaults(GROUP, path)


# Time spans


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("90", 90),
        (90, 90),
        ("90s", 90),
        ("30m", 1800),
        ("1h", 3600),
        ("7d", 604800),
        ("2w", 1209600),
        ("999999999w", 999999999 * 604800),
    ],
)
def test_a_time_span_is_a_number_and_a_unit(text: str | int, seconds: int) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "h", "-1h", "1.5h", "1 h", "1y", "1H", "1h30m", "1" * 31, "h1", " 1h", "1h\n", -1]
)
def test_anything_else_is_no_time_span(text: str | int) -> None:
    with pytest.raises(click.BadParameter, match="is no time span"):
        duration(text)


# The file


def test_no_file_is_no_defaults(path: Path) -> None:
    assert load_defaults(GROUP, path) == {}
    assert defaults(path, "") == {}
    assert defaults(path, "# nothing but a comment\n[client]\n") == {"chat": {}, "gui": {}, "send": {}, "tail": {}}


def test_the_file_is_where_the_system_has_such_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert config_path() == tmp_path / "securechat" / "config.toml"


def test_a_table_goes_to_its_commands_and_each_takes_what_it_knows(path: Path) -> None:
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
        load_defaults(GROUP, path)
    assert str(path) in caught.value.message
    assert caught.value.exit_code == 2


def test_a_file_that_cannot_be_read_is_told(path: Path) -> None:
    path.mkdir()
    with pytest.raises(InputError, match="cannot be read"):
        load_defaults(GROUP, path)


# Flag > environment > file > default


@pytest.fixture
def run(path: Path) -> Callable[..., str]:
    """Run a command of one option and return what it took."""

    @click.command("send")
    @option("--nick", default="by default")
    def send(nick: str) -> None:
        click.echo(nick)

    @click.group()
    @click.pass_context
    def group(context: click.Context) -> None:
        command = context.command
        assert isinstance(command, click.Group)
        context.default_map = load_defaults(command, path)

    def run(*arguments: str, variable: str | None = None) -> str:
        result = CliRunner().invoke(group, ["send", *arguments], env={"SECURECHAT_NICK": variable})
        assert result.exit_code == 0, result.output
        return result.output.strip()

    for name in ("send", "chat", "gui", "tail"):
        group.add_command(send, name)
    return run


def test_a_flag_comes_before_the_environment_the_file_and_the_default(path: Path, run: Callable[..., str]) -> None:
    assert run() == "by default"
    path.write_text("[client]\nnick = 'from the file'\n")
    assert run() == "from the file"
    assert run(variable="from the environment") == "from the environment"
    assert run("--nick", "by flag", variable="from the environment") == "by flag"
    path.unlink()
    assert run(variable="from the environment") == "from the environment"


def test_the_name_of_a_variable_is_that_of_the_option() -> None:
    chat = GROUP.commands["chat"]
    variables = {p.name: p.envvar for p in chat.params if isinstance(p, click.Option) and p.envvar}
    assert variables["passphrase_file"] == "SECURECHAT_PASSPHRASE_FILE"
    assert variables["nick"] == "SECURECHAT_NICK"
    assert not {"create", "must_exist", "weak_passphrase"} & set(variables)


def test_the_settings_reach_the_real_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[dict[str, Any]] = []
    monkeypatch.setattr("securechat.cli.operate.operate", taken.append)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "securechat").mkdir()
    (tmp_path / "securechat" / "config.toml").write_text("[server]\nport = 9000\nretain = '1h'\nmemory = true\n")
    monkeypatch.setenv("SECURECHAT_RETAIN", "2h")
    result = CliRunner().invoke(main, ["server"])
    assert result.exit_code == 0, result.output
    assert (taken[0]["port"], taken[0]["retain"], taken[0]["memory"]) == (9000, 7200, True)
    result = CliRunner().invoke(main, ["server", "--port", "0", "--retain", "3s"])
    assert result.exit_code == 0, result.output
    assert (taken[1]["port"], taken[1]["retain"], taken[1]["rooms"]) == (0, 3, "open")


def test_a_setting_of_the_wrong_kind_is_a_usage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "securechat").mkdir()
    (tmp_path / "securechat" / "config.toml").write_text("[server]\nport = 'many'\n")
    result = CliRunner().invoke(main, ["server"])
    assert result.exit_code == 2
    assert "'many' is not a valid integer" in result.output
