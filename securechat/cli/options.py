"""Options that several commands share, and where their values come from: flag > environment > file > default."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from securechat.errors import InputError

FILE: Final = click.Path(path_type=Path, readable=False)  # whoever opens it says what is wrong, in our words
_DAY: Final = 86400
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION: Final = re.compile(r"(\d{1,30})([smhdw]?)")


def duration(value: str | int) -> int:
    """Read a time span for click: a number and s, m, h, d or w, seconds without a letter."""
    match = _DURATION.fullmatch(str(value))
    if match is None:
        raise click.BadParameter(f"{value!r} is no time span; write 90s, 30m, 1h or 7d.")
    return int(match[1]) * _UNITS[match[2] or "s"]


def patience(value: str | float) -> float:
    """Read seconds of waiting for click: 1 to a day."""
    try:
        seconds = float(value)
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds <= _DAY:  # nor nan
        raise click.BadParameter(f"{value!r} is not between 1 and {_DAY} seconds.")
    return seconds


def option(name: str, **settings: Any) -> Callable[[Any], Any]:
    """Declare an option that the environment (``SECURECHAT_NAME``) and ``config.toml`` may give too."""
    variable = "SECURECHAT_" + name.removeprefix("--").upper().replace("-", "_")
    return click.option(name, envvar=variable, **settings)


FLAGS_ONLY: Final = frozenset({"create", "must_exist", "weak_passphrase", "compat", "no_tls", "force", "debug", "help"})
_TABLES: Final = {"server": ("server",), "client": ("chat", "gui", "send", "tail")}


def config_path() -> Path:
    """Return where the configuration file is, if there is one."""
    import platformdirs

    return platformdirs.user_config_path("securechat") / "config.toml"


def load_defaults(group: click.Group, path: Path) -> dict[str, dict[str, Any]]:
    """Read ``config.toml`` as click's default map.

    Raises:
        InputError: It is not TOML, names an unknown table or key, or gives one a value of another kind; with the line.
    """
    if not path.exists():
        return {}
    import tomllib

    try:
        text = path.read_text(encoding="utf-8")
        tables = tomllib.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read: {error}.", "Mend it.") from error
    defaults: dict[str, dict[str, Any]] = {}
    for table, values in tables.items():
        commands = _TABLES.get(table)
        if commands is None or not isinstance(values, dict):
            raise _unknown(path, text, table)
        settings = {command: _settings_of(group.commands[command]) for command in commands}
        defaults |= {command: {} for command in commands}
        for key, value in values.items():
            taken = {command: known[_dashed(key)] for command, known in settings.items() if _dashed(key) in known}
            if not taken:
                raise _unknown(path, text, table, key)
            for command, setting in taken.items():
                if not _fits(setting, value):
                    raise _misfit(path, text, table, key)
                defaults[command][str(setting.name)] = value if isinstance(value, bool | list) else str(value)
    return defaults


def _dashed(key: str) -> str:
    return key.replace("_", "-")


def _settings_of(command: click.Command) -> dict[str, click.Option]:
    """Return what may be set for a command: the options, by their names without dashes."""
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


def _at(path: Path, text: str, table: str, key: str) -> str:
    number = _find_line(text, table, key)
    return f"{path}, line {number}" if number else str(path)


def _unknown(path: Path, text: str, table: str, key: str = "") -> InputError:
    return InputError(
        f"{_at(path, text, table, key)}: {(key or table)!r} is no setting.",
        "Tables are [server] and [client]; keys are the options, as in retain-messages.",
    )


def _misfit(path: Path, text: str, table: str, key: str) -> InputError:
    return InputError(
        f"{_at(path, text, table, key)}: {key!r} has a value of another kind than the option.",
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
        if f"{name}.".startswith(f"{table}.{key}." if key else f"{table}."):
            return number
    return 0
