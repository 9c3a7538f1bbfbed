"""Options that several commands share, and where their values come from: flag > environment > file > default."""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import click
from click.core import ParameterSource

from securechat.cli.config import ConfigFile
from securechat.errors import InputError, SecurechatError

_DAY: Final = 86400
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION: Final = re.compile(r"(\d{1,30})([smhdw]?)")
_PORT: Final = re.compile(r"[0-9]{1,5}")
_LARGEST_PORT: Final = 65535
_COMPLAINT_CHARACTERS: Final = 200  # of a value that may be of any length
# What Kubernetes sets for a Service of our name, and Docker for a link: SECURECHAT_PORT=tcp://10.96.0.12:7443
_SERVICE_LINK: Final = re.compile(r"(?:tcp|udp|sctp)://")


class _File(click.Path):
    """The path of a file or directory; who opens it says what is wrong, in our words."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        if not value:
            self.fail("The path is empty.", param, ctx)
        if "\0" in str(value):
            self.fail("The path holds a NUL character.", param, ctx)
        return Path(os.fsdecode(super().convert(value, param, ctx)))


PASSPHRASE_VARIABLE: Final = "SECURECHAT_PASSPHRASE"  # noqa: S105
DESCRIPTOR: Final = click.IntRange(0, 2**31 - 1)  # a C int
FILE: Final = _File(path_type=Path, readable=False)


class Place(NamedTuple):
    """Where to listen."""

    host: str
    port: int


def place(default: str) -> Callable[[str | Place], Place]:
    """Return a reader of ``[HOST:]PORT`` for click; ``default`` is the host where none is given."""

    def read(value: str | Place) -> Place:
        if isinstance(value, Place):
            return value
        name, _, port = value.rpartition(":")
        if not _PORT.fullmatch(port) or int(port) > _LARGEST_PORT:
            raise click.BadParameter(f"{_brief(value)!r} is no place to listen; write [HOST:]PORT.")
        return Place(host(name) if name else default, int(port))

    return read


def host(value: str) -> str:
    """Read a name or address for click: an IPv6 address with or without brackets.

    Whether it is one of this machine is found out by who listens there.
    """
    bare = value[1:-1] if value.startswith("[") and value.endswith("]") else value
    if not bare or not bare.isprintable() or set(bare) & set("[]/@ "):
        raise click.BadParameter(f"{_brief(value)!r} is no name or address; write localhost, 192.0.2.7 or ::1.")
    return bare


def pin(value: str | bytes) -> bytes:
    """Read a pin for click: its 32 bytes.

    Raises:
        InputError: It is none.
    """
    from securechat.transport.pins import parse_pin

    return value if isinstance(value, bytes) else parse_pin(value)


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


@dataclass
class Origins:
    """Where this run's values of options came from, for what is said about them.

    Attributes:
        file: The configuration file, if there is one.
        places: By option, the variable or the line that gave it its value.
        notices: Sentences about variables that were ignored.
        passphrase: What SECURECHAT_PASSPHRASE said, until it is used.
    """

    file: ConfigFile | None = None
    places: dict[str, str] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)
    passphrase: str | None = field(default=None, repr=False)

    def pop_passphrase(self) -> str | None:
        """Return the passphrase of the environment, if there was one, and forget it."""
        passphrase, self.passphrase = self.passphrase, None
        return passphrase

    def describe(self, error: SecurechatError) -> str:
        """Return what an error says, after the place of the value at fault unless that is the command line."""
        place = self.places.get(error.option)
        return f"{place}: {error}" if place else str(error)


class Setting(click.Option):
    """An option that the environment or ``config.toml`` may give too: what is wrong with a value names its place."""

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        """Return the variable's value, unless it is empty or was set for a service of that name."""
        value = super().resolve_envvar_value(ctx)
        if value is None or not _SERVICE_LINK.match(value):
            return value
        ctx.ensure_object(Origins).notices.append(
            f"{self.envvar} in the environment was set for a service of that name ({_brief(value)}) and is ignored; "
            f"to set the option, give {self.opts[0]} on the command line or in config.toml"
        )
        return None

    def handle_parse_result(
        self, ctx: click.Context, opts: Mapping[str, Any], args: list[str]
    ) -> tuple[Any, list[str]]:
        """Find and convert the value, and remember where it came from.

        Raises:
            InputError: A value that the command line did not give is unusable.
            click.BadParameter: One that it gave is.
        """
        try:
            return super().handle_parse_result(ctx, opts, args)
        except click.BadParameter as error:
            if not self._place(ctx):
                raise
            raise InputError(
                _sentence(error.message), "Correct it, or remove it there.", option=self.opts[0]
            ) from error
        except InputError as error:
            error.option = self.opts[0]
            raise
        finally:
            if place := self._place(ctx):
                ctx.ensure_object(Origins).places[self.opts[0]] = place

    def _place(self, ctx: click.Context) -> str:
        """Return where the value came from; empty for the command line and the default."""
        source = ctx.get_parameter_source(str(self.name))
        if source is ParameterSource.ENVIRONMENT:
            return f"{self.envvar} in the environment"
        file = ctx.ensure_object(Origins).file
        if source is ParameterSource.DEFAULT_MAP and file:
            return file.place_for(ctx.command.name, self.opts[0])
        return ""


def option(*names: str, variable: bool = True, **settings: Any) -> Callable[[Any], Any]:
    """Declare an option of ``config.toml`` and, if ``variable``, of the environment (``SECURECHAT_NAME``)."""
    if variable:
        settings["envvar"] = "SECURECHAT_" + names[0].removeprefix("--").upper().replace("-", "_")
    return click.option(*names, cls=Setting, **settings)


@contextmanager
def judging(name: str, given: object) -> Iterator[None]:
    """Let an error say that the value of the option ``name`` is at fault, if one was ``given``."""
    try:
        yield
    except SecurechatError as error:
        if given is not None:
            error.option = error.option or name
        raise


def default_directory(found: Path | None, name: str) -> Path:
    """Return where something is when the option ``name`` does not say it.

    Raises:
        InputError: This user has no home directory.
    """
    if found is None:
        raise InputError(
            "This user has no home directory: HOME is not set to an absolute path.",
            f"Set HOME, or name a directory with {name}.",
        )
    return found


def _sentence(text: str) -> str:
    """Return the beginning of a complaint, as a sentence; click does not end all of its own with a full stop."""
    text = _brief(text)
    return text if text.endswith((".", "?", "!")) else f"{text}."


def _brief(text: str) -> str:
    """Return the beginning of what may be of any length."""
    return text if len(text) <= _COMPLAINT_CHARACTERS else f"{text[:_COMPLAINT_CHARACTERS]}..."
