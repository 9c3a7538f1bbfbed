"""The window against a real server: what is typed arrives, what happens is shown, nothing is lost unasked."""

from collections.abc import Callable
from pathlib import Path

import pytest
import trio
from PySide6.QtGui import QCloseEvent, QDesktopServices
from PySide6.QtWidgets import QApplication, QDialog, QLabel, QLineEdit

from securechat.sealing.keys import RoomSecret
from securechat.sealing.names import normalise_room
from securechat.transport.pins import parse_pin
from securechat.ui.gui.entering import Typed
from tests.support.desk import Desk, key, open_desk, press
from tests.support.patience import PATIENCE, wait_until
from tests.support.programs import PASSPHRASE, ROOM, Home, ServerProgram, member_home


@pytest.fixture
def bob(tmp_path: Path, server: ServerProgram) -> Home:
    """The machine of somebody else, who has opened the room."""
    home = member_home(tmp_path / "bob", server)
    assert home.send(server, "--create", "--nick", "bob", "the first message").code == 0
    return home


async def test_what_is_typed_arrives_and_what_others_say_is_shown(desk: Desk, server: ServerProgram, bob: Home) -> None:
    await desk.join()
    assert "the first message" in desk.text
    desk.say("hello from a window")
    await desk.shows("hello from a window")
    await wait_until(lambda: "sending" not in desk.text)
    assert "alice~" in bob.tail(server).out
    assert "hello from a window" in bob.tail(server).out
    assert bob.send(server, "--nick", "bob", "hello from a terminal").code == 0
    await desk.shows("hello from a terminal")
    assert "bob~" in desk.text


async def test_commands_are_those_of_the_terminal(desk: Desk, bob: Home) -> None:
    page = await desk.join()
    desk.say("/nick alicia")
    await desk.shows("You are called alicia now.")
    desk.say("/nothing")
    await desk.shows("There is no command /nothing.")
    desk.say("//not a command")
    await desk.shows("/not a command")
    desk.say("/me waves")
    await desk.shows("alicia waves")
    desk.say("/search first")
    await wait_until(lambda: page.search.isVisible() and page.timeline.extraSelections())
    desk.say("/clear")
    await wait_until(lambda: "waves" not in desk.text)


