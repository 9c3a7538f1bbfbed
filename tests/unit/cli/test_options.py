from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from securechat.cli.config import read_config
from securechat.cli.group import main
from securechat.cli.options import Place, duration, host, option, place

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


# Places


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("9101", ("::1", 9101)),
        (":9101", ("::1", 9101)),
        ("localhost:0", ("localhost", 0)),
        ("192.0.2.7:65535", ("192.0.2.7", 65535)),
        ("[::1]:9101", ("::1", 9101)),
        ("[fe80::1%eth0]:9101", ("fe80::1%eth0", 9101)),
    ],
)
def test_a_place_is_a_host_and_a_port_or_the_port(text: str, found: tuple[str, int]) -> None:
    assert place("::1")(text) == found
    assert place("::1")(Place(*found)) == found


@pytest.mark.parametrize(
    "text", ["", ":", "localhost", "localhost:", "h:65536", "h:-1", "h:1e3", "h:\u0661", "9" * 5000]
)
def test_anything_else_is_no_place(text: str) -> None:
    with pytest.raises(click.BadParameter, match=r"is no place to listen; write \[HOST:\]PORT\.") as caught:
        place("::1")(text)
    assert len(caught.value.message) < 300


@pytest.mark.parametrize("text", ["[::1]", "::1"])
def test_an_ipv6_address_may_have_brackets(text: str) -> None:
    assert host(text) == "::1"


@pytest.mark.parametrize("text", ["", "[]", "two words", "\0", "a\nb", "[::1", "http://localhost", "a@b", "\udc80"])
def test_what_cannot_be_a_host_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is no name or address"):
        host(text)
    if text:
        with pytest.raises(click.BadParameter, match="is no name or address"):
            place("::1")(f"{text}:1")


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
        file = read_config(command, path)
        context.default_map = file.defaults if file else None

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
    monkeypatch.setattr("securechat.cli.operate.operate", lambda given, _: taken.append(given))
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
