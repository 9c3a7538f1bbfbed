"""What a person is asked who has not said where to go."""

from collections.abc import Callable

import click
import pytest
from click.testing import CliRunner, Result

from securechat.cli import asking
from securechat.client.address import ServerAddress
from securechat.sealing.names import normalise_passphrase

RECENT = [ServerAddress("one.example", 7443, "kitchen"), ServerAddress("two.example", 7000, "tea house")]


def ask(question: Callable[[], object], *answers: str) -> Result:
    @click.command()
    def command() -> None:
        click.echo(f"answer: {question()}")

    return CliRunner().invoke(command, input="".join(f"{answer}\n" for answer in answers))


def answer_of(result: Result) -> str:
    assert result.exit_code == 0, result.output
    return result.stdout.split("answer: ")[1].strip()


def test_a_room_of_last_time_is_taken_by_its_number_and_the_last_by_enter() -> None:
    for typed, server in (("", "one.example:7443"), ("2", "two.example:7000"), ("other.example:1", "other.example:1")):
        assert answer_of(ask(lambda: asking.ask_server(RECENT), typed)) == server


@pytest.mark.parametrize("wrong", ["3", "0", "99999999999", "not a server"])
def test_what_is_no_server_is_told_and_asked_again(wrong: str) -> None:
    result = ask(lambda: asking.ask_server(RECENT), wrong, "2")
    assert answer_of(result) == "two.example:7000"
    assert "Error: " in result.stderr


def test_a_first_server_has_no_default() -> None:
    result = ask(lambda: asking.ask_server([]), "securechat://[::1]:7000/kitchen")
    assert answer_of(result) == "[::1]:7000"


def test_room_and_nickname_are_checked_as_they_are_given() -> None:
    result = ask(asking.ask_room, " ", "x" * 129, "Tea House")
    assert answer_of(result) == "tea house"
    assert result.stderr.count("Error: ") >= 1
    result = ask(lambda: asking.ask_nick("alice"), "two words", "")
    assert answer_of(result) == "alice"
    assert "has no spaces" in result.stderr


def test_a_passphrase_is_not_shown() -> None:
    result = ask(lambda: asking.ask_passphrase("kitchen").text == "my own words", "my own words")
    assert answer_of(result) == "True"
    assert "my own words" not in result.output
    assert "my own" not in repr(asking.Passphrase("my own words", is_new=False))


def test_a_passphrase_that_is_made_is_shown_with_its_strength() -> None:
    made: list[asking.Passphrase] = []
    result = ask(lambda: made.append(asking.ask_passphrase("kitchen")), "", "")
    (passphrase,) = made
    assert passphrase.is_new
    assert passphrase.text == normalise_passphrase(passphrase.text)
    assert len(passphrase.text.split()) >= 6
    assert passphrase.text in result.stderr
    assert "78 bits" in result.stderr


def test_the_end_of_input_ends_it() -> None:
    assert ask(asking.ask_room).exit_code == 1
