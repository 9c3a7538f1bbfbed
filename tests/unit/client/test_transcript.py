from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from securechat import limits
from securechat.client.clock import now_ms
from securechat.client.conversation import ALARMS, Event, Kind
from securechat.client.letters import Letter, read_letter
from securechat.client.state import Position
from securechat.client.transcript import Backlog, Wanted
from securechat.errors import Failure
from securechat.protocol.messages import Direction, Record
from securechat.sealing.body import Here, Seen
from tests.support.rooms import (
    CLOCK,
    KEYS,
    LOG_ID,
    ME,
    MY_SESSION,
    OTHER_KEYS,
    OTHER_LOG_ID,
    Log,
    Member,
    Profiles,
    Reader,
    kinds,
    letters_of,
    lying,
    member,
    profiles_in,
    texts,
)


@pytest.fixture
def profiles(tmp_path: Path) -> Iterator[Profiles]:
    with profiles_in(tmp_path) as opened:
        yield opened


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def ann() -> Member:
    return member("ann")


def position_in(log: Log, sequence: int) -> Position:
    return Position(log.log_id, sequence, log.head(sequence))


# The first join


def test_a_first_join_reads_the_last_twenty_messages_in_order(profiles: Profiles, log: Log, ann: Member) -> None:
    log.fill(ann, 50)
    reader = profiles.reader()
    events = reader.follow(log)
    assert texts(events) == [f"line {n}" for n in range(31, 51)]
    assert kinds(events) == []
    assert all(event.is_backlog for event in events)
    assert [event.sequence for event in events] == list(range(31, 51))
    assert reader.transcript.is_caught_up
    assert reader.transcript.position == Position(LOG_ID, 50, log.head())


def test_an_empty_room_has_nothing_to_ask_for(profiles: Profiles, log: Log) -> None:
    reader = profiles.reader()
    assert reader.join(log) == []
    assert reader.transcript.wanted() is None
    assert reader.transcript.wanted_older(20) is None
    assert reader.transcript.head == log.head()


def test_a_room_shorter_than_the_backlog_is_read_from_its_root(profiles: Profiles, log: Log, ann: Member) -> None:
    log.fill(ann, 3)
    reader = profiles.reader()
    assert reader.join(log) == []
    assert reader.transcript.wanted() == Wanted(Direction.FORWARD, 1, limits.PAGE_ENTRIES)
    assert texts(reader.pull(log)) == ["line 1", "line 2", "line 3"]


def test_without_a_backlog_only_what_comes_is_read(profiles: Profiles, log: Log, ann: Member) -> None:
    log.fill(ann, 5)
    reader = profiles.reader(backlog=Backlog(messages=0, is_new=False))
    assert reader.follow(log) == []
    log.say(ann, "now")
    events = reader.deliver(log, 6)
    assert texts(events) == ["now"]
    assert kinds(events) == []


def test_the_whole_log_can_be_asked_for(profiles: Profiles, log: Log, ann: Member) -> None:
    log.fill(ann, 45)
    log.page_size = 10
    events = profiles.reader(backlog=Backlog(messages=0, is_all=True)).follow(log)
    assert texts(events) == [f"line {n}" for n in range(1, 46)]
    assert kinds(events) == []


def test_a_log_that_lost_its_first_messages_to_retention_is_read_from_the_oldest(
    profiles: Profiles, log: Log, ann: Member
) -> None:
    log.fill(ann, 10)
    log.oldest = 8
    events = profiles.reader().follow(log)
    assert texts(events) == ["line 8", "line 9", "line 10"]
    assert kinds(events) == []


def test_a_log_of_which_all_expired_is_followed_from_its_head(profiles: Profiles, log: Log, ann: Member) -> None:
    log.fill(ann, 10)
    log.oldest = 11
    reader = profiles.reader()
    assert reader.follow(log) == []
    assert reader.transcript.is_caught_up
    assert reader.transcript.wanted_older(20) is None
    log.say(ann, "after")
    assert texts(reader.deliver(log, 11)) == ["after"]


# Live messages


def test_live_messages_are_shown_as_they_come(profiles: Profiles, log: Log, ann: Member) -> None:
    reader = profiles.reader()
    reader.follow(log)
    shown: list[Event] = []
    for number in range(1, 6):
        log.say(ann, f"live {number}")
        shown += reader.deliver(log, number)
    assert texts(shown) == [f"live {n}" for n in range(1, 6)]
    assert kinds(shown) == []
    assert not any(event.is_backlog for event in shown)
    assert reader.transcript.head == log.head()


def test_a_hole_in_what_arrives_is_pulled_and_shown_in_order(profiles: Profiles, log: Log, ann: Member) -> None:
    reader = profiles.reader()
    reader.follow(log)
    log.fill(ann, 4)
    shown = reader.deliver(log, 1)
    assert reader.deliver(log, 3) == []
    assert reader.transcript.wanted() == Wanted(Direction.FORWARD, 2, limits.PAGE_ENTRIES)
    assert reader.deliver(log, 4) == []
    shown += reader.pull(log)
    assert texts(shown) == [f"line {n}" for n in range(1, 5)]
    assert kinds(shown) == []
    assert reader.transcript.is_caught_up


def test_a_live_message_that_comes_twice_is_shown_once(profiles: Profiles, log: Log, ann: Member) -> None:
    reader = profiles.reader()
    reader.follow(log)
    log.say(ann, "once")
    assert texts(reader.deliver(log, 1)) == ["once"]
    assert reader.deliver(log, 1) == []
    assert reader.transcript.is_caught_up


def test_a_live_message_during_the_backlog_is_left_to_the_page(profiles: Profiles, log: Log, ann: Member) -> None:
    log.fill(ann, 2)
    reader = profiles.reader()
    reader.join(log)
    log.say(ann, "live")
    assert reader.deliver(log, 3) == []
    events = reader.pull(log)
    assert texts(events) == ["line 1", "line 2", "live"]
    assert [event.is_backlog for event in events] == [True, True, False]


