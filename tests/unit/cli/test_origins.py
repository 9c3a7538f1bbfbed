"""What is wrong with a value names the variable, or the file and the line, that gave it."""

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from securechat.cli import run
from securechat.cli.config import configurable
from securechat.cli.group import main
from securechat.cli.options import Setting
from securechat.sealing.identity import Identity

Capture = pytest.CaptureFixture[str]
Told = Callable[..., str]

# A value that each option refuses, where it is judged before anything is connected or opened.
BAD = {
    "--access-log": "/dev/null/below",
    "--cert": "/dev/null/below",
    "--data": "/dev/null/below",
    "--host": "two words",
    "--last": "-1",
    "--limit": "romms=5",
    "--metrics": "9101/tcp",
    "--nick": "two words",
    "--passphrase-fd": "99999999999999999999",
    "--passphrase-file": "/dev/null/below",
    "--pin": "sha256:short",
    "--port": "1e9",
    "--profile": "/dev/null/below",
    "--retain": "7days",
    "--retain-messages": "many",
    "--room": "\u200b",
    "--rooms": "ajar",
    "--since": "yesterday",
    "--theme": "grey",
    "--timeout": "1e9",
}
SWITCH = "banana"
FILES_READ_LATER = {"--ca", "--key"}  # and named by what is wrong with them
ARGUMENTS = {"chat": ["host"], "send": ["host", "hi"], "tail": ["host"], "doctor": ["host"], "gui": []}
ARGUMENTS |= {
    "rooms delete": ["0" * 64],
    "backup": ["copy"],
    "restore": ["saved"],
    "identity export": ["copy"],
    "identity import": ["file"],
    "known-hosts remove": ["h"],
}


def commands(group: click.Command, *names: str) -> Iterator[tuple[str, click.Command]]:
    """Yield every command with its name."""
    if isinstance(group, click.Group):
        for name, command in group.commands.items():
            yield from commands(command, *names, name)
    else:
        yield " ".join(names), group


SETTINGS = [
    (name, option)
    for name, command in commands(main)
    for option in command.params
    if isinstance(option, Setting) and option.opts[0] not in FILES_READ_LATER
]
OF_THE_ENVIRONMENT = [(name, option) for name, option in SETTINGS if option.envvar]
OF_THE_FILE = [(name, option) for name, option in SETTINGS if name in {"server", "chat", "gui", "send", "tail"}]


