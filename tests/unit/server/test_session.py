"""A session, over a channel in memory: what a member gets for what it says.

Each test asks for the clock itself: pytest-trio runs a test by the clock that is among its own arguments.
"""

import logging
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from securechat import limits
from securechat.errors import StorageError, StorageFullError
from securechat.history.log import Append, Appended, Head, Page
from securechat.history.memory import MemoryLog
from securechat.limits import Rate
from securechat.protocol import chain, messages
from securechat.protocol.messages import (
    Change,
    Code,
    Deliver,
    Direction,
    Error,
    Goodbye,
    History,
    Join,
    Joined,
    Leave,
    MemberChange,
    Message,
    Past,
    Ping,
    Pong,
    Presence,
    Reason,
    Send,
    Welcome,
)
from securechat.server.access import AccessLog
from securechat.server.gate import Gate
from securechat.server.rooms import Rooms
from securechat.server.session import Session
from tests.support import relay as relays
from tests.support.memory_channel import memory_channels
from tests.support.relay import KEY, SPKI_HASH, Key, Visitor, changes, delivered

LARGE = bytes(limits.ENVELOPE_BYTES)
START = 1000.0


class TestLog(MemoryLog):
    """A log that can fail and wait.

    Attributes:
        error: Raised by what is asked of it.
        gate: Appends and reads wait for it.
        reads: How many reads wait or ran at the same time, at the most.
        batches: The sizes of the batches.
    """

    __test__ = False

    def __init__(self) -> None:
        super().__init__()
        self.error: StorageError | None = None
        self.gate = trio.Event()
        self.gate.set()
        self.batches: list[int] = []
        self.reads = 0
        self._reading = 0

    def _check(self) -> None:
        if self.error:
            raise self.error

    async def open_room(self, address: bytes, new_log_id: bytes | None) -> tuple[Head, bool] | None:
        """Open, or fail."""
        self._check()
        return await super().open_room(address, new_log_id)

    async def append(self, batch: Sequence[Append]) -> list[Appended]:
        """Append, late or never."""
        self.batches.append(len(batch))
        await self.gate.wait()
        self._check()
        return await super().append(batch)

    async def read(self, room: int, direction: Direction, sequence: int, most: int) -> Page:
        """Read, late or never."""
        self._reading += 1
        self.reads = max(self.reads, self._reading)
        try:
            await self.gate.wait()
            self._check()
            return await super().read(room, direction, sequence, most)
        finally:
            self._reading -= 1


Relay = relays.Relay[TestLog]


@asynccontextmanager
async def open_relay(**allowed: Any) -> AsyncIterator[Relay]:
    async with relays.open_relay(TestLog(), **allowed) as running:
        yield running


@pytest.fixture
async def relay(autojump_clock: MockClock) -> AsyncIterator[Relay]:
    autojump_clock.jump(START)
    async with open_relay() as running:
        yield running


def ids(*envelopes: bytes) -> list[bytes]:
    return [chain.envelope_id(envelope) for envelope in envelopes]


# Joining


async def test_con_1_welcome_comes_first_and_each_has_its_own_challenge(
    relay: Relay, autojump_clock: MockClock
) -> None:
    server_end, client_end = memory_channels()
    async with trio.open_nursery() as nursery:
        session = Session(relay.services, server_end, SPKI_HASH)
        nursery.start_soon(session.run)
        first = Visitor(client_end, server_end, session)
        welcome = await first.expect(Welcome)
        assert (welcome.largest, welcome.keepalive) == (65536, 60)
        second = await relay.connect()
        assert second.challenge != welcome.challenge
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("may_create", [True, False])
async def test_rel_1_a_bad_proof_is_refused_alike_whether_or_not_the_room_exists(
    relay: Relay, autojump_clock: MockClock, may_create: bool
) -> None:
    await relay.member(KEY)
    visitor = await relay.connect()
    answers = []
    for key in (KEY, Key(99)):
        join = key.join(os.urandom(32), 7, may_create=may_create)
        answers.append(await visitor.is_refused(join))
    assert answers[0] == answers[1]
    assert answers[0].code == Code.BAD_PROOF
    assert answers[0].retry_after == 0
    assert await relay.log.open_room(Key(99).address, None) is None


async def test_a_proof_for_another_server_is_a_bad_one(relay: Relay, autojump_clock: MockClock) -> None:
    server_end, client_end = memory_channels()
    session = Session(relay.services, server_end, b"another server's key, 32 bytes..")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.run)
        visitor = Visitor(client_end, server_end, session)
        await visitor.greet()
        assert (await visitor.is_refused(KEY.join(visitor.challenge))).code == Code.BAD_PROOF
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("address", [bytes(32), b"\1" + bytes(31), b"\xff" * 32], ids=["order 4", "one", "not below p"])
async def test_a_small_order_address_is_a_bad_proof(relay: Relay, autojump_clock: MockClock, address: bytes) -> None:
    visitor = await relay.connect()
    join = Join(3, address, b"\1" + bytes(63), True, b"")
    assert (await visitor.is_refused(join)).code == Code.BAD_PROOF


async def test_a_room_that_nobody_used_is_none_unless_it_may_be_created(
    relay: Relay, autojump_clock: MockClock
) -> None:
    visitor = await relay.connect()
    error = await visitor.is_refused(KEY.join(visitor.challenge, 5, may_create=False))
    assert (error.code, error.retry_after) == (Code.NO_SUCH_ROOM, 0)
    joined = await visitor.join(KEY, ref=6)
    assert (joined.ref, joined.created, joined.oldest, joined.newest) == (6, True, 1, 0)
    assert joined.head == chain.root(KEY.address, joined.log_id)
    other = await relay.connect()
    again = await other.join(KEY, may_create=False)
    assert (again.created, again.handle, again.log_id) == (False, joined.handle, joined.log_id)
    assert again.member != joined.member


async def test_rel_2_a_server_that_takes_no_new_rooms_keeps_the_old_ones(
    relay: Relay, autojump_clock: MockClock
) -> None:
    await relay.member(KEY)
    relay.services.admission.may_create = False
    visitor = await relay.connect()
    assert (await visitor.is_refused(Key(2).join(visitor.challenge))).code == Code.ROOMS_CLOSED
    assert not (await visitor.join(KEY)).created


async def test_one_is_in_a_room_once_on_a_connection(relay: Relay, autojump_clock: MockClock) -> None:
    visitor, handle = await relay.member(KEY)
    assert (await visitor.is_refused(KEY.join(visitor.challenge, 9))).code == Code.ALREADY_JOINED
    visitor.say(Leave(handle))
    assert (await visitor.join(KEY)).newest == 0


async def test_one_is_in_sixteen_rooms_at_most_on_a_connection(relay: Relay, autojump_clock: MockClock) -> None:
    visitor = await relay.connect()
    joined = [await visitor.join(Key(number)) for number in range(limits.SERVER.rooms_per_connection)]
    assert len({answer.handle for answer in joined}) == limits.SERVER.rooms_per_connection
    assert (await visitor.is_refused(Key(99).join(visitor.challenge))).code == Code.TOO_MANY_ROOMS
    visitor.say(Leave(joined[3].handle))
    await visitor.join(Key(99))


async def test_a_storage_failure_refuses_the_join_and_it_may_be_tried_again(
    relay: Relay, autojump_clock: MockClock
) -> None:
    visitor = await relay.connect()
    relay.log.error = StorageFullError("The disk is full.")
    error = await visitor.is_refused(KEY.join(visitor.challenge, 2))
    assert (error.code, error.retry_after) == (Code.STORAGE, limits.STORAGE_RETRY)
    relay.log.error = None
    assert (await visitor.join(KEY, ref=3)).created


