from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from securechat import limits
from securechat.client.letters import read_letter, read_presence
from securechat.client.outbox import Outbox
from securechat.errors import InputError
from securechat.protocol import chain
from securechat.sealing.body import Action, Here, Seen, Text
from tests.support.rooms import KEYS, LOG_ID, ME, MY_SESSION, OTHER_LOG_ID, Log, Reader, member, profiles_in, salt


@dataclass
class Desk:
    outbox: Outbox
    reader: Reader
    log: Log

    def add(self, *texts: str) -> None:
        for text in texts:
            self.outbox.add(text, "me", is_action=False)

    def take_all(self) -> list[bytes]:
        taken = []
        while (envelope := self.outbox.take()) is not None:
            taken.append(envelope)
        return taken


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with profiles_in(tmp_path) as profiles:
        reader, log = profiles.reader(), Log()
        reader.follow(log)
        outbox = Outbox(KEYS, ME, reader.transcript, MY_SESSION, lambda _: salt())
        outbox.resume()
        yield Desk(outbox, reader, log)


def read(envelope: bytes, log_id: bytes = LOG_ID) -> Text:
    letter = read_letter(KEYS, log_id, envelope)
    assert letter.identity == ME.public
    assert isinstance(letter.body, Text)
    return letter.body


def ids(envelopes: list[bytes]) -> list[bytes]:
    return [chain.envelope_id(envelope) for envelope in envelopes]


def test_messages_go_out_in_order_and_count_from_one(desk: Desk) -> None:
    desk.add("one", "two", "three")
    bodies = [read(envelope) for envelope in desk.take_all()]
    assert [(body.counter, body.text) for body in bodies] == [(1, "one"), (2, "two"), (3, "three")]
    assert {body.session for body in bodies} == {MY_SESSION}
    assert {body.nick for body in bodies} == {"me"}
    assert desk.outbox.take() is None


def test_an_action_goes_out_as_one(desk: Desk) -> None:
    desk.outbox.add("waves", "me", is_action=True)
    (envelope,) = desk.take_all()
    assert isinstance(read_letter(KEYS, LOG_ID, envelope).body, Action)


def test_a_message_says_what_its_writer_had_seen_when_it_went_out(desk: Desk) -> None:
    desk.add("typed before")
    desk.log.say(member("ann"), "hello")
    desk.reader.deliver(desk.log, 1)
    (envelope,) = desk.take_all()
    assert read(envelope).seen == Seen(1, desk.log.head())


def test_a_message_keeps_the_nickname_under_which_it_was_typed(desk: Desk) -> None:
    desk.outbox.add("as one", "one", is_action=False)
    desk.outbox.add("as two", "two", is_action=False)
    assert [read(envelope).nick for envelope in desk.take_all()] == ["one", "two"]


@pytest.mark.parametrize("text", ["", "a\0b", "\ud800", "x" * 32_001, "\u20ac" * 10_667])
def test_what_cannot_be_sent_is_refused_and_takes_no_number(desk: Desk, text: str) -> None:
    with pytest.raises(InputError):
        desk.add(text)
    assert len(desk.outbox) == 0
    desk.add("x" * 32_000)
    (envelope,) = desk.take_all()
    assert read(envelope).counter == 1
    assert len(envelope) <= limits.ENVELOPE_BYTES