def test_a_hole_that_the_server_does_not_fill_is_a_gap(profiles: Profiles, log: Log, ann: Member) -> None:
    log.say(ann, "before")
    reader = profiles.reader()
    reader.follow(log)
    log.fill(ann, 3)
    log.oldest = 4  # as if retention had taken what was never delivered
    assert reader.deliver(log, 4) == []
    events = reader.pull(log)
    assert kinds(events) == [Kind.GAP, Kind.GAP]  # the log's hole, and the member's
    assert "2 messages are missing" in events[0].text
    assert texts(events) == ["line 3"]


def test_a_single_live_message_that_is_left_out_is_a_gap(profiles: Profiles, log: Log, ann: Member) -> None:
    log.say(ann, "before")
    reader = profiles.reader()
    reader.follow(log)
    log.fill(ann, 2)
    reader.deliver(log, 3)
    events = reader.take(log.answer(Wanted(Direction.FORWARD, 3, 1000)))  # asked for 2, given 3
    assert "1 message is missing" in events[0].text
    assert kinds(events) == [Kind.GAP, Kind.GAP]  # the log's hole, and the member's


def test_messages_announced_and_not_handed_out_are_a_gap(profiles: Profiles, log: Log, ann: Member) -> None:
    log.fill(ann, 5)
    reader = profiles.reader()
    reader.join(log)
    events = reader.take(lying(log.answer(Wanted(Direction.FORWARD, 1, 1000)), records=()))
    assert kinds(events) == [Kind.GAP]
    assert events[0].text.startswith("5 messages are missing")
    assert reader.transcript.wanted() is None  # it does not ask for ever
    assert reader.transcript.head == log.head()
    log.say(ann, "goes on")
    assert kinds(reader.deliver(log, 6)) == []
    assert reader.transcript.newest == 6


# Coming back


def test_a_later_run_goes_on_where_the_first_one_ended(profiles: Profiles, log: Log, ann: Member) -> None:
    log.fill(ann, 30)
    first = profiles.reader()
    first.follow(log)
    first.save()
    log.fill(ann, 40, "new")
    events = profiles.reader().follow(log)
    assert texts(events) == [f"new {n}" for n in range(1, 41)]
    assert kinds(events) == []


def test_a_later_run_shows_the_backlog_again_when_little_is_new(profiles: Profiles, log: Log, ann: Member) -> None:
    log.fill(ann, 30)
    first = profiles.reader()
    first.follow(log)
    first.save()
    log.say(ann, "new")
    events = profiles.reader(backlog=Backlog(messages=3)).follow(log)
    assert texts(events) == ["line 29", "line 30", "new"]
    assert kinds(events) == []


def test_a_later_run_that_does_not_ask_for_what_is_new_skips_it_without_alarm(
    profiles: Profiles, log: Log, ann: Member
) -> None:
    log.fill(ann, 3)
    first = profiles.reader()
    first.follow(log)
    first.save()
    log.fill(ann, 10, "new")
    events = profiles.reader(backlog=Backlog(messages=2, is_new=False)).follow(log)
    assert texts(events) == ["new 9", "new 10"]
    assert kinds(events) == []


def test_a_reconnect_reads_what_was_said_meanwhile(profiles: Profiles, log: Log, ann: Member) -> None:
    log.fill(ann, 2)
    reader = profiles.reader()
    reader.follow(log)
    log.fill(ann, 3, "meanwhile")
    events = reader.follow(log)
    assert texts(events) == ["meanwhile 1", "meanwhile 2", "meanwhile 3"]
    assert kinds(events) == []


def test_a_reconnect_to_the_same_log_says_nothing(profiles: Profiles, log: Log, ann: Member) -> None:
    log.fill(ann, 2)
    reader = profiles.reader()
    reader.follow(log)
    assert reader.follow(log) == []


def test_a_reconnect_amid_the_first_backlog_begins_there(profiles: Profiles, log: Log, ann: Member) -> None:
    log.fill(ann, 6)
    log.page_size = 4
    reader = profiles.reader()
    reader.join(log)
    wanted = reader.transcript.wanted()
    assert wanted is not None
    shown = reader.take(log.answer(wanted))
    shown += reader.follow(log)
    assert texts(shown) == [f"line {n}" for n in range(1, 7)]
    assert kinds(shown) == []


def test_what_retention_took_since_the_last_run_is_told_and_is_no_gap(
    profiles: Profiles, log: Log, ann: Member
) -> None:
    log.fill(ann, 3)
    first = profiles.reader()
    first.follow(log)
    first.save()
    log.fill(ann, 5, "new")
    log.oldest = 7
    events = profiles.reader().follow(log)
    assert kinds(events) == [Kind.NOTICE]
    assert "3 older messages are no longer kept" in events[0].text
    assert texts(events) == ["new 4", "new 5"]


def test_what_retention_took_during_a_lost_connection_is_told_and_is_no_gap(
    profiles: Profiles, log: Log, ann: Member
) -> None:
    log.fill(ann, 3)
    reader = profiles.reader()
    reader.follow(log)
    log.fill(ann, 2, "new")
    log.oldest = 5
    events = reader.follow(log)
    assert kinds(events) == [Kind.NOTICE]
    assert "1 older message is no longer kept" in events[0].text
    assert texts(events) == ["new 2"]


def test_a_lost_connection_after_which_all_expired_is_told_once(profiles: Profiles, log: Log, ann: Member) -> None:
    log.fill(ann, 1)
    reader = profiles.reader()
    reader.follow(log)
    log.fill(ann, 4, "new")
    log.oldest = 6
    events = reader.follow(log)
    assert kinds(events) == [Kind.NOTICE]
    assert "4 older messages are no longer kept" in events[0].text
    assert reader.transcript.is_caught_up


