import os
import stat
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from securechat import __version__
from securechat.cli import run
from securechat.cli.group import main
from securechat.client import recent
from securechat.client.profile import Profile
from securechat.client.state import State
from securechat.errors import (
    InputError,
    NoSuchRoomError,
    NotTrustedError,
    SecurechatError,
    ServerRefusedError,
    StorageError,
    UnreachableError,
    WeakPassphraseError,
)
from securechat.sealing.identity import Identity
from securechat.sealing.words import generate_passphrase
from securechat.transport.certificates import Pair, pin_of
from securechat.transport.known_hosts import CA, Entry
from securechat.transport.pins import format_pin, parse_pin

COMMANDS = ["server", "chat", "send", "tail", "cert", "passphrase", "doctor", "known-hosts", "identity", "demo"]
Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let nothing of this machine's user be read or written."""
    for name in [name for name in os.environ if name.startswith("SECURECHAT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def profile(home: Path) -> Profile:
    return Profile(home / "data" / "securechat" / "profile")


def configure(home: Path, text: str) -> None:
    (home / "config" / "securechat").mkdir(parents=True)
    (home / "config" / "securechat" / "config.toml").write_text(text)


# Help, version, usage


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_names_every_command(flag: str, capsys: Capture) -> None:
    assert run([flag]) == 0
    shown = capsys.readouterr().out
    assert "Private rooms on your own box" in shown
    assert all(f"  {name} " in shown for name in COMMANDS)


@pytest.mark.parametrize("command", [[name] for name in COMMANDS] + [["identity", "export"], ["known-hosts", "remove"]])
def test_every_command_has_help(command: list[str], capsys: Capture) -> None:
    assert run([*command, "--help"]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith(f"Usage: securechat {' '.join(command)}")
    assert shown.err == ""


@pytest.mark.parametrize("flag", ["-V", "--version"])
def test_the_version_is_one_line(flag: str, capsys: Capture) -> None:
    assert run([flag]) == 0
    assert capsys.readouterr().out == f"securechat {__version__}\n"


def test_every_option_is_explained() -> None:
    assert isinstance(main, click.Group)
    for command in main.commands.values():
        for parameter in command.params:
            if isinstance(parameter, click.Option) and parameter.name not in {"words", "help"}:
                assert parameter.help, f"{command.name} {parameter.name}"


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["--nonsense"],
        ["send"],
        ["chat", "host", "--nonsense"],
        ["send", "host", "--timeout", "0"],
        ["send", "host", "--timeout", "soon"],
        ["tail", "host", "--since", "yesterday"],
        ["tail", "host", "--last", "-1"],
        ["tail", "host", "--last", "1", "--since", "1h"],
        ["server", "--port", "65536"],
        ["server", "--rooms", "ajar"],
        ["server", "--retain", "long"],
        ["passphrase", "--words", "3"],
        ["identity", "export"],
        ["known-hosts", "remove"],
    ],
)
def test_a_wrong_usage_is_told_on_stderr_with_exit_code_2(arguments: list[str], capsys: Capture) -> None:
    assert run(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "Error: " in shown.err
    assert "Traceback" not in shown.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["chat", "two words", "--room", "r"],
        ["chat", "host", "--room", "r", "--create", "--must-exist"],
        ["chat", "host", "--room", "r", "--pin", "sha256:short"],
        ["chat", "host"],
        ["chat", "host", "--room", " "],
        ["chat", "host", "--room", "r", "--nick", "two words"],
        ["chat", "host", "--room", "r", "--passphrase-file", "missing"],
        ["send", "host", "--room", "r", "a\0b"],
        ["send", "host", "--room", "r", "x" * 32_001],
        ["doctor", "two words"],
        ["server", "--key", "key.pem"],
        ["doctor", "host", "--pin", "short"],
    ],
)
def test_what_cannot_be_used_is_told_before_anything_is_connected(arguments: list[str], capsys: Capture) -> None:
    assert run(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("securechat: ")
    assert len(shown.err.splitlines()) == 1


def test_without_a_terminal_a_missing_passphrase_is_told(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("securechat.ui.terminal.has_terminal", lambda: False)
    assert run(["chat", "host", "--room", "r"]) == 2
    assert "no terminal" in capsys.readouterr().err


# The configuration file


def test_a_broken_configuration_is_told_with_its_line(home: Path, capsys: Capture) -> None:
    configure(home, "[client]\nnik = 'ann'\n")
    assert run(["passphrase"]) == 2
    assert "config.toml, line 2: 'nik' is no setting" in capsys.readouterr().err


def test_help_of_the_whole_needs_no_configuration(home: Path) -> None:
    configure(home, "not toml")
    assert run(["--help"]) == 0
    assert run(["--version"]) == 0


# Exit codes


class Failing:
    """A command that ends in an error."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def run(self, error: BaseException, *flags: str) -> int:
        def fail(_count: int) -> str:
            raise error

        self._monkeypatch.setattr("securechat.sealing.words.generate_passphrase", fail)
        return run([*flags, "passphrase"])


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Failing:
    return Failing(monkeypatch)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SecurechatError("It failed.", "Do this."), 1),
        (StorageError("It failed.", "Do this."), 1),
        (InputError("It failed.", "Do this."), 2),
        (UnreachableError("It failed.", "Do this."), 3),
        (ServerRefusedError("It failed.", "Do this."), 3),
        (NotTrustedError("It failed.", "Do this."), 4),
        (NoSuchRoomError("It failed.", "Do this."), 5),
        (WeakPassphraseError("It failed.", "Do this."), 6),
    ],
)
def test_an_error_has_its_exit_code_one_sentence_and_the_next_step(
    failing: Failing, error: SecurechatError, code: int, capsys: Capture
) -> None:
    for raised in (error, ExceptionGroup("", [error]), ExceptionGroup("", [ExceptionGroup("", [error, error])])):
        assert failing.run(raised) == code
        assert capsys.readouterr().err == "securechat: It failed. Do this.\n"


def test_what_a_server_wrote_into_an_error_drives_no_terminal(failing: Failing, capsys: Capture) -> None:
    error = ServerRefusedError("The server ended the connection: \x1b[2J\x1b]0;owned\x07re\u202ed\nsecurechat: fine.")
    assert failing.run(ExceptionGroup("", [error])) == 3
    told = capsys.readouterr().err
    assert told == "securechat: The server ended the connection: red\u23cesecurechat: fine.\n"


def test_nor_does_it_in_a_traceback(monkeypatch: pytest.MonkeyPatch, failing: Failing, capsys: Capture) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    with pytest.raises(ExceptionGroup) as caught:
        failing.run(ExceptionGroup("", [ServerRefusedError("a\x1b[31mb\x9b2J"), KeyError("c")]), "--debug")
    sys.excepthook(caught.type, caught.value, caught.tb)
    told = capsys.readouterr().err
    assert "ServerRefusedError: ab" in told
    assert "KeyError: 'c'" in told
    assert not {"\x1b", "\x9b"} & set(told)


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), BaseExceptionGroup("", [KeyboardInterrupt(), InputError("x")]), click.Abort()]
)
def test_an_interrupt_ends_quietly_with_130(failing: Failing, error: BaseException, capsys: Capture) -> None:
    assert failing.run(error) == 130
    assert capsys.readouterr().err.strip() == ""


@pytest.mark.parametrize(("code", "taken"), [(0, 0), (7, 7), (None, 1), ("words", 1)])
def test_an_exit_code_of_our_own_is_kept(failing: Failing, code: int | str | None, taken: int) -> None:
    assert failing.run(SystemExit(code)) == taken


def test_a_bug_of_our_own_is_told_without_what_it_says(failing: Failing, capsys: Capture) -> None:
    assert failing.run(ValueError("something secret")) == 1
    told = capsys.readouterr().err
    assert "internal error (ValueError)" in told
    assert "--debug" in told
    assert "something secret" not in told
    assert failing.run(ExceptionGroup("", [InputError("x"), KeyError("y")])) == 1
    assert "internal error (InputError, KeyError)" in capsys.readouterr().err


def test_debug_shows_the_error_itself(monkeypatch: pytest.MonkeyPatch, failing: Failing) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    with pytest.raises(ZeroDivisionError):
        failing.run(ZeroDivisionError(), "--debug")


def test_a_reader_that_has_gone_is_no_error_to_a_running_conversation() -> None:
    code = """
import sys
from securechat.cli import run
from securechat.sealing import words

def fail(_count):
    raise ExceptionGroup("", [BrokenPipeError()])  # as it comes out of nurseries

words.generate_passphrase = fail
sys.exit(run(["passphrase"]))
"""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([sys.executable, "-c", code], stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert done.returncode == 0, done.stderr
    assert done.stderr == b""


def test_help_imports_neither_trio_nor_cryptography() -> None:
    code = (
        "import sys; from securechat.cli import run; run(['chat', '--help'])\n"
        "sys.exit(', '.join({'trio', 'cryptography', 'msgspec', 'zxcvbn'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


# passphrase


def test_a_passphrase_goes_to_stdout_and_its_strength_to_stderr(capsys: Capture) -> None:
    assert run(["passphrase"]) == 0
    shown = capsys.readouterr()
    first = shown.out
    assert len(first.split()) == 6
    assert len(first.splitlines()) == 1
    assert shown.err == "78 bits\n"
    assert run(["passphrase", "--words", "8"]) == 0
    shown = capsys.readouterr()
    assert len(shown.out.split()) == 8
    assert shown.err == "103 bits\n"
    assert len({generate_passphrase(6) for _ in range(20)}) == 20


# cert


def test_a_certificate_is_made_with_its_pin_on_stdout(home: Path, capsys: Capture) -> None:
    assert run(["cert", "chat.example.org", "192.0.2.7"]) == 0
    shown = capsys.readouterr()
    pair = Pair(home / "certs" / "cert.pem", home / "certs" / "key.pem")
    assert shown.out == format_pin(pin_of(pair)) + "\n"
    assert "key.pem" in shown.err
    assert pair.read_leaf().names == ("chat.example.org", "192.0.2.7")
    assert stat.S_IMODE(pair.key.stat().st_mode) == 0o600


def test_without_names_a_certificate_is_for_this_machine(home: Path, capsys: Capture) -> None:
    assert run(["cert", "--out", "here"]) == 0
    parse_pin(capsys.readouterr().out.strip())
    assert Pair(home / "here" / "cert.pem", home).read_leaf().names == ("localhost", "127.0.0.1", "::1")


def test_a_certificate_is_replaced_only_by_force(home: Path, capsys: Capture) -> None:
    assert run(["cert"]) == 0
    before = (home / "certs" / "key.pem").read_bytes()
    assert run(["cert"]) == 1
    assert "--force" in capsys.readouterr().err
    assert (home / "certs" / "key.pem").read_bytes() == before
    assert run(["cert", "--force"]) == 0
    assert (home / "certs" / "key.pem").read_bytes() != before


def test_a_name_that_is_none_makes_no_certificate(home: Path, capsys: Capture) -> None:
    assert run(["cert", "two words"]) == 2
    assert "neither a DNS name nor an IP address" in capsys.readouterr().err
    assert not (home / "certs").exists()


# known-hosts


def test_known_hosts_are_listed_in_order(profile: Profile, capsys: Capture) -> None:
    assert run(["known-hosts", "list"]) == 0
    assert capsys.readouterr().out == ""
    pin = bytes(32)
    profile.known_hosts.add("z.example.org:7443", CA)
    profile.known_hosts.add("a.example.org:7443", Entry(frozenset({pin})))
    assert run(["known-hosts", "list"]) == 0
    assert capsys.readouterr().out == f"a.example.org:7443 pin {format_pin(pin)}\nz.example.org:7443 ca\n"


@pytest.mark.parametrize("name", ["a.example.org", "A.example.org:7443", "securechat://a.example.org/room"])
def test_a_known_host_is_forgotten_by_any_of_its_names(profile: Profile, name: str, capsys: Capture) -> None:
    profile.known_hosts.add("a.example.org:7443", CA)
    profile.known_hosts.add("b.example.org:7443", CA)
    assert run(["known-hosts", "remove", name]) == 0
    assert profile.known_hosts.entries() == {"b.example.org:7443": CA}
    assert capsys.readouterr().out == ""
    assert run(["known-hosts", "remove", name]) == 1
    assert "is not known" in capsys.readouterr().err


def test_a_malformed_line_of_known_hosts_is_named(profile: Profile, capsys: Capture) -> None:
    (profile.directory / "known-hosts").write_text("# mine\n\nhost:7443 trust\n")
    assert run(["known-hosts", "list"]) == 1
    assert "known-hosts, line 3" in capsys.readouterr().err


# identity


def test_an_identity_is_shown_and_stays_the_same(profile: Profile, capsys: Capture) -> None:
    assert run(["identity", "show"]) == 0
    first = capsys.readouterr().out
    assert first == profile.load_identity().public.hex() + "\n"
    assert run(["identity", "show"]) == 0
    assert capsys.readouterr().out == first


@pytest.mark.parametrize("by_flag", [True, False])
def test_a_profile_is_named_by_flag_or_variable(
    home: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, *, by_flag: bool
) -> None:
    arguments = ["--profile", str(home / "work")] if by_flag else []
    if not by_flag:
        monkeypatch.setenv("SECURECHAT_PROFILE", str(home / "work"))
    assert run(["identity", "show", *arguments]) == 0
    assert capsys.readouterr().out.strip() == Profile(home / "work").load_identity().public.hex()
    assert not (home / "data").exists()


def test_an_identity_is_carried_to_another_profile(home: Path, profile: Profile, capsys: Capture) -> None:
    file = home / "me.pem"
    assert run(["identity", "export", str(file)]) == 0
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "carry it safely" in shown.err
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert run(["identity", "import", str(file), "--profile", str(home / "other")]) == 0
    mine = profile.load_identity().public
    assert capsys.readouterr().out == mine.hex() + "\n"
    assert Profile(home / "other").load_identity().public == mine


def test_an_export_replaces_no_file(home: Path, capsys: Capture) -> None:
    (home / "me.pem").write_text("something dear")
    assert run(["identity", "export", "me.pem"]) == 1
    assert "exists already" in capsys.readouterr().err
    assert (home / "me.pem").read_text() == "something dear"
    assert run(["identity", "export", "missing/me.pem"]) == 1
    assert "cannot be written" in capsys.readouterr().err


def test_an_import_replaces_an_identity_only_by_force(home: Path, profile: Profile, capsys: Capture) -> None:
    mine = profile.load_identity().public
    other = Identity(b"o" * 32)
    (home / "other.pem").write_bytes(other.to_pem())
    assert run(["identity", "import", "other.pem"]) == 1
    assert "exists already" in capsys.readouterr().err
    assert profile.load_identity().public == mine
    assert run(["identity", "import", "other.pem", "--force"]) == 0
    assert profile.load_identity().public == other.public


def test_what_is_no_identity_is_not_imported(home: Path, profile: Profile, capsys: Capture) -> None:
    (home / "junk.pem").write_text("junk")
    assert run(["identity", "import", "junk.pem"]) == 2
    assert "not an identity file" in capsys.readouterr().err
    assert run(["identity", "import", "missing.pem"]) == 1
    assert "cannot be read" in capsys.readouterr().err
    assert run(["cert"]) == 0  # a key of another kind
    assert run(["identity", "import", "certs/key.pem"]) == 2
    assert not (profile.directory / "identity.pem").exists()


# What is found out before anything is connected


class EnteredError(Exception):
    """What a command would have connected with, in place of connecting."""

    def __init__(self, passphrase: str, secret: bytes, room: str, nick: str) -> None:
        self.found = (passphrase, secret, room, nick)


@pytest.fixture
def entering(monkeypatch: pytest.MonkeyPatch) -> None:
    from securechat.cli.entrance import Entrance

    def stop(_main: object, entrance: Entrance, _given: object) -> None:
        raise EnteredError(entrance.passphrase, entrance.secret, entrance.room, entrance.nick)

    monkeypatch.setattr("securechat.cli.opening.run", stop)


def enter(*arguments: str) -> tuple[str, bytes, str, str]:
    with pytest.raises(EnteredError) as caught:
        run(["--debug", "chat", "host", *arguments])
    return caught.value.found


@pytest.mark.usefixtures("entering")
def test_the_passphrase_comes_from_file_descriptor_or_environment(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    file = home / "pass"
    file.write_bytes(b"open  sesame \r\nsecond line\n")
    file.chmod(0o600)
    assert enter("--room", "Our Room", "--nick", "ann", "--passphrase-file", str(file)) == (
        "open  sesame",
        b"",
        "our room",
        "ann",
    )
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("SECURECHAT_PASSPHRASE", "from the environment")
    with file.open("rb") as opened:
        descriptor = os.dup(opened.fileno())
    assert enter("--room", "r", "--passphrase-fd", str(descriptor))[0] == "open  sesame"
    assert os.read(descriptor, 100) == b"second line\n", "what follows may be the messages to send"
    assert "SECURECHAT_PASSPHRASE" not in os.environ, "also if it was not needed"
    monkeypatch.setenv("SECURECHAT_PASSPHRASE", "from the environment")
    assert enter("--room", "r")[0] == "from the environment"
    assert "SECURECHAT_PASSPHRASE" not in os.environ  # no child inherits it


@pytest.mark.usefixtures("entering")
def test_room_and_nickname_of_the_last_time_are_taken_again(profile: Profile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("securechat.ui.terminal.has_terminal", lambda: True)
    monkeypatch.setattr("securechat.ui.terminal.ask_hidden", lambda _: "typed")
    state = profile.open_state()
    recent.note_names(state, "kitchen", "ann")  # as when a room was joined
    state.close()
    assert enter("--room", "Cellar", "--nick", "bob") == ("typed", b"", "cellar", "bob")
    assert enter() == ("typed", b"", "kitchen", "ann"), "nobody came into the cellar yet"


@pytest.mark.usefixtures("entering")
@pytest.mark.parametrize("option", ["--room", "--nick"])
def test_an_empty_name_is_none_and_not_that_of_last_time(profile: Profile, option: str) -> None:
    state = profile.open_state()
    recent.note_names(state, "kitchen", "ann")
    state.close()
    with pytest.raises(InputError):
        enter(option, "")


@pytest.mark.usefixtures("entering")
def test_a_remembered_secret_is_asked_for_no_more(profile: Profile, monkeypatch: pytest.MonkeyPatch) -> None:
    state = State.open(profile.directory / "state.sqlite")
    state.set_secret("kitchen", b"s" * 32)
    state.close()
    monkeypatch.setattr("securechat.ui.terminal.has_terminal", lambda: False)
    assert enter("--room", "kitchen", "--nick", "ann") == ("", b"s" * 32, "kitchen", "ann")
    monkeypatch.setenv("SECURECHAT_PASSPHRASE", "another one")
    assert enter("--room", "kitchen")[:2] == ("another one", b"")


@pytest.mark.usefixtures("entering")
def test_a_passphrase_file_that_others_can_read_is_told_of(home: Path, capsys: Capture) -> None:
    file = home / "pass"
    file.write_text("open sesame\n")
    file.chmod(0o644)
    enter("--room", "r", "--passphrase-file", str(file))
    told = capsys.readouterr().err
    assert "others can read" in told
    assert "open sesame" not in told


@pytest.mark.parametrize("content", [b"\xff\xfe", b"", b"\n", b"a\x07b\n"])
def test_a_passphrase_that_is_none_is_refused_and_not_shown(home: Path, content: bytes, capsys: Capture) -> None:
    file = home / "pass"
    file.write_bytes(content)
    file.chmod(0o600)
    assert run(["chat", "host", "--room", "r", "--passphrase-file", str(file)]) == 2
    assert "passphrase" in capsys.readouterr().err


def test_a_certificate_is_renewed_and_keeps_its_pin(tmp_path: Path) -> None:
    first = CliRunner().invoke(main, ["cert", "chat.example", "--out", str(tmp_path)])
    content = (tmp_path / "cert.pem").read_bytes()
    again = CliRunner().invoke(main, ["cert", "--renew", "--out", str(tmp_path)])
    assert (first.exit_code, again.exit_code) == (0, 0)
    assert again.stdout == first.stdout
    assert (tmp_path / "cert.pem").read_bytes() != content
    assert CliRunner().invoke(main, ["cert", "--renew", "--force", "--out", str(tmp_path)]).exit_code == 2


def test_a_certificate_gets_other_names_and_keeps_its_pin(tmp_path: Path) -> None:
    first = CliRunner().invoke(main, ["cert", "chat.example", "--out", str(tmp_path)])
    again = CliRunner().invoke(main, ["cert", "--renew", "other.example", "--out", str(tmp_path)])
    assert again.stdout == first.stdout
    assert Pair(tmp_path / "cert.pem", tmp_path / "key.pem").read_leaf().names == ("other.example",)


def test_a_key_without_a_certificate_is_signed_and_said(tmp_path: Path) -> None:
    first = CliRunner().invoke(main, ["cert", "chat.example", "--out", str(tmp_path)])
    for arguments in (["chat.example"], ["--renew", "chat.example"]):
        (tmp_path / "cert.pem").unlink()
        again = CliRunner().invoke(main, ["cert", *arguments, "--out", str(tmp_path)])
        assert (again.exit_code, again.stdout) == (0, first.stdout)
        assert "key.pem is the old one, with the same pin" in again.stderr
    (tmp_path / "cert.pem").unlink()
    nameless = CliRunner().invoke(main, ["cert", "--renew", "--out", str(tmp_path)])
    assert nameless.exit_code == 1
