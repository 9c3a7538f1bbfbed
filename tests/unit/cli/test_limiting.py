"""Limits as an operator writes them."""

from dataclasses import fields

import pytest
from click.testing import CliRunner

from securechat.cli.group import main
from securechat.cli.limiting import read_limits, rows, show
from securechat.errors import InputError
from securechat.limits import SERVER, Rate, ServerLimits


def test_what_is_not_given_stays() -> None:
    assert read_limits([]) == SERVER
    changed = read_limits(
        ["rooms=7", "outbox-bytes=1MiB", "frames=10:0.5", "handshake-seconds=2.5", "received=1MiB:2KiB"]
    )
    assert changed == ServerLimits(
        rooms=7,
        outbox_bytes=2**20,
        frames=Rate(10, 0.5),
        handshake_seconds=2.5,
        received=Rate(2**20, 2048),
    )


@pytest.mark.parametrize(
    "text",
    [
        "rooms",
        "rooms=",
        "rooms=x",
        "rooms=-1",
        "rooms=0",
        "rooms=1TiB",
        "frames=5",
        "frames=5:",
        "frames=:5",
        "frames=0:1",
        "rooms=0.5",
        "frames=0.5:1",
    ],
)
def test_a_value_that_is_none_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InputError, match=r"is written (NUMBER|BURST:PER_SECOND), above 0; .* For example \w+=\d"):
        read_limits([text])


@pytest.mark.parametrize("value", ["9", "301", "70000"])
def test_a_keep_alive_that_no_client_keeps_to_is_refused(value: str) -> None:
    with pytest.raises(InputError, match="keepalive is 10 to 300 s"):
        read_limits([f"keepalive={value}"])


def test_a_name_that_is_none_is_refused() -> None:
    with pytest.raises(InputError, match=r"There is no limit 'romms'\. See 'securechat server --show-limits'"):
        read_limits(["romms=1"])


def test_every_limit_can_be_written_as_it_is_shown() -> None:
    for field in fields(SERVER):
        value = getattr(SERVER, field.name)
        assert read_limits([f"{field.name.replace('_', '-')}={show(value, field.metadata['unit'])}"]) == SERVER


def test_the_table_is_printed_and_nothing_is_served() -> None:
    result = CliRunner().invoke(main, ["server", "--show-limits"])
    assert result.exit_code == 0
    assert len(result.output.splitlines()) == len(rows()) == len(fields(SERVER))
    assert "outbox-bytes" in result.output
    assert " 4MiB " in result.output