# A server that changes the past


def test_another_log_is_a_rollback(profiles: Profiles, log: Log, ann: Member) -> None:
    log.fill(ann, 3)
    reader = profiles.reader()
    reader.follow(log)
    events = reader.follow(Log(log_id=OTHER_LOG_ID))
    assert kinds(events) == [Kind.ROLLBACK]
    assert "restarted" in events[0].text
    assert reader.transcript.is_caught_up
    assert reader.transcript.position.log_id == OTHER_LOG_ID


def test_a_room_that_never_held_a_message_may_begin_again(profiles: Profiles, ann: Member) -> None:
    reader = profiles.reader()
    reader.follow(Log(log_id=OTHER_LOG_ID))
    log = Log()
    log.fill(ann, 2)
    events = reader.follow(log)
    assert (kinds(events), texts(events)) == ([], ["line 1", "line 2"])


def test_a_position_before_the_first_message_binds_to_no_log(profiles: Profiles, log: Log, ann: Member) -> None:
    log.fill(ann, 30)
    events = profiles.reader(position=position_in(Log(log_id=OTHER_LOG_ID), 0)).follow(log)
    assert kinds(events) == []
    assert texts(events) == [f"line {n}" for n in range(11, 31)]


def test_a_log_whose_message_was_announced_may_not_begin_again(profiles: Profiles, log: Log, ann: Member) -> None:
    reader = profiles.reader()
    reader.follow(log)
    log.fill(ann, 2)
    assert reader.deliver(log, 2) == [], "one is missing before it, and is asked for"
    assert kinds(reader.follow(Log(log_id=OTHER_LOG_ID))) == [Kind.ROLLBACK]


def test_another_log_than_the_stored_one_is_a_rollback(profiles: Profiles, log: Log, ann: Member) -> None:
    log.fill(ann, 2)
    stored = Position(OTHER_LOG_ID, 7, bytes(32))
    events = profiles.reader(position=stored).follow(log)
    assert kinds(events) == [Kind.ROLLBACK]
    assert texts(events) == ["line 1", "line 2"]  # what there is can still be read


def test_messages_that_come_again_in_another_log_are_not_shown_again(profiles: Profiles, log: Log, ann: Member) -> None:
    log.fill(ann, 3)
    reader = profiles.reader()
    reader.follow(log)
    restarted = Log(log_id=OTHER_LOG_ID, envelopes=[*log.envelopes])
    assert texts(reader.follow(restarted)) == []
    assert texts(profiles.reader(heard=[]).follow(restarted)) == []  # nor by who has heard nothing yet


def test_a_message_that_is_sealed_anew_for_another_log_is_not_shown_again(
    profiles: Profiles, log: Log, ann: Member
) -> None:
    log.say(ann, "once")
    reader = profiles.reader()
    reader.follow(log)
    restarted = Log(log_id=OTHER_LOG_ID)
    restarted.say(ann, "once", counter=1)
    assert texts(reader.follow(restarted)) == []
    assert kinds(reader.follow(restarted)) == []


def test_a_log_shorter_than_what_was_seen_is_a_rollback(profiles: Profiles, log: Log, ann: Member) -> None:
    log.fill(ann, 5)
    reader = profiles.reader()
    reader.follow(log)
    log.envelopes = log.envelopes[:3]
    events = reader.follow(log)
    assert kinds(events) == [Kind.ROLLBACK]
    assert "had 5 messages and has 3" in events[0].text
    assert texts(events) == []  # what was shown is not shown again
    assert reader.transcript.newest == 3
    log.say(ann, "after")
    assert texts(reader.deliver(log, 4)) == ["after"]


def test_a_log_shorter_than_the_stored_position_is_a_rollback(profiles: Profiles, log: Log, ann: Member) -> None:
    log.fill(ann, 5)
    first = profiles.reader()
    first.follow(log)
    first.save()
    log.envelopes = log.envelopes[:3]
    assert kinds(profiles.reader().follow(log)) == [Kind.ROLLBACK]


def test_another_head_at_the_stored_position_is_a_rollback(profiles: Profiles, log: Log, ann: Member) -> None:
    log.fill(ann, 3)
    stored = Position(LOG_ID, 3, b"x" * 32)
    events = profiles.reader(position=stored).follow(log)
    assert Kind.ROLLBACK in kinds(events)
    assert "rewritten" in events[0].text


def test_another_head_where_this_run_stands_is_a_rollback(profiles: Profiles, log: Log, ann: Member) -> None:
    log.fill(ann, 3)
    reader = profiles.reader()
    reader.follow(log)
    events = reader.transcript.join(replace(log.joined(), head=b"x" * 32))
    assert kinds(events) == [Kind.ROLLBACK]


def test_an_announced_head_that_the_messages_do_not_have_is_a_rollback(
    profiles: Profiles, log: Log, ann: Member
) -> None:
    log.fill(ann, 3)
    reader = profiles.reader()
    reader.transcript.join(replace(log.joined(), head=b"x" * 32))
    events = reader.pull(log)
    assert kinds(events) == [Kind.ROLLBACK]
    assert texts(events) == ["line 1", "line 2", "line 3"]


@pytest.mark.parametrize("backlog", [0, 1, 20])
def test_a_message_that_was_replaced_before_the_stored_position_is_a_rollback(
    profiles: Profiles, log: Log, ann: Member, backlog: int
) -> None:
    log.fill(ann, 3)
    first = profiles.reader()
    first.follow(log)
    first.save()
    log.envelopes[1] = member("eve").write("forged past", log.seen(0))
    log.say(ann, "new")
    events = profiles.reader(backlog=Backlog(messages=backlog)).follow(log)
    assert Kind.ROLLBACK in kinds(events)