async def test_a_disk_that_fails_each_join_is_logged_once(
    relay: Relay, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    visitor = await relay.connect()
    relay.log.error = StorageFullError("The disk is full.")
    for ref in range(3):
        await visitor.is_refused(KEY.join(visitor.challenge, ref))
    assert caplog.messages == ["a room could not be opened: The disk is full."]


async def test_lines_about_one_peer_that_breaks_rules_are_bounded(
    relay: Relay, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "securechat.server")
    relay.services.access = AccessLog(Gate(), Rate(2, 0.001))
    for _ in range(5):
        visitor = await relay.connect()
        visitor.say_raw(bytes(100))
        assert isinstance((await visitor.end())[-1], Goodbye)
    assert len(caplog.messages) == 2
    assert relay.services.access.left_out == 3


async def drain_refused(relay: Relay) -> None:
    """Spend all tokens of an address for rooms that do not exist, from connections of their own."""
    for number in range(limits.SERVER.refused_joins.burst):
        guesser = await relay.connect()
        join = Key(1000 + number).join(guesser.challenge, may_create=False)
        assert (await guesser.is_refused(join)).code == Code.NO_SUCH_ROOM
        guesser.channel.abort()


async def test_a_proven_room_lets_in_whatever_others_did(relay: Relay, autojump_clock: MockClock) -> None:
    await relay.member(KEY)
    await drain_refused(relay)
    began = trio.current_time()
    for _ in range(100):
        await relay.member(KEY)
    assert trio.current_time() == began


async def test_a_bad_proof_costs_nobody_else_anything(relay: Relay, autojump_clock: MockClock) -> None:
    for _ in range(2 * limits.SERVER.refused_joins.burst):
        attacker = await relay.connect()
        assert (await attacker.is_refused(KEY.join(os.urandom(32)))).code == Code.BAD_PROOF
    began = trio.current_time()
    neighbour = await relay.connect()
    assert (await neighbour.is_refused(KEY.join(neighbour.challenge, may_create=False))).code == Code.NO_SUCH_ROOM
    assert trio.current_time() == began


async def test_joins_that_fail_slow_their_own_connection(relay: Relay, autojump_clock: MockClock) -> None:
    await relay.member(KEY)
    began = trio.current_time()
    attacker = await relay.connect()
    for ref in range(1, 1000):
        attacker.say(Key(ref).join(os.urandom(32), ref))
    received = await attacker.end()
    assert trio.current_time() - began <= limits.SERVER.join_seconds + limits.GOODBYE_TIMEOUT
    assert [m.code for m in received if isinstance(m, Error)] == [Code.BAD_PROOF] * 3
    assert received[-1] == Goodbye(Reason.TIMEOUT, 0, "")


async def test_a_crowd_that_opens_one_room_costs_one_token(relay: Relay, autojump_clock: MockClock) -> None:
    began = trio.current_time()
    crowd = [await relay.connect() for _ in range(500)]
    for visitor in crowd:
        assert (await visitor.is_refused(KEY.join(visitor.challenge, may_create=False))).code == Code.NO_SUCH_ROOM
    for visitor in crowd:
        visitor.say(KEY.join(visitor.challenge, 2))
    answers = [await visitor.expect(Joined) for visitor in crowd]
    assert sum(answer.created for answer in answers) == 1
    assert trio.current_time() == began
    for number in range(1, limits.SERVER.creations.burst):
        assert (await (await relay.connect()).join(Key(number))).created
    assert trio.current_time() == began, "one token, for one room"


async def test_a_question_too_many_is_answered_later(relay: Relay, autojump_clock: MockClock) -> None:
    await drain_refused(relay)
    visitor = await relay.connect()
    began = trio.current_time()
    assert (await visitor.is_refused(KEY.join(visitor.challenge, may_create=False))).code == Code.NO_SUCH_ROOM
    assert trio.current_time() - began == pytest.approx(1 / limits.SERVER.refused_joins.per_second)
    elsewhere = await relay.connect(peer="192.0.2.2")
    assert (await elsewhere.is_refused(Key(9).join(elsewhere.challenge, may_create=False))).code == Code.NO_SUCH_ROOM
    assert trio.current_time() - began == pytest.approx(1 / limits.SERVER.refused_joins.per_second)


async def test_guesses_of_a_flood_are_answered_at_the_rate(relay: Relay, autojump_clock: MockClock) -> None:
    await drain_refused(relay)
    guessers = [await relay.connect() for _ in range(200)]
    for number, guesser in enumerate(guessers):
        guesser.say(Key(2000 + number).join(guesser.challenge, may_create=False))
    errors = [await guesser.expect(Error) for guesser in guessers]
    answered = [error for error in errors if error.code == Code.NO_SUCH_ROOM]
    assert 1 <= len(answered) <= limits.JOIN_PATIENCE * limits.SERVER.refused_joins.per_second
    refused = [error for error in errors if error.code == Code.RATE]
    assert len(answered) + len(refused) == len(guessers)
    assert {error.retry_after for error in refused} == {limits.JOIN_PAUSE}


@pytest.mark.parametrize("may_create", [False, True], ids=["look-ups", "creations"])
async def test_a_crowd_gets_its_room_beside_a_flood(relay: Relay, autojump_clock: MockClock, may_create: bool) -> None:
    await drain_refused(relay)
    for number in range(limits.SERVER.creations.burst):
        await relay.member(Key(3000 + number))
    for number in range(1000):
        attacker = await relay.connect()
        attacker.say(Key(4000 + number).join(attacker.challenge, may_create=may_create))
    began = trio.current_time()

    async def come() -> None:  # as the real client does, but that it comes back at once
        creates = False
        while True:
            visitor = await relay.connect()
            visitor.say(KEY.join(visitor.challenge, may_create=creates))
            answer = await visitor.next()
            if isinstance(answer, Joined):
                return
            assert isinstance(answer, Error)
            creates = creates or answer.code == Code.NO_SUCH_ROOM
            visitor.channel.abort()
            await trio.sleep(answer.retry_after)

    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(come)
    assert trio.current_time() - began < 20


async def test_a_room_that_appears_meanwhile_lets_in(relay: Relay, autojump_clock: MockClock) -> None:
    await drain_refused(relay)
    for number in range(limits.SERVER.creations.burst):
        await relay.member(Key(3000 + number))
    early, late = await relay.connect(), await relay.connect()
    early.say(KEY.join(early.challenge, may_create=False))
    late.say(KEY.join(late.challenge))
    await wait_all_tasks_blocked()
    elsewhere = await relay.connect(peer="192.0.2.2")
    assert (await elsewhere.join(KEY)).created
    assert [(await visitor.expect(Joined)).created for visitor in (early, late)] == [False, False]


async def test_the_loser_of_a_race_to_create_joins(autojump_clock: MockClock) -> None:
    async with open_relay(creations=Rate(1, 0.000_001)) as relay:
        visitors = [await relay.connect(peer=f"192.0.2.{number}") for number in range(1, 51)]
        for visitor in visitors:
            visitor.say(KEY.join(visitor.challenge))
        answers = [await visitor.expect(Joined) for visitor in visitors]
        assert sum(answer.created for answer in answers) == 1
        began = trio.current_time()
        losers = [visitor for visitor, answer in zip(visitors, answers, strict=True) if not answer.created]
        for number, visitor in enumerate(losers, 1):
            assert (await visitor.join(Key(number), ref=2)).created
        assert trio.current_time() == began, "only the room that was created cost a token"


async def test_a_room_that_cannot_be_stored_costs_no_token(autojump_clock: MockClock) -> None:
    async with open_relay(creations=Rate(1, 0.000_001)) as relay:
        visitor = await relay.connect()
        relay.log.error = StorageFullError("The disk is full.")
        for ref in range(1, 20):
            assert (await visitor.is_refused(KEY.join(visitor.challenge, ref))).code == Code.STORAGE
        relay.log.error = None
        assert (await visitor.join(KEY, ref=20)).created


async def test_new_rooms_are_limited_for_each_address_and_old_ones_are_not(
    relay: Relay, autojump_clock: MockClock
) -> None:
    burst, rate = limits.SERVER.creations
    visitor = await relay.connect()
    for number in range(burst):
        joined = await visitor.join(Key(number))
        if number:
            visitor.say(Leave(joined.handle))
    began = trio.current_time()
    other = await relay.connect()
    assert (await other.join(Key(98))).created
    assert trio.current_time() - began == pytest.approx(1 / rate)
    await other.join(Key(1), ref=2)
    elsewhere = await relay.connect(peer="192.0.2.2")
    assert (await elsewhere.join(Key(99))).created
    assert trio.current_time() - began == pytest.approx(1 / rate)


async def test_a_wait_that_takes_days_is_announced_as_the_longest_that_there_is(autojump_clock: MockClock) -> None:
    async with open_relay(creations=Rate(1, 0.000_001)) as relay:
        visitor = await relay.connect()
        await visitor.join(KEY)
        error = await visitor.is_refused(Key(99).join(visitor.challenge))
        assert (error.code, error.retry_after) == (Code.RATE, limits.RETRY_SECONDS[1])


# Time


async def test_who_joins_nothing_in_time_is_sent_away(relay: Relay, autojump_clock: MockClock) -> None:
    visitor = await relay.connect()
    began = trio.current_time()
    async with trio.open_nursery() as nursery:

        async def ping() -> None:
            while True:
                await trio.sleep(1)
                visitor.say(Ping(b"8 bytes."))

        nursery.start_soon(ping)
        received = await visitor.end()
        nursery.cancel_scope.cancel()
    assert received[-1] == Goodbye(Reason.TIMEOUT, 0, "")
    assert trio.current_time() - began == limits.SERVER.join_seconds
    assert relay.closed == {"timeout": 1}


async def test_a_refused_join_does_not_buy_time(relay: Relay, autojump_clock: MockClock) -> None:
    visitor = await relay.connect()
    began = trio.current_time()
    await trio.sleep(limits.SERVER.join_seconds - 1)
    await visitor.is_refused(KEY.join(visitor.challenge, may_create=False))
    assert await visitor.end() == [Goodbye(Reason.TIMEOUT, 0, "")]
    assert trio.current_time() - began == limits.SERVER.join_seconds


async def test_con_7_who_is_silent_for_too_long_is_sent_away_and_others_hear_of_it(
    relay: Relay, autojump_clock: MockClock
) -> None:
    visitor, _ = await relay.member(KEY, b"silent")
    began = trio.current_time()
    watcher, _ = await relay.member(KEY)
    await trio.sleep(100)
    watcher.say(Ping(b"8 bytes."))
    assert (await visitor.end())[-1] == Goodbye(Reason.TIMEOUT, 0, "")
    assert trio.current_time() - began == limits.SERVER.keepalive * limits.KEEPALIVE_GRACE
    assert [change.change for change in changes(await watcher.rest())] == [Change.HERE, Change.LEFT]
    assert relay.closed == {"timeout": 1}


@pytest.mark.parametrize("sign", [Ping(b"8 bytes."), Pong(b"8 bytes.")], ids=["ping", "pong"])
async def test_any_sign_of_life_keeps_a_session(relay: Relay, autojump_clock: MockClock, sign: Ping | Pong) -> None:
    visitor, _ = await relay.member()
    for _ in range(10):
        await trio.sleep(limits.SERVER.keepalive * limits.KEEPALIVE_GRACE - 1)
        visitor.say(sign)
        await visitor.rest()
    assert relay.closed == {}


async def test_half_a_frame_is_a_sign_of_life(relay: Relay, autojump_clock: MockClock) -> None:
    visitor, handle = await relay.member()
    frame = Send(handle, b"slow and steady").encode()
    for at in range(len(frame)):
        await trio.sleep(limits.SERVER.keepalive)
        visitor.say_raw(frame[at : at + 1])
    assert delivered([await visitor.expect(Deliver)]) == [b"slow and steady"]


async def test_a_ping_is_answered_with_its_own_bytes(relay: Relay, autojump_clock: MockClock) -> None:
    visitor = await relay.connect()
    visitor.say(Ping(b"12345678"), Ping(b"abcdefgh"))
    assert [(await visitor.expect(Pong)).token for _ in range(2)] == [b"12345678", b"abcdefgh"]


# Presence


async def test_a_small_room_is_told_of_each_change_at_once(relay: Relay, autojump_clock: MockClock) -> None:
    watcher, _ = await relay.member()
    other, handle = await relay.member(KEY, b"one")
    number = (await other.expect(messages.Member)).changes[0].member
    other.say(Presence(handle, b"two"))
    other.say(Leave(handle))
    assert changes(await watcher.rest()) == [
        MemberChange(Change.JOINED, number, b"one"),
        MemberChange(Change.CHANGED, number, b"two"),
        MemberChange(Change.LEFT, number, b""),
    ]
    assert trio.current_time() == START


async def test_rel_4_a_large_room_is_told_once_a_second_and_only_the_sum(
    relay: Relay, autojump_clock: MockClock
) -> None:
    members = [(await relay.member(KEY))[0] for _ in range(limits.PRESENCE_AT_ONCE)]
    stays, handle = await relay.member(KEY, b"stays")
    leaves, _ = await relay.member(KEY, b"leaves")
    leaves.say(Leave(handle))
    stays.say(Presence(handle, b"at last"))
    assert changes(await members[0].rest()) == []
    told = await members[0].expect(messages.Member)
    assert [(change.change, change.presence) for change in told.changes] == [(Change.JOINED, b"at last")]
    assert trio.current_time() == START + limits.PRESENCE_DELAY
    for member in members[1:]:
        assert changes(await member.rest()) == list(told.changes)
    await trio.sleep(3)
    assert await members[0].rest() == [], "told once"


async def test_a_large_room_that_everybody_leaves_is_told_nothing(relay: Relay, autojump_clock: MockClock) -> None:
    members = [(await relay.member(KEY, b"p"))[0] for _ in range(limits.PRESENCE_AT_ONCE + 8)]
    for member in members:
        member.channel.abort()
    await trio.sleep(5)
    assert relay.closed == {"closed": len(members)}
    assert (await (await relay.connect()).join(KEY)).listed == 0


async def test_rel_4_unlisted_members_are_never_told(relay: Relay, autojump_clock: MockClock) -> None:
    watcher, _ = await relay.member()
    other, handle = await relay.member(KEY, b"")
    other.say(Leave(handle))
    assert await watcher.rest() == []
    assert (await (await relay.connect()).join(KEY)).listed == 0


async def test_an_unlisted_member_that_shows_itself_has_joined(relay: Relay, autojump_clock: MockClock) -> None:
    watcher, handle = await relay.member()
    other, _ = await relay.member()
    other.say(Presence(handle, b"here I am"))
    assert [(change.change, change.presence) for change in changes(await watcher.rest())] == [
        (Change.JOINED, b"here I am")
    ]


async def test_rel_11_many_changes_of_presence_are_read_more_slowly_and_the_last_is_told(
    relay: Relay, autojump_clock: MockClock
) -> None:
    burst, rate = limits.SERVER.presence
    watcher, _ = await relay.member()
    other, handle = await relay.member(KEY, b"first")
    other.say(*(Presence(handle, b"%d" % number) for number in range(burst + 3)))
    assert changes(await watcher.rest())[-1].presence == b"%d" % (burst - 1)
    began = trio.current_time()
    while changes([await watcher.next()])[-1].presence != b"%d" % (burst + 2):
        pass
    assert trio.current_time() - began > 2 / rate


async def test_many_joins_are_read_more_slowly(relay: Relay, autojump_clock: MockClock) -> None:
    burst, rate = limits.SERVER.joins
    alice = await relay.connect()
    began = trio.current_time()
    for number in range(burst + 10):
        joined = await alice.join(ref=number + 1)
        alice.say(Leave(joined.handle))
    assert trio.current_time() - began > 9 / rate


@pytest.mark.parametrize("may_create", [True, False])
async def test_every_guess_costs_a_token_whatever_the_answer(
    relay: Relay, autojump_clock: MockClock, may_create: bool
) -> None:
    relay.services.admission.may_create = False
    burst, rate = limits.SERVER.refused_joins
    began = trio.current_time()
    for number in range(burst + 2):
        attacker = await relay.connect()
        error = await attacker.is_refused(Key(1 + number).join(attacker.challenge, may_create=may_create))
        assert error.code == (Code.ROOMS_CLOSED if may_create else Code.NO_SUCH_ROOM)
        assert trio.current_time() - began == pytest.approx(max(0, number + 1 - burst) / rate)


async def test_what_is_in_flight_is_bounded_in_bytes(relay: Relay, autojump_clock: MockClock) -> None:
    alice, handle = await relay.member()
    bob, _ = await relay.member()
    gate = relay.log.gate = trio.Event()
    for number in range(60):
        alice.say(Send(handle, b"%6d" % number + LARGE[6:]))
        await wait_all_tasks_blocked()
    assert alice.session._in_flight_bytes <= limits.IN_FLIGHT_BYTES + len(LARGE)
    gate.set()
    assert len(await bob.rest()) == 60
    assert relay.closed == {}


async def test_a_resend_is_answered_after_what_is_new_in_its_batch(relay: Relay, autojump_clock: MockClock) -> None:
    alice, handle = await relay.member()
    alice.say(Send(handle, b"x"), Send(handle, b"a"), Send(handle, b"a"))
    assert [m.sequence for m in await alice.rest() if isinstance(m, Deliver)] in ([1, 2], [1, 2, 2])


@pytest.mark.parametrize("attempt", range(6))  # which of two tasks runs first in a pass is a matter of luck
async def test_a_fault_of_one_session_does_not_reach_the_fan_out(
    relay: Relay, autojump_clock: MockClock, attempt: int
) -> None:
    class Faulty(Session):
        def _on_send(self, message: Send) -> None:
            raise ZeroDivisionError

    _, handle = await relay.member()
    server_end, client_end = memory_channels(capacity=1000)
    session = Faulty(relay.services, server_end, SPKI_HASH)
    visitor = Visitor(client_end, server_end, session)

    async def serve() -> None:
        with pytest.raises(ExceptionGroup):
            await session.run()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        await visitor.greet()
        await visitor.join()
        room = next(iter(relay.services.rooms._by_address.values()))
        visitor.say(Send(handle, b"envelope"))
        for _ in range(20):
            room.fan_out(Deliver(handle, 1, 1, bytes(3000)).encode())
            await trio.lowlevel.checkpoint()
    assert len(room.members) == 1


async def test_what_waits_for_a_goodbye_is_bounded(relay: Relay, autojump_clock: MockClock) -> None:
    await relay.member(KEY, capacity=2**30)
    slow, handle = await relay.member(KEY)
    gate = relay.log.gate = trio.Event()
    slow.say(Send(handle, b"in flight"))
    await wait_all_tasks_blocked()
    slow.session.end(Reason.TIMEOUT, 0)
    await wait_all_tasks_blocked()
    room = next(iter(relay.services.rooms._by_address.values()))
    for _ in range(300):
        room.fan_out(Deliver(handle, 1, 1, LARGE).encode())
    assert slow.server_end.backlog <= limits.SERVER.outbox_bytes + len(LARGE)
    gate.set()


async def test_a_room_that_came_and_went_during_a_look_is_joined_as_it_is(
    relay: Relay, autojump_clock: MockClock
) -> None:
    alice, handle = await relay.member()
    alice.say(Leave(handle))
    await wait_all_tasks_blocked()
    look, go = relay.log.open_room, trio.Event()
    looks = 0

    async def look_slowly(address: bytes, new_log_id: bytes | None) -> Any:
        nonlocal looks
        looks += 1
        opened = await look(address, new_log_id)
        if looks == 1:
            await go.wait()
        return opened

    relay.log.open_room = look_slowly  # type: ignore[method-assign]
    bob = await relay.connect()
    bob.say(KEY.join(bob.challenge))
    await wait_all_tasks_blocked()
    handle = (await alice.join()).handle
    alice.say(Send(handle, b"x"), Leave(handle))
    await wait_all_tasks_blocked()
    go.set()
    assert (await bob.until(Joined)).newest == 1


# Messages


async def test_rel_6_everybody_gets_the_same_bytes_the_sender_too(relay: Relay, autojump_clock: MockClock) -> None:
    visitors = [(await relay.member())[0] for _ in range(5)]
    handle = (await relay.member())[1]
    before = [len(visitor.raw) for visitor in visitors]
    visitors[0].say(*(Send(handle, b"from 0, %d" % number) for number in range(20)))
    visitors[1].say(*(Send(handle, b"from 1, %d" % number) for number in range(20)))
    received = [await visitor.rest() for visitor in visitors]
    assert [message.sequence for message in received[0] if isinstance(message, Deliver)] == list(range(1, 41))
    heard = {visitor.raw[start:] for visitor, start in zip(visitors, before, strict=True)}
    assert len(heard) == 1
    assert [e for e in delivered(received[2]) if e.startswith(b"from 1")] == [b"from 1, %d" % n for n in range(20)]


async def test_rooms_do_not_hear_each_other(relay: Relay, autojump_clock: MockClock) -> None:
    alice, one = await relay.member(Key(1))
    bob, two = await relay.member(Key(2))
    both, _ = await relay.member(Key(1))
    await both.join(Key(2), ref=2)
    alice.say(Send(one, b"in one"))
    bob.say(Send(two, b"in two"))
    assert delivered(await alice.rest()) == [b"in one"]
    assert delivered(await bob.rest()) == [b"in two"]
    assert sorted(delivered(await both.rest())) == [b"in one", b"in two"]


async def test_who_left_hears_no_more_and_what_it_sent_is_delivered(relay: Relay, autojump_clock: MockClock) -> None:
    alice, handle = await relay.member()
    bob, _ = await relay.member()
    alice.say(Send(handle, b"last words"), Leave(handle))
    assert delivered(await bob.rest()) == [b"last words"]
    assert await alice.rest() == []
    assert (await alice.join(KEY)).newest == 1


async def test_what_the_last_member_sent_before_it_left_is_stored(relay: Relay, autojump_clock: MockClock) -> None:
    alice, handle = await relay.member()
    relay.log.gate = trio.Event()
    alice.say(Send(handle, b"last words"), Leave(handle))
    await wait_all_tasks_blocked()
    bob = await relay.connect()
    assert (await bob.join(KEY)).newest == 0, "not in the log yet, but on its way"
    relay.log.gate.set()
    assert await bob.expect(Deliver) == Deliver(handle, 1, 1_700_000_000_000, b"last words")


async def test_rel_7_a_resend_is_answered_to_its_sender_alone_with_the_first_deliver(
    relay: Relay, autojump_clock: MockClock
) -> None:
    alice, handle = await relay.member()
    bob, _ = await relay.member()
    alice.say(Send(handle, b"once"))
    first = await alice.expect(Deliver)
    alice.say(Send(handle, b"another"))
    await alice.expect(Deliver)
    await bob.rest()
    again = await relay.connect()
    assert (await again.join(KEY)).newest == 2
    again.say(Send(handle, b"once"))
    assert await again.expect(Deliver) == first
    assert await alice.rest() == await bob.rest() == []


async def test_what_comes_in_during_a_commit_is_one_batch(relay: Relay, autojump_clock: MockClock) -> None:
    alice, handle = await relay.member()
    relay.log.gate = trio.Event()
    for number in range(10):
        alice.say(Send(handle, b"%d" % number))
        await wait_all_tasks_blocked()
    relay.log.gate.set()
    assert len(delivered(await alice.rest())) == 10
    assert relay.log.batches == [1, 9]


async def test_a_batch_is_bounded(relay: Relay, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "COMMIT_MESSAGES", 7)
    alice, handle = await relay.member()
    alice.say(*(Send(handle, b"%d" % number) for number in range(20)))
    assert delivered(await alice.rest()) == [b"%d" % number for number in range(20)]
    assert relay.log.batches == [7, 7, 6]


async def test_rooms_share_a_commit(relay: Relay, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SHARED_MESSAGES", 8)
    monkeypatch.setattr(limits, "TURN_MESSAGES", 2)
    alice, loud = await relay.member()
    bob, quiet = await relay.member(Key(7))
    relay.log.gate = trio.Event()
    alice.say(Send(loud, b"first"))
    await wait_all_tasks_blocked()
    flood = [b"%d" % number for number in range(20)]
    alice.say(*(Send(loud, envelope) for envelope in flood))
    await wait_all_tasks_blocked()
    bob.say(Send(quiet, b"hello"))
    await wait_all_tasks_blocked()
    relay.log.gate.set()
    assert delivered(await bob.rest()) == [b"hello"]
    assert delivered(await alice.rest()) == [b"first", *flood]
    assert relay.log.batches == [1, 4 + 1, 8, 8]


async def test_more_rooms_than_a_commit_has_space_for_take_turns(
    relay: Relay, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SHARED_MESSAGES", 2)
    monkeypatch.setattr(limits, "TURN_MESSAGES", 2)
    monkeypatch.setattr(limits, "COMMIT_MESSAGES", 4)
    members = [await relay.member(Key(number)) for number in range(1, 6)]
    relay.log.gate = trio.Event()
    for visitor, handle in members:
        visitor.say(*(Send(handle, b"%d" % number) for number in range(3)))
        await wait_all_tasks_blocked()
    relay.log.gate.set()
    for visitor, _ in members:
        assert delivered(await visitor.rest()) == [b"0", b"1", b"2"]
    assert relay.log.batches == [2, 4, 4, 4, 1]


async def test_a_turn_is_bounded_in_bytes(
    relay: Relay, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "TURN_BYTES", 100)
    alice, handle = await relay.member()
    sent = [bytes([number]) * 60 for number in range(3)] + [b"x" * 500, b"last"]
    alice.say(*(Send(handle, envelope) for envelope in sent))
    assert delivered(await alice.rest()) == sent
    assert relay.log.batches == [1, 1, 1, 1, 1]


async def test_who_has_too_much_in_flight_is_not_read(relay: Relay, autojump_clock: MockClock) -> None:
    alice, handle = await relay.member()
    relay.log.gate = trio.Event()
    sent = [b"%d" % number for number in range(limits.IN_FLIGHT_MESSAGES + 100)]
    for envelope in sent:
        alice.say(Send(handle, envelope))
        await wait_all_tasks_blocked()
    alice.say(Ping(b"8 bytes."))
    assert await alice.rest() == [], "not even the ping was read"
    relay.log.gate.set()
    received = await alice.rest()
    assert delivered(received) == sent
    assert Pong(b"8 bytes.") in received
    assert relay.log.batches[:2] == [1, limits.IN_FLIGHT_MESSAGES]


async def test_rel_11_who_floods_is_read_more_slowly_and_loses_nothing(relay: Relay, autojump_clock: MockClock) -> None:
    burst, rate = limits.SERVER.frames
    alice, handle = await relay.member()
    bob, _ = await relay.member()
    sent = [b"%d" % number for number in range(burst + 500)]
    alice.say(*(Send(handle, envelope) for envelope in sent))
    heard: list[bytes] = []
    while len(heard) < len(sent):
        heard += delivered([await alice.next()])
    assert heard == sent
    assert trio.current_time() - START == pytest.approx(500 / rate, abs=0.01)
    assert delivered(await bob.rest()) == sent
    assert relay.closed == {}


async def test_while_one_floods_the_others_are_not_kept_waiting(relay: Relay, autojump_clock: MockClock) -> None:
    burst, _ = limits.SERVER.frames
    alice, handle = await relay.member()
    bob, _ = await relay.member()
    alice.say(*(Send(handle, b"%d" % number) for number in range(burst + 1000)))
    await alice.rest()
    bob.say(Send(handle, b"me too"))
    while (await bob.until(Deliver)).envelope != b"me too":
        pass
    assert trio.current_time() - START < 0.1


# Limits


async def test_a_full_room_refuses_and_says_when_to_try_again(autojump_clock: MockClock) -> None:
    async with open_relay(members_per_room=2) as relay:
        alice, handle = await relay.member()
        await relay.member()
        third = await relay.connect()
        error = await third.is_refused(KEY.join(third.challenge))
        assert (error.code, error.retry_after) == (Code.ROOM_FULL, limits.REFUSED_RETRY)
        assert error.text == "the room has its 2 members"
        alice.say(Leave(handle))
        await alice.rest()
        await third.join(KEY)


async def test_a_server_has_so_many_rooms_and_no_more(autojump_clock: MockClock) -> None:
    async with open_relay(rooms=2) as relay:
        visitor = await relay.connect()
        await visitor.join(Key(1))
        await visitor.join(Key(2), ref=2)
        error = await visitor.is_refused(Key(3).join(visitor.challenge))
        assert (error.code, error.text) == (Code.ROOMS_CLOSED, "this server has its 2 rooms")
        other = await relay.connect()
        assert not (await other.join(Key(1))).created


async def test_who_sends_much_is_read_more_slowly(autojump_clock: MockClock) -> None:
    async with open_relay(received=Rate(len(LARGE), len(LARGE))) as relay:
        alice, handle = await relay.member(capacity=2**23)
        bob, _ = await relay.member(capacity=2**23)
        began = trio.current_time()
        alice.say(*(Send(handle, b"%6d" % number + LARGE[6:]) for number in range(5)))
        heard = [(await bob.until(Deliver)).envelope[:6] for _ in range(5)]
        assert heard == [b"%6d" % number for number in range(5)]
        assert 3.5 <= trio.current_time() - began <= 6


async def test_who_asks_for_much_history_is_answered_more_slowly(autojump_clock: MockClock) -> None:
    async with open_relay(history=Rate(1, 1000)) as relay:
        alice, handle = await relay.member()
        alice.say(Send(handle, bytes(1000)))
        await alice.rest()
        began = trio.current_time()
        for ref in range(1, 5):
            alice.say(History(ref, handle, Direction.FORWARD, 1, 10))
            assert len((await alice.until(Past)).records) == 1
        assert trio.current_time() - began == pytest.approx(3, abs=0.1)


async def test_while_the_disk_hangs_no_more_than_so_much_is_read(autojump_clock: MockClock) -> None:
    async with open_relay(in_flight_bytes=3 * len(LARGE)) as relay:
        members = [await relay.member() for _ in range(5)]
        relay.log.gate = trio.Event()
        for count in range(5):
            for number, (member, handle) in enumerate(members):
                member.say(Send(handle, b"%3d%3d" % (number, count) + LARGE[6:]))
                await wait_all_tasks_blocked()
        assert relay.services.committer.in_flight_bytes <= (3 + len(members)) * len(LARGE)
        relay.log.gate.set()
        async with trio.open_nursery() as nursery:
            for member, _ in members:
                nursery.start_soon(member.hear, 5 * len(members))
        assert relay.services.committer.in_flight_bytes == 0


async def test_readers_that_are_behind_share_one_bound_and_the_furthest_goes_first(autojump_clock: MockClock) -> None:
    async with open_relay(outboxes_bytes=8 * len(LARGE)) as relay:
        alice, handle = await relay.member(capacity=2**23)
        near, _ = await relay.member(capacity=2**23)
        far = [(await relay.member(capacity=capacity))[0] for capacity in (1000, 3 * len(LARGE))]
        for number in range(6):
            alice.say(Send(handle, b"%6d" % number + LARGE[6:]))
            await alice.rest()
        await trio.sleep(2 * limits.OUTBOX_CHECK)
        assert relay.services.laggards.backlog <= 8 * len(LARGE)
        assert isinstance((await far[0].rest())[-1], Goodbye)
        assert len(delivered(await far[1].rest())) == len(delivered(await near.rest())) == 6


# Storage


@pytest.mark.parametrize("error", [StorageError("It broke."), StorageFullError("The disk is full.")], ids=repr)
async def test_rel_8_a_refused_message_holds_back_what_follows_it(
    relay: Relay, autojump_clock: MockClock, error: StorageError
) -> None:
    alice, handle = await relay.member()
    relay.log.gate = trio.Event()
    relay.log.error = error
    alice.say(Send(handle, b"one"))
    await wait_all_tasks_blocked()
    alice.say(Send(handle, b"two"), Send(handle, b"three"))
    await wait_all_tasks_blocked()
    relay.log.gate.set()
    refused = [message for message in await alice.rest() if isinstance(message, Error)]
    assert [(e.code, e.ref, e.retry_after) for e in refused] == [
        (Code.STORAGE, 0, limits.STORAGE_RETRY),
        (Code.OUT_OF_ORDER, 0, limits.STORAGE_RETRY),
        (Code.OUT_OF_ORDER, 0, limits.STORAGE_RETRY),
    ]
    assert [e.subject for e in refused] == ids(b"one", b"two", b"three")
    assert relay.failures == [error]
    relay.log.error = None
    alice.say(Send(handle, b"two"))
    assert (await alice.expect(Error)).code == Code.OUT_OF_ORDER
    alice.say(*(Send(handle, envelope) for envelope in (b"one", b"two", b"three", b"four")))
    assert delivered(await alice.rest()) == [b"one", b"two", b"three", b"four"]


async def test_a_whole_batch_that_is_refused_comes_again_in_order(relay: Relay, autojump_clock: MockClock) -> None:
    alice, handle = await relay.member()
    relay.log.error = StorageError("It broke.")
    sent = [b"one", b"two", b"three"]
    for _ in range(3):
        alice.say(*(Send(handle, envelope) for envelope in sent))
        refused = [message for message in await alice.rest() if isinstance(message, Error)]
        assert [e.subject for e in refused] == ids(*sent)
        assert {e.code for e in refused} == {Code.STORAGE}
    relay.log.error = None
    alice.say(*(Send(handle, envelope) for envelope in sent))
    assert delivered(await alice.rest()) == sent


async def test_a_refused_message_of_one_member_does_not_hold_others_back(
    relay: Relay, autojump_clock: MockClock
) -> None:
    alice, handle = await relay.member()
    bob, _ = await relay.member()
    other = (await alice.join(Key(2), ref=2)).handle
    relay.log.error = StorageError("It broke.")
    alice.say(Send(handle, b"refused"))
    await alice.expect(Error)
    relay.log.error = None
    bob.say(Send(handle, b"of bob"))
    alice.say(Send(handle, b"behind"), Send(other, b"in the other room"))
    received = await alice.rest()
    assert sorted(delivered(received)) == [b"in the other room", b"of bob"]
    assert [e.subject for e in received if isinstance(e, Error)] == ids(b"behind")
    assert delivered(await bob.rest()) == [b"of bob"]


async def test_who_joins_anew_is_not_held_back_by_what_was_refused_before(
    relay: Relay, autojump_clock: MockClock
) -> None:
    alice, handle = await relay.member()
    bob, _ = await relay.member()
    relay.log.error = StorageError("It broke.")
    alice.say(Send(handle, b"given up"))
    await alice.expect(Error)
    relay.log.error = None
    alice.say(Leave(handle))
    await alice.join(KEY)
    alice.say(Send(handle, b"new"))
    assert delivered(await bob.rest()) == [b"new"]


# History


async def fill(visitor: Visitor, handle: int, count: int, size: int = 0) -> list[bytes]:
    envelopes = [b"%d" % number + bytes(size) for number in range(1, count + 1)]
    for at in range(0, count, 10):
        visitor.say(*(Send(handle, envelope) for envelope in envelopes[at : at + 10]))
        await visitor.rest()
    return envelopes


async def test_rel_12_pages_go_both_ways_and_chain(relay: Relay, autojump_clock: MockClock) -> None:
    alice, handle = await relay.member()
    envelopes = await fill(alice, handle, 10)
    joined = await (await relay.connect()).join(KEY)
    assert (joined.oldest, joined.newest) == (1, 10)
    head = chain.root(KEY.address, joined.log_id)
    heads = [head]
    for number, envelope in enumerate(envelopes, 1):
        head = chain.link(head, number, chain.digest(envelope))
        heads.append(head)
    assert joined.head == heads[10]

    async def page(direction: Direction, sequence: int, most: int) -> tuple[int, list[bytes]]:
        alice.say(History(9, handle, direction, sequence, most))
        past = await alice.expect(Past)
        assert (past.ref, past.handle, past.oldest, past.newest) == (9, handle, 1, 10)
        assert past.before == heads[past.first - 1]
        return past.first, [record.envelope for record in past.records]

    assert await page(Direction.FORWARD, 1, 4) == (1, envelopes[:4])
    assert await page(Direction.FORWARD, 9, 100) == (9, envelopes[8:])
    assert await page(Direction.FORWARD, 11, 5) == (11, [])
    assert await page(Direction.FORWARD, 2**53 - 1, 5) == (11, [])
    assert await page(Direction.BACKWARD, 11, 3) == (8, envelopes[7:])
    assert await page(Direction.BACKWARD, 3, 100) == (1, envelopes[:2])
    assert await page(Direction.BACKWARD, 1, 5) == (1, [])
    assert await page(Direction.BACKWARD, 2**53 - 1, 65535) == (1, envelopes)


async def test_one_page_is_under_way_for_a_connection_and_it_waits_for_the_reader(
    relay: Relay, autojump_clock: MockClock
) -> None:
    alice, handle = await relay.member()
    await fill(alice, handle, 20, 60_000)
    slow, _ = await relay.member(KEY, capacity=10_000)
    slow.say(*(History(ref, handle, Direction.FORWARD, 1, 1000) for ref in range(1, 6)))
    await wait_all_tasks_blocked()
    first = slow.server_end.backlog
    assert 0 < first <= limits.PAGE_BYTES
    received: list[Message] = []
    while len(received) < 5:
        received.append(await slow.next())
        assert slow.server_end.backlog <= limits.PAGE_BYTES
    assert [past.ref for past in received if isinstance(past, Past)] == [1, 2, 3, 4, 5]
    assert relay.log.reads == 1
    assert await alice.rest() == []


async def test_a_page_that_cannot_be_read_is_refused_and_the_next_may_be(
    relay: Relay, autojump_clock: MockClock
) -> None:
    alice, handle = await relay.member()
    await fill(alice, handle, 3)
    relay.log.error = StorageError("It broke.")
    alice.say(History(4, handle, Direction.FORWARD, 1, 10))
    error = await alice.expect(Error)
    assert (error.code, error.ref, error.retry_after) == (Code.STORAGE, 4, limits.STORAGE_RETRY)
    relay.log.error = None
    alice.say(History(5, handle, Direction.FORWARD, 1, 10))
    assert len((await alice.expect(Past)).records) == 3


async def test_who_waits_for_a_page_still_hears_the_room(relay: Relay, autojump_clock: MockClock) -> None:
    alice, handle = await relay.member()
    bob, _ = await relay.member()
    gate, relay.log.gate = relay.log.gate, trio.Event()
    waiting = relay.log.gate
    bob.say(History(1, handle, Direction.FORWARD, 1, 10))
    await wait_all_tasks_blocked()
    relay.log.gate = gate
    alice.say(Send(handle, b"meanwhile"))
    assert delivered(await bob.rest()) == [b"meanwhile"]
    waiting.set()
    assert [record.envelope for record in (await bob.expect(Past)).records] == [b"meanwhile"]


# A slow reader


async def test_rel_11_a_slow_reader_is_sent_away_and_the_room_goes_on(relay: Relay, autojump_clock: MockClock) -> None:
    alice, handle = await relay.member(KEY, capacity=2**23)
    slow, _ = await relay.member(KEY, b"slow")
    await alice.rest()
    count = limits.SERVER.outbox_bytes // limits.ENVELOPE_BYTES + 10
    left: list[Message] = []
    for number in range(count):
        alice.say(Send(handle, b"%6d" % number + LARGE[6:]))
        left += await alice.rest()
    assert len(delivered(left)) == count, "the sender did not wait"
    assert [change.change for change in changes(left)] == [Change.LEFT]
    received = await slow.end()
    assert received[-1] == Goodbye(Reason.SLOW, 1, "")
    assert 0 < len(delivered(received)) < 10, "what was under way, and not the backlog"
    assert relay.closed == {"slow": 1}
    alice.say(Send(handle, b"on"))
    assert delivered(await alice.rest()) == [b"on"]


async def test_a_slow_reader_that_never_reads_is_given_up_in_time(relay: Relay, autojump_clock: MockClock) -> None:
    alice, handle = await relay.member(KEY, capacity=2**23)
    slow, _ = await relay.member(KEY)
    began = trio.current_time()
    for number in range(limits.SERVER.outbox_bytes // limits.ENVELOPE_BYTES + 10):
        alice.say(Send(handle, b"%6d" % number + LARGE[6:]))
        await alice.rest()
    await trio.sleep(limits.GOODBYE_TIMEOUT + 0.1)
    assert trio.current_time() - began < 2 * limits.GOODBYE_TIMEOUT
    assert slow.server_end.closed_with == "abort"
    assert slow.server_end.backlog == 0


async def test_a_reader_that_catches_up_in_time_stays_and_misses_nothing(
    relay: Relay, autojump_clock: MockClock
) -> None:
    alice, handle = await relay.member(KEY, capacity=2**23)
    slow, _ = await relay.member(KEY)
    count = limits.SERVER.outbox_bytes // limits.ENVELOPE_BYTES - 2
    for number in range(count):
        alice.say(Send(handle, b"%6d" % number + LARGE[6:]))
        await alice.rest()
    assert len(delivered(await slow.rest())) == count
    assert relay.closed == {}


async def test_who_asks_and_does_not_read_is_not_read_either(relay: Relay, autojump_clock: MockClock) -> None:
    alice, _ = await relay.member(KEY, capacity=1000)
    for _ in range(10):
        alice.say_raw(Ping(b"8 bytes.").encode() * 1000)
        await wait_all_tasks_blocked()
    assert alice.server_end.backlog < 1000, "answers do not pile up"
    await trio.sleep(limits.SERVER.keepalive * limits.KEEPALIVE_GRACE + limits.GOODBYE_TIMEOUT + 1)
    assert relay.closed == {"timeout": 1}


# What breaks the protocol


def _join_with(flag: int) -> bytes:
    return Join(1, bytes(32), bytes(64), False, b"").encode()[:-1] + bytes([flag])


VIOLATIONS: dict[str, bytes | Callable[[int], bytes]] = {
    "length 0": bytes(4),
    "too long": (limits.CLIENT_FRAME_BYTES + 1).to_bytes(4, "big"),
    "huge": b"\xff" * 4,
    "http": b"GET / HTTP/1.1\r\n\r\n",
    "type 0": b"\0\0\0\1\0",
    "unknown type": b"\0\0\0\1\x63",
    "welcome": Welcome(bytes(32), 1, 1, 1).encode(),
    "joined": Joined(1, 1, 1, False, bytes(16), 1, 0, bytes(32), 0).encode(),
    "deliver": lambda handle: Deliver(handle, 1, 1, b"x").encode(),
    "member": lambda handle: messages.Member(handle, (MemberChange(Change.LEFT, 1, b""),)).encode(),
    "past": lambda handle: Past(1, handle, 1, 0, 1, bytes(32), ()).encode(),
    "error": Error(Code.RATE, 0, 0, bytes(16), "").encode(),
    "goodbye": Goodbye(Reason.SHUTDOWN, 0, "").encode(),
    "short join": b"\0\0\0\5\2abcd",
    "join flag": _join_with(2),
    "long presence in join": Join(1, bytes(32), bytes(64), False, bytes(1025)).encode(),
    "send without envelope": lambda handle: Send(handle, b"").encode(),
    "send too large": lambda handle: Send(handle, LARGE + b"x").encode(),
    "send elsewhere": lambda handle: Send(handle + 1, b"x").encode(),
    "send to handle 0": Send(0, b"x").encode(),
    "no presence": lambda handle: Presence(handle, b"").encode(),
    "long presence": lambda handle: Presence(handle, bytes(1025)).encode(),
    "presence elsewhere": lambda handle: Presence(handle + 1, b"x").encode(),
    "history from 0": lambda handle: History(1, handle, Direction.FORWARD, 0, 1).encode(),
    "history from 2^53": lambda handle: History(1, handle, Direction.FORWARD, 2**53, 1).encode(),
    "history of 0": lambda handle: History(1, handle, Direction.FORWARD, 1, 0).encode(),
    "history sideways": lambda handle: b"\0\0\0\x14\x08" + bytes(4) + handle.to_bytes(4, "big") + b"\3" + b"\1" * 10,
    "history elsewhere": lambda handle: History(1, handle + 1, Direction.FORWARD, 1, 1).encode(),
    "leave elsewhere": lambda handle: Leave(handle + 1).encode(),
    "left twice": lambda handle: Leave(handle).encode() * 2,
    "send after leave": lambda handle: Leave(handle).encode() + Send(handle, b"x").encode(),
    "short ping": b"\0\0\0\2\x0bx",
    "long pong": b"\0\0\0\x0a\x0c123456789",
}


@pytest.mark.parametrize("name", VIOLATIONS)
async def test_frm_3_a_violation_ends_that_session_alone(relay: Relay, autojump_clock: MockClock, name: str) -> None:
    other, _ = await relay.member()
    bad, handle = await relay.member(KEY, b"bad")
    data = VIOLATIONS[name]
    bad.say(Send(handle, b"before"))
    bad.say_raw(data if isinstance(data, bytes) else data(handle))
    bad.say_raw(Send(handle, b"after").encode())
    received = await bad.end()
    assert received[-1] == Goodbye(Reason.PROTOCOL, 0, "")
    if "left" not in name and "after leave" not in name:
        assert delivered(received) == [b"before"], "what was said before it counts"
    assert relay.closed == {"protocol": 1}
    heard = await other.rest()
    assert delivered(heard) == [b"before"]
    assert [change.change for change in changes(heard)] == [Change.JOINED, Change.LEFT]
    other.say(Send(handle, b"unharmed"))
    assert delivered(await other.rest()) == [b"unharmed"]


async def test_a_violation_before_the_first_join_is_one_too(relay: Relay, autojump_clock: MockClock) -> None:
    visitor = await relay.connect()
    visitor.say_raw(Send(1, b"x").encode())
    assert await visitor.end() == [Goodbye(Reason.PROTOCOL, 0, "")]


async def test_frames_may_come_in_any_pieces(relay: Relay, autojump_clock: MockClock) -> None:
    alice, handle = await relay.member()
    stream = b"".join(Send(handle, b"%d" % number).encode() for number in range(5)) + Ping(b"8 bytes.").encode()
    for at in range(len(stream)):
        alice.say_raw(stream[at : at + 1])
        await wait_all_tasks_blocked()
    received = await alice.rest()
    assert delivered(received) == [b"%d" % number for number in range(5)]
    assert received[-1] == Pong(b"8 bytes.")


# The end


async def test_who_closes_is_answered_what_was_in_flight(relay: Relay, autojump_clock: MockClock) -> None:
    alice, handle = await relay.member()
    relay.log.gate = trio.Event()
    alice.say(Send(handle, b"one"), Send(handle, b"two"))
    alice.channel.shut_down()
    await wait_all_tasks_blocked()
    relay.log.gate.set()
    assert delivered(await alice.end()) == [b"one", b"two"]
    assert relay.closed == {"closed": 1}


async def test_who_vanishes_leaves_the_room(relay: Relay, autojump_clock: MockClock) -> None:
    watcher, handle = await relay.member()
    other, _ = await relay.member(KEY, b"presence")
    await other.join(Key(2), b"presence", ref=2)
    other.channel.abort()
    assert [change.change for change in changes(await watcher.rest())] == [Change.JOINED, Change.LEFT]
    assert relay.closed == {"closed": 1}
    watcher.say(Send(handle, b"on"))
    assert delivered(await watcher.rest()) == [b"on"]


@pytest.mark.parametrize("step", ["left", "tell"])
async def test_a_step_that_fails_leaves_no_ghost_in_any_room(
    relay: Relay, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    visitor = await relay.connect(kind=Guarded)
    for number in range(3):
        await visitor.join(Key(number), b"presence", ref=number)
    await relay.member(Key(1), b"presence")
    assert (relay.services.rooms.members, relay.services.rooms.count) == (4, 3)
    with monkeypatch.context() as patch:
        patch.setattr(*((AccessLog, "left", fail) if step == "left" else (Rooms, "tell", fail)))
        visitor.channel.abort()
        await wait_all_tasks_blocked()
    assert (relay.services.rooms.members, relay.services.rooms.count) == (1, 1)
    again, _ = await relay.member(Key(1))
    assert len(changes(await again.rest())) == 1, "who is still there, and nobody else"


class Guarded(Session):
    """A session whose own faults end it alone, as in the whole server."""

    async def run(self) -> None:
        with pytest.RaisesGroup(ZeroDivisionError, flatten_subgroups=True, allow_unwrapped=True):
            await super().run()


async def test_a_shutdown_answers_what_is_in_flight_and_then_says_goodbye(
    relay: Relay, autojump_clock: MockClock
) -> None:
    alice, handle = await relay.member()
    relay.log.gate = trio.Event()
    alice.say(Send(handle, b"one"), Send(handle, b"two"))
    await wait_all_tasks_blocked()
    alice.session.end(Reason.SHUTDOWN, 1)
    alice.session.end(Reason.RATE, 9)
    await wait_all_tasks_blocked()
    assert await alice.rest() == []
    alice.say(Send(handle, b"too late"))
    relay.log.gate.set()
    received = await alice.end()
    assert delivered(received) == [b"one", b"two"]
    assert received[-1] == Goodbye(Reason.SHUTDOWN, 1, "")
    assert relay.closed == {"shutdown": 1}
    room = await relay.log.open_room(KEY.address, None)
    assert room is not None
    assert room[0].newest == 2


async def test_a_shutdown_does_not_wait_for_ever_for_a_log_that_hangs(relay: Relay, autojump_clock: MockClock) -> None:
    alice, handle = await relay.member()
    relay.log.gate = trio.Event()
    alice.say(Send(handle, b"one"))
    await wait_all_tasks_blocked()
    alice.session.end(Reason.SHUTDOWN, 1)
    assert await alice.end() == [Goodbye(Reason.SHUTDOWN, 1, "")]
    assert trio.current_time() - START == limits.GOODBYE_TIMEOUT
    relay.log.gate.set()
    await wait_all_tasks_blocked()
    assert (await (await relay.connect()).join(KEY)).newest == 1


async def test_a_session_that_is_ended_before_it_begins_says_so(relay: Relay, autojump_clock: MockClock) -> None:
    server_end, client_end = memory_channels()
    session = Session(relay.services, server_end, SPKI_HASH)
    session.end(Reason.SHUTDOWN, 1)
    visitor = Visitor(client_end, server_end, session)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.run)
        received = await visitor.end()
    assert isinstance(received[0], Welcome)
    assert received[1:] == [Goodbye(Reason.SHUTDOWN, 1, "")]


async def test_con_3_nothing_follows_goodbye(relay: Relay, autojump_clock: MockClock) -> None:
    alice, handle = await relay.member()
    bob, _ = await relay.member()
    bob.session.end(Reason.SHUTDOWN, 1)
    await wait_all_tasks_blocked()
    bob.session.send(Deliver(handle, 1, 1, b"x").encode())
    alice.say(Send(handle, b"on"))
    await alice.rest()
    assert await bob.end() == [Goodbye(Reason.SHUTDOWN, 1, "")]


async def test_an_internal_error_is_loud_and_the_member_leaves(relay: Relay, autojump_clock: MockClock) -> None:
    class Faulty(Session):
        def _on_send(self, message: Send) -> None:
            raise ZeroDivisionError

    watcher, _ = await relay.member()
    server_end, client_end = memory_channels()
    session = Faulty(relay.services, server_end, SPKI_HASH)
    visitor = Visitor(client_end, server_end, session)

    async def provoke() -> None:
        await visitor.greet()
        joined = await visitor.join(KEY, b"presence")
        visitor.say(Send(joined.handle, b"envelope"))

    with pytest.RaisesGroup(ZeroDivisionError, flatten_subgroups=True):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(provoke)
            await session.run()
    assert server_end.closed_with == "abort"
    assert [change.change for change in changes(await watcher.rest())] == [Change.JOINED, Change.LEFT]


async def test_an_error_of_the_log_that_is_none_of_storage_is_loud(autojump_clock: MockClock) -> None:
    async def broken(batch: Sequence[Append]) -> list[Appended]:
        raise ZeroDivisionError

    async def provoke() -> None:
        async with open_relay() as relay:
            relay.log.append = broken  # type: ignore[method-assign]
            alice, handle = await relay.member()
            alice.say(Send(handle, b"x"))
            await trio.sleep_forever()

    autojump_clock.jump(START)
    with pytest.RaisesGroup(ZeroDivisionError, flatten_subgroups=True):
        await partial(provoke)()
