"""Conversations with the real server, in this process: nothing is lost, nothing is shown twice, all see one order."""

import gc
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import trio

from securechat import limits
from securechat.client import session, trust, visit
from securechat.client.conversation import ALARMS, Event, Kind
from securechat.client.link import Link
from securechat.client.transcript import Backlog
from securechat.errors import InputError, NoSuchRoomError, ServerRefusedError, UnreachableError
from securechat.history.log import Retention
from securechat.limits import Rate, ServerLimits
from securechat.protocol.messages import Code, Error, Goodbye, Message, Pong, Reason
from securechat.sealing.keys import RoomSecret
from securechat.server.serve import Configuration, Server, Started
from securechat.transport.certificates import make_pair
from securechat.transport.tls import ServerTls
from tests.support.lying import Guest, open_lying_server
from tests.support.members import Listener, open_member, room_keys
from tests.support.patience import PATIENCE, wait_until


class House:
    """A server that can be stopped and started again on the same port and data.

    Attributes:
        port: Where it listens.
        pin: Its key's.
        server: What runs now, or did last.
    """

    def __init__(self, directory: Path, nursery: trio.Nursery, **settings: Any) -> None:
        self._data = directory / "server"
        self._pair = make_pair(directory / "pair", ["127.0.0.1"])
        self._nursery = nursery
        self._settings = settings
        self.port = 0
        tls = ServerTls.load(self._pair)
        self.pin = tls.pin
        self.server: Server
        self._gone = trio.Event()

    async def start(self, **settings: Any) -> None:
        """Start it, on the port that it had before."""
        self._settings |= settings
        configuration = Configuration(self._data, "127.0.0.1", self.port, **self._settings)
        self.server = Server(configuration, ServerTls.load(self._pair))
        self._gone = trio.Event()
        started: Started = await self._nursery.start(self._run)
        self.port = started.port

    async def _run(self, *, task_status: trio.TaskStatus[Started]) -> None:
        try:
            await self.server.serve(task_status=task_status)
        finally:
            self._gone.set()

    async def stop(self) -> None:
        """Drain it and wait for its end."""
        self.server.stop()
        with trio.fail_after(PATIENCE):
            await self._gone.wait()

    def cut(self) -> None:
        """Cut every connection without a word."""
        for running in list(self.server._sessions):
            running._channel.abort()