def test_a_page_that_does_not_continue_the_chain_is_a_rollback(profiles: Profiles, log: Log, ann: Member) -> None:
    log.fill(ann, 2)
    reader = profiles.reader()
    reader.follow(log)
    log.say(ann, "new")
    reader.join(log)
    wanted = reader.transcript.wanted()
    assert wanted is not None
    events = reader.take(lying(log.answer(wanted), before=b"x" * 32))
    assert Kind.ROLLBACK in kinds(events)
    assert set(kinds(events)) <= ALARMS


def test_a_log_that_does_not_begin_at_the_root_is_a_rollback(profiles: Profiles, log: Log, ann: Member) -> None:
    log.fill(ann, 2)
    reader = profiles.reader()
    reader.join(log)
    wanted = reader.transcript.wanted()
    assert wanted is not None
    events = reader.take(lying(log.answer(wanted), before=b"x" * 32))
    assert Kind.ROLLBACK in kinds(events)


def test_an_empty_log_that_does_not_begin_at_the_root_is_a_rollback(profiles: Profiles, log: Log) -> None:
    events = profiles.reader().transcript.join(replace(log.joined(), head=b"x" * 32))
    assert kinds(events) == [Kind.ROLLBACK]


def test_the_log_of_another_room_is_a_rollback(profiles: Profiles, ann: Member) -> None:
    other = Log(address=OTHER_KEYS.address)
    other.fill(ann, 2)
    assert Kind.ROLLBACK in kinds(profiles.reader().follow(other))


def test_a_page_from_before_what_was_asked_for_is_a_rollback(profiles: Profiles, log: Log, ann: Member) -> None:
    log.fill(ann, 4)
    reader = profiles.reader()
    reader.follow(log)
    log.say(ann, "new")
    reader.join(log)
    events = reader.take(log.answer(Wanted(Direction.FORWARD, 3, 1000)))
    assert kinds(events) == [Kind.ROLLBACK, Kind.GAP]
    assert "another part" in events[0].text
    assert "1 message is missing" in events[1].text
    assert reader.transcript.is_caught_up
    log.say(ann, "goes on")
    assert kinds(reader.deliver(log, 6)) == []


def test_a_first_page_from_before_what_was_asked_for_ends_the_pull(profiles: Profiles, log: Log, ann: Member) -> None:
    log.fill(ann, 40)
    reader = profiles.reader(backlog=Backlog(messages=5))
    reader.join(log)
    assert kinds(reader.take(log.answer(Wanted(Direction.FORWARD, 1, 3)))) == [Kind.ROLLBACK, Kind.GAP]
    assert reader.transcript.wanted() is None
    assert reader.transcript.head == log.head()  # as JOINED announced it
    assert texts(reader.older(log, 3)) == ["line 38", "line 39", "line 40"]
    assert texts(reader.older(log, 2)) == ["line 36", "line 37"]


def test_a_server_that_lies_in_every_page_is_told_of_a_few_times_and_then_once_a_minute(
    profiles: Profiles, log: Log, ann: Member
) -> None:
    reader = profiles.reader()
    reader.follow(log)
    log.fill(ann, 100)
    told = []
    for sequence in range(2, 100, 2):
        assert reader.deliver(log, sequence) == []
        told += reader.take(lying(log.answer(Wanted(Direction.FORWARD, sequence, 9)), records=(), first=1))
        assert reader.transcript.wanted() is None
    assert kinds(told).count(Kind.GAP) == limits.ALARMS_AT_ONCE
    assert len([event for event in told if "once a minute" in event.text]) == 2  # of two sorts


def test_junk_is_told_of_a_few_times_and_then_once_a_minute(profiles: Profiles, log: Log) -> None:
    for number in range(100):
        log.append(b"junk %d" % number)
    events = profiles.reader(backlog=Backlog(messages=100)).follow(log)
    assert len(events) == limits.ALARMS_AT_ONCE + 1
    assert "once a minute" in events[-1].text


def test_an_envelope_of_a_later_version_may_be_just_that(profiles: Profiles, log: Log, ann: Member) -> None:
    log.append(b"\2" + ann.write("hello", log.seen())[1:])
    (event,) = profiles.reader().follow(log)
    assert "does not open (version): it is of a newer version, or forged" in event.text


def test_what_nobody_can_have_seen_of_an_empty_log_is_a_fork(profiles: Profiles, log: Log, ann: Member) -> None:
    log.fill(ann, 30)
    reader = profiles.reader(backlog=Backlog(messages=2))
    reader.follow(log)
    log.append(ann.write("from elsewhere", Seen(0, b"x" * 32)))
    assert kinds(reader.deliver(log, 31)) == [Kind.FORK]


# What an earlier run has followed


@pytest.mark.parametrize("chat", [Backlog(messages=3), Backlog(messages=3, is_new=False)])
def test_who_reads_all_again_is_told_of_nothing_late_or_missing(
    profiles: Profiles, log: Log, ann: Member, chat: Backlog
) -> None:
    log.fill(ann, limits.REPLAY_WINDOW + 100)
    first = profiles.reader(backlog=chat)
    first.follow(log)
    first.save()
    log.fill(ann, 2, "new")
    events = profiles.reader(backlog=Backlog(messages=0, is_all=True)).follow(log)
    assert len(texts(events)) == limits.REPLAY_WINDOW + 102
    assert kinds(events) == []
    assert not any(event.is_late for event in events)


def test_who_reads_all_again_is_told_again_what_was_late(profiles: Profiles, log: Log, ann: Member) -> None:
    for counter in (1, 3, 2):
        log.say(ann, f"line {counter}", counter=counter)
    first = profiles.reader()
    assert [event.is_late for event in first.follow(log) if event.kind is Kind.MESSAGE] == [False, False, True]
    first.save()
    events = profiles.reader().follow(log)
    assert [event.is_late for event in events] == [False, False, True]


