"""``--limit NAME=VALUE``: an operator's own limits, and the table of all of them."""

import re
from collections.abc import Iterable
from dataclasses import Field, fields, replace
from typing import Any, Final

import click

from securechat.errors import InputError
from securechat.limits import KIB, MIB, SERVER, Rate, ServerLimits

_UNITS: Final = {"": 1, "KiB": KIB, "MiB": MIB, "GiB": KIB * MIB}
_NUMBER: Final = re.compile(r"(\d{1,15}(?:\.\d{1,6})?)(|KiB|MiB|GiB)")
_NEXT_STEP: Final = "See 'securechat server --show-limits'."


def read_limits(given: Iterable[str]) -> ServerLimits:
    """Return the limits of a server, of which some were given as ``NAME=VALUE``.

    Raises:
        InputError: A name or value is none.
    """
    known = {_dashed(field): field for field in fields(SERVER)}
    changes: dict[str, Any] = {}
    for text in given:
        name, _, value = text.partition("=")
        field = known.get(name.strip())
        if field is None:
            raise InputError(f"There is no limit {name!r}.", _NEXT_STEP)
        changes[field.name] = _read(field, value.strip())
    return replace(SERVER, **changes)


def _dashed(field: "Field[Any]") -> str:
    return field.name.replace("_", "-")


def _read(field: "Field[Any]", value: str) -> int | float | Rate:
    default = getattr(SERVER, field.name)
    if isinstance(default, Rate):
        burst, _, per_second = value.partition(":")
        return Rate(int(_number(field, burst, 1)), _number(field, per_second))
    number = _number(field, value, 0 if isinstance(default, float) else 1)
    least, most = field.metadata["within"]
    if not least <= number <= most:
        raise InputError(f"{_dashed(field)} is {least} to {most} {field.metadata['unit']}.", _NEXT_STEP)
    return number if isinstance(default, float) else int(number)


def _number(field: "Field[Any]", text: str, least: float = 0.0) -> float:
    """Read a number above 0 with a unit: a limit of 0 would be another way to stop the server."""
    match = _NUMBER.fullmatch(text)
    number = float(match[1]) * _UNITS[match[2]] if match else 0.0
    if not number or number < least:
        form = "BURST:PER_SECOND" if isinstance(getattr(SERVER, field.name), Rate) else "NUMBER"
        raise InputError(
            f"{_dashed(field)} is written {form}, above 0; sizes may end in KiB, MiB or GiB.",
            f"For example {_dashed(field)}={show(getattr(SERVER, field.name), field.metadata['unit'])}",
        )
    return number


def show(value: float | Rate, unit: str) -> str:
    """Return a limit as it is written."""
    if isinstance(value, Rate):
        return f"{show(value.burst, unit)}:{show(value.per_second, unit)}"
    for name, size in reversed(_UNITS.items()):
        if unit == "bytes" and value >= size and value % size == 0:
            return f"{value // size:g}{name}"
    return f"{value:g}"


def rows() -> list[tuple[str, str, str]]:
    """Return name, default and meaning of every limit."""
    return [
        (
            _dashed(field),
            show(getattr(SERVER, field.name), field.metadata["unit"]),
            f"{field.metadata['unit']} {field.metadata['meaning']}",
        )
        for field in fields(SERVER)
    ]


def parse_limits(_: click.Context, __: click.Parameter, given: Iterable[str]) -> ServerLimits:
    """Return the limits that ``--limit`` asks for, as the callback of that option.

    Raises:
        InputError: A name or value is none.
    """
    return read_limits(given)


def print_limits(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    """Print the table and leave, as an eager option."""
    if wanted:
        for name, default, meaning in rows():
            click.echo(f"{name:<24} {default:<14} {meaning}")
        context.exit()