@asynccontextmanager
async def open_house(directory: Path, **settings: Any) -> AsyncIterator[House]:
    """Run a server while the context is open."""
    async with trio.open_nursery() as nursery:
        house = House(directory, nursery, **settings)
        await house.start()
        yield house
        nursery.cancel_scope.cancel()


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path) as running:
        yield running


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make clients come back at once."""
    monkeypatch.setattr(limits, "RECONNECT_FIRST", 0.01)
    monkeypatch.setattr(limits, "RECONNECT_MOST", 0.05)
    monkeypatch.setattr(limits, "RETRY_SECONDS", (0, 0))


@asynccontextmanager
async def members(directory: Path, house: House, *nicks: str, **changes: Any) -> AsyncIterator[list[Listener]]:
    """Let people join, one after the other, until each sees all who came before and the first sees all."""
    async with AsyncExitStack() as stack:
        people = [
            await stack.enter_async_context(open_member(directory, house.port, house.pin, nick, **changes))
            for nick in nicks
        ]
        await people[0].until(lambda: len(people[0].of(Kind.JOINED)) == len(people) - 1)
        yield people


def alarms(*people: Listener) -> list[str]:
    """Return the alarms that were shown."""
    return [event.text for person in people for event in person.take_rest() if event.kind in ALARMS]


async def collect(person: Listener) -> None:
    """Take in events for ever."""
    while True:
        person.events.append(await person.conversation.events.receive())


def has_shown(person: Listener, count: int) -> bool:
    return len(person.texts) >= count


# When the server is away


@pytest.mark.usefixtures("soon")
async def test_what_is_typed_while_the_server_is_away_is_sent_once_and_in_order(tmp_path: Path, house: House) -> None:
    async with members(tmp_path, house, "alice", "bob") as (alice, bob):
        alice.say("before")
        await bob.hears("before")
        await house.stop()
        await alice.is_told(Kind.NOTICE, "connection lost: The server ended the connection: the server shuts down")
        assert not alice.conversation.is_connected
        typed = [f"while away {number}" for number in range(300)]
        alice.say(*typed)
        assert alice.conversation.pending == len(typed)
        await house.start()
        for person in (alice, bob):
            await person.hears(typed[-1])
            assert person.texts == ["before", *typed]
        await alice.settles()
        assert alarms(alice, bob) == []


@pytest.mark.usefixtures("soon")
async def test_what_was_in_flight_when_the_connection_was_cut_comes_once(tmp_path: Path, house: House) -> None:
    async with members(tmp_path, house, "alice", "bob") as (alice, bob), trio.open_nursery() as nursery:
        nursery.start_soon(collect, alice)
        nursery.start_soon(collect, bob)
        said = [f"line {number}" for number in range(400)]
        for number in range(0, 400, 50):
            alice.say(*said[number : number + 50])
            await wait_until(partial(has_shown, alice, number + 1))
            house.cut()
        await wait_until(lambda: len(alice.texts) >= 400 and len(bob.texts) >= 400)
        assert alice.texts == bob.texts == said
        assert alarms(alice, bob) == []
        nursery.cancel_scope.cancel()


@pytest.mark.usefixtures("soon")
async def test_a_server_that_has_lost_its_data_gets_what_is_pending_and_is_told_of(tmp_path: Path) -> None:
    async with open_house(tmp_path) as house, members(tmp_path, house, "alice") as (alice,):
        alice.say("before")
        await alice.hears("before")
        await house.stop()
        house._data = tmp_path / "another"
        alice.say("after")
        await house.start()
        await alice.hears("after")
        assert alice.texts == ["before", "after"]
        assert len(alice.of(Kind.ROLLBACK)) == 1
        assert "restarted" in alice.of(Kind.ROLLBACK)[0]


@pytest.mark.usefixtures("soon")
async def test_why_the_connection_was_lost_is_told_once_for_each_reason(tmp_path: Path, house: House) -> None:
    async with members(tmp_path, house, "alice") as (alice,):
        attempts = 0
        real = trust.connect

        async def counted(*given: Any) -> Any:
            nonlocal attempts
            attempts += 1
            return await real(*given)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(trust, "connect", counted)
            await house.stop()
            await wait_until(lambda: attempts >= 5)
        alice.take_rest()
        lost = [text for text in alice.of(Kind.NOTICE) if text.startswith("connection lost")]
        assert len(lost) == 2
        assert "shuts down or restarts" in lost[0]
        assert "connection refused" in lost[1]


def test_the_pause_before_another_attempt_doubles_up_to_a_most_and_heeds_the_server() -> None:
    random.seed(1)
    lost = UnreachableError("It is gone.")
    pauses = [0.0]
    for _ in range(12):
        pauses.append(session._next_pause(pauses[-1], lost))
    assert 0.8 * limits.RECONNECT_FIRST <= pauses[1] <= 1.2 * limits.RECONNECT_FIRST
    assert all(1.5 <= later / earlier <= 2.5 for earlier, later in pairwise(pauses[1:6]))
    assert 0.8 * limits.RECONNECT_MOST <= pauses[-1] <= 1.2 * limits.RECONNECT_MOST
    asked = [session._next_pause(0.0, ServerRefusedError("Busy.", retry_after=60)) for _ in range(20)]
    assert all(60 <= pause <= 84 for pause in asked)


async def test_a_drained_server_is_come_back_to_after_a_pause(tmp_path: Path, house: House) -> None:
    """GOODBYE asks for one second: nobody tries before that."""
    async with members(tmp_path, house, "alice") as (alice,):
        await house.stop()
        left = trio.current_time()
        await house.start()
        await alice.is_told(Kind.NOTICE, "connected again")
        assert trio.current_time() - left > 0.7
        assert alice.conversation.is_connected


async def test_a_person_who_does_not_want_to_wait_reconnects_at_once(
    tmp_path: Path, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "RETRY_SECONDS", (3600, 3600))
    async with members(tmp_path, house, "alice") as (alice,):
        await house.stop()
        await alice.is_told(Kind.NOTICE, "connection lost")
        await house.start()
        await wait_until(lambda: 1000 < (alice.conversation.retry_in or 0) < 5000)
        alice.conversation.reconnect()
        await alice.is_told(Kind.NOTICE, "connected again")
        assert alice.conversation.retry_in is None


# One order for all


async def test_all_see_the_messages_of_three_members_in_one_order_and_each_once(tmp_path: Path, house: House) -> None:
    async with members(tmp_path, house, "alice", "bob", "carol") as people, trio.open_nursery() as nursery:
        for person in people:
            nursery.start_soon(collect, person)
        for nick, person in zip("abc", people, strict=True):
            person.say(*(f"{nick} {number}" for number in range(200)))
        await wait_until(lambda: all(len(person.texts) >= 600 for person in people))
        first = people[0].texts
        assert len(set(first)) == len(first) == 600
        for nick, person in zip("abc", people, strict=True):
            assert person.texts == first
            assert [text for text in first if text.startswith(nick)] == [f"{nick} {number}" for number in range(200)]
            assert all(event.is_own == event.text.startswith(nick) for event in messages(person))
        assert alarms(*people) == []
        nursery.cancel_scope.cancel()


def messages(person: Listener) -> list[Event]:
    return [event for event in person.events if event.kind is Kind.MESSAGE]


@pytest.mark.usefixtures("soon")
async def test_who_comes_back_to_a_busy_room_misses_nothing_and_sees_nothing_twice(
    tmp_path: Path, house: House
) -> None:
    async with members(tmp_path, house, "alice", "bob") as (alice, bob), trio.open_nursery() as nursery:
        nursery.start_soon(collect, alice)
        nursery.start_soon(collect, bob)

        async def keep_talking() -> None:
            for number in range(2500):
                alice.say(str(number))
                await wait_until(lambda: alice.conversation.pending < 100)

        async def keep_coming_back() -> None:
            for number in range(200, 2200, 400):
                await wait_until(partial(has_shown, bob, number))
                house.cut()

        async with trio.open_nursery() as busy:
            busy.start_soon(keep_talking)
            busy.start_soon(keep_coming_back)
        await wait_until(lambda: len(bob.texts) >= 2500)
        assert bob.texts == [str(number) for number in range(2500)]
        assert sum("connected again" in text for text in bob.of(Kind.NOTICE)) == 5
        assert alarms(alice, bob) == []
        nursery.cancel_scope.cancel()


@pytest.mark.usefixtures("soon")
async def test_nobody_seems_to_leave_or_come_when_oneself_was_away(tmp_path: Path, house: House) -> None:
    async with members(tmp_path, house, "alice", "bob") as (alice, bob):
        alice.conversation.reconnect()
        await alice.is_told(Kind.NOTICE, "connected again")
        await wait_until(lambda: len(alice.conversation.present) == 1)
        await bob.is_told(Kind.LEFT, "alice")
        await bob.until(lambda: len(bob.of(Kind.JOINED)) == 1)
        alice.take_rest()
        assert len(alice.of(Kind.JOINED)) == 1
        assert alice.of(Kind.LEFT) == []


# Who comes late


@pytest.mark.parametrize(
    ("backlog", "first"),
    [(Backlog(messages=0), 31), (Backlog(messages=7), 24), (Backlog(), 11), (Backlog(is_all=True), 1)],
)
async def test_who_comes_late_gets_the_backlog_asked_for(
    tmp_path: Path, house: House, backlog: Backlog, first: int
) -> None:
    async with members(tmp_path, house, "alice") as (alice,):
        alice.say(*(str(number) for number in range(1, 31)))
        await alice.settles()
        async with open_member(tmp_path, house.port, house.pin, "bob", backlog=backlog) as bob:
            with trio.fail_after(PATIENCE):
                await bob.conversation.wait_caught_up()
            bob.take_rest()
            assert bob.texts == [str(number) for number in range(first, 31)]
            assert all(event.is_backlog for event in messages(bob))
            alice.say("live")
            await bob.hears("live")
            assert not messages(bob)[-1].is_backlog
            assert alarms(alice, bob) == []


async def test_older_messages_are_loaded_in_order_until_there_is_none(tmp_path: Path, house: House) -> None:
    async with members(tmp_path, house, "alice") as (alice,):
        alice.say(*(str(number) for number in range(1, 51)))
        await alice.settles()
        async with open_member(tmp_path, house.port, house.pin, "bob", backlog=Backlog(messages=10)) as bob:
            await bob.hears("50")
            pages = [await bob.conversation.load_older(15) for _ in range(4)]
            assert [[int(event.text) for event in page] for page in pages] == [
                list(range(26, 41)),
                list(range(11, 26)),
                list(range(1, 11)),
                [],
            ]
            assert {event.kind for page in pages for event in page} == {Kind.MESSAGE}
            bob.conversation.reconnect()
            await bob.is_told(Kind.NOTICE, "connected again")
            assert await bob.conversation.load_older(15) == []


@pytest.mark.usefixtures("soon")
async def test_older_messages_are_none_while_there_is_no_connection(tmp_path: Path, house: House) -> None:
    async with members(tmp_path, house, "alice") as (alice,):
        alice.say("one", "two")
        await alice.settles()
        async with open_member(tmp_path, house.port, house.pin, "bob", backlog=Backlog(messages=1)) as bob:
            await bob.hears("two")
            await house.stop()
            await bob.is_told(Kind.NOTICE, "connection lost")
            assert await bob.conversation.load_older(5) == []
            await house.start()
            await bob.is_told(Kind.NOTICE, "connected again")
            assert [event.text for event in await bob.conversation.load_older(5)] == ["one"]


async def test_what_the_server_keeps_no_longer_is_told_to_who_was_away(tmp_path: Path) -> None:
    async with open_house(tmp_path, retention=Retention(3600, 5)) as house:
        async with members(tmp_path, house, "alice", "bob") as (alice, bob):
            alice.say("seen")
            await bob.hears("seen")
        async with members(tmp_path, house, "alice") as (alice,):
            alice.say(*(str(number) for number in range(1, 31)))
            await alice.settles()
        await house.stop()
        await house.start()
        async with open_member(tmp_path, house.port, house.pin, "bob") as bob:
            await bob.hears("30")
            assert bob.texts == [str(number) for number in range(26, 31)]
            await bob.is_told(Kind.NOTICE, "25 older messages are no longer kept")
            assert alarms(bob) == []


# Members of other kinds


async def test_an_unlisted_member_is_shown_to_nobody_and_hears_all(tmp_path: Path, house: House) -> None:
    async with members(tmp_path, house, "alice") as (alice,):
        async with open_member(tmp_path, house.port, house.pin, "ghost", is_listed=False) as ghost:
            await wait_until(lambda: len(ghost.conversation.present) == 1)
            ghost.conversation.rename("phantom")
            ghost.say("boo")
            await alice.hears("boo")
            assert alice.conversation.present == {}
            alice.say("who is there?")
            await ghost.hears("who is there?")
        alice.say("gone?")
        await alice.hears("gone?")
        assert alice.kinds == {Kind.MESSAGE}
        assert [event.sender.nick for event in messages(alice) if event.sender] == ["phantom", "alice", "alice"]


async def test_a_reader_is_listed_as_one(tmp_path: Path, house: House) -> None:
    async with (
        members(tmp_path, house, "alice") as (alice,),
        open_member(tmp_path, house.port, house.pin, "tail", is_reader=True),
    ):
        await alice.is_told(Kind.JOINED, "tail~")
        assert [(p.sender.nick, p.is_reader) for p in alice.conversation.present.values()] == [("tail", True)]


async def test_a_new_name_is_told_to_all_and_signs_what_follows(tmp_path: Path, house: House) -> None:
    async with members(tmp_path, house, "alice", "bob") as (alice, bob):
        bob.conversation.rename("robert")
        assert bob.conversation.nick == "robert"
        bob.say("me again")
        await alice.is_told(Kind.RENAMED, "bob is now called robert~")
        await alice.hears("me again")
        last = messages(alice)[-1].sender
        assert last is not None
        assert last.nick == "robert"
        with pytest.raises(InputError):
            bob.conversation.rename(" ")
        async with open_member(tmp_path, house.port, house.pin, "carol") as carol:
            await wait_until(lambda: len(carol.conversation.present) == 2)
            assert {p.sender.nick for p in carol.conversation.present.values()} == {"alice", "robert"}
        assert alarms(alice, bob) == []


@pytest.mark.usefixtures("soon")
async def test_a_name_taken_while_the_server_is_away_is_told_when_it_is_back(tmp_path: Path, house: House) -> None:
    async with members(tmp_path, house, "alice", "bob") as (alice, bob):
        await house.stop()
        await bob.is_told(Kind.NOTICE, "connection lost")
        bob.conversation.rename("robert")
        await house.start()
        await wait_until(lambda: [p.sender.nick for p in alice.conversation.present.values()] == ["robert"])
        await alice.is_told(Kind.NOTICE, "connected again")


async def test_who_comes_and_goes_is_told(tmp_path: Path, house: House) -> None:
    async with members(tmp_path, house, "alice") as (alice,):
        for _ in range(3):
            async with open_member(tmp_path, house.port, house.pin, "bob"):
                pass
        await alice.until(lambda: len(alice.of(Kind.LEFT)) == 3)
        told = [event.kind for event in alice.events]
        assert told == [Kind.JOINED, Kind.LEFT] * 3
        assert alice.conversation.present == {}


async def test_a_profile_used_twice_at_once_shows_both_what_the_other_says(tmp_path: Path, house: House) -> None:
    async with (
        members(tmp_path, house, "alice", "bob") as (one, bob),
        open_member(tmp_path, house.port, house.pin, "alice") as two,
        trio.open_nursery() as nursery,
    ):
        everybody = (one, two, bob)
        for person in everybody:
            nursery.start_soon(collect, person)
        await wait_until(lambda: len(one.of(Kind.JOINED)) == 2)
        for number in range(100):
            one.say(f"one {number}")
            two.say(f"two {number}")
        await wait_until(lambda: all(len(person.texts) >= 200 for person in everybody))
        assert one.texts == two.texts == bob.texts
        assert Counter(event.is_own for event in messages(one)) == {True: 100, False: 100}
        assert {event.sender.is_me for event in messages(one) if event.sender} == {True}
        assert alarms(*everybody) == []
        nursery.cancel_scope.cancel()
    async with open_member(tmp_path, house.port, house.pin, "alice") as again:
        again.say("again")
        await again.hears("again")
        assert again.texts[-2:] == [bob.texts[-1], "again"]
        assert alarms(again) == []


# The first time


async def test_a_room_that_is_not_to_be_created_is_not(tmp_path: Path, house: House) -> None:
    asked: list[bytes] = []

    async def refuse(keys: Any) -> bool:
        await trio.lowlevel.checkpoint()
        asked.append(keys.address)
        return False

    for _ in range(2):
        with pytest.RaisesGroup(NoSuchRoomError):
            async with open_member(tmp_path, house.port, house.pin, "alice", ask_create=refuse):
                raise AssertionError("nobody joined")
    assert asked == [room_keys().address] * 2


async def test_who_opened_the_room_knows_and_nobody_else_is_asked(tmp_path: Path, house: House) -> None:
    async def never(_: Any) -> bool:
        raise AssertionError("asked about a room that exists")

    async with (
        members(tmp_path, house, "alice") as (alice,),
        open_member(tmp_path, house.port, house.pin, "bob", ask_create=never) as bob,
    ):
        assert alice.conversation.was_created
        assert not bob.conversation.was_created


async def test_a_secret_is_kept_only_when_asked_to_and_only_when_joined(tmp_path: Path, house: House) -> None:
    async def refuse(_: Any) -> bool:
        await trio.lowlevel.checkpoint()
        return False

    wrong = RoomSecret(b"w" * 32)
    with pytest.RaisesGroup(NoSuchRoomError):
        async with open_member(tmp_path, house.port, house.pin, "bob", wrong, ask_create=refuse, keeps_secret=True):
            raise AssertionError("nobody joined")
    async with open_member(tmp_path, house.port, house.pin, "bob") as bob:
        assert bob.conversation._options.state.secret("tea house") is None
    async with open_member(tmp_path, house.port, house.pin, "bob", keeps_secret=True) as bob:
        assert bob.conversation._options.state.secret("tea house") == b"the secret of the tea house room"


async def test_closed_rooms_are_no_reason_to_ask_again(tmp_path: Path) -> None:
    async with open_house(tmp_path, may_create=False) as house:
        with pytest.RaisesGroup(pytest.RaisesExc(ServerRefusedError, match="takes no new rooms")):
            async with open_member(tmp_path, house.port, house.pin, "alice"):
                raise AssertionError("nobody joined")


# Too much


@pytest.mark.usefixtures("soon")
async def test_what_waits_for_the_server_is_bounded(
    tmp_path: Path, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PENDING_MESSAGES", 100)
    async with members(tmp_path, house, "alice") as (alice,):
        await house.stop()
        await alice.is_told(Kind.NOTICE, "connection lost")
        alice.say(*(str(number) for number in range(100)))
        for _ in range(3):
            with pytest.raises(InputError, match="100 messages wait"):
                alice.say("one too many")
        assert alice.conversation.pending == 100
        await house.start()
        await alice.settles()
        alice.say("room again")
        await alice.hears("room again")
        assert alice.texts == [*(str(number) for number in range(100)), "room again"]


async def test_a_message_of_the_largest_size_passes_and_a_larger_one_is_refused_here(
    tmp_path: Path, house: House
) -> None:
    async with members(tmp_path, house, "alice") as (alice,):
        largest = "\u20ac" * (limits.TEXT_BYTES // 3)
        with pytest.raises(InputError):
            alice.say(largest + "\u20ac")
        alice.say(largest)
        await alice.hears(largest)


# The end


async def test_a_conversation_may_be_cancelled_at_any_moment(
    tmp_path: Path, house: House, recwarn: pytest.WarningsRecorder
) -> None:
    """Each attempt gets one more pass of the scheduler than the one before, until the conversation stands."""
    async with members(tmp_path, house, "bob") as (bob,), trio.open_nursery() as nursery:
        nursery.start_soon(collect, bob)
        before = trio.lowlevel.current_statistics().tasks_living
        stood = 0
        passes = 0
        while stood < 5:
            passes += 1
            assert passes < 2000, "it never stood"
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as inner:

                    async def talk(scope: trio.CancelScope = scope) -> None:
                        nonlocal stood
                        async with open_member(tmp_path, house.port, house.pin, "alice") as alice:
                            stood += 1
                            alice.say("hello")
                            await trio.sleep_forever()

                    inner.start_soon(talk)
                    for _ in range(passes):
                        await trio.lowlevel.checkpoint()
                    if stood:
                        await trio.sleep(0.001 * stood)
                    scope.cancel()
            assert scope.cancelled_caught
            if passes > 50:
                passes += 20
        await wait_until(lambda: not bob.conversation.present)
        await wait_until(lambda: trio.lowlevel.current_statistics().tasks_living <= before)
        assert alarms(bob) == []
        nursery.cancel_scope.cancel()
    gc.collect()
    assert not recwarn.list


@pytest.mark.usefixtures("soon")
async def test_a_conversation_may_be_left_while_the_server_is_away(tmp_path: Path, house: House) -> None:
    async with members(tmp_path, house, "alice") as (alice,):
        await house.stop()
        await alice.is_told(Kind.NOTICE, "connection lost")
        alice.say("never sent")
    await house.start()
    async with open_member(tmp_path, house.port, house.pin, "alice") as alice:
        await alice.conversation.wait_caught_up()
        alice.take_rest()
        assert alice.texts == []


async def test_a_screen_that_does_not_read_holds_up_itself_alone_and_may_leave(
    tmp_path: Path, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "EVENTS", 10)
    async with members(tmp_path, house, "alice") as (alice,):
        async with open_member(tmp_path, house.port, house.pin, "bob") as bob:
            await alice.is_told(Kind.JOINED)
            said = [str(number) for number in range(300)]
            for text in said:
                alice.say(text)
                await alice.hears(text)
            assert bob.texts == []
            await bob.hears(said[-1])
            assert bob.texts == said
            for text in said:
                alice.say(f"again {text}")
                await alice.hears(f"again {text}")
        await alice.is_told(Kind.LEFT)


# From one run to the next


async def test_the_next_run_shows_what_is_new_and_calls_nothing_missing(tmp_path: Path, house: House) -> None:
    async with members(tmp_path, house, "alice", "bob") as (alice, bob):
        alice.say(*(str(number) for number in range(50)))
        await bob.hears("49")
    async with members(tmp_path, house, "alice") as (alice,):
        alice.say(*(str(number) for number in range(50, 150)))
        await alice.settles()
    for new in (100, 0):
        async with open_member(tmp_path, house.port, house.pin, "bob") as bob:
            with trio.fail_after(PATIENCE):
                await bob.conversation.wait_caught_up()
            bob.take_rest()
            wanted = max(new, limits.BACKLOG)
            assert bob.texts == [str(number) for number in range(150 - wanted, 150)]
            assert bob.kinds <= {Kind.MESSAGE, Kind.NOTICE}


async def test_a_message_withheld_between_two_runs_is_missed(tmp_path: Path) -> None:
    """The server leaves bob's second run without alice's second message; alice's counter tells."""
    async with (
        open_lying_server(tmp_path / "server", room_keys().address) as server,
        open_member(tmp_path, server.port, server.pin, "alice") as alice,
    ):
        async with open_member(tmp_path, server.port, server.pin, "bob") as bob:
            alice.say("one")
            await bob.hears("one")
        alice.say("two", "three")
        await alice.hears("three")
        server.views[3] = server.view.copy()
        del server.views[3].envelopes[1]
        async with open_member(tmp_path, server.port, server.pin, "bob") as bob:
            await bob.hears("three")
            await bob.is_told(Kind.GAP, "1 message from alice~")
            assert "two" not in bob.texts


