"""Options that several commands share, and where their values come from: flag > environment > file > default."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from securechat.errors import InputError

FILE: Final = click.Path(path_type=Path, readable=False)  # whoever opens it says what is wrong, in our words
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION: Final = re.compile(r"(\d{1,9})([smhdw]?)")


def duration(value: str | int) -> int:
    """Read a time span for click: a number and s, m, h, d or w, seconds without a letter."""
    match = _DURATION.fullmatch(str(value))
    if match is None:
        raise click.BadParameter(f"{value!r} is no time span; write 90s, 30m, 1h or 7d.")
    return int(match[1]) * _UNITS[match[2] or "s"]


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
        InputError: It is not TOML, or names an unknown table or key; with the line.
    """
    if not path.exists():
        return {}
    import tomllib

    try:
        text = path.read_text(encoding="utf-8")
        tables = tomllib.loads(text)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}.", "Mend it.") from error
    defaults: dict[str, dict[str, Any]] = {}
    for table, values in tables.items():
        commands = _TABLES.get(table)
        if commands is None or not isinstance(values, dict):
            raise _unknown(path, text, table)
        settings = {command: _settings_of(group.commands[command]) for command in commands}
        for command, known in settings.items():
            defaults[command] = {known[_dashed(key)]: value for key, value in values.items() if _dashed(key) in known}
        for key in values:
            if not any(_dashed(key) in known for known in settings.values()):
                raise _unknown(path, text, table, key)
    return defaults


def _dashed(key: str) -> str:
    return key.replace("_", "-")


def _settings_of(command: click.Command) -> dict[str, str]:
    """Return what may be set for a command: the options without their dashes, with the names of their parameters."""
    return {
        name.removeprefix("--"): parameter.name
        for parameter in command.params
        if isinstance(parameter, click.Option) and parameter.name not in FLAGS_ONLY
        for name in parameter.opts
        if name.startswith("--")
    }


def _unknown(path: Path, text: str, table: str, key: str = "") -> InputError:
    number = _find_line(text, table, key)
    line = f", line {number}" if number else ""
    return InputError(
        f"{path}{line}: {(key or table)!r} is no setting.",
        "Tables are [server] and [client]; keys are the options, as in retain-messages.",
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
