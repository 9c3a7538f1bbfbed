"""``config.toml``: values for options, each with the line that gave it."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import click

from securechat import limits
from securechat.errors import InputError
from securechat.files import user_directory

FLAGS_ONLY: Final = frozenset(
    {"create", "must_exist", "weak_passphrase", "compat", "no_tls", "force", "debug", "help", "show_limits"}
)
_TABLES: Final = {"server": ("server",), "client": ("chat", "gui", "send", "tail")}
_OPEN_FLAGS: Final = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)


def config_path() -> Path | None:
    """Return where the configuration file is, if there is one; None where this user has no place for such files."""
    directory = user_directory("config")
    return directory and directory / "config.toml"


@dataclass(frozen=True)
class ConfigFile:
    """What a configuration file says.

    Attributes:
        path: Where it is.
        text: All of it.
        defaults: Values by command and parameter, as click's default map.
    """

    path: Path
    text: str
    defaults: dict[str, dict[str, Any]] = field(default_factory=dict)

    def place(self, table: str, key: str = "") -> str:
        """Return the path, and the line of a key, or else of its table, where there is one."""
        number = _find_line(self.text, table, key) or _find_line(self.text, table, "")
        return f"{self.path}, line {number}" if number else str(self.path)

    def place_for(self, command: str | None, option: str) -> str:
        """Return the path and the line that gave a command its value of an option."""
        table = next((table for table, commands in _TABLES.items() if command in commands), "")
        return self.place(table, option.removeprefix("--"))


def read_config(group: click.Group, path: Path) -> ConfigFile | None:
    """Return what a configuration file says to the commands of a group; None where there is no file.

    Raises:
        InputError: It cannot be read, is not TOML, names an unknown table or key, or gives one a value of another
            kind; with the line.
    """
    import tomllib

    try:
        content = _read(path)
        if content is None:
            return None
        file = ConfigFile(path, content.decode("utf-8-sig"))
        for command, parameter, value in _settings(group, file, tomllib.loads(file.text)):
            file.defaults.setdefault(command, {})[parameter] = value
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.", "Check its rights, or remove it.") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read: {error}.", "Correct the file.") from error
    return file


def _read(path: Path) -> bytes | None:
    """Return the content of a file, without waiting for a pipe that nobody writes to.

    A user whose home directory belongs to somebody else has no configuration there: HOME of a container often names
    root's, whatever user it runs as.

    Raises:
        OSError: It is there, and cannot be read.
        ValueError: It is too large.
    """
    try:
        descriptor = os.open(path, _OPEN_FLAGS)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError:
        if os.access(path.parent, os.X_OK):
            raise
        return None
    with os.fdopen(descriptor, "rb") as file:
        content = file.read(limits.CONFIG_BYTES + 1)
    if len(content) > limits.CONFIG_BYTES:
        raise ValueError(f"it is larger than {limits.CONFIG_BYTES // limits.KIB} KiB")
    return content


def _settings(group: click.Group, file: ConfigFile, tables: dict[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Yield command, parameter and value of each setting.

    Raises:
        InputError: A table or key is unknown, or a value is of another kind.
    """
    for table, values in tables.items():
        commands = _TABLES.get(table)
        if commands is None or not isinstance(values, dict):
            raise _unknown(file, table)
        settings = {command: configurable(group.commands[command]) for command in commands}
        for key, value in values.items():
            known = {command: options[_dashed(key)] for command, options in settings.items() if _dashed(key) in options}
            if not known:
                raise _unknown(file, table, key)
            for command, option in known.items():
                if not _fits(option, value):
                    raise _misfit(file, table, key)
                yield command, str(option.name), value if isinstance(value, bool | list) else str(value)


def _dashed(key: str) -> str:
    return key.replace("_", "-")


def configurable(command: click.Command) -> dict[str, click.Option]:
    """Return the options of a command that the file may give, by their names without dashes."""
    return {
        name.removeprefix("--"): parameter
        for parameter in command.params
        if isinstance(parameter, click.Option) and parameter.name not in FLAGS_ONLY
        for name in parameter.opts
        if name.startswith("--")
    }


def _fits(setting: click.Option, value: object) -> bool:
    """Tell whether a value is of the kind that an option takes: what it means is click's to judge."""
    if setting.is_flag:
        return isinstance(value, bool)
    if setting.multiple:
        return isinstance(value, list) and all(_is_word(item) for item in value)
    return _is_word(value) or (isinstance(value, int | float) and not isinstance(value, bool))


def _is_word(value: object) -> bool:
    """Tell whether a value might have been an argument."""
    return isinstance(value, str) and "\0" not in value


def _unknown(file: ConfigFile, table: str, key: str = "") -> InputError:
    return InputError(
        f"{file.place(table, key)}: {(key or table)!r} is no setting.",
        "Tables are [server] and [client]; keys are the options, as in retain-messages.",
    )


def _misfit(file: ConfigFile, table: str, key: str) -> InputError:
    return InputError(
        f"{file.place(table, key)}: {key!r} has a value of another kind than the option.",
        'Write text as "ann", a number as 5, a switch as true, and what may be given more than once as ["a", "b"].',
    )


def _find_line(text: str, table: str, key: str) -> int:
    """Return the number of the line that names a key of a table, or the table itself; 0 for none."""
    current = ""
    for number, line in enumerate(text.splitlines(), 1):
        name = line.strip().lstrip("[").partition("=")[0].partition("#")[0].rstrip(" ]").strip("\"' ")
        if line.lstrip().startswith("["):
            current = name
        else:
            name = f"{current}.{name}" if current else name
        if f"{_dashed(name)}.".startswith(f"{table}.{_dashed(key)}." if key else f"{table}."):
            return number
    return 0