def ids(found: list[tuple[str, Setting]]) -> list[str]:
    return [f"{name} {option.opts[0]}" for name, option in found]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let nothing of this machine's user be read or written, and no window be opened."""
    for name in [name for name in os.environ if name.startswith("SECURECHAT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("SECURECHAT_PASSPHRASE", "secret")
    monkeypatch.setattr("securechat.ui.gui.display.check", lambda: None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_bytes(Identity(b"o" * 32).to_pem())
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "key.pem").touch()
    return tmp_path


@pytest.fixture
def told(capfd: Capture) -> Told:
    """Run a command that fails; return the one sentence that it says."""  # a server's log wants file descriptors

    def run_command(name: str, option: str) -> str:
        room = ["--room", "r"] if name in {"chat", "send", "tail"} and option != "--room" else []
        assert run([*name.split(), *ARGUMENTS.get(name, []), *room]) in {1, 2}
        shown = capfd.readouterr()
        assert shown.out == ""
        assert "internal" not in shown.err
        (line,) = shown.err.splitlines()
        assert line.startswith("securechat: ")
        return line

    return run_command


def configure(home: Path, text: str) -> Path:
    path = home / "config" / "securechat" / "config.toml"
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_whatever_may_be_configured_knows_where_it_came_from() -> None:
    for name, command in commands(main):
        for option in command.params:
            is_setting = bool(option.envvar) or (name in ARGUMENTS and option in configurable(command).values())
            if isinstance(option, click.Option) and is_setting and name in {"server", "chat", "gui", "send", "tail"}:
                assert isinstance(option, Setting), (name, option)
            if isinstance(option, Setting) and not option.is_flag:
                assert option.opts[0] in {*BAD, *FILES_READ_LATER}, (name, option)


@pytest.mark.parametrize(("name", "option"), OF_THE_ENVIRONMENT, ids=ids(OF_THE_ENVIRONMENT))
def test_a_bad_variable_is_named(name: str, option: Setting, monkeypatch: pytest.MonkeyPatch, told: Told) -> None:
    monkeypatch.setenv(str(option.envvar), SWITCH if option.is_flag else BAD[option.opts[0]])
    assert told(name, option.opts[0]).startswith(f"securechat: {option.envvar} in the environment: ")


@pytest.mark.parametrize(("name", "option"), OF_THE_FILE, ids=ids(OF_THE_FILE))
def test_a_bad_setting_is_named_with_file_and_line(name: str, option: Setting, home: Path, told: Told) -> None:
    table = "server" if name == "server" else "client"
    key, bad = option.opts[0].removeprefix("--"), BAD.get(option.opts[0], SWITCH)
    path = configure(home, f"# mine\n[{table}]\n{key} = {json.dumps([bad] if option.multiple else bad)}\n")
    assert told(name, option.opts[0]).startswith(f"securechat: {path}, line 3: ")


def test_an_unusable_key_names_its_variable(
    home: Path, monkeypatch: pytest.MonkeyPatch, told: Told, capfd: Capture
) -> None:
    assert run(["cert", "--out", str(home / "pair")]) == 0
    capfd.readouterr()
    monkeypatch.setenv("SECURECHAT_CERT", str(home / "pair" / "cert.pem"))
    (home / "empty").touch()
    for name in ("absent", "empty"):
        monkeypatch.setenv("SECURECHAT_KEY", str(home / name))
        assert told("server", "--key").startswith("securechat: SECURECHAT_KEY in the environment: "), name


def test_a_complaint_of_click_ends_as_a_sentence(monkeypatch: pytest.MonkeyPatch, told: Told) -> None:
    monkeypatch.setenv("SECURECHAT_MEMORY", "maybe")
    assert told("server", "--memory").endswith(". Correct it, or remove it there.")


@pytest.mark.parametrize("name", ["server", "chat", "gui"])
@pytest.mark.parametrize("by", ["flag", "file"])
def test_an_empty_path_is_refused(name: str, by: str, home: Path, told: Told, capfd: Capture) -> None:
    """It would name the working directory, and leave keys there."""
    option, table = ("--data", "server") if name == "server" else ("--profile", "client")
    before = sorted(home.iterdir())
    if by == "flag":
        assert run([name, *ARGUMENTS.get(name, []), option, ""]) == 2
        assert f"Invalid value for '{option}': The path is empty." in capfd.readouterr().err
    else:
        path = configure(home, f'[{table}]\n{option[2:]} = ""\n')
        before = sorted(home.iterdir())
        assert told(name, option) == (f"securechat: {path}, line 2: The path is empty. Correct it, or remove it there.")
    assert sorted(home.iterdir()) == before


@pytest.mark.parametrize("option", ["--pin", "--host", "--metrics", "--ca", "--cert", "--compat"])
def test_an_empty_value_is_not_the_default(option: str, capfd: Capture) -> None:
    """As a script gives it that has not set its own variable: a pin above all."""
    name = "server" if option in {"--host", "--metrics", "--cert", "--compat"} else "chat"
    assert run([name, *ARGUMENTS.get(name, []), option, ""]) == 2
    assert "internal" not in capfd.readouterr().err


@pytest.mark.parametrize("link", ["tcp://10.96.0.12:7443", "udp://172.17.0.2:7443", "sctp://[fd00::7]:7443"])
def test_what_kubernetes_sets_for_a_service_is_ignored(link: str, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []
    monkeypatch.setattr("securechat.cli.operate.operate", lambda *given: taken.append(given))
    monkeypatch.setenv("SECURECHAT_PORT", link)
    monkeypatch.setenv("SECURECHAT_HOST", "")
    assert run(["server"]) == 0
    assert run(["server", "--port", "9"]) == 0
    (first, notices), (second, none) = taken
    assert (first["port"], first["host"], second["port"]) == (7443, None, 9)
    (notice,) = notices
    assert notice.startswith(f"SECURECHAT_PORT in the environment was set for a service of that name ({link})")
    assert "--port" in notice
    assert none == []


def test_a_variable_that_is_overruled_is_not_judged(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    taken = []
    monkeypatch.setattr("securechat.cli.operate.operate", lambda *given: taken.append(given))
    configure(home, "[server]\nport = 'many'\n")
    assert run(["server"]) == 2
    monkeypatch.setenv("SECURECHAT_PORT", " 7 ")
    assert run(["server"]) == 0
    monkeypatch.setenv("SECURECHAT_PORT", "many")
    assert run(["server", "--port", "8"]) == 0
    assert [given["port"] for given, _ in taken] == [7, 8]


def test_a_value_of_any_length_makes_one_short_sentence(monkeypatch: pytest.MonkeyPatch, told: Told) -> None:
    monkeypatch.setenv("SECURECHAT_PORT", "9" * 5000)
    assert len(told("server", "--port")) < 400


def test_the_words_of_a_variable_drive_no_terminal(monkeypatch: pytest.MonkeyPatch, told: Told) -> None:
    monkeypatch.setenv("SECURECHAT_HOST", "\x1b]0;owned\x07 \udcff")
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]", told("server", "--host"))


# Without a home directory


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Be a user who is in no user database, as a container may run as any number."""
    import pwd

    def unknown(_: object) -> None:
        raise KeyError("uid not found")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("homeless")
@pytest.mark.parametrize("value", [None, "", "relative"])
def test_without_a_home_the_option_to_give_is_named(
    monkeypatch: pytest.MonkeyPatch, value: str | None, told: Told
) -> None:
    for name in () if value is None else ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(value))
    for command, option in (("server", "--data"), ("chat", "--profile"), ("gui", "--profile"), ("backup", "--data")):
        said = told(command, option)
        assert said.endswith(f"Set HOME, or name a directory with {option}."), said


@pytest.mark.usefixtures("homeless")
def test_without_a_home_all_works_that_needs_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    for line in (["--help"], ["--version"], ["passphrase"], ["cert", "--out", str(tmp_path / "certs")]):
        assert run(line) == 0
    profile = ["--profile", str(tmp_path / "profile")]
    assert run(["identity", "show", *profile]) == 0
    assert run(["known-hosts", "list", *profile]) == 0
    capfd.readouterr()
    monkeypatch.setenv("SECURECHAT_PASSPHRASE", "secret")
    assert run(["send", "127.0.0.1:1", "--room", "r", *profile, "--timeout", "1", "hi"]) == 3
    assert "internal" not in capfd.readouterr().err


@pytest.mark.usefixtures("homeless")
def test_without_a_home_xdg_directories_are_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "elsewhere"))
    assert run(["identity", "show"]) == 0
    assert (tmp_path / "elsewhere" / "securechat" / "profile" / "identity.pem").exists()