def test_who_reads_all_again_is_not_shown_what_comes_again(profiles: Profiles, log: Log, ann: Member) -> None:
    log.fill(ann, 4)
    first = profiles.reader()
    first.follow(log)
    first.save()
    log.append(log.envelopes[0])
    log.oldest = 4  # retention took the first one, which now is there again
    events = profiles.reader(backlog=Backlog(messages=9, is_all=True)).follow(log)
    assert texts(events) == ["line 4"]


def test_who_reads_all_again_finds_out_that_it_was_rewritten(profiles: Profiles, log: Log, ann: Member) -> None:
    log.fill(ann, 4)
    first = profiles.reader()
    first.follow(log)
    first.save()
    log.envelopes[1] = member("eve").write("never said", log.seen(1))
    log.say(ann, "new")
    events = profiles.reader(backlog=Backlog(messages=0, is_all=True)).follow(log)
    assert Kind.ROLLBACK in kinds(events)


def test_after_an_alarm_the_new_history_is_followed_without_another(profiles: Profiles, log: Log, ann: Member) -> None:
    log.fill(ann, 3)
    reader = profiles.reader()
    reader.follow(log)
    restarted = Log(log_id=OTHER_LOG_ID)
    reader.follow(restarted)
    restarted.say(member("ann", run=2), "again")
    events = reader.deliver(restarted, 1)
    assert texts(events) == ["again"]
    assert kinds(events) == []
    assert reader.follow(restarted) == []


# Counters


def test_a_replay_at_another_place_is_silent(profiles: Profiles, log: Log, ann: Member) -> None:
    reader = profiles.reader()
    reader.follow(log)
    log.say(ann, "pay the plumber")
    reader.deliver(log, 1)
    log.append(log.envelopes[0])
    assert reader.deliver(log, 2) == []
    assert reader.transcript.head == log.head()  # it is a part of the log all the same


def test_a_replay_is_silent_in_a_later_run_too(profiles: Profiles, log: Log, ann: Member) -> None:
    log.fill(ann, 2)
    first = profiles.reader()
    first.follow(log)
    first.save()
    log.append(log.envelopes[0])
    assert profiles.reader(backlog=Backlog(messages=0)).follow(log) == []


def test_a_message_sealed_anew_is_the_same_message(profiles: Profiles, log: Log, ann: Member) -> None:
    reader = profiles.reader()
    reader.follow(log)
    log.say(ann, "once")
    reader.deliver(log, 1)
    log.say(ann, "once", counter=1)  # other salt, and it has seen more
    assert reader.deliver(log, 2) == []


def test_two_texts_under_one_counter_are_an_alarm_and_the_second_is_not_shown(
    profiles: Profiles, log: Log, ann: Member
) -> None:
    reader = profiles.reader()
    reader.follow(log)
    log.say(ann, "yes")
    reader.deliver(log, 1)
    log.say(ann, "no", counter=1)
    events = reader.deliver(log, 2)
    assert kinds(events) == [Kind.FORK]
    assert texts(events) == []
    assert events[0].sender is not None
    assert events[0].sender.nick == "ann"
    assert "two different messages" in events[0].text


def test_missing_counters_are_a_gap_told_before_the_message(profiles: Profiles, log: Log, ann: Member) -> None:
    log.say(ann, "one")
    reader = profiles.reader()
    reader.follow(log)
    log.say(ann, "four", counter=4)
    events = reader.deliver(log, 2)
    assert [event.kind for event in events] == [Kind.GAP, Kind.MESSAGE]
    assert "2 messages" in events[0].text
    assert events[0].sender is not None
    assert events[0].sender.nick == "ann"


def test_a_gap_is_found_after_a_restart_of_the_client(profiles: Profiles, log: Log, ann: Member) -> None:
    log.say(ann, "one")
    first = profiles.reader()
    first.follow(log)
    first.save()
    log.say(ann, "three", counter=3)
    assert kinds(profiles.reader().follow(log)) == [Kind.GAP]


def test_the_first_message_heard_of_a_run_may_have_any_number(profiles: Profiles, log: Log, ann: Member) -> None:
    log.say(ann, "hello", counter=77)
    assert kinds(profiles.reader().follow(log)) == []


def test_a_message_that_comes_after_later_ones_is_shown_as_late(profiles: Profiles, log: Log, ann: Member) -> None:
    log.say(ann, "one")
    reader = profiles.reader()
    reader.follow(log)
    log.say(ann, "three", counter=3)
    reader.deliver(log, 2)
    log.say(ann, "two", counter=2)
    (event,) = reader.deliver(log, 3)
    assert event.text == "two"
    assert event.is_late
    log.say(ann, "four", counter=4)
    assert kinds(reader.deliver(log, 4)) == []


def test_a_new_run_of_a_member_counts_anew(profiles: Profiles, log: Log, ann: Member) -> None:
    log.fill(ann, 3)
    reader = profiles.reader()
    reader.follow(log)
    log.say(member("ann", run=2), "back")
    events = reader.deliver(log, 4)
    assert texts(events) == ["back"]
    assert kinds(events) == []


def test_what_was_heard_is_given_out_once_to_be_remembered(profiles: Profiles, log: Log, ann: Member) -> None:
    log.fill(ann, 2)
    reader = profiles.reader()
    reader.follow(log)
    heard = reader.transcript.take_heard()
    assert [(row.identity, row.counter, row.sequence) for row in heard] == [
        (ann.identity.public, 1, 1),
        (ann.identity.public, 2, 2),
    ]
    assert all(len(row.digest) == 32 for row in heard)
    assert reader.transcript.take_heard() == []


# What others have seen


def fork_of(reader: Reader, log: Log, who: Member, seen: Seen) -> list[Event]:
    log.append(who.write("what I saw", seen))
    return reader.deliver(log, log.newest)