async def test_a_message_names_somebody_who_looks_elsewhere(
    desk: Desk, server: ServerProgram, bob: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    await desk.join()
    (talk,) = desk.window._talks
    talk.see()
    monkeypatch.setattr(desk.window, "isActiveWindow", lambda: False)
    assert bob.send(server, "--nick", "bob", "nothing much").code == 0
    assert bob.send(server, "--nick", "bob", "Alice: look here").code == 0
    await wait_until(lambda: desk.window.windowTitle().startswith("(2) "))
    assert (talk.unread, talk.mentions) == (2, 1)
    assert desk.text.count("new\n") == 1
    assert desk.text.index("new\n") < desk.text.index("nothing much")
    talk.see()
    assert desk.window.windowTitle() == f"{normalise_room(ROOM)} \u2013 securechat"


async def test_two_rooms_count_what_is_unread_apart(desk: Desk, server: ServerProgram, bob: Home, home: Home) -> None:
    for machine in (home, bob):
        with machine.open_state() as state:
            state.set_secret("pantry", RoomSecret(b"the secret of the other room....").bytes)
    assert bob.run("send", server.address, "--room", "pantry", "--create", "hello pantry").code == 0
    await desk.join()
    desk.window._talks[0].see()
    key(desk.window, "Ctrl+N")
    await desk.join(room="Pantry")
    desk.window._talks[1].see()
    assert "hello pantry" in desk.text
    assert bob.send(server, "--nick", "bob", "to the other room").code == 0
    first, second = desk.window._talks
    await wait_until(lambda: "to the other room" in first.page.timeline.toPlainText())
    assert first.unread == 1
    assert second.unread == 0
    key(desk.window, "Alt+1")
    assert desk.page is first.page
    assert first.unread == 0
    key(desk.window, "Ctrl+W")
    await wait_until(lambda: desk.window._talks == [second])
    assert desk.page is second.page


async def test_a_room_that_is_open_is_shown_and_not_joined_twice(desk: Desk, server: ServerProgram, bob: Home) -> None:
    page = await desk.join()
    key(desk.window, "Ctrl+N")
    desk.sheet.fill(Typed(server=server.address, room=ROOM.upper(), nick="alice"))
    press(desk.sheet, "Join")
    assert desk.page is page
    assert len(desk.window._talks) == 1


async def test_a_lost_connection_is_told_and_what_was_typed_goes_out_later(
    desk: Desk, server: ServerProgram, bob: Home, tmp_path: Path
) -> None:
    page = await desk.join()
    server.process.kill()
    server.process.wait(PATIENCE)
    await wait_until(lambda: any("no connection" in text for text in desk.labels("muted")))
    await wait_until(lambda: "tea house, no connection" in desk.rooms[0], lambda: desk.rooms)
    desk.say("typed meanwhile")
    await desk.shows("waits for the connection")
    with Home(tmp_path / "box").serve(port=server.port) as again:
        desk.say("/reconnect")
        await desk.shows("connected again")
        await wait_until(lambda: "waits" not in desk.text and "sending" not in desk.text)
        await desk.shows("typed meanwhile")
        assert desk.text.count("typed meanwhile") == 1
        assert "typed meanwhile" in bob.tail(again).out
        assert page.composer.isEnabled()


async def test_closing_asks_before_something_is_lost(desk: Desk, server: ServerProgram, bob: Home) -> None:
    await desk.join()
    server.process.kill()
    server.process.wait(PATIENCE)
    desk.say("one")
    desk.say("two")
    await desk.shows("two")
    desk.window.close()
    dialog = await desk.dialog()
    assert "2 messages wait for the server" in shown(dialog)
    press(dialog, "Stay")
    await wait_until(lambda: not desk.window._is_asking)
    assert desk.window.isVisible()
    desk.window.close()
    press(await desk.dialog(), "Leave and lose it")
    await wait_until(lambda: desk.has_ended)


async def test_closing_asks_about_what_is_being_written(desk: Desk, bob: Home) -> None:
    page = await desk.join()
    page.composer.setPlainText("not yet")
    desk.window.close()
    assert "A message is being written." in shown(await desk.dialog())
    press(await desk.dialog(), "Stay")
    await wait_until(lambda: not desk.window._is_asking)
    page.composer.clear()
    desk.window.close()
    await wait_until(lambda: desk.has_ended)


async def test_the_window_stays_until_every_task_has_ended(desk: Desk, bob: Home) -> None:
    await desk.join()
    event = QCloseEvent()
    desk.window.closeEvent(event)
    assert not event.isAccepted()
    await wait_until(lambda: desk.has_ended)


async def test_a_link_is_opened_only_when_somebody_has_seen_where_it_leads(
    desk: Desk, server: ServerProgram, bob: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(QDesktopServices, "openUrl", lambda url: opened.append(url.toString()))
    page = await desk.join()
    assert bob.send(server, "http://\u0430\u0440\u0440\u04cf\u0435.com/login").code == 0
    await desk.shows("/login")
    page.timeline.anchorClicked.emit("http://\u0430\u0440\u0440\u04cf\u0435.com/login")
    dialog = await desk.dialog()
    assert desk.labels("code", dialog) == ["http://xn--80ak6aa92e.com/login"]
    press(dialog, "Stay here")
    await wait_until(lambda: not dialog.isVisible())
    assert not opened
    page.timeline.anchorClicked.emit("https://example.org/a?b=c")
    dialog = await wait_until(lambda: next((d for d in desk.window.findChildren(QDialog) if d.isVisible()), None))
    press(dialog, "Open in the browser")
    await wait_until(lambda: opened == ["https://example.org/a?b=c"])


async def test_words_are_compared_and_somebody_is_verified(desk: Desk, server: ServerProgram, bob: Home) -> None:
    with bob.chat(server, "bob"):
        page = await desk.join()
        await wait_until(lambda: len(page.members._people) == 2, lambda: (page.members._people, desk.text))
        them = page.members._people[1].sender
        page.members.verify.emit(them)
        dialog = await desk.dialog()
        assert len(desk.labels("words", dialog)) == 12
        assert any(label.accessibleName() == "Your key as a QR code" for label in dialog.findChildren(QLabel))
        press(dialog, "They are the same")
        await wait_until(lambda: page.members._people[1].sender.verified)
        await desk.shows("(verified)")
        spoken = page.members._model.item(1).data(11)  # AccessibleTextRole
        assert spoken == "bob, \u2713 verified"


async def test_the_room_shows_its_words_and_the_line_for_friends(desk: Desk, server: ServerProgram, bob: Home) -> None:
    await desk.join()
    key(desk.window, "Ctrl+I")
    dialog = await desk.dialog()
    (words,) = desk.labels("words", dialog)
    assert len(words.split()) == 3
    assert f"securechat://{server.address}/" in desk.labels("code", dialog)[0].replace("\u200b", "")


async def test_older_messages_come_when_the_top_is_reached(desk: Desk, server: ServerProgram, bob: Home) -> None:
    lines = "".join(f"line {number}\n" for number in range(90))
    assert bob.send(server, typed=lines).code == 0
    page = await desk.join()
    await wait_until(lambda: page.timeline.verticalScrollBar().maximum() > 0)
    for _ in range(3):
        await wait_until(lambda: not desk.window._talks[0]._is_loading)
        page.timeline.verticalScrollBar().setValue(1)
        page.timeline.verticalScrollBar().setValue(0)
    await desk.shows("the first message")
    await desk.shows("the server keeps nothing older")
    shown_lines = [line for line in desk.text.splitlines() if line.startswith("line ")]
    assert shown_lines == lines.splitlines()


async def test_what_was_not_read_in_the_last_run_stands_below_a_mark(
    desk: Desk, server: ServerProgram, bob: Home, home: Home
) -> None:
    await desk.join()
    await wait_until(lambda: not desk.window._talks[0]._is_loading)
    desk.window.close()
    await wait_until(lambda: desk.has_ended)
    assert bob.send(server, "--nick", "bob", "while you were away").code == 0
    async with open_desk(home, server) as again:
        await again.join()
        assert again.text.index("the first message") < again.text.index("new\n") < again.text.index("while you were")


async def test_a_key_that_was_changed_ends_one_room_and_no_other(
    desk: Desk, server: ServerProgram, bob: Home, home: Home, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    with Home(tmp_path / "other").serve() as other:
        home.trust(other)
        assert home.send(other, "--create", "elsewhere").code == 0
        await desk.join()
        key(desk.window, "Ctrl+N")
        await desk.join(server=other.address)
        other.stop()
        (tmp_path / "false").mkdir()
        with Home(tmp_path / "false").serve(port=other.port):
            desk.say("/reconnect")
            await desk.shows("You have left the room: The key of")
            first, second = desk.window._talks
            assert second.ended
            assert second.page.alarms
            assert desk.rooms[0].startswith(f"tea house, {server.address}")
            assert desk.rooms[1].startswith("tea house, left: see there")
            assert not second.page.composer.isEnabled()
            key(desk.window, "Alt+1")
            desk.say("still here")
            await desk.shows("still here")
            await wait_until(lambda: first.conversation.pending == 0)


# Entering


async def test_a_first_contact_is_asked_about_as_on_the_terminal(
    qt: Callable[[], None], server: ServerProgram, bob: Home, tmp_path: Path
) -> None:
    (tmp_path / "new").mkdir()
    home = Home(tmp_path / "new")
    home.remember()
    async with open_desk(home, server) as desk:
        desk.sheet.fill(Typed(server=server.address, room=ROOM, nick="alice"))
        press(desk.sheet, "Join")
        dialog = await desk.dialog()
        assert f"Its pin is {server.pin}" in shown(dialog)
        field = dialog.findChild(QLineEdit)
        assert isinstance(field, QLineEdit)
        field.setText("no pin")
        press(dialog, "Trust it from now on")
        assert "This is not a pin." in shown(dialog)
        field.setText(server.pin)
        key(field, "Return")
        await wait_until(lambda: desk.page)
    assert home.profile.known_hosts.entries()[server.address].pins == {parse_pin(server.pin)}


async def test_a_pin_of_another_server_stops_everything(
    qt: Callable[[], None], server: ServerProgram, bob: Home, tmp_path: Path
) -> None:
    (tmp_path / "new").mkdir()
    home = Home(tmp_path / "new")
    home.remember()
    async with open_desk(home, server) as desk:
        desk.sheet.fill(Typed(server=server.address, room=ROOM, nick="alice"))
        press(desk.sheet, "Join")
        dialog = await desk.dialog()
        field = dialog.findChild(QLineEdit)
        assert isinstance(field, QLineEdit)
        field.setText("sha256:" + "A" * 43)
        press(dialog, "Trust it from now on")
        await wait_until(lambda: any("is not the server's" in text for text in desk.labels("error")))
    assert not home.profile.known_hosts.entries()


async def test_a_join_line_with_a_pin_asks_nothing(
    qt: Callable[[], None], server: ServerProgram, bob: Home, tmp_path: Path
) -> None:
    (tmp_path / "new").mkdir()
    home = Home(tmp_path / "new")
    home.remember()
    async with open_desk(home, server) as desk:
        desk.field("Nickname").setText("alice")
        desk.field("Server").setText(f"securechat://{server.address}/Tea%20House?pin={server.pin}")
        assert (desk.field("Server").text(), desk.field("Room").text()) == (server.address, ROOM)
        press(desk.sheet, "Join")
        await wait_until(lambda: desk.page)


async def test_a_room_that_nobody_has_used_is_created_only_when_somebody_says_so(
    desk: Desk, server: ServerProgram
) -> None:
    desk.sheet.fill(Typed(server=server.address, room=ROOM, nick="alice"))
    press(desk.sheet, "Join")
    dialog = await desk.dialog()
    assert "the room words are: " in shown(dialog)
    press(dialog, "Go back")
    await wait_until(lambda: any("Nobody has used this room name" in text for text in desk.labels("error")))
    press(desk.sheet, "Join")
    press(await desk.dialog(), "Create the room")
    await desk.shows("You opened the room tea house.")


async def test_a_passphrase_that_can_be_guessed_opens_no_room(desk: Desk, server: ServerProgram) -> None:
    desk.sheet.fill(Typed(server=server.address, room="elsewhere", nick="alice", passphrase="tea house"))
    press(desk.sheet, "Join")
    assert desk.labels("muted", desk.sheet)[-1] == "Deriving the room's keys ..."
    await wait_until(lambda: any("This passphrase can be guessed" in text for text in desk.labels("error")))
    assert "--weak-passphrase" not in "".join(desk.labels("error"))


async def test_a_passphrase_opens_the_room_that_the_terminal_made(desk: Desk, server: ServerProgram, bob: Home) -> None:
    page = await desk.join(passphrase=PASSPHRASE, remembers=False)
    await desk.shows("the first message")
    assert page.timeline.toPlainText().count(PASSPHRASE) == 0


async def test_a_server_that_is_not_there_is_told_in_the_sheet(desk: Desk, server: ServerProgram) -> None:
    server.stop()
    desk.sheet.fill(Typed(server=server.address, room=ROOM, nick="alice"))
    press(desk.sheet, "Join")
    await wait_until(lambda: any("cannot be reached" in text for text in desk.labels("error")))
    assert desk.field("Server").isEnabled()


async def test_joining_can_be_cancelled(desk: Desk, server: ServerProgram) -> None:
    with trio.socket.socket() as silent:
        await silent.bind(("127.0.0.1", 0))
        silent.listen()
        host, port = silent.getsockname()
        desk.sheet.fill(Typed(server=f"{host}:{port}", room=ROOM, nick="alice"))
        press(desk.sheet, "Join")
        await wait_until(lambda: desk.window._joining)
        press(desk.sheet, "Cancel")
        await wait_until(lambda: desk.field("Server").isEnabled())
        assert not desk.labels("error")


async def test_the_old_mode_says_that_it_is_not_encrypted(qt: Callable[[], None], home: Home, tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    with Home(tmp_path / "old").serve("--compat", "127.0.0.1:0") as server:
        port = server.wait_for(r"served on 127\.0\.0\.1:(\d+);", "err")[1]
        async with open_desk(home, server) as desk:
            await desk.join(server=f"127.0.0.1:{port}", pin=parse_pin(server.pin), room="1", nick="ann", is_old=True)
            assert any("NOT ENCRYPTED" in text for text in desk.labels("plain-warning"))
            assert "NOT ENCRYPTED" in desk.text
            key(desk.window, "Ctrl+N")
            page = await desk.join(server=f"127.0.0.1:{port}", room="2", nick="bob", is_old=True, is_bare=True)
            desk.say("in the open")
            await desk.shows("in the open")
            first, second = desk.window._talks  # one inside TLS, one without
            assert second.page is page
            assert "in the open" not in first.page.timeline.toPlainText()
            assert any("NOT ENCRYPTED" in text for text in desk.labels("plain-warning"))


def shown(dialog: QDialog) -> str:
    """Return all that a dialog says."""
    return "\n".join(label.text() for label in dialog.findChildren(QLabel) if label.isVisible())


async def test_the_tab_key_goes_round_the_whole_window(desk: Desk, bob: Home) -> None:
    page = await desk.join()
    key(desk.window, "Ctrl+F")
    page.composer.setFocus()
    names: list[str] = []
    for _ in range(20):
        widget = await wait_until(QApplication.focusWidget)
        names.append(widget.accessibleName())
        if len(names) > 1 and widget is page.composer:
            break
        key(widget, "Tab")
    assert names[0] == names[-1] == "Message"
    assert {"Conversation", "Members", "Rooms", "Menu", "Join another room", "Search", "Send"} <= set(names)
    assert all(names)