async def test_a_conversation_that_remembers_nothing_leaves_the_profile_as_it_was(tmp_path: Path, house: House) -> None:
    async with members(tmp_path, house, "alice") as (alice,):
        alice.say("one")
        await alice.settles()
        for _ in range(2):
            async with open_member(tmp_path, house.port, house.pin, "bob", remembers=False) as bob:
                await bob.hears("one")
                state = bob.conversation._options.state
                assert state.position(room_keys().address) is None
                assert state.heard(room_keys().address) == []


async def test_a_long_refused_join_names_the_server_and_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_lying_server(tmp_path / "server", room_keys().address) as server:

        def refuse(guest: Guest, message: Message) -> None:
            guest.tell(Error(Code.RATE, 1, 70, bytes(16), "too many"))

        monkeypatch.setattr(server, "_obey", refuse)
        with pytest.RaisesGroup(pytest.RaisesExc(ServerRefusedError, match="too many")) as caught:
            async with open_member(tmp_path, server.port, server.pin, "alice"):
                raise AssertionError("nobody joined")
        refusal = caught.value.exceptions[0]
        assert isinstance(refusal, ServerRefusedError)
        assert refusal.retry_after == 70
        assert refusal.next_step == "Try again in 70 s."


Refuse = Callable[[Guest], None]


