"""The conversation as it stands in the window: order, marks, what stays in view, what is never taken for HTML."""

import time
from collections.abc import Iterator

import pytest
from PySide6.QtCore import QEvent, QPoint
from PySide6.QtGui import QHelpEvent, QTextCursor
from PySide6.QtWidgets import QApplication, QToolTip

from securechat import limits
from securechat.client.conversation import Event, Kind, Sender, Unsent
from securechat.ui.gui import theme
from securechat.ui.gui.find_bar import FindBar
from securechat.ui.gui.timeline import Timeline

NOON = 1_763_985_600_000
BOB = Sender("bob", b"b" * 32, verified=True, is_me=False)


def said(number: int, sender: Sender = BOB, *, time: int = NOON) -> Event:
    return Event(Kind.MESSAGE, time, f"message {number}", sequence=number, sender=sender)


@pytest.fixture
def timeline(application: QApplication, no_bugs: None) -> Iterator[Timeline]:
    made = Timeline(lambda: "alice")
    made.resize(600, 400)
    made.show()
    application.processEvents()
    yield made
    made.close()
    made.deleteLater()


def lines(timeline: Timeline) -> list[str]:
    return [line for line in timeline.toPlainText().splitlines() if line.startswith("message")]


def test_text_of_peers_is_never_taken_for_html(timeline: Timeline) -> None:
    text = "<b>bold</b> <img src='http://evil.example/x.png'> <a href='http://evil.example'>here</a> &amp; <script>"
    timeline.show_event(Event(Kind.MESSAGE, NOON, text, sender=BOB._replace(nick="<i>bob</i>")))
    timeline.show_event(Event(Kind.NOTICE, NOON, text))
    assert timeline.toPlainText().count(text) == 2
    assert "<i>bob</i>" in timeline.toPlainText()


