from collections.abc import Iterator
from pathlib import Path

import pytest

from securechat.client.people import People
from securechat.client.state import State
from securechat.sealing.identity import Identity
from tests.support.rooms import KEYS, ME, OTHER_KEYS, member

ANN = member("ann").identity.public
EVE = member("eve").identity.public


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    opened = State.open(tmp_path / "state.sqlite")
    yield opened
    opened.close()


def people_of(state: State, *, learns: bool = True, address: bytes = KEYS.address, me: Identity = ME) -> People:
    return People(state, address, me, learns=learns)


def claim(people: People, nick: str, identity: bytes) -> bytes | None:
    return people.claim(people.sender(nick, identity))


def test_a_name_shows_the_first_digits_of_its_key_until_it_is_verified(state: State) -> None:
    people = people_of(state)
    sender = people.sender("ann", ANN)
    assert sender.name == f"ann~{ANN.hex()[:4]}"
    assert not sender.verified
    people.verify(sender)
    assert people.sender("ann", ANN).name == "ann"
    assert people_of(state).sender("ann", ANN).verified


def test_this_member_is_known_to_itself(state: State) -> None:
    sender = people_of(state).sender("me", ME.public)
    assert sender.is_me
    assert sender.verified
    assert not people_of(state).sender("me", ANN).is_me


def test_the_first_user_of_a_nickname_owns_it(state: State) -> None:
    people = people_of(state)
    assert claim(people, "ann", ANN) is None
    assert claim(people, "ann", ANN) is None
    assert claim(people, "ann", EVE) == ANN


def test_another_key_is_told_once_a_run(state: State) -> None:
    people = people_of(state)
    claim(people, "ann", ANN)
    assert claim(people, "ann", EVE) == ANN
    assert claim(people, "ann", EVE) is None
    assert claim(people_of(state), "ann", EVE) == ANN


@pytest.mark.parametrize("lookalike", ["ANN", "Ann", "\u0430nn", "a\u0301nn", "an\u200bn", "\uff41nn"])
def test_a_name_that_looks_alike_is_the_same_name(state: State, lookalike: str) -> None:
    people = people_of(state)
    claim(people, "ann", ANN)
    assert claim(people, lookalike, EVE) == ANN


def test_one_member_may_have_many_names(state: State) -> None:
    people = people_of(state)
    assert claim(people, "ann", ANN) is None
    assert claim(people, "anna", ANN) is None
    assert claim(people, "bob", EVE) is None


def test_a_first_use_is_remembered_only_where_the_profile_learns(state: State) -> None:
    reader = people_of(state, learns=False)
    assert claim(reader, "ann", EVE) is None
    assert claim(reader, "ann", ANN) == EVE  # within the run it holds
    assert claim(people_of(state), "ann", ANN) is None


def test_what_was_learned_holds_where_nothing_is_learned(state: State) -> None:
    claim(people_of(state), "ann", ANN)
    assert claim(people_of(state, learns=False), "ann", EVE) == ANN


def test_names_belong_to_a_room(state: State) -> None:
    claim(people_of(state), "ann", ANN)
    assert claim(people_of(state, address=OTHER_KEYS.address), "ann", EVE) is None


def test_this_member_is_not_warned_of_itself(state: State) -> None:
    people = people_of(state)
    claim(people, "ann", ANN)
    assert claim(people, "ann", ME.public) is None
    assert claim(people, "ann", EVE) == ANN


def test_whoever_takes_this_members_name_is_told_of(state: State) -> None:
    people = people_of(state)
    claim(people, "me", ME.public)
    assert claim(people, "me", EVE) == ME.public


def test_who_was_verified_owns_the_nickname_from_then_on(state: State) -> None:
    people = people_of(state)
    claim(people, "ann", EVE)
    assert claim(people, "ann", ANN) == EVE
    people.verify(people.sender("ann", ANN))
    assert claim(people, "ann", ANN) is None
    assert claim(people, "ann", EVE) == ANN
    assert claim(people_of(state), "ann", ANN) is None
