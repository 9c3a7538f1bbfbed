"""The sheet: what is pasted fills it, what is wrong is said at the field, what is secret is hidden."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QCheckBox, QLabel, QLineEdit, QWidget

from securechat.client import recent
from securechat.client.address import ServerAddress
from securechat.client.profile import Profile
from securechat.ui.gui.entering import Entering, Typed
from securechat.ui.gui.sheet import Sheet
from tests.support.desk import press

PIN = "sha256:" + "A" * 43


class Paper:
    """A sheet, and what was submitted with it."""

    def __init__(self, sheet: Sheet) -> None:
        self.sheet = sheet
        self.submitted: list[Typed] = []
        sheet.submitted.connect(self.submitted.append)

    def edit(self, name: str) -> QLineEdit:
        """Return an edit line by its accessible name."""
        (found,) = (w for w in self.sheet.findChildren(QLineEdit) if w.accessibleName() == name)
        return found

    def error(self, name: str) -> str:
        """Return what is said to be wrong with a field."""
        return self.edit(name).accessibleDescription()

    def type(self, name: str, text: str) -> None:
        """Type into a field, and leave it."""
        self.edit(name).setFocus()
        self.edit(name).selectAll()
        if text.isascii():
            QTest.keyClicks(self.edit(name), text)
        else:  # the test library knows no other keys
            self.edit(name).insert(text)
        QTest.keyClick(self.edit(name), Qt.Key.Key_Tab)


@pytest.fixture
def paper(application: QApplication, no_bugs: None, tmp_path: Path) -> Iterator[Paper]:
    profile = Profile(tmp_path)
    state = profile.open_state()
    recent.remember(state, ServerAddress("old.example", 7443), "attic")
    state.set_secret("attic", b"s" * 32)
    sheet = Sheet(Entering(profile, state), recent.recent(state))
    sheet.can_be_closed(is_possible=False)
    sheet.show()
    sheet.activateWindow()
    application.processEvents()
    yield Paper(sheet)
    sheet.close()
    sheet.deleteLater()
    state.close()


@pytest.mark.parametrize("way", ["pasted", "typed"])
def test_a_join_line_fills_server_room_and_pin(paper: Paper, way: str) -> None:
    line = f"securechat://chat.example:7000/Tea%20House?pin={PIN}"
    if way == "pasted":
        paper.edit("Server").setText(line)
    else:
        paper.type("Server", line)
    assert paper.edit("Server").text() == "chat.example:7000"
    assert paper.edit("Room").text() == "Tea House"
    assert paper.sheet.typed.pin == bytes(32)
    paper.type("Server", "other.example")
    assert paper.sheet.typed.pin == b""


@pytest.mark.parametrize(
    ("name", "text", "part"),
    [
        ("Server", "a b", "names no server. Give HOST, HOST:PORT or a securechat:// line."),
        ("Server", "securechat://", "names no server"),
        ("Server", "https://example.org", "This is not a join line."),
        ("Room", "\u200b\u200b", "The room name is empty."),
        ("Room", "x" * 200, "The room name takes 200 bytes of at most 128."),
        ("Nickname", "two words", "A nickname has no spaces"),
        ("Nickname", "n" * 40, "A nickname has 1 to 32 characters"),
    ],
)
def test_what_is_wrong_is_said_when_a_field_is_left(paper: Paper, name: str, text: str, part: str) -> None:
    paper.type(name, text)
    assert part in paper.error(name)
    paper.edit(name).setFocus()
    QTest.keyClick(paper.edit(name), Qt.Key.Key_Backspace)
    assert paper.error(name) == ""


def test_nothing_is_submitted_while_a_field_is_wrong(paper: Paper) -> None:
    press(paper.sheet, "Join")
    assert not paper.submitted
    assert "The passphrase is empty." in paper.error("Passphrase")
    assert QApplication.focusWidget() is paper.edit("Server")


def test_enter_submits(paper: Paper) -> None:
    paper.sheet.fill(Typed(server="chat.example", room="Tea House", nick="alice"))
    assert QApplication.focusWidget() is paper.edit("Passphrase")
    QTest.keyClicks(paper.edit("Passphrase"), "open sesame")
    QTest.keyClick(paper.edit("Passphrase"), Qt.Key.Key_Return)
    assert paper.submitted == [Typed("chat.example", b"", "Tea House", "alice", "open sesame")]
    assert "sesame" not in repr(paper.submitted)


def test_a_passphrase_is_hidden_until_somebody_wants_to_see_it(paper: Paper) -> None:
    edit = paper.edit("Passphrase")
    assert edit.echoMode() is QLineEdit.EchoMode.Password
    press(paper.sheet, "Show the passphrase")
    assert edit.echoMode() is QLineEdit.EchoMode.Normal
    press(paper.sheet, "Show the passphrase")
    assert edit.echoMode() is QLineEdit.EchoMode.Password


def test_a_passphrase_is_made_here_and_shown_with_its_strength(paper: Paper) -> None:
    made = set()
    for _ in range(2):
        press(paper.sheet, "Make a new passphrase")
        assert len(paper.edit("Passphrase").text().split()) == 6
        made.add(paper.edit("Passphrase").text())
    assert len(made) == 2
    assert paper.edit("Passphrase").echoMode() is QLineEdit.EchoMode.Normal
    assert any(text.startswith("78 bits") for text in texts(paper.sheet))


def test_the_last_rooms_are_offered_and_a_remembered_secret_needs_no_passphrase(paper: Paper) -> None:
    (action,) = (a for m in paper.sheet.findChildren(QWidget) for a in m.actions() if "old.example" in a.text())
    action.trigger()
    assert (paper.edit("Server").text(), paper.edit("Room").text()) == ("old.example:7443", "attic")
    assert "leave it empty" in paper.edit("Passphrase").placeholderText()
    paper.edit("Nickname").setText("alice")
    press(paper.sheet, "Join")
    assert paper.submitted[0].passphrase == ""


def test_the_old_mode_takes_no_passphrase_and_warns(paper: Paper) -> None:
    box = next(b for b in paper.sheet.findChildren(QCheckBox) if "base64" in b.text())
    assert not any("NOT ENCRYPTED" in text for text in texts(paper.sheet))
    box.click()
    assert any("NOT ENCRYPTED" in text for text in texts(paper.sheet))
    assert not paper.edit("Passphrase").isVisible()
    paper.sheet.fill(Typed(server="chat.example", room="1", nick="alice", is_old=True))
    press(paper.sheet, "Join")
    assert paper.submitted[0].is_old


def test_it_waits_while_it_is_joining(paper: Paper) -> None:
    paper.sheet.fill(Typed(server="chat.example", room="attic", nick="alice"))
    paper.sheet.show_stage("Deriving the room's keys ...")
    assert "Deriving the room's keys ..." in texts(paper.sheet)
    assert not paper.edit("Server").isEnabled()
    paper.sheet._submit()
    assert not paper.submitted
    paper.sheet.show_failure("It did not work.")
    assert "It did not work." in texts(paper.sheet)
    assert paper.edit("Server").text() == "chat.example"


def test_everything_can_be_reached_with_the_tab_key_and_has_a_name(paper: Paper) -> None:
    paper.edit("Server").setFocus()
    reached = []
    for _ in range(12):
        widget = QApplication.focusWidget()
        assert widget is not None
        reached.append(widget.accessibleName() or getattr(widget, "text", str)())
        QTest.keyClick(widget, Qt.Key.Key_Tab)
    assert reached[:7] == [
        "Server",
        "Rooms that you were in last",
        "Room",
        "Nickname",
        "Passphrase",
        "Show the passphrase",
        "Make a new passphrase",
    ]
    assert reached[9] == "Join"
    assert all(reached)


def texts(sheet: Sheet) -> list[str]:
    """Return all texts that are visible."""
    return [label.text() for label in sheet.findChildren(QLabel) if label.isVisible()]
