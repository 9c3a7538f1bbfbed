from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest
import trio

from securechat.client.conversation import Event, Kind, Present, Sender
from securechat.client.people import People
from securechat.client.session import RoomConversation
from securechat.client.transcript import Transcript
from securechat.errors import InputError
from securechat.sealing.identity import Identity, verify_words
from securechat.sealing.keys import RoomKeys
from securechat.sealing.names import check_text, normalise_nick
from securechat.ui.commands import Command
from securechat.ui.room_commands import RoomCommands
from tests.support.rooms import KEYS, ME, Log, Reader, member, profiles_in

ANN, BOB = member("ann").identity.public, member("bob").identity.public
CLOCK = 1_700_000_000_000


@dataclass
class Room:
    """What the commands use of a conversation."""

    reader: Reader
    people: People
    transcript: Transcript
    room: str = "kitchen"
    nick: str = "me"
    keys: RoomKeys = KEYS
    identity: Identity = ME
    was_created: bool = False
    join_line: str = "securechat://chat.example.org:7443/kitchen"
    present: dict[int, Present] = field(default_factory=dict)
    said: list[tuple[str, bool]] = field(default_factory=list)
    older: list[Event] = field(default_factory=list)
    asked_older: list[int] = field(default_factory=list)
    reconnects: int = 0

    def say(self, text: str, *, is_action: bool = False) -> None:
        check_text(text)
        self.said.append((text, is_action))

    def rename(self, nick: str) -> None:
        self.nick = normalise_nick(nick)

    def reconnect(self) -> None:
        self.reconnects += 1

    async def load_older(self, count: int) -> list[Event]:
        await trio.lowlevel.checkpoint()
        self.asked_older.append(count)
        return self.older

    def enter(self, nick: str, identity: bytes, *, is_reader: bool = False) -> Sender:
        sender = self.people.sender(nick, identity)
        self.present[len(self.present) + 2] = Present(sender, is_reader)
        return sender


@dataclass
class Screen:
    room: Room
    shown: list[Event] = field(default_factory=list)
    quits: int = 0

    def __post_init__(self) -> None:
        self.commands = RoomCommands(cast(RoomConversation, self.room), self.shown.append, self.leave)

    def leave(self) -> None:
        self.quits += 1

    async def type(self, line: str) -> list[str]:
        """Type a line and return what is told."""
        self.shown.clear()
        await self.commands.run(line)
        return [event.text for event in self.shown]


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    with profiles_in(tmp_path) as profiles:
        reader = profiles.reader()
        yield Room(reader, reader.people, reader.transcript)


@pytest.fixture
def screen(room: Room) -> Screen:
    return Screen(room)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("hello", "hello"),
        ("  spaced  ", "  spaced  "),
        ("//etc/passwd", "/etc/passwd"),
        ("///", "//"),
        ("a /b", "a /b"),
    ],
)
async def test_a_line_is_said(screen: Screen, line: str, text: str) -> None:
    assert await screen.type(line) == []
    assert screen.room.said == [(text, False)]


@pytest.mark.parametrize("line", ["/nonsense", "/", "/ nick", "/NICK bob", "/etc/passwd"])
async def test_an_unknown_command_is_told_and_never_sent(screen: Screen, line: str) -> None:
    (told,) = await screen.type(line)
    assert "There is no command" in told
    assert "//" in told
    assert screen.room.said == []


async def test_what_cannot_be_said_is_told(screen: Screen) -> None:
    (told,) = await screen.type("x" * 32_001)
    assert "at most 32000" in told
    assert screen.room.said == []


async def test_help_tells_of_every_command(screen: Screen) -> None:
    lines = await screen.type("/help")
    names = {line.split()[0].rstrip(":") for line in lines}
    assert {"/help", "/nick", "/me", "/names", "/whois", "/verify", "/ignore", "/history", "/quit"} <= names
    assert {"/room", "/check", "/server-view", "/reconnect"} <= names
    assert all(event.kind is Kind.NOTICE for event in screen.shown)


@pytest.mark.parametrize("line", ["/help nick", "/help /nick"])
async def test_help_tells_of_one_command(screen: Screen, line: str) -> None:
    assert await screen.type(line) == ["/nick NICK: take another nickname."]


async def test_help_for_nonsense_is_told(screen: Screen) -> None:
    assert await screen.type("/help nonsense") == ["There is no command /nonsense. Type /help."]


async def test_a_nickname_is_taken_or_refused(screen: Screen) -> None:
    assert await screen.type("/nick anna") == ["You are called anna now."]
    (told,) = await screen.type("/nick two words")
    assert "space" in told
    (told,) = await screen.type("/nick")
    assert "1 to 32" in told
    assert screen.room.nick == "anna"


