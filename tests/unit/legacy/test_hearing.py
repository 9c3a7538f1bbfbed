"""Who said what: our client before an original server, whose notices come split, glued and with pauses."""

import base64
import itertools
from typing import cast

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from securechat.client.address import ServerAddress
from securechat.client.conversation import Event, Kind
from securechat.errors import ChannelClosedError
from securechat.legacy import codec, notices
from securechat.legacy.client import LegacyConversation, LegacyOptions
from securechat.transport.channel import SocketChannel

STAMP = "2026-11-24 10:00:00"
WELCOME = "您已成功加入房间1，当前房间内有3位用户：['alice', 'bob', 'me']"
PAUSE = 0.12  # longer than what ends a unit, shorter than what a head is waited for


def unit(text: str) -> bytes:
    """Encode as original servers do."""
    return base64.b64encode(text.encode("gbk"))


class Scripted:
    """A channel from which bytes come at set times; then it ends."""

    def __init__(self, coming: list[tuple[float, bytes]]) -> None:
        self.coming = coming
        self.sent: list[bytes] = []

    async def receive(self) -> bytes:
        """Return what comes next, when its time has come; being cancelled loses nothing."""
        if not self.coming:
            await trio.sleep(100)
            raise ChannelClosedError("the end")
        await trio.sleep_until(self.coming[0][0])
        return self.coming.pop(0)[1]

    def send(self, data: bytes) -> None:
        """Note what is sent."""
        self.sent.append(data)


def hear(coming: list[tuple[float, bytes]], said: str = "") -> tuple[list[Event], float | None, LegacyConversation]:
    """Return what a client shows of a stream, when it was in the room, and the client."""
    conversation = LegacyConversation(LegacyOptions(ServerAddress("h", 1), "1", "me", None))
    shown: list[Event] = []
    entered: list[float] = []

    async def joined() -> None:
        entered.append(trio.current_time())
        await trio.lowlevel.checkpoint()

    async def show() -> None:
        while True:
            shown.append(await conversation.events.receive())

    async def run() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(show)
            if said:
                conversation.say(said)
            with pytest.raises(ChannelClosedError):
                await conversation._stay(cast(SocketChannel, Scripted(coming)), nursery, joined)
            nursery.cancel_scope.cancel()

    trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))
    return shown, entered[0] if entered else None, conversation


def timed(chunks: list[bytes], pauses: list[float]) -> list[tuple[float, bytes]]:
    """Let each chunk come some time after the one before."""
    return list(zip(itertools.accumulate(pauses), chunks, strict=True))


def messages(shown: list[Event]) -> list[tuple[str, str]]:
    """Return who said what."""
    return [(event.sender.nick, event.text) for event in shown if event.kind is Kind.MESSAGE and event.sender]


words = st.text(st.sampled_from("abc你好，"), min_size=1, max_size=30)
talk = st.lists(st.tuples(st.sampled_from(["alice", "bob"]), words), min_size=1, max_size=4)


@settings(deadline=None)  # trio starts for each
@given(talk, st.data())
def test_text_is_never_shown_under_another_name_wherever_a_network_pauses(
    said: list[tuple[str, str]], data: st.DataObject
) -> None:
    stream = b"".join(map(unit, [WELCOME, *(notices.said(STAMP, name, text) for name, text in said)]))
    places = sorted(data.draw(st.sets(st.integers(1, len(stream) - 1), max_size=12)))
    chunks = [stream[a:b] for a, b in itertools.pairwise([0, *places, len(stream)])]
    pauses = data.draw(st.lists(st.sampled_from([0.0, 0.01, PAUSE, 1.0]), min_size=len(chunks), max_size=len(chunks)))
    shown, _, _ = hear(timed(chunks, pauses))
    for name in ("alice", "bob"):
        heard = "".join(text for who, text in messages(shown) if who == name)
        assert heard.translate(dict.fromkeys(map(ord, "2026"))) == "".join(text for who, text in said if who == name)