def test_only_so_much_is_pending(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PENDING_MESSAGES", 2)
    desk.add("one", "two")
    with pytest.raises(InputError, match="2 messages wait"):
        desk.add("three")
    (first, _) = desk.take_all()
    desk.outbox.acknowledge(chain.envelope_id(first))
    desk.add("three")


def test_only_so_much_is_in_flight(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SEND_WINDOW", 2)
    desk.add("one", "two", "three")
    first, _ = desk.take_all()
    assert desk.outbox.acknowledge(chain.envelope_id(first))
    assert [read(envelope).text for envelope in desk.take_all()] == ["three"]


def test_acknowledgements_count_up_to_the_first_that_is_missing(desk: Desk) -> None:
    assert desk.outbox.acknowledged == 0
    desk.add("one", "two", "three")
    assert desk.outbox.acknowledged == 0
    one, two, three = ids(desk.take_all())
    assert desk.outbox.acknowledge(two)
    assert desk.outbox.acknowledged == 0
    assert desk.outbox.acknowledge(one)
    assert desk.outbox.acknowledged == 2
    assert len(desk.outbox) == 1
    assert desk.outbox.acknowledge(three)
    assert desk.outbox.acknowledged == 3
    assert len(desk.outbox) == 0


def test_what_others_said_is_no_acknowledgement(desk: Desk) -> None:
    desk.add("one")
    (one,) = ids(desk.take_all())
    assert not desk.outbox.acknowledge(b"x" * 16)
    assert desk.outbox.acknowledge(one)
    assert not desk.outbox.acknowledge(one)


def test_after_a_reconnect_the_very_same_envelopes_go_out_in_order(desk: Desk) -> None:
    desk.add("one", "two", "three")
    before = desk.take_all()
    desk.outbox.acknowledge(chain.envelope_id(before[1]))
    desk.add("four")
    desk.outbox.resume()
    again = desk.take_all()
    assert again[:2] == [before[0], before[2]]
    assert [read(envelope).text for envelope in again] == ["one", "three", "four"]


def test_after_the_log_was_restarted_messages_are_sealed_anew(desk: Desk) -> None:
    desk.add("one", "two")
    before = desk.take_all()
    desk.reader.follow(Log(log_id=OTHER_LOG_ID))
    desk.outbox.resume()
    again = desk.take_all()
    assert not set(again) & set(before)
    bodies = [read(envelope, OTHER_LOG_ID) for envelope in again]
    assert [(body.counter, body.text) for body in bodies] == [(1, "one"), (2, "two")]
    assert bodies[0].seen == Seen(0, Log(log_id=OTHER_LOG_ID).head())


def test_a_refused_message_holds_back_what_follows_it(desk: Desk) -> None:
    desk.add("one", "two", "three")
    before = desk.take_all()
    desk.outbox.refuse(chain.envelope_id(before[1]))
    desk.add("four")
    assert len(desk.outbox) == 4
    again = desk.take_all()
    assert again[:2] == before[1:]
    assert [read(envelope).text for envelope in again] == ["two", "three", "four"]


def test_a_refusal_that_comes_again_changes_nothing(desk: Desk) -> None:
    desk.add("one", "two")
    before = desk.take_all()
    for envelope_id in ids(before):  # the server refuses both, and the second was rewound with the first
        desk.outbox.refuse(envelope_id)
    desk.outbox.refuse(b"x" * 16)
    assert desk.take_all() == before


def test_a_message_that_is_given_up_is_counted_and_sent_no_more(desk: Desk) -> None:
    desk.add("one", "two")
    one, two = ids(desk.take_all())
    dropped = desk.outbox.drop(one)
    assert dropped is not None
    assert dropped.text == "one"
    assert desk.outbox.drop(one) is None
    assert desk.outbox.drop(b"x" * 16) is None
    assert desk.outbox.refused == 1
    desk.outbox.resume()
    assert ids(desk.take_all()) == [two]


def test_presence_counts_by_itself_and_says_what_was_acknowledged(desk: Desk) -> None:
    desk.add("one", "two")
    one, _ = ids(desk.take_all())
    desk.outbox.acknowledge(one)
    said = []
    for is_joining in (True, False):
        sealed = desk.outbox.seal_presence("me", is_reader=is_joining, is_joining=is_joining)
        assert len(sealed) <= limits.PRESENCE_BYTES
        body = read_presence(KEYS, sealed).body
        assert isinstance(body, Here)
        said.append(body)
    assert [here.counter for here in said] == [1, 2]
    assert [here.messages for here in said] == [1, 1]
    assert [here.reader for here in said] == [True, False]
    assert [here.seen for here in said] == [None, Seen(0, desk.log.head())]


def test_presence_of_who_reads_the_backlog_yet_says_nothing_of_what_was_seen(tmp_path: Path) -> None:
    with profiles_in(tmp_path) as profiles:
        reader, log = profiles.reader(), Log()
        log.fill(member("ann"), 3)
        reader.join(log)
        outbox = Outbox(KEYS, ME, reader.transcript, MY_SESSION, lambda _: salt())
        body = read_presence(KEYS, outbox.seal_presence("me", is_reader=False, is_joining=False)).body
        assert isinstance(body, Here)
        assert body.seen is None


def test_presence_with_the_longest_nickname_fits(desk: Desk) -> None:
    sealed = desk.outbox.seal_presence("\U0001f600" * limits.NICK_CODE_POINTS, is_reader=True, is_joining=False)
    assert len(sealed) <= limits.PRESENCE_BYTES


def test_every_envelope_has_its_own_salt(tmp_path: Path) -> None:
    with profiles_in(tmp_path) as profiles:
        reader = profiles.reader()
        reader.follow(Log())
        outbox = Outbox(KEYS, ME, reader.transcript, MY_SESSION)
        for _ in range(20):
            outbox.add("the same", "me", is_action=False)
        salts = {(outbox.take() or b"")[1:25] for _ in range(20)}
    assert len(salts) == 20


def test_what_goes_out_is_read_by_others_without_alarm(desk: Desk) -> None:
    assert desk.reader.transcript.log_id == LOG_ID
    desk.add("one", "two")
    for envelope in desk.take_all():
        desk.log.append(envelope)
    events = [event for number in (1, 2) for event in desk.reader.deliver(desk.log, number)]
    assert [event.text for event in events] == ["one", "two"]
    assert all(event.is_own for event in events)