def test_a_member_who_saw_another_history_is_told_once_for_each_run(profiles: Profiles, log: Log, ann: Member) -> None:
    log.fill(ann, 3)
    reader = profiles.reader()
    reader.follow(log)
    lie = Seen(2, b"x" * 32)
    events = fork_of(reader, log, ann, lie)
    assert [event.kind for event in events] == [Kind.FORK, Kind.MESSAGE]
    assert "another history" in events[0].text
    assert kinds(fork_of(reader, log, ann, lie)) == []
    assert kinds(fork_of(reader, log, member("ann", run=2), lie)) == [Kind.FORK]
    assert kinds(fork_of(reader, log, member("bob"), lie)) == [Kind.FORK]


@pytest.mark.parametrize("ahead", [0, 1, 1000])
def test_a_message_that_has_seen_its_own_place_or_beyond_is_a_fork(
    profiles: Profiles, log: Log, ann: Member, ahead: int
) -> None:
    log.fill(ann, 3)
    reader = profiles.reader()
    reader.follow(log)
    assert kinds(fork_of(reader, log, ann, Seen(4 + ahead, log.head()))) == [Kind.FORK]


def test_a_message_that_has_seen_all_or_a_part_is_no_fork(profiles: Profiles, log: Log, ann: Member) -> None:
    log.fill(ann, 3)
    reader = profiles.reader()
    reader.follow(log)
    for sequence in range(4):
        assert kinds(fork_of(reader, log, ann, log.seen(sequence))) == []


def test_what_was_seen_before_what_is_shown_here_cannot_be_judged(profiles: Profiles, log: Log, ann: Member) -> None:
    log.fill(ann, 30)
    reader = profiles.reader(backlog=Backlog(messages=5))
    reader.follow(log)
    assert kinds(fork_of(reader, log, ann, Seen(3, b"x" * 32))) == []
    assert kinds(fork_of(reader, log, ann, Seen(25, b"x" * 32))) == [Kind.FORK]  # the link before the first shown


def test_only_so_many_links_are_kept(
    profiles: Profiles, log: Log, ann: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "CHAIN_WINDOW", 4)
    log.fill(ann, 10)
    reader = profiles.reader()
    reader.follow(log)
    assert kinds(fork_of(reader, log, ann, Seen(5, b"x" * 32))) == []
    assert kinds(fork_of(reader, log, ann, Seen(9, b"x" * 32))) == [Kind.FORK]


# Presence


def test_live_presence_that_tells_of_more_messages_than_came_is_a_gap(
    profiles: Profiles, log: Log, ann: Member
) -> None:
    log.fill(ann, 2)
    reader = profiles.reader()
    reader.follow(log)
    events = reader.transcript.presence(ann.here(messages=5), ann.identity.public, is_live=True)
    assert kinds(events) == [Kind.GAP]
    assert "3 messages" in events[0].text
    assert reader.transcript.presence(ann.here(messages=5), ann.identity.public, is_live=True) == []


def test_listed_presence_is_not_known_to_be_of_now(profiles: Profiles, log: Log, ann: Member) -> None:
    log.fill(ann, 2)
    reader = profiles.reader()
    reader.follow(log)
    assert reader.transcript.presence(ann.here(messages=5), ann.identity.public, is_live=False) == []


def test_presence_before_the_log_was_read_tells_of_no_gap(profiles: Profiles, log: Log, ann: Member) -> None:
    log.fill(ann, 2)
    reader = profiles.reader()
    reader.join(log)
    assert reader.transcript.presence(ann.here(), ann.identity.public, is_live=True) == []
    assert kinds(reader.pull(log)) == []


def test_the_first_message_of_a_run_that_was_announced_is_missed(profiles: Profiles, log: Log, ann: Member) -> None:
    reader = profiles.reader()
    reader.follow(log)
    reader.transcript.presence(ann.here(messages=0), ann.identity.public, is_live=True)
    log.say(ann, "two", counter=2)
    assert kinds(reader.deliver(log, 1)) == [Kind.GAP]


def test_live_presence_that_saw_another_history_is_a_fork(profiles: Profiles, log: Log, ann: Member) -> None:
    log.fill(ann, 2)
    reader = profiles.reader()
    reader.follow(log)
    honest, lie = ann.here(seen=log.seen()), ann.here(seen=Seen(1, b"x" * 32))
    assert reader.transcript.presence(honest, ann.identity.public, is_live=True) == []
    assert kinds(reader.transcript.presence(lie, ann.identity.public, is_live=True)) == [Kind.FORK]
    assert reader.transcript.presence(lie, ann.identity.public, is_live=True) == []


# What a letter says


@pytest.mark.parametrize(
    ("damage", "failure"),
    [
        (lambda e: b"\x02" + e[1:], "version"),
        (lambda e: e[:-1], "length"),
        (lambda e: e[:1] + bytes([e[1] ^ 1]) + e[2:], "commitment"),
        (lambda e: e[:-1] + bytes([e[-1] ^ 1]), "tag"),
    ],
)
def test_an_envelope_that_does_not_open_is_a_visible_line_and_no_message(
    profiles: Profiles,
    log: Log,
    ann: Member,
    damage: object,
    failure: str,
) -> None:
    assert callable(damage)
    reader = profiles.reader()
    reader.follow(log)
    log.append(damage(ann.write("secret plan", log.seen())))
    (event,) = reader.deliver(log, 1)
    assert event.kind is Kind.NOTICE
    assert event.sequence == 1
    assert event.sender is None
    assert f"Message 1 does not open ({failure})" in event.text
    assert "secret plan" not in event.text
    assert reader.transcript.is_caught_up


def test_an_envelope_of_another_room_does_not_open(profiles: Profiles, log: Log) -> None:
    log.append(Member("ann", ME, MY_SESSION, OTHER_KEYS).write("hello", log.seen()))
    (event,) = profiles.reader().follow(log)
    assert event.kind is Kind.NOTICE