def test_a_tool_tip_quotes_what_a_peer_wrote(timeline: Timeline, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr(QToolTip, "showText", lambda _, text, *__: shown.append(text))
    timeline.show_event(said(1, BOB._replace(nick="<img src=x>")))
    where = timeline.cursorRect(QTextCursor(timeline.document().lastBlock())).center()
    QApplication.sendEvent(timeline.viewport(), QHelpEvent(QEvent.Type.ToolTip, where, QPoint(0, 0)))
    assert "&lt;img src=x&gt;" in shown[0]
    assert "62626262" in shown[0]


def test_a_message_of_several_lines_is_copied_as_it_was_written(timeline: Timeline) -> None:
    timeline.show_event(Event(Kind.MESSAGE, NOON, "def f():\n    return 1", sender=BOB))
    timeline.selectAll()
    timeline.copy()
    assert QApplication.clipboard().text().endswith("def f():\n    return 1")


def test_older_messages_go_above_and_share_the_mark_of_their_day(timeline: Timeline) -> None:
    for number in (3, 4):
        timeline.show_event(said(number))
    timeline.show_older([said(1, time=NOON - 86_400_000), said(2)])
    assert lines(timeline) == [f"message {number}" for number in (1, 2, 3, 4)]
    assert timeline.toPlainText().count("November 2025") == 2
    assert timeline.first == said(1, time=NOON - 86_400_000)


def test_what_is_in_view_stays_there_when_older_messages_come(timeline: Timeline, application: QApplication) -> None:
    for number in range(100, 200):
        timeline.show_event(said(number))
    bar = timeline.verticalScrollBar()
    bar.setValue(40)
    before = timeline.cursorForPosition(QPoint(80, 100)).block().text()
    timeline.show_older([said(number) for number in range(50, 100)])
    application.processEvents()
    assert timeline.cursorForPosition(QPoint(80, 100)).block().text() == before
    assert not timeline.follows


def test_the_end_stays_in_view_until_somebody_scrolls_up(timeline: Timeline, application: QApplication) -> None:
    bar = timeline.verticalScrollBar()
    for number in range(100):
        timeline.show_event(said(number))
    application.processEvents()
    assert bar.value() == bar.maximum() > 0
    bar.setValue(bar.maximum() // 2)
    here = bar.value()
    timeline.show_event(said(101))
    application.processEvents()
    assert bar.value() == here
    timeline.scroll_to_end()
    assert timeline.follows


def test_the_top_asks_for_more(timeline: Timeline, application: QApplication) -> None:
    reached: list[int] = []
    timeline.top_reached.connect(lambda: reached.append(1))
    for number in range(100):
        timeline.show_event(said(number))
    application.processEvents()
    reached.clear()
    timeline.verticalScrollBar().setValue(0)
    assert reached


def test_what_waits_stands_below_everything_until_it_is_acknowledged(timeline: Timeline) -> None:
    me = Sender("alice", b"a" * 32, verified=True, is_me=True)
    timeline.show_event(said(1))
    waiting = [Unsent(NOON, "mine", is_action=False), Unsent(NOON, "mine too", is_action=False)]
    timeline.show_pending(waiting, is_connected=False)
    timeline.show_event(said(2))
    text = timeline.toPlainText()
    assert text.index("message 2") < text.index("waits for the connection") < text.index("mine")
    timeline.show_event(Event(Kind.MESSAGE, NOON, "mine", sender=me, is_own=True))
    timeline.acknowledge("mine")
    assert timeline.toPlainText().count("mine\n") == 1
    timeline.show_pending([], is_connected=True)
    assert "mine too" not in timeline.toPlainText()
    assert timeline.document().lastBlock().text() == "mine"


def test_only_so_much_of_what_waits_is_shown(timeline: Timeline) -> None:
    waiting = [Unsent(NOON, f"waiting {n}", is_action=False) for n in range(limits.SHOWN_PENDING + 5)]
    timeline.show_pending(waiting, is_connected=True)
    assert timeline.toPlainText().count("waiting") == limits.SHOWN_PENDING
    assert "and 5 more" in timeline.toPlainText()


def test_there_is_one_mark_of_what_is_new(timeline: Timeline) -> None:
    timeline.show_event(said(1))
    timeline.mark_new()
    timeline.show_event(said(2))
    timeline.mark_new()
    timeline.show_event(said(3))
    rows = timeline.toPlainText().splitlines()
    assert rows.count("new") == 1
    assert sum("November 2025" in row for row in rows) == 1
    assert sum(row.startswith("bob ") for row in rows) == 3
    assert rows.index("message 2") < rows.index("new") < rows.index("message 3")


def test_the_oldest_go_when_there_are_too_many(timeline: Timeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SCREEN_ENTRIES", 50)
    for number in range(60):
        timeline.show_event(said(number))
    assert lines(timeline) == [f"message {number}" for number in range(10, 60)]
    timeline.refresh()
    assert lines(timeline) == [f"message {number}" for number in range(10, 60)]


def test_clearing_leaves_warnings(timeline: Timeline) -> None:
    timeline.show_event(said(1))
    timeline.show_event(Event(Kind.FORK, NOON, "two histories"))
    timeline.show_event(said(2))
    timeline.clear_events()
    assert "two histories" in timeline.toPlainText()
    assert not lines(timeline)


def test_colours_follow_the_theme(timeline: Timeline) -> None:
    timeline.show_event(said(1))

    def colour() -> str:
        return QTextCursor(timeline.document().lastBlock()).charFormat().foreground().color().name()

    assert colour() == theme.LIGHT.text
    theme.choose_appearance("dark")
    try:
        timeline.refresh()
        assert colour() == theme.DARK.text
        assert lines(timeline) == ["message 1"]
    finally:
        theme.choose_appearance("light")


def test_a_link_can_be_pressed_and_opens_nothing_by_itself(timeline: Timeline) -> None:
    pressed: list[str] = []
    timeline.anchorClicked.connect(lambda url: pressed.append(url.toString()))
    timeline.show_event(Event(Kind.MESSAGE, NOON, "see https://example.org/x", sender=BOB))
    assert not timeline.openLinks()
    cursor = QTextCursor(timeline.document().lastBlock())
    cursor.movePosition(QTextCursor.MoveOperation.EndOfBlock)
    assert cursor.charFormat().anchorHref() == "https://example.org/x"


def test_search_finds_from_the_end_upwards(timeline: Timeline, application: QApplication) -> None:
    for number in range(30):
        timeline.show_event(said(number))
    bar = FindBar(timeline)
    bar.open_bar("MESSAGE 1")
    assert len(timeline.extraSelections()) == 11  # 1 and 10 to 19
    assert timeline.textCursor().block().text() == "message 19"
    bar._step(-1)
    assert timeline.textCursor().block().text() == "message 18"
    bar.open_bar("nowhere")
    assert bar._count.text() == "nothing found"
    bar.close_bar()
    assert not timeline.extraSelections()
    bar.deleteLater()


def test_five_thousand_messages_stay_quick(timeline: Timeline, application: QApplication) -> None:
    begun = time.process_time()
    with timeline.at_once():
        for number in range(5000):
            timeline.show_event(said(number, BOB._replace(nick=f"bob{number % 7}")))
    application.processEvents()
    filled = time.process_time() - begun
    begun = time.process_time()
    timeline.show_event(said(5001))
    timeline.grab()
    one = time.process_time() - begun
    assert filled < 5  # 0.6 s measured
    assert one < 0.1  # 0.01 s measured