def _say_rate(guest: Guest) -> None:
    guest.tell(Error(Code.RATE, 1, 1, bytes(16), "too many"))


def _say_goodbye(guest: Guest) -> None:
    guest.tell(Goodbye(Reason.RATE, 1, "your address has its 2000 connections"))


def _hang_up(guest: Guest) -> None:
    guest.close()


@pytest.mark.parametrize("refuse", [_say_rate, _say_goodbye, _hang_up])
@pytest.mark.usefixtures("soon")
async def test_a_busy_server_is_tried_again_at_the_first_join(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refuse: Refuse
) -> None:
    async with open_lying_server(tmp_path / "server", room_keys().address) as server:
        refused: list[Guest] = []
        obey = server._obey

        def refuse_twice(guest: Guest, message: Message) -> None:
            if guest not in refused and len(refused) < 2:
                refused.append(guest)
                refuse(guest)
            elif guest not in refused:
                obey(guest, message)

        monkeypatch.setattr(server, "_obey", refuse_twice)
        async with open_member(tmp_path, server.port, server.pin, "alice") as alice:
            alice.say("in")
            await alice.hears("in")
        assert len(refused) == 2


@pytest.mark.usefixtures("soon")
async def test_a_running_chat_survives_refusals_of_its_rejoin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        open_lying_server(tmp_path / "server", room_keys().address) as server,
        open_member(tmp_path, server.port, server.pin, "alice") as alice,
    ):
        await alice.conversation.wait_caught_up()
        refusals = [_say_rate, _say_goodbye, _hang_up]
        refused: list[Guest] = []
        obey = server._obey

        def refuse(guest: Guest, message: Message) -> None:
            if guest not in refused and refusals:
                refused.append(guest)
                refusals.pop()(guest)
            elif guest not in refused:
                obey(guest, message)

        monkeypatch.setattr(server, "_obey", refuse)
        alice.conversation.reconnect()
        await alice.is_told(Kind.NOTICE, "connected again")
        assert not refusals