def test_a_body_that_is_nothing_does_not_open(profiles: Profiles, log: Log, ann: Member) -> None:
    log.append(ann.seal_raw(b"\xc1 nothing at all"))
    (event,) = profiles.reader().follow(log)
    assert event.kind is Kind.NOTICE
    assert f"({Failure.BODY})" in event.text


def test_a_presence_in_the_log_is_no_message(profiles: Profiles, log: Log, ann: Member) -> None:
    log.append(ann.show())
    (event,) = profiles.reader().follow(log)
    assert event.kind is Kind.NOTICE


def test_a_presence_body_that_opened_as_a_letter_is_refused(profiles: Profiles, log: Log, ann: Member) -> None:
    reader = profiles.reader()
    reader.follow(log)
    here: Here = ann.here()
    (event,) = reader.transcript.deliver(1, CLOCK, Letter(b"d" * 32, ann.identity.public, here, None))
    assert event.kind is Kind.NOTICE


def test_a_message_of_a_later_version_is_told_of_and_counted(profiles: Profiles, log: Log, ann: Member) -> None:
    reader = profiles.reader()
    reader.follow(log)
    log.append(ann.write_kind(5, log.seen()))
    (event,) = reader.deliver(log, 1)
    assert event.kind is Kind.NOTICE
    assert event.sequence == 1
    assert "kind (5)" in event.text
    assert event.sender is not None
    assert event.sender.nick == "ann"
    log.append(log.envelopes[0])
    assert reader.deliver(log, 2) == []  # its replay is silent
    log.say(ann, "plain again")
    assert kinds(reader.deliver(log, 3)) == []


def test_an_action_is_told_in_the_third_person(profiles: Profiles, log: Log, ann: Member) -> None:
    log.append(ann.write("waves", log.seen(), is_action=True))
    (event,) = profiles.reader().follow(log)
    assert event.is_action
    assert event.text == "waves"


def test_a_message_carries_its_writers_clock_and_how_far_it_is_off(profiles: Profiles, log: Log, ann: Member) -> None:
    log.append(ann.write("late clock", log.seen(), clock=CLOCK - 7000))
    (event,) = profiles.reader().follow(log)
    assert event.time == CLOCK - 7000
    assert event.clock_error == -7000


@pytest.mark.parametrize("claimed", [0, CLOCK - 86_400_000, CLOCK + 86_400_000])
def test_a_server_cannot_make_an_old_message_look_prompt_by_its_clock(
    profiles: Profiles, log: Log, ann: Member, claimed: int
) -> None:
    reader = profiles.reader()
    reader.follow(log)
    log.append(ann.write("three days ago", log.seen(), clock=CLOCK - 259_200_000))
    (event,) = reader.transcript.deliver(1, claimed, read_letter(KEYS, LOG_ID, log.envelopes[0]))
    assert event.clock_error == -259_200_000


def test_only_what_this_run_sent_is_its_own(profiles: Profiles, log: Log, ann: Member) -> None:
    this_run = Member("me", ME, MY_SESSION)
    earlier = Member("me", ME, b"an earlier run..")
    thief = Member("me", ann.identity, MY_SESSION)
    for who in (this_run, earlier, thief):
        log.say(who, "hello")
    events = [e for e in profiles.reader().follow(log) if e.kind is Kind.MESSAGE]
    assert [event.is_own for event in events] == [True, False, False]
    assert [event.sender.is_me for event in events if event.sender] == [True, True, False]


def test_a_nickname_under_another_key_is_an_alarm_once(profiles: Profiles, log: Log, ann: Member) -> None:
    log.say(ann, "hello")
    reader = profiles.reader()
    reader.follow(log)
    mallory = Member("ann", member("mallory").identity, b"mallory's run...")
    log.say(mallory, "it is me")
    events = reader.deliver(log, 2)
    assert [event.kind for event in events] == [Kind.CHANGED_KEY, Kind.MESSAGE]
    assert ann.identity.public.hex()[:8] in events[0].text
    assert mallory.identity.public.hex()[:8] in events[0].text
    log.say(mallory, "really")
    assert kinds(reader.deliver(log, 3)) == []


def test_events_of_the_transcript_itself_have_this_machines_time(profiles: Profiles, log: Log, ann: Member) -> None:
    log.say(ann, "hello")
    reader = profiles.reader(position=Position(OTHER_LOG_ID, 1, bytes(32)))
    assert [event.time for event in reader.join(log)] == [CLOCK]
    assert now_ms() > CLOCK


# Older pages


def test_older_pages_are_shown_down_to_the_first_message(profiles: Profiles, log: Log, ann: Member) -> None:
    log.fill(ann, 12)
    reader = profiles.reader(backlog=Backlog(messages=2))
    reader.follow(log)
    assert reader.transcript.wanted_older(5) == Wanted(Direction.BACKWARD, 11, 5)
    first = reader.older(log, 5)
    assert texts(first) == [f"line {n}" for n in range(6, 11)]
    assert all(event.is_backlog and not event.is_late for event in first)
    second = reader.older(log, 50)
    assert texts(second) == [f"line {n}" for n in range(1, 6)]
    assert kinds([*first, *second]) == []
    assert reader.transcript.wanted_older(5) is None
    log.say(ann, "goes on")
    assert kinds(reader.deliver(log, 13)) == []


def test_no_page_is_asked_for_that_is_larger_than_a_page_may_be(profiles: Profiles, log: Log, ann: Member) -> None:
    log.fill(ann, 3)
    reader = profiles.reader(backlog=Backlog(messages=1))
    reader.follow(log)
    wanted = reader.transcript.wanted_older(10**6)
    assert wanted is not None
    assert wanted.most == limits.PAGE_ENTRIES