async def test_an_action_is_said(screen: Screen) -> None:
    await screen.type("/me waves")
    assert screen.room.said == [("waves", True)]
    assert await screen.type("/me") == ["The message is empty. Type something."]


async def test_names_are_told_with_who_only_reads(screen: Screen, room: Room) -> None:
    assert await screen.type("/names") == ["Here: me (you)"]
    room.enter("bob", BOB, is_reader=True)
    room.enter("ann", ANN)
    (told,) = await screen.type("/names")
    assert told == f"Here: me (you), ann~{ANN.hex()[:4]}, bob~{BOB.hex()[:4]} (reading)"


async def test_whois_shows_the_whole_key(screen: Screen, room: Room) -> None:
    sender = room.enter("ann", ANN)
    for name in ("ann", sender.name):
        (told,) = await screen.type(f"/whois {name}")
        assert ANN.hex() in told
        assert f"not verified: /verify {sender.name}" in told


@pytest.mark.parametrize("line", ["/whois", "/whois nobody", "/verify", "/verify nobody yes", "/ignore", "/ignore me"])
async def test_somebody_who_is_not_here_is_told_to_be_absent(screen: Screen, room: Room, line: str) -> None:
    room.enter("me", ME.public)
    (told,) = await screen.type(line)
    assert told.startswith(("Nobody here is called", "Whom?"))


async def test_of_two_with_one_name_it_is_asked_which(screen: Screen, room: Room) -> None:
    first, second = room.enter("ann", ANN), room.enter("ann", BOB)
    (told,) = await screen.type("/whois ann")
    assert first.name in told
    assert second.name in told
    (told,) = await screen.type(f"/whois {second.name}")
    assert BOB.hex() in told


async def test_one_member_with_two_clients_is_one(screen: Screen, room: Room) -> None:
    room.enter("ann", ANN)
    room.enter("ann", ANN)
    (told,) = await screen.type("/whois ann")
    assert ANN.hex() in told


async def test_verifying_shows_words_and_then_takes_a_yes(screen: Screen, room: Room) -> None:
    sender = room.enter("ann", ANN)
    words, how = await screen.type("/verify ann")
    assert verify_words(ME.public, ANN) in words
    assert f"/verify {sender.name} yes" in how
    assert not room.people.sender("ann", ANN).verified
    (told,) = await screen.type(f"/verify {sender.name} yes")
    assert told == "ann is verified on this machine, and ann has to confirm you as well."
    assert room.people.sender("ann", ANN).verified


async def test_words_that_differ_are_a_warning(screen: Screen, room: Room) -> None:
    sender = room.enter("ann", ANN)
    (told,) = await screen.type("/verify ann no")
    assert sender.name in told
    assert "in between" in told


@pytest.mark.parametrize("answer", ["no", "y", "YES", "yes please"])
async def test_nothing_but_yes_verifies(screen: Screen, room: Room, answer: str) -> None:
    room.enter("ann", ANN)
    await screen.type(f"/verify ann {answer}")
    assert not room.people.sender("ann", ANN).verified


async def test_who_is_ignored_is_hidden_until_shown_again(screen: Screen, room: Room) -> None:
    sender = room.enter("ann", ANN)
    said = Event(Kind.MESSAGE, CLOCK, "hello", 1, sender)
    assert not screen.commands.is_ignored(said)
    (told,) = await screen.type("/ignore ann")
    assert "hidden" in told
    for kind in (Kind.MESSAGE, Kind.JOINED, Kind.LEFT, Kind.RENAMED):
        assert screen.commands.is_ignored(Event(kind, CLOCK, "", None, sender))
    assert screen.commands.is_ignored(Event(Kind.MESSAGE, CLOCK, "", 1, sender._replace(nick="anna")))
    assert not screen.commands.is_ignored(Event(Kind.MESSAGE, CLOCK, "", 1, sender._replace(identity=BOB)))
    (told,) = await screen.type("/ignore ann")
    assert "shown again" in told
    assert not screen.commands.is_ignored(said)


@pytest.mark.parametrize("kind", [Kind.GAP, Kind.FORK, Kind.ROLLBACK, Kind.CHANGED_KEY, Kind.NOTICE])
async def test_an_alarm_is_never_ignored(screen: Screen, room: Room, kind: Kind) -> None:
    sender = room.enter("ann", ANN)
    await screen.type("/ignore ann")
    assert not screen.commands.is_ignored(Event(kind, CLOCK, "", None, sender))
    assert not screen.commands.is_ignored(Event(kind, CLOCK, ""))


async def test_older_messages_are_shown_and_counted(screen: Screen, room: Room) -> None:
    room.older = [Event(Kind.MESSAGE, CLOCK, "old", 1, room.people.sender("ann", ANN))]
    assert await screen.type("/history") == ["old", "1 older messages."]
    assert await screen.type("/history 50") == ["old", "1 older messages."]
    assert room.asked_older == [20, 50]