async def test_a_server_that_stays_busy_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BUSY_PATIENCE", 1.0)
    async with open_lying_server(tmp_path / "server", room_keys().address) as server:
        monkeypatch.setattr(server, "_obey", lambda guest, _: _hang_up(guest))
        with pytest.RaisesGroup(pytest.RaisesExc(UnreachableError, match="ended the connection")):
            async with open_member(tmp_path, server.port, server.pin, "alice"):
                raise AssertionError("nobody joined")


@pytest.mark.usefixtures("soon")
async def test_reconnecting_in_a_busy_room_loses_nothing(tmp_path: Path, house: House) -> None:
    async with members(tmp_path, house, "alice", "bob") as (alice, bob), trio.open_nursery() as nursery:
        nursery.start_soon(collect, alice)
        nursery.start_soon(collect, bob)
        alice.say(*map(str, range(2500)))
        for number in range(200, 2200, 400):
            await wait_until(partial(_has_heard, bob, number))
            bob.conversation.reconnect()
        await wait_until(partial(_has_heard, bob, 2500))
        assert bob.texts == [str(number) for number in range(2500)]
        assert not alarms(bob)
        nursery.cancel_scope.cancel()


def _has_heard(member: Listener, count: int) -> bool:
    return len(member.texts) >= count


async def test_what_was_not_shown_is_shown_by_the_next_run(
    tmp_path: Path, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "EVENTS", 10)
    async with members(tmp_path, house, "alice") as (alice,), trio.open_nursery() as nursery:
        nursery.start_soon(collect, alice)
        async with open_member(tmp_path, house.port, house.pin, "bob") as bob:
            await bob.conversation.wait_caught_up()
        alice.say(*map(str, range(100)))
        await wait_until(lambda: not alice.conversation.pending)
        async with open_member(tmp_path, house.port, house.pin, "bob") as bob:
            await bob.until(partial(_has_heard, bob, 15))
        async with open_member(tmp_path, house.port, house.pin, "bob") as bob:
            await bob.until(partial(_has_heard, bob, 100))
            assert bob.texts == [str(number) for number in range(100)]
        nursery.cancel_scope.cancel()