def test_older_messages_before_a_log_that_is_only_followed_can_be_loaded(
    profiles: Profiles, log: Log, ann: Member
) -> None:
    log.fill(ann, 4)
    reader = profiles.reader(backlog=Backlog(messages=0, is_new=False))
    reader.follow(log)
    assert texts(reader.older(log, 2)) == ["line 3", "line 4"]


def test_older_messages_help_to_judge_what_others_have_seen(profiles: Profiles, log: Log, ann: Member) -> None:
    log.fill(ann, 10)
    reader = profiles.reader(backlog=Backlog(messages=2))
    reader.follow(log)
    reader.older(log, 5)
    assert kinds(fork_of(reader, log, ann, Seen(5, b"x" * 32))) == [Kind.FORK]


def older_with(reader: Reader, log: Log, **changes: object) -> list[Event]:
    wanted = reader.transcript.wanted_older(3)
    assert wanted is not None
    past = lying(log.answer(wanted), **changes)
    return reader.transcript.older(past, letters_of(past))


def test_an_older_page_that_lies_is_a_rollback_and_shows_nothing(profiles: Profiles, log: Log, ann: Member) -> None:
    log.fill(ann, 10)
    reader = profiles.reader(backlog=Backlog(messages=5))
    reader.follow(log)
    honest = log.answer(Wanted(Direction.BACKWARD, 6, 3)).records
    forged = Record(CLOCK, member("eve").write("never said", log.seen(0)))
    lies: list[dict[str, object]] = [
        {"before": b"x" * 32},
        {"records": (honest[0], forged, honest[2])},
        {"records": honest[:2]},
        {"records": (*honest, forged)},
        {"first": 2},
    ]
    for lie in lies:
        events = older_with(reader, log, **lie)
        assert [event.kind for event in events] == [Kind.ROLLBACK], lie
    assert texts(reader.older(log, 3)) == ["line 3", "line 4", "line 5"]  # the truth still fits


def test_an_older_page_that_does_not_begin_at_the_root_is_a_rollback(profiles: Profiles, ann: Member) -> None:
    other = Log(address=OTHER_KEYS.address)
    other.fill(ann, 4)
    reader = profiles.reader(backlog=Backlog(messages=2))
    assert kinds(reader.follow(other)) == []  # nothing to compare with yet
    assert kinds(reader.older(other, 5)) == [Kind.ROLLBACK]


def test_older_messages_that_expired_meanwhile_are_told_and_are_no_alarm(
    profiles: Profiles, log: Log, ann: Member
) -> None:
    log.fill(ann, 5)
    reader = profiles.reader(backlog=Backlog(messages=2))
    reader.follow(log)
    log.oldest = 4
    events = reader.older(log, 5)
    assert kinds(events) == [Kind.NOTICE]
    assert "no longer kept" in events[0].text
    assert reader.transcript.wanted_older(5) is None


def test_older_messages_that_expired_in_part_are_shown_as_far_as_kept(
    profiles: Profiles, log: Log, ann: Member
) -> None:
    log.fill(ann, 6)
    reader = profiles.reader(backlog=Backlog(messages=2))
    reader.follow(log)
    log.oldest = 3
    events = reader.older(log, 50)
    assert texts(events) == ["line 3", "line 4"]
    assert kinds(events) == []


def test_a_replay_in_an_older_page_is_silent(profiles: Profiles, log: Log, ann: Member) -> None:
    log.fill(ann, 2)
    log.append(log.envelopes[0])
    log.fill(ann, 2, "more")
    reader = profiles.reader(backlog=Backlog(messages=2))
    reader.follow(log)
    assert texts(reader.older(log, 2)) == ["line 2", "line 1"]  # the replay is met first
    assert texts(reader.older(log, 2)) == []


def test_every_kind_of_lie_is_an_alarm() -> None:
    assert {Kind.GAP, Kind.FORK, Kind.ROLLBACK, Kind.CHANGED_KEY} == ALARMS


def test_an_envelope_opened_by_itself_names_its_sender_or_its_failure(ann: Member) -> None:
    envelope = ann.write("hello", Seen(0, bytes(32)))
    opened = read_letter(KEYS, LOG_ID, envelope)
    assert opened.identity == ann.identity.public
    assert opened.failure is None
    closed = read_letter(OTHER_KEYS, LOG_ID, envelope)
    assert closed.identity == b""
    assert closed.body is None
    assert closed.failure is Failure.COMMITMENT
    assert closed.digest == opened.digest
    assert read_letter(KEYS, OTHER_LOG_ID, envelope).failure is Failure.SIGNATURE  # signed for another log


def test_a_roll_back_is_told_though_the_connection_broke_before_the_first_page(tmp_path: Path) -> None:
    with profiles_in(tmp_path) as profiles:
        log, ann = Log(), member("ann")
        log.fill(ann, 100)
        first = profiles.reader()
        first.follow(log)
        first.save()
        log.fill(ann, 5)
        reader = profiles.reader()
        reader.join(log)  # and no page
        del log.envelopes[90:]
        assert Kind.ROLLBACK in kinds(reader.join(log))


def test_a_log_that_ends_before_what_was_announced_is_rolled_back(tmp_path: Path) -> None:
    with profiles_in(tmp_path) as profiles:
        log, ann = Log(), member("ann")
        log.fill(ann, 105)
        reader = profiles.reader(position=Position(LOG_ID, 3, log.head(3)))
        reader.join(log)  # and no page
        del log.envelopes[104:]
        assert Kind.ROLLBACK in kinds(reader.join(log))


def test_after_a_roll_back_only_what_was_shown_is_read_again(tmp_path: Path) -> None:
    with profiles_in(tmp_path) as profiles:
        log = Log()
        log.fill(member("ann"), 500)
        reader = profiles.reader()
        assert len(texts(reader.follow(log))) == 20
        del log.envelopes[499:]
        again = reader.follow(log)
        assert kinds(again) == [Kind.ROLLBACK]
        assert texts(again) == []