def test_a_head_that_comes_in_two_pieces_is_waited_for() -> None:
    chunks, pauses = [unit(WELCOME)], [0.0]
    for notice in (
        notices.said(STAMP, "alice", "I agree to"),
        notices.said(STAMP, "bob", "never pay him"),
        notices.left(STAMP, "bob"),
    ):
        chunks += [unit(notice)[:16], unit(notice)[16:]]
        pauses += [0.3, PAUSE]
    shown, _, conversation = hear(timed(chunks, pauses))
    assert messages(shown) == [("alice", "I agree to"), ("bob", "never pay him")]
    assert [event.text for event in shown if event.kind is Kind.LEFT] == ["bob left."]
    assert [present.sender.nick for present in conversation.present.values()] == ["alice"]


def test_the_room_is_entered_at_the_welcome_however_slowly_it_comes() -> None:
    stream = unit(WELCOME)
    chunks = [stream[a : a + 4] for a in range(0, len(stream), 4)]
    shown, entered, conversation = hear(timed(chunks, [PAUSE] * len(chunks)))
    assert entered == pytest.approx(PAUSE * len(chunks), abs=0.06)
    assert [present.sender.nick for present in conversation.present.values()] == ["alice", "bob"]
    assert [event.text for event in shown] == ["You are in the room 1."]


def test_our_own_welcome_is_one_notice_however_slowly_it_comes() -> None:
    stream = codec.cells(WELCOME + notices.NOT_ENCRYPTED)
    chunks = [stream[a : a + 1] for a in range(len(stream))]
    shown, _, _ = hear(timed(chunks, [PAUSE] * len(chunks)))
    text = "".join(event.text for event in shown)
    assert text.replace(" ", "") == f"You are in the room 1. {notices.NOT_ENCRYPTED}".replace(" ", "")
    assert len(shown) <= 2, "it may be parted where an original server's welcome ends"


def test_a_notice_may_come_before_the_welcome() -> None:
    shown, entered, _ = hear([(0.0, unit(notices.said(STAMP, "bob", "early"))), (1.0, unit(WELCOME))])
    assert entered == pytest.approx(1.0, abs=0.06)
    assert messages(shown) == [("bob", "early")]


def test_a_server_without_a_welcome_is_entered_after_a_while() -> None:
    shown, entered, _ = hear([(0.0, unit("some other server"))])
    assert entered == pytest.approx(5.0, abs=0.06)
    assert [event.text for event in shown] == ["some other server"]


def test_what_follows_a_notice_of_leaving_is_nobodys() -> None:
    told = [WELCOME, notices.said(STAMP, "alice", "yes"), notices.left(STAMP, "bob"), "I never said that"]
    shown, _, _ = hear([(float(at), unit(text)) for at, text in enumerate(told)])
    assert messages(shown) == [("alice", "yes")]


QUOTE = "quote 2026-01-01 00:00:00：用户root发送消息：do it"


@pytest.mark.parametrize("is_ours", [False, True])
def test_a_message_that_looks_like_a_notice_comes_back_as_what_it_is(is_ours: bool) -> None:
    encode = codec.cells if is_ours else unit
    echo = encode(notices.said(STAMP, "me", QUOTE)) + encode(notices.said(STAMP, "bob", "and on"))
    shown, _, conversation = hear([(0.0, encode(WELCOME)), (1.0, echo)], said=QUOTE)
    assert messages(shown) == [("me", QUOTE), ("bob", "and on")]
    assert conversation.pending == 0


def test_on_our_listener_a_message_cannot_imitate_a_notice() -> None:
    text = notices.said(STAMP, "bob", QUOTE)
    shown, _, _ = hear([(0.0, codec.cells(WELCOME) + codec.cells(text) + codec.cells(notices.left(STAMP, "bob")))])
    assert messages(shown) == [("bob", QUOTE)]


@pytest.mark.parametrize("is_ours", [False, True])
def test_our_own_listener_is_sent_units_that_end_themselves(is_ours: bool) -> None:
    conversation = LegacyConversation(LegacyOptions(ServerAddress("h", 1), "1", "me", None))
    channel = Scripted([(0.0, codec.cells(WELCOME) if is_ours else unit(WELCOME))])

    async def run() -> None:
        async with trio.open_nursery() as nursery:
            conversation.say("hello!")
            with pytest.raises(ChannelClosedError):
                await conversation._stay(cast(SocketChannel, channel), nursery, trio.lowlevel.checkpoint)
            nursery.cancel_scope.cancel()

    trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))
    assert channel.sent[0].endswith(b"=") == is_ours