@pytest.mark.usefixtures("soon")
async def test_older_messages_may_be_asked_for_while_catching_up(
    tmp_path: Path, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with members(tmp_path, house, "alice") as (alice,), trio.open_nursery() as nursery:
        nursery.start_soon(collect, alice)
        alice.say(*map(str, range(30)))
        await wait_until(lambda: not alice.conversation.pending)
        async with open_member(tmp_path, house.port, house.pin, "bob", backlog=Backlog(10)) as bob:
            nursery.start_soon(collect, bob)
            await wait_until(lambda: "29" in bob.texts)
            gate, connect = trio.Event(), trust.connect

            async def connect_later(server: Any, decided: Any, *more: Any) -> Any:
                if decided is bob.conversation._options.trust:
                    await gate.wait()
                return await connect(server, decided, *more)

            monkeypatch.setattr(trust, "connect", connect_later)
            bob.conversation.reconnect()
            await wait_until(lambda: not bob.conversation.is_connected)
            alice.say(*map(str, range(30, 2530)))
            await wait_until(lambda: not alice.conversation.pending)
            gate.set()
            await wait_until(lambda: bob.conversation.is_connected)
            older = await bob.conversation.load_older(5)
            bob.say("said by bob")
            await wait_until(lambda: "said by bob" in bob.texts)
            assert [event.text for event in older] == [str(number) for number in range(15, 20)]
            assert bob.texts == [*map(str, range(20, 2530)), "said by bob"]
        nursery.cancel_scope.cancel()


@pytest.mark.usefixtures("soon")
async def test_two_calls_for_older_messages_accuse_nobody(tmp_path: Path, house: House) -> None:
    async with members(tmp_path, house, "alice") as (alice,):
        alice.say(*map(str, range(50)))
        await alice.settles()
        async with open_member(tmp_path, house.port, house.pin, "bob", backlog=Backlog(10)) as bob:
            await bob.hears("49")
            found: list[Event] = []

            async def load() -> None:
                found.extend(await bob.conversation.load_older(10))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(load)
                nursery.start_soon(load)
            assert sorted(event.text for event in found) == [str(number) for number in range(20, 40)]


@pytest.mark.usefixtures("soon")
async def test_a_call_for_older_messages_ends_with_the_connection(tmp_path: Path, house: House) -> None:
    async with members(tmp_path, house, "alice") as (alice,):
        alice.say(*map(str, range(50)))
        await alice.settles()
        async with open_member(tmp_path, house.port, house.pin, "bob", backlog=Backlog(10)) as bob:
            await bob.hears("49")
            with trio.fail_after(limits.REPLY_TIMEOUT / 2):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(bob.conversation.load_older, 10)
                    await trio.lowlevel.checkpoint()
                    bob.conversation.reconnect()


@pytest.mark.usefixtures("soon")
async def test_the_last_of_many_names_is_told(tmp_path: Path, house: House) -> None:
    await house.stop()
    await house.start(allowed=ServerLimits(presence=Rate(5, 100)))
    async with (
        members(tmp_path, house, "alice") as (alice,),
        open_member(tmp_path, house.port, house.pin, "bob") as bob,
    ):
        for number in range(40):
            bob.conversation.rename(f"bob{number}")
            await trio.testing.wait_all_tasks_blocked()
        await alice.is_told(Kind.RENAMED, "is now called bob39~")
        bob.take_rest()
        assert not bob.of(Kind.NOTICE)


@pytest.mark.usefixtures("soon")
async def test_who_comes_back_before_the_server_missed_them_is_here_once(tmp_path: Path, house: House) -> None:
    near: list[trio.SocketStream] = []

    async def relay(stream: trio.SocketStream) -> None:
        """Pass bytes on, and never an end: a cable that was pulled."""
        far = await trio.open_tcp_stream("127.0.0.1", house.port)
        near.append(stream)
        async with stream, far, trio.open_nursery() as pumps:
            pumps.start_soon(pump, stream, far)
            pumps.start_soon(pump, far, stream)

    async def pump(source: trio.SocketStream, sink: trio.SocketStream) -> None:
        try:
            async for data in source:
                await sink.send_all(data)
        except (trio.ClosedResourceError, trio.BrokenResourceError):
            pass
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, relay, 0, host="127.0.0.1"))
        port = listeners[0].socket.getsockname()[1]
        async with (
            members(tmp_path, house, "alice") as (alice,),
            open_member(tmp_path, port, house.pin, "bob") as bob,
        ):
            await alice.is_told(Kind.JOINED)
            await near[0].aclose()
            await bob.is_told(Kind.NOTICE, "connected again")
            bob.say("hello")
            await alice.hears("hello")
            alice.take_rest()
            assert len(alice.of(Kind.JOINED)) == 1
            assert [p.sender.nick for p in alice.conversation.present.values()] == ["bob"]
            assert [p.sender.nick for p in bob.conversation.present.values()] == ["alice"]
        nursery.cancel_scope.cancel()


