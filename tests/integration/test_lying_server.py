"""Each lie that a server can tell is shown to the members, and none shows a forged message (PROTOCOL.md, ORD)."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio

from securechat import limits
from securechat.client import session
from securechat.client.conversation import ALARMS, Kind
from securechat.client.profile import Profile
from securechat.protocol import chain
from securechat.protocol.messages import (
    Change,
    Code,
    Deliver,
    Error,
    Goodbye,
    History,
    Join,
    Joined,
    Member,
    MemberChange,
    Past,
    Pong,
    Reason,
    Record,
)
from securechat.sealing.keys import RoomSecret
from securechat.ui.render import to_line
from tests.support.lying import HANDLE, Guest, LyingServer, open_lying_server
from tests.support.members import Listener, open_member, room_keys
from tests.support.patience import PATIENCE

SAID = ("one", "two", "three", "four", "five")


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[LyingServer]:
    async with open_lying_server(tmp_path / "server", room_keys().address) as running:
        yield running


@asynccontextmanager
async def two_members(directory: Path, server: LyingServer) -> AsyncIterator[SimpleNamespace]:
    """Let alice and bob join, in this order."""
    async with (
        open_member(directory, server.port, server.pin, "alice") as alice,
        open_member(directory, server.port, server.pin, "bob") as bob,
    ):
        await alice.is_told(Kind.JOINED)
        yield SimpleNamespace(
            alice=alice, bob=bob, guest_a=await server.until_joined(1), guest_b=await server.until_joined(2)
        )


def shows_only_what_was_said(*members: Listener) -> bool:
    """Tell whether each message shown was said by somebody, and was shown once."""
    for member in members:
        member.take_rest()
        assert len(set(member.texts)) == len(member.texts), member.texts
        assert set(member.texts) <= set(SAID), member.texts
    return True


async def test_an_honest_server_is_accused_of_nothing(tmp_path: Path, server: LyingServer) -> None:
    async with two_members(tmp_path, server) as room:
        for text in SAID:
            room.alice.say(text)
            await room.bob.hears(text)
            await room.alice.hears(text)
        for member in (room.alice, room.bob):
            member.conversation.reconnect()
            await member.is_told(Kind.NOTICE, "connected again")
        room.bob.say("six")
        await room.alice.hears("six")
        await room.bob.hears("six")
        assert not (room.alice.kinds | room.bob.kinds) & ALARMS
        assert room.alice.texts == room.bob.texts == [*SAID, "six"]


def drop_the_second(server: LyingServer) -> Any:
    """Acknowledge the second message to its sender and hide it from the others."""
    honest = server.take

    def take(guest: Guest, envelope: bytes) -> None:
        if len(guest.sent) == 2:
            server.guests[2].view = server.view.copy()
            guest.deliver(envelope)
        else:
            honest(guest, envelope)

    return take


async def test_ord_1_a_dropped_message_is_missed(tmp_path: Path, server: LyingServer) -> None:
    async with two_members(tmp_path, server) as room:
        server.take = drop_the_second(server)  # type: ignore[method-assign]
        room.alice.say("one")
        await room.bob.hears("one")
        room.alice.say("two")
        await room.alice.hears("two")
        room.alice.say("three")
        await room.bob.is_told(Kind.GAP, "1 message from alice~")
        await room.bob.hears("three")
        await room.bob.is_told(Kind.FORK)
        assert shows_only_what_was_said(room.alice, room.bob)


async def test_ord_1_a_dropped_last_message_is_missed_when_its_sender_shows_presence(
    tmp_path: Path, server: LyingServer
) -> None:
    async with two_members(tmp_path, server) as room:
        room.alice.say("one")
        await room.bob.hears("one")

        def take(guest: Guest, envelope: bytes) -> None:
            guest.deliver(envelope)

        server.guests[2].view = server.view.copy()
        server.take = take  # type: ignore[method-assign]
        room.alice.say("two")
        await room.alice.hears("two")
        await room.alice.settles()
        room.alice.conversation.rename("alicia")
        await room.bob.is_told(Kind.GAP, "1 message from alicia~")


async def test_ord_2_swapped_messages_are_shown_as_such(tmp_path: Path, server: LyingServer) -> None:
    async with two_members(tmp_path, server) as room:

        def take(guest: Guest, envelope: bytes) -> None:
            guest.deliver(envelope)
            if len(guest.sent) == 3:
                room.guest_b.deliver(*reversed(guest.sent[1:]))

        room.alice.say("one")
        await room.bob.hears("one")
        room.guest_b.view = server.view.copy()
        server.take = take  # type: ignore[method-assign]
        room.alice.say("two", "three")
        await room.bob.hears("two", "three")
        assert room.bob.texts == ["one", "three", "two"]
        assert [event.is_late for event in room.bob.events if event.kind is Kind.MESSAGE] == [False, False, True]
        assert Kind.GAP in room.bob.kinds


async def test_ord_3_a_repeated_message_is_shown_once_and_the_fork_is_found(
    tmp_path: Path, server: LyingServer
) -> None:
    async with two_members(tmp_path, server) as room:

        def take(guest: Guest, envelope: bytes) -> None:
            guest.deliver(envelope)
            room.guest_b.deliver(envelope, envelope)

        room.guest_b.view = server.view.copy()
        server.take = take  # type: ignore[method-assign]
        room.alice.say("one")
        await room.bob.hears("one")
        room.alice.say("two")
        await room.bob.hears("two")
        room.alice.say("three")
        await room.bob.is_told(Kind.FORK)
        assert shows_only_what_was_said(room.bob)


async def test_ord_3_what_was_heard_in_an_earlier_run_is_not_shown_as_new(tmp_path: Path, server: LyingServer) -> None:
    async with two_members(tmp_path, server) as room:
        room.alice.say("one", "two")
        await room.bob.hears("one", "two")
        old = list(room.guest_a.sent)
        async with open_member(tmp_path, server.port, server.pin, "carol") as carol:
            await carol.hears("one", "two")
    async with open_member(tmp_path, server.port, server.pin, "carol") as carol:
        await carol.hears("one", "two")  # the backlog, as it was
        guest = await server.until_joined(4)
        guest.deliver(*old)
        guest.deliver(os.urandom(329))
        await carol.is_told(Kind.NOTICE, "does not open")
        assert shows_only_what_was_said(carol)


async def test_ord_4_a_message_of_another_room_does_not_open(tmp_path: Path, server: LyingServer) -> None:
    other = RoomSecret(b"the secret of some another room.")
    async with two_members(tmp_path, server) as room:
        room.alice.say("one")
        await room.bob.hears("one")
        from securechat.sealing.body import Seen, Text, encode
        from securechat.sealing.envelope import Context, seal
        from securechat.sealing.keys import RoomKeys

        body = encode(Text(bytes(16), 1, 0, "alice", Seen(0, bytes(32)), "from elsewhere"))
        stray = seal(
            RoomKeys(other), Context.MESSAGE, room.alice.conversation.identity, body, os.urandom(24), server.view.log_id
        )
        room.guest_b.deliver(stray)
        await room.bob.is_told(Kind.NOTICE, "does not open (commitment)")
        assert shows_only_what_was_said(room.bob)


async def test_ord_4_forged_and_altered_messages_are_never_shown(tmp_path: Path, server: LyingServer) -> None:
    async with two_members(tmp_path, server) as room:
        room.alice.say("one")
        await room.bob.hears("one")
        (real,) = room.guest_a.sent
        forged = [
            os.urandom(329),
            b"\1" + os.urandom(328),
            real[:100] + bytes([real[100] ^ 1]) + real[101:],
            real[:-1],
            b"\2" + real[1:],
            room.guest_a.presence,
        ]
        room.guest_b.deliver(*forged)
        await room.bob.until(lambda: len([t for t in room.bob.of(Kind.NOTICE) if "does not open" in t]) == 6)
        assert shows_only_what_was_said(room.bob)


async def test_ord_5_a_rolled_back_history_is_told(tmp_path: Path, server: LyingServer) -> None:
    async with open_member(tmp_path, server.port, server.pin, "alice") as alice:
        alice.say("one", "two", "three")
        await alice.hears("one", "two", "three")
        del server.view.envelopes[2:]
        server.say_goodbye()
        await alice.is_told(Kind.ROLLBACK, "it had 3 messages and has 2 now")
        assert shows_only_what_was_said(alice)


async def test_ord_5_a_rolled_back_history_is_told_by_the_next_run_too(tmp_path: Path, server: LyingServer) -> None:
    async with open_member(tmp_path, server.port, server.pin, "alice") as alice:
        alice.say("one", "two", "three")
        await alice.hears("one", "two", "three")
    del server.view.envelopes[1:]
    async with open_member(tmp_path, server.port, server.pin, "alice") as alice:
        await alice.is_told(Kind.ROLLBACK, "it had 3 messages and has 1 now")
        assert shows_only_what_was_said(alice)


async def test_ord_5_a_restarted_history_is_told_and_what_is_pending_is_sent_in_it(
    tmp_path: Path, server: LyingServer
) -> None:
    from tests.support.lying import View

    async with two_members(tmp_path, server) as room:
        room.alice.say("one")
        await room.bob.hears("one")
        server.view = View(room_keys().address)
        silent = server.take
        server.take = lambda *_: None  # type: ignore[method-assign]
        room.alice.say("two")
        with trio.fail_after(PATIENCE):
            while len(room.guest_a.sent) < 2:
                await trio.lowlevel.checkpoint()
        server.take = silent  # type: ignore[method-assign]
        server.say_goodbye()
        await room.bob.is_told(Kind.ROLLBACK, "restarted")
        await room.alice.is_told(Kind.ROLLBACK, "restarted")
        await room.bob.hears("two")
        await room.alice.settles()
        assert shows_only_what_was_said(room.alice, room.bob)
        assert Kind.FORK not in room.bob.kinds


async def test_ord_5_a_rewritten_history_is_told(tmp_path: Path, server: LyingServer) -> None:
    async with two_members(tmp_path, server) as room:
        room.alice.say("one", "two")
        await room.bob.hears("one", "two")
    server.view.envelopes.reverse()
    async with open_member(tmp_path, server.port, server.pin, "bob") as bob:
        await bob.is_told(Kind.ROLLBACK, "rewritten")
        assert shows_only_what_was_said(bob)


async def test_ord_5_a_history_that_was_rewritten_during_a_reconnect_is_told(
    tmp_path: Path, server: LyingServer
) -> None:
    async with two_members(tmp_path, server) as room:
        room.alice.say("one", "two")
        await room.bob.hears("one", "two")
        await room.alice.hears("one", "two")
        envelopes = server.view.envelopes
        envelopes[:2] = [os.urandom(329), os.urandom(329)]
        server.say_goodbye()
        await room.bob.is_told(Kind.ROLLBACK, "rewritten")
        assert shows_only_what_was_said(room.alice, room.bob)


async def test_ord_6_members_who_are_shown_different_histories_learn_it_from_each_other(
    tmp_path: Path, server: LyingServer
) -> None:
    async with two_members(tmp_path, server) as room:
        room.guest_b.view = server.view.copy()

        def take(guest: Guest, envelope: bytes) -> None:
            guest.deliver(envelope)

        honest, server.take = server.take, take  # type: ignore[method-assign]
        room.alice.say("one")
        room.bob.say("two")
        await room.alice.hears("one")
        await room.bob.hears("two")
        server.take = honest  # type: ignore[method-assign]
        room.alice.say("three")
        await room.bob.hears("three")
        await room.bob.is_told(Kind.FORK, "alice~")
        room.bob.say("four")
        await room.alice.hears("four")
        await room.alice.is_told(Kind.FORK, "bob~")
        assert shows_only_what_was_said(room.alice, room.bob)


async def test_ord_8_messages_that_are_announced_and_not_handed_out_are_missed(
    tmp_path: Path, server: LyingServer
) -> None:
    def joined(guest: Guest, join: Join) -> Joined:
        return Joined(join.ref, HANDLE, guest.number, False, server.view.log_id, 1, 5, os.urandom(32), 0)

    server.joined = joined  # type: ignore[method-assign]
    async with open_member(tmp_path, server.port, server.pin, "alice") as alice:
        await alice.is_told(Kind.GAP, "5 messages are missing")


async def test_ord_8_a_hole_in_a_page_is_missed(tmp_path: Path, server: LyingServer) -> None:
    async with open_member(tmp_path, server.port, server.pin, "alice") as alice:
        alice.say(*SAID)
        await alice.hears(*SAID)
    honest = server.past

    def past(guest: Guest, history: History) -> Past:
        page = honest(guest, history)
        return page if page.first > 1 else Past(page.ref, HANDLE, 1, 5, 3, server.view.head(2), page.records[2:])

    server.past = past  # type: ignore[method-assign]
    async with open_member(tmp_path, server.port, server.pin, "bob") as bob:
        await bob.is_told(Kind.GAP, "2 messages are missing: the server does not hand them out")
        await bob.hears("three", "four", "five")
        assert shows_only_what_was_said(bob)


async def test_ord_8_retention_is_told_as_such_and_is_no_loss(tmp_path: Path, server: LyingServer) -> None:
    async with two_members(tmp_path, server) as room:
        room.alice.say("one")
        await room.bob.hears("one")
    async with open_member(tmp_path, server.port, server.pin, "alice") as alice:
        alice.say("two", "three", "four")
        await alice.hears("two", "three", "four")
    server.view.first = 4
    async with open_member(tmp_path, server.port, server.pin, "bob") as bob:
        await bob.is_told(Kind.NOTICE, "2 older messages are no longer kept by the server")
        await bob.hears("four")
        assert not bob.kinds & ALARMS


async def test_ord_8_a_page_of_another_place_is_told(tmp_path: Path, server: LyingServer) -> None:
    async with open_member(tmp_path, server.port, server.pin, "alice") as alice:
        alice.say(*SAID)
        await alice.hears(*SAID)
        honest = server.past
        server.view.envelopes += server.view.envelopes[:1]

        def past(guest: Guest, history: History) -> Past:
            return honest(guest, History(history.ref, HANDLE, history.direction, 1, 2))

        server.past = past  # type: ignore[method-assign]
        server.say_goodbye()
        await alice.is_told(Kind.ROLLBACK, "another part of the history")
        server.past = honest  # type: ignore[method-assign]
        with trio.fail_after(PATIENCE):
            while not alice.conversation.transcript.is_caught_up:
                await trio.lowlevel.checkpoint()
        assert shows_only_what_was_said(alice)


async def test_ord_9_older_pages_have_to_end_where_the_newer_ones_begin(tmp_path: Path, server: LyingServer) -> None:
    from securechat.client.transcript import Backlog

    async with open_member(tmp_path, server.port, server.pin, "alice") as alice:
        alice.say(*SAID)
        await alice.hears(*SAID)
    honest = server.past

    def past(guest: Guest, history: History) -> Past:
        page = honest(guest, history)
        wrong = Record(0, os.urandom(329))
        return Past(page.ref, HANDLE, 1, 5, page.first, page.before, (wrong, *page.records[1:]))

    async with open_member(tmp_path, server.port, server.pin, "bob", backlog=Backlog(1, is_new=False)) as bob:
        await bob.hears("five")
        server.past = past  # type: ignore[method-assign]
        (told,) = await bob.conversation.load_older(2)
        assert told.kind is Kind.ROLLBACK
        server.past = honest  # type: ignore[method-assign]
        assert [event.text for event in await bob.conversation.load_older(2)] == ["three", "four"]
        assert [event.text for event in await bob.conversation.load_older(9)] == ["one", "two"]
        assert await bob.conversation.load_older(9) == []
        assert not bob.kinds & ALARMS


async def test_prs_1_forged_presence_shows_nobody(tmp_path: Path, server: LyingServer) -> None:
    async with two_members(tmp_path, server) as room:
        for presence in (b"x", os.urandom(329), room.guest_a.presence[:-1] + b"x"):
            room.guest_b.tell(Member(HANDLE, (MemberChange(Change.JOINED, 99, presence),)))
        room.alice.say("one")
        await room.bob.hears("one")
        assert [present.sender.nick for present in room.bob.conversation.present.values()] == ["alice"]


async def test_prs_2_an_older_presence_does_not_bring_an_old_name_back(tmp_path: Path, server: LyingServer) -> None:
    async with two_members(tmp_path, server) as room:
        old = room.guest_a.presence
        room.alice.conversation.rename("alicia")
        await room.bob.is_told(Kind.RENAMED, "alice is now called alicia~")
        room.guest_b.tell(Member(HANDLE, (MemberChange(Change.CHANGED, 1, old),)))
        room.alice.say("one")
        await room.bob.hears("one")
        assert [present.sender.nick for present in room.bob.conversation.present.values()] == ["alicia"]


def _has_told(member: Listener, part: str, times: int) -> bool:
    return len([text for text in member.of(Kind.NOTICE) if part in text]) == times


async def test_frm_3_a_server_that_breaks_the_protocol_is_left_and_nothing_is_lost(
    tmp_path: Path, server: LyingServer
) -> None:
    async with open_member(tmp_path, server.port, server.pin, "alice") as alice:
        for number, data in enumerate(
            (b"\xff" * 9, b"\0\0\0\1\x63", bytes(4), Deliver(HANDLE + 1, 1, 0, b"x").encode()), 1
        ):
            guest = await server.until_joined(number)
            guest.tell_raw(data)
            await alice.until(partial(_has_told, alice, "broke the protocol", number))
            alice.conversation.reconnect()
        alice.say("one")
        await alice.hears("one")
        assert shows_only_what_was_said(alice)


async def test_rel_9_an_acknowledgement_for_something_else_acknowledges_nothing(
    tmp_path: Path, server: LyingServer
) -> None:
    async with open_member(tmp_path, server.port, server.pin, "alice") as alice:
        honest: Any = server.take
        nothing: Any = lambda guest, envelope: guest.deliver(os.urandom(329))  # noqa: E731
        server.take = nothing  # type: ignore[method-assign]
        alice.say("one")
        await alice.is_told(Kind.NOTICE, "does not open")
        assert alice.conversation.pending == 1
        server.take = honest  # type: ignore[method-assign]
        server.say_goodbye()
        await alice.hears("one")
        await alice.settles()


# A server that wants to keep a client busy, or to flood its person's screen


def asked_of(server: LyingServer) -> list[History]:
    """Note every HISTORY that is asked for."""
    asked: list[History] = []
    honest = server.past

    def past(guest: Guest, history: History) -> Past:
        asked.append(history)
        return honest(guest, history)

    server.past = past  # type: ignore[method-assign]
    return asked


async def test_rel_13_a_page_that_never_reaches_the_end_is_not_asked_for_again(
    tmp_path: Path, server: LyingServer
) -> None:
    async with open_member(tmp_path, server.port, server.pin, "alice") as alice:
        alice.say("one", "two", "three", "four")
        await alice.hears("one", "two", "three", "four")

    def past(guest: Guest, history: History) -> Past:
        records = tuple(Record(0, envelope) for envelope in server.view.envelopes[:3])
        return Past(history.ref, HANDLE, 1, 4, 1, server.view.head(0), records)

    honest, server.past = server.past, past  # type: ignore[method-assign]
    asked = asked_of(server)
    async with open_member(tmp_path, server.port, server.pin, "bob") as bob:
        await bob.is_told(Kind.GAP, "1 message is missing: the server announced them and does not hand them out")
        await bob.hears("one", "two", "three")
        server.past = honest  # type: ignore[method-assign]
        bob.say("five")
        await bob.hears("five")
        await bob.settles()
        assert [(history.sequence, history.most) for history in asked] == [(1, 1000), (4, 1000)]
        assert len(bob.of(Kind.ROLLBACK)) == len(bob.of(Kind.GAP)) == 1
        assert shows_only_what_was_said(bob)


async def test_rel_13_sequences_from_nowhere_cost_one_question_each_and_few_lines(
    tmp_path: Path, server: LyingServer
) -> None:
    async with open_member(tmp_path, server.port, server.pin, "alice") as alice:
        guest = await server.until_joined(1)
        asked: list[History] = []

        def past(guest: Guest, history: History) -> Any:
            asked.append(history)
            empty = Past(history.ref, HANDLE, 1, history.sequence, history.sequence, bytes(32), ())
            far = Deliver(HANDLE, history.sequence + 2_000_000, 0, b"junk")
            if len(asked) < 50:
                guest.tell_raw(empty.encode() + far.encode())
            return Pong(bytes(8))

        server.past = past  # type: ignore[method-assign]
        guest.tell(Deliver(HANDLE, 1_000_000, 0, b"junk"))
        with trio.fail_after(PATIENCE):
            while len(asked) < 50:
                await trio.lowlevel.checkpoint()
        told = alice.take_rest()
        assert len([event for event in told if event.kind is Kind.GAP]) == limits.ALARMS_AT_ONCE
        assert (
            len(told) == limits.ALARMS_AT_ONCE + 2
        )  # that the first page was no continuation, and that there may be more


async def test_a_member_who_comes_and_goes_in_every_frame_fills_no_screen(tmp_path: Path, server: LyingServer) -> None:
    async with two_members(tmp_path, server) as room:
        sealed = room.guest_a.presence
        left, joined = MemberChange(Change.LEFT, 1, b""), MemberChange(Change.JOINED, 1, sealed)
        room.guest_b.tell(Member(HANDLE, (left, joined) * 50))
        room.alice.say("one")
        await room.bob.hears("one")
        assert len(room.bob.of(Kind.LEFT)) <= 1
        assert len(room.bob.of(Kind.JOINED)) <= 1


async def test_refusals_of_what_was_not_sent_hold_nothing_up(tmp_path: Path, server: LyingServer) -> None:
    async with open_member(tmp_path, server.port, server.pin, "alice") as alice:
        guest = await server.until_joined(1)
        for number in range(50):
            guest.tell(Error(Code.STORAGE, 0, 3600, number.to_bytes(16, "big"), "the disk is full"))
        alice.say("one")
        await alice.hears("one")
        assert alice.of(Kind.NOTICE) == []


async def test_a_server_that_refuses_again_and_again_is_sent_to_less_and_less_and_told_of_once(
    tmp_path: Path, server: LyingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "RETRY_SECONDS", (0, 0))
    monkeypatch.setattr(limits, "RECONNECT_FIRST", 0.02)
    honest, came = server.take, list[float]()

    def take(guest: Guest, envelope: bytes) -> None:
        came.append(trio.current_time())
        if len(came) < 5:
            guest.tell(Error(Code.STORAGE, 0, 1, chain.envelope_id(envelope), "the disk is full"))
        else:
            honest(guest, envelope)

    server.take = take  # type: ignore[method-assign]
    async with open_member(tmp_path, server.port, server.pin, "alice") as alice:
        alice.say("one")
        await alice.hears("one")
        assert len(alice.of(Kind.NOTICE)) == 1
        assert all(later - earlier >= 0.02 * 2**n for n, (earlier, later) in enumerate(pairwise(came)))


async def test_err_1_a_server_that_ends_every_visit_is_visited_less_and_less(
    tmp_path: Path, server: LyingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    pause_of = session._next_pause

    def next_pause(pause: float, lost: Exception) -> float:
        pauses.append(pause_of(pause, lost))
        return pauses[-1]

    monkeypatch.setattr(session, "_next_pause", next_pause)
    monkeypatch.setattr(limits, "RECONNECT_FIRST", 0.001)
    async with open_member(tmp_path, server.port, server.pin, "alice") as alice:
        for number in range(1, 9):
            (await server.until_joined(number)).tell(Goodbye(Reason.TIMEOUT, 0, "go \x1b[2J away"))
        await alice.is_told(Kind.NOTICE, "connection lost")
        assert all(later > earlier for earlier, later in pairwise(pauses[:7]))
        told = [to_line(event) for event in alice.take_rest()]
        assert any("heard nothing for too long (go  away)" in line for line in told)
        assert not any("\x1b" in line for line in told)


# What reads without remembering


async def test_who_reads_without_remembering_knows_what_was_remembered_and_changes_nothing(
    tmp_path: Path, server: LyingServer
) -> None:
    async with two_members(tmp_path, server) as room:
        room.alice.say("one", "two")
        await room.bob.hears("one", "two")
    server.view.envelopes += server.view.envelopes[:1]
    server.view.first = 2  # as if retention had taken the first, which comes again
    async with open_member(tmp_path, server.port, server.pin, "bob", remembers=False) as bob:
        guest = await server.until_joined(3)
        guest.deliver(os.urandom(329))
        await bob.is_told(Kind.NOTICE, "does not open")
        assert bob.texts == ["two"]
    with closing(Profile(tmp_path / "bob").open_state()) as state:
        assert len(state.heard(room_keys().address)) == 2
        position = state.position(room_keys().address)
        assert position is not None
        assert position.sequence == 2
