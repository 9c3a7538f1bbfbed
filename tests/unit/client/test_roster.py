from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from securechat import limits
from securechat.client.conversation import Event, Kind
from securechat.client.roster import Roster
from securechat.protocol.messages import Change, MemberChange
from securechat.sealing.body import encode
from securechat.sealing.envelope import Context
from tests.support.rooms import KEYS, MY_SESSION, OTHER_KEYS, Log, Member, Reader, member, profiles_in

OWN = 1


class Place(NamedTuple):
    roster: Roster
    reader: Reader
    log: Log

    def take(self, *changes: tuple[Change, int, bytes]) -> list[Event]:
        return self.roster.take([MemberChange(*change) for change in changes])

    def names(self) -> list[str]:
        return sorted(present.sender.nick for present in self.roster.present.values())


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with profiles_in(tmp_path) as profiles:
        reader, log = profiles.reader(), Log()
        reader.follow(log)
        yield Place(Roster(KEYS, reader.people, reader.transcript, MY_SESSION), reader, log)


@pytest.fixture
def ann() -> Member:
    return member("ann")


def told(events: list[Event]) -> list[tuple[Kind, str]]:
    return [(event.kind, event.sender.nick) for event in events if event.sender is not None]


def test_who_is_listed_at_joining_is_present_and_not_told_of(place: Place, ann: Member) -> None:
    assert place.roster.join(OWN, 2) == []
    bob = member("bob")
    assert place.take((Change.HERE, 2, ann.show()), (Change.HERE, 3, bob.show(is_reader=True))) == []
    assert place.names() == ["ann", "bob"]
    assert [present.is_reader for _, present in sorted(place.roster.present.items())] == [False, True]


def test_who_comes_and_goes_is_told_of(place: Place, ann: Member) -> None:
    place.roster.join(OWN, 0)
    events = place.take((Change.JOINED, 2, ann.show()))
    assert told(events) == [(Kind.JOINED, "ann")]
    assert events[0].text == f"ann~{ann.identity.public.hex()[:4]} joined."
    assert told(place.take((Change.LEFT, 2, b""))) == [(Kind.LEFT, "ann")]
    assert place.names() == []


def test_whoever_is_verified_meanwhile_is_shown_as_verified(place: Place, ann: Member) -> None:
    place.roster.join(OWN, 0)
    place.take((Change.JOINED, 2, ann.show()))
    (present,) = place.roster.present.values()
    assert not present.sender.verified
    place.reader.people.verify(present.sender)
    (present,) = place.roster.present.values()
    assert present.sender.verified


def test_this_member_is_not_among_the_others(place: Place) -> None:
    place.roster.join(OWN, 1)
    assert place.take((Change.HERE, OWN, member("me").show())) == []
    assert place.take((Change.CHANGED, OWN, member("me").show())) == []
    assert place.take((Change.LEFT, OWN, b"")) == []
    assert place.names() == []


def test_the_leaving_of_a_stranger_is_not_told(place: Place) -> None:
    place.roster.join(OWN, 0)
    assert place.take((Change.LEFT, 99, b"")) == []


def test_another_nickname_is_told_with_the_old_one(place: Place, ann: Member) -> None:
    place.roster.join(OWN, 0)
    place.take((Change.JOINED, 2, ann.show()))
    ann.nick = "anna"
    (event,) = place.take((Change.CHANGED, 2, ann.show()))
    assert event.kind is Kind.RENAMED
    assert event.text.startswith("ann is now called anna~")
    assert place.names() == ["anna"]


def test_new_presence_under_the_same_nickname_says_nothing(place: Place, ann: Member) -> None:
    place.roster.join(OWN, 0)
    place.take((Change.JOINED, 2, ann.show()))
    assert place.take((Change.CHANGED, 2, ann.show())) == []


def test_presence_that_does_not_open_is_left_out(place: Place, ann: Member) -> None:
    place.roster.join(OWN, 0)
    foreign = Member("ann", ann.identity, ann.session, OTHER_KEYS)
    message = ann.write("not a presence", place.log.seen())
    unknown = ann.seal_raw(encode(ann.here())[:-1], Context.PRESENCE)
    for sealed in (foreign.show(), message, unknown, b"", b"junk"):
        assert place.take((Change.JOINED, 2, sealed)) == []
    assert place.names() == []


def test_an_old_presence_is_not_taken_for_a_new_one(place: Place, ann: Member) -> None:
    place.roster.join(OWN, 0)
    first = ann.show()
    place.take((Change.JOINED, 2, first))
    ann.nick = "anna"
    place.take((Change.CHANGED, 2, ann.show()))
    assert place.take((Change.CHANGED, 2, first)) == []
    assert place.take((Change.JOINED, 3, first)) == []
    assert place.names() == ["anna"]


def test_two_presences_under_one_count_are_not_both_taken(place: Place, ann: Member) -> None:
    place.roster.join(OWN, 0)
    place.take((Change.JOINED, 2, ann.show()))
    ann.presences -= 1
    ann.nick = "other"
    assert place.take((Change.CHANGED, 2, ann.show())) == []
    assert place.names() == ["ann"]


def test_the_same_presence_is_taken_again_after_a_reconnect(place: Place, ann: Member) -> None:
    place.roster.join(OWN, 0)
    sealed = ann.show()
    place.take((Change.JOINED, 2, sealed))
    place.roster.join(OWN, 1)
    assert place.take((Change.HERE, 7, sealed)) == []
    assert place.names() == ["ann"]