@pytest.mark.usefixtures("soon")
async def test_a_new_name_during_a_reconnect_is_told(
    tmp_path: Path, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with members(tmp_path, house, "alice", "bob") as (alice, bob):
        join = session.RoomConversation._join

        async def join_slowly(self: session.RoomConversation, link: Any, *, may_create: bool) -> Any:
            answer = await join(self, link, may_create=may_create)
            if self is bob.conversation:
                self.rename("robert")
            return answer

        monkeypatch.setattr(session.RoomConversation, "_join", join_slowly)
        bob.conversation.reconnect()
        await alice.is_told(Kind.RENAMED, "is now called robert~")


async def test_a_quiet_room_keeps_its_connection(tmp_path: Path, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing comes but the answers to this client's own pings."""
    monkeypatch.setattr(visit, "_TICK", 0.01)
    monkeypatch.setattr(limits, "KEEPALIVE_SECONDS", (0.02, 0.02))
    monkeypatch.setattr(limits, "REPLY_TIMEOUT", 1.0)
    answers = 0
    note = Link._note_pong

    def count(link: Link, pong: Pong) -> None:
        nonlocal answers
        answers += 1
        note(link, pong)

    monkeypatch.setattr(Link, "_note_pong", count)
    async with members(tmp_path, house, "alice") as (alice,):
        link = alice.conversation.link
        with trio.fail_after(PATIENCE):
            while answers < 20 and alice.conversation.link is link:
                await trio.testing.wait_all_tasks_blocked(0.001)
        assert alice.conversation.link is link
        alice.take_rest()
        assert not any("connection lost" in text for text in alice.of(Kind.NOTICE))