async def test_that_there_is_nothing_older_is_told(screen: Screen) -> None:
    assert await screen.type("/history") == ["There is nothing older, or no connection."]


@pytest.mark.parametrize("argument", ["0", "-1", "many", "1.5", "\u0661", "9" * 5000])
async def test_history_takes_a_number(screen: Screen, room: Room, argument: str) -> None:
    (told,) = await screen.type(f"/history {argument}")
    assert "takes a number" in told
    assert room.asked_older == []


async def test_the_room_is_told_with_its_words_and_the_line_for_friends(screen: Screen, room: Room) -> None:
    first, second = await screen.type("/room")
    assert KEYS.words in first
    assert room.join_line in second


async def test_the_line_for_friends_can_be_drawn(screen: Screen, room: Room) -> None:
    rows = await screen.type("/room qr")
    assert len(rows) > 10
    assert len({len(row) for row in rows}) == 1
    assert set("".join(rows)) <= set("\N{FULL BLOCK}\N{UPPER HALF BLOCK}\N{LOWER HALF BLOCK} ")


async def test_a_screen_may_have_commands_of_its_own(screen: Screen) -> None:
    async def wave(argument: str) -> None:
        await trio.lowlevel.checkpoint()
        screen.shown.append(Event(Kind.NOTICE, CLOCK, f"waves {argument}"))

    screen.commands.add("wave", Command("/wave: wave.", wave))
    assert "wave" in screen.commands.names
    assert await screen.type("/wave twice") == ["waves twice"]


async def test_a_greeting_tells_where_one_is_and_who_is_here(screen: Screen, room: Room) -> None:
    await screen.commands.greet()
    told = [event.text for event in screen.shown]
    assert told == [f"You are in the room kitchen; its words are: {KEYS.words}", "Here: me (you)"]
    screen.shown.clear()
    room.was_created = True
    await screen.commands.greet()
    assert screen.shown[0].text == "You opened the room kitchen."
    assert room.join_line in screen.shown[2].text


async def test_two_members_who_saw_the_same_check_the_same_words(screen: Screen, room: Room, tmp_path: Path) -> None:
    assert await screen.type("/check") == ["The history is not loaded yet. Try again in a moment."]
    log = Log()
    log.fill(member("ann"), 3)
    room.reader.follow(log)
    (told,) = await screen.type("/check")
    assert told.startswith("After message 3: ")
    (tmp_path / "other").mkdir()
    with profiles_in(tmp_path / "other") as profiles:
        other = profiles.reader()
        other.follow(log)
        assert await Screen(Room(other, other.people, other.transcript)).type("/check") == [told]
        log.envelopes[1] = member("eve").write("forged", log.seen(0))
        other.follow(log)
        log.fill(member("ann", run=2), 1)
        other.follow(log)
        (differs,) = await Screen(Room(other, other.people, other.transcript)).type("/check")
    assert differs != told


async def test_what_the_server_holds_is_told(screen: Screen, room: Room) -> None:
    log = Log()
    log.fill(member("ann"), 5)
    log.oldest = 4
    room.reader.follow(log)
    lines = await screen.type("/server-view")
    assert KEYS.address.hex() in lines[0]
    assert "is at message 5; it keeps 2 of them" in lines[1]
    assert log.log_id.hex() in lines[1]
    assert "it took in 2 of 329 bytes; the first at 2023-11-1" in lines[2]
    assert "you and 0 more" in lines[3]


async def test_a_server_of_which_nothing_was_read_yet_holds_no_sizes(screen: Screen) -> None:
    lines = await screen.type("/server-view")
    assert lines[2] == "This client has read none of them yet."


async def test_a_new_connection_can_be_asked_for(screen: Screen) -> None:
    await screen.type("/reconnect")
    assert screen.room.reconnects == 1


async def test_leaving_may_be_said(screen: Screen) -> None:
    await screen.type("/quit")
    assert (screen.quits, screen.room.said) == (1, [])
    await screen.type("/quit good night")
    assert (screen.quits, screen.room.said) == (2, [("good night", False)])


async def test_a_last_word_that_cannot_be_said_keeps_one_here(screen: Screen) -> None:
    (told,) = await screen.type("/quit " + "x" * 32_001)
    assert "at most 32000" in told
    assert screen.quits == 0


async def test_an_error_of_our_own_is_not_hidden(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_text: str, *, is_action: bool = False) -> None:
        raise ZeroDivisionError(is_action)

    monkeypatch.setattr(screen.room, "say", fail)
    with pytest.raises(ZeroDivisionError):
        await screen.commands.run("hello")
    with pytest.raises(InputError):
        check_text("")