def test_who_left_during_a_lost_connection_is_told_of_at_the_end_of_the_list(place: Place, ann: Member) -> None:
    bob = member("bob")
    place.roster.join(OWN, 0)
    place.take((Change.JOINED, 2, ann.show()), (Change.JOINED, 3, bob.show()))
    place.roster.join(OWN, 2)
    assert place.take((Change.HERE, OWN, member("me").show())) == []
    events = place.take((Change.HERE, 2, ann.show()))
    assert told(events) == [(Kind.LEFT, "bob")]
    assert place.names() == ["ann"]


def test_an_empty_list_after_a_reconnect_tells_that_all_have_left(place: Place, ann: Member) -> None:
    place.roster.join(OWN, 0)
    place.take((Change.JOINED, 2, ann.show()))
    assert told(place.roster.join(OWN, 0)) == [(Kind.LEFT, "ann")]


def test_who_comes_back_before_the_end_of_the_list_is_not_told_of(place: Place, ann: Member) -> None:
    place.roster.join(OWN, 0)
    place.take((Change.JOINED, 2, ann.show()))
    place.roster.join(OWN, 1)
    assert place.take((Change.JOINED, 9, ann.show())) == []
    assert place.take((Change.HERE, OWN, b"")) == []


def test_another_run_of_a_member_is_another_arrival(place: Place, ann: Member) -> None:
    place.roster.join(OWN, 0)
    place.take((Change.JOINED, 2, ann.show()))
    assert told(place.take((Change.JOINED, 3, member("ann", run=2).show()))) == [(Kind.JOINED, "ann")]
    assert place.names() == ["ann", "ann"]


def test_prs_3_who_sends_the_presence_of_another_does_not_take_them_away(place: Place, ann: Member) -> None:
    place.roster.join(OWN, 0)
    sealed = ann.show()
    place.take((Change.JOINED, 2, sealed))
    assert place.take((Change.JOINED, 9, sealed)) == []
    assert place.names() == ["ann"]
    assert place.take((Change.LEFT, 9, b"")) == []
    assert place.names() == ["ann"]
    assert told(place.take((Change.LEFT, 2, b""))) == [(Kind.LEFT, "ann")]


def test_who_sends_the_presence_of_another_can_keep_them_on_the_list(place: Place, ann: Member) -> None:
    place.roster.join(OWN, 0)
    sealed = ann.show()
    place.take((Change.JOINED, 2, sealed), (Change.JOINED, 9, sealed))
    assert place.take((Change.LEFT, 2, b"")) == []
    ann.nick = "anna"
    assert [event.kind for event in place.take((Change.JOINED, 3, ann.show()))] == [Kind.RENAMED]
    assert place.names() == ["anna"]


def test_who_came_back_under_a_new_number_does_not_leave_with_the_old_one(place: Place, ann: Member) -> None:
    place.roster.join(OWN, 0)
    place.take((Change.JOINED, 2, ann.show()), (Change.JOINED, 3, ann.show()))
    assert place.take((Change.LEFT, 2, b"")) == []
    assert place.names() == ["ann"]


def test_a_server_cannot_let_somebody_come_and_go_for_ever(place: Place, ann: Member) -> None:
    place.roster.join(OWN, 0)
    sealed = ann.show()
    events = place.take(*((Change.JOINED, 2, sealed), (Change.LEFT, 2, b"")) * 50)
    assert told(events) == [(Kind.JOINED, "ann"), (Kind.LEFT, "ann")]
    assert told(place.take((Change.JOINED, 2, ann.show()))) == [(Kind.JOINED, "ann")]


def test_a_number_that_passes_to_another_is_no_new_name_of_the_first(place: Place, ann: Member) -> None:
    place.roster.join(OWN, 0)
    place.take((Change.JOINED, 2, ann.show()))
    events = place.take(*((Change.CHANGED, 2, member("bob").show()), (Change.CHANGED, 2, ann.show())))
    assert told(events) == [(Kind.LEFT, "ann"), (Kind.JOINED, "bob"), (Kind.LEFT, "bob"), (Kind.JOINED, "ann")]


def test_so_many_are_followed_and_no_more(place: Place, ann: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PRESENT_MEMBERS", 3)
    place.roster.join(OWN, 0)
    sealed = ann.show()
    place.take(*((Change.JOINED, number, sealed) for number in range(2, 5)))
    bob = member("bob")
    assert place.take((Change.JOINED, 9, bob.show())) == []
    place.take((Change.LEFT, 2, b""))
    assert told(place.take((Change.JOINED, 9, bob.show()))) == [(Kind.JOINED, "bob")]
    for run in range(5):  # what each has said is not remembered for ever either
        place.take((Change.LEFT, 9, b""), (Change.JOINED, 9, member("bob", run).show()))
    assert place.names() == ["ann", "bob"]


def test_a_nickname_under_another_key_is_an_alarm_at_the_door(place: Place, ann: Member) -> None:
    place.roster.join(OWN, 0)
    place.take((Change.JOINED, 2, ann.show()))
    thief = Member("ann", member("eve").identity, b"run of the thief")
    events = place.take((Change.JOINED, 3, thief.show()))
    assert [event.kind for event in events] == [Kind.CHANGED_KEY, Kind.JOINED]


def test_who_arrives_tells_of_messages_that_were_held_back(place: Place, ann: Member) -> None:
    place.log.say(ann, "one")
    place.reader.deliver(place.log, 1)
    ann.counter = 3
    place.roster.join(OWN, 0)
    events = place.take((Change.JOINED, 2, ann.show()))
    assert [event.kind for event in events] == [Kind.GAP, Kind.JOINED]


def test_who_is_only_listed_may_have_said_so_long_ago(place: Place, ann: Member) -> None:
    place.log.say(ann, "one")
    place.reader.deliver(place.log, 1)
    ann.counter = 3
    place.roster.join(OWN, 1)
    assert place.take((Change.HERE, 2, ann.show())) == []
