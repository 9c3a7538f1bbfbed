"""How long and how many messages a server keeps, as its operator writes it."""

from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from securechat.cli.group import main
from securechat.cli.retaining import read_count, read_time


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[dict[str, Any]]:
    """What the server was told."""
    told: list[dict[str, Any]] = []
    monkeypatch.setattr("securechat.cli.operate.operate", lambda given, *_: told.append(given))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return told


@pytest.mark.parametrize(("text", "seconds"), [("7d", 604_800), ("1s", 1), (5, 5), ("forever", None)])
def test_a_time_is_a_span_or_for_ever(text: str | int, seconds: int | None) -> None:
    assert read_time(text) == seconds


@pytest.mark.parametrize(("text", "count"), [("1", 1), (10_000, 10_000), ("all", None), ("1" + "0" * 20, 10**20)])
def test_a_count_is_a_number_or_all(text: str | int, count: int | None) -> None:
    assert read_count(text) == count


@pytest.mark.parametrize("text", ["0", 0, "0d", "00w"])
def test_keeping_for_no_time_names_both_ways_out(text: str | int) -> None:
    with pytest.raises(click.BadParameter, match=r"0 would keep nothing; write forever .*, or 1s"):
        read_time(text)


@pytest.mark.parametrize("text", ["0", 0, "000"])
def test_keeping_no_message_names_both_ways_out(text: str | int) -> None:
    with pytest.raises(click.BadParameter, match=r"0 would keep nothing; write all .*, or 1"):
        read_count(text)


@pytest.mark.parametrize("text", ["", "-1", "1.5", "many", "1e9", " 5", "५", "9" * 5000])
def test_anything_else_is_no_number_of_messages(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is no number of messages"):
        read_count(text)


@pytest.mark.parametrize(
    ("time", "count", "expected"),
    [
        ("forever", "all", (None, None)),
        ("1h", "5", (3600, 5)),
        ("9" * 20 + "w", "9" * 20, (int("9" * 20) * 604_800, int("9" * 20))),
    ],
)
@pytest.mark.parametrize("source", ["flag", "environment", "file"])
def test_bounds_may_come_from_anywhere(
    taken: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    source: str,
    time: str,
    count: str,
    expected: tuple[int | None, int | None],
) -> None:
    arguments = ["server"]
    if source == "flag":
        arguments += ["--retain", time, "--retain-messages", count]
    elif source == "environment":
        monkeypatch.setenv("SECURECHAT_RETAIN", time)
        monkeypatch.setenv("SECURECHAT_RETAIN_MESSAGES", count)
    else:
        (tmp_path / "securechat").mkdir()
        number = count if count.isdigit() else f"'{count}'"
        text = f"[server]\nretain = '{time}'\nretain-messages = {number}\n"
        (tmp_path / "securechat" / "config.toml").write_text(text)
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert (taken[0]["retain"], taken[0]["retain_messages"]) == expected


@pytest.mark.parametrize("option", ["--retain", "--retain-messages"])
def test_zero_is_a_usage_error(taken: list[dict[str, Any]], option: str) -> None:
    result = CliRunner().invoke(main, ["server", option, "0"])
    assert (result.exit_code, taken) == (2, [])
    assert "0 would keep nothing" in result.output
