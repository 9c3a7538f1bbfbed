"""What a conversation shows, before any widget: days, names, links, mentions, and nothing that a peer could misuse."""

import datetime

import pytest

from securechat.client.conversation import Event, Kind, Sender, Unsent
from securechat.ui.gui import rows
from securechat.ui.gui.rows import Look, Span, Tone

NOON = int(datetime.datetime(2026, 11, 23, 12, 0).astimezone().timestamp() * 1000)
MINUTE = 60_000
BOB = Sender("bob", b"b" * 32, verified=False, is_me=False)
ME = Sender("alice", b"a" * 32, verified=True, is_me=True)


def said(text: str, sender: Sender = BOB, time: int = NOON, **more: bool) -> Event:
    return Event(Kind.MESSAGE, time, text, sequence=7, sender=sender, **more)


def looks(event: Event, before: Event | None) -> list[Look]:
    return [row.look for row in rows.rows_of(event, before, "alice")]


def text_of(event: Event) -> str:
    return "\n".join("".join(span.text for span in row.spans) for row in rows.rows_of(event, None, "alice"))


def test_a_day_begins_with_a_mark() -> None:
    first = said("late", time=NOON)
    assert looks(first, None) == [Look.DAY, Look.NAME, Look.TEXT]
    tomorrow = said("early", time=NOON + 24 * 60 * MINUTE)
    assert looks(tomorrow, first) == [Look.DAY, Look.NAME, Look.TEXT]
    assert rows.rows_of(tomorrow, first, "alice")[0].spans[0].text == "Tuesday, 24 November 2026"


@pytest.mark.parametrize(
    ("event", "continues"),
    [
        (said("two", time=NOON + MINUTE), True),
        (said("two", time=NOON + 6 * MINUTE), False),
        (said("two", ME, time=NOON + MINUTE), False),
        (said("two", BOB._replace(verified=True), time=NOON + MINUTE), False),
        (said("two", BOB._replace(identity=b"c" * 32), time=NOON + MINUTE), False),
        (said("two", time=NOON + MINUTE, is_late=True), False),
    ],
)
def test_what_somebody_says_in_a_row_goes_below_one_name(event: Event, continues: bool) -> None:
    assert looks(event, said("one")) == ([Look.TEXT] if continues else [Look.NAME, Look.TEXT])


def test_an_action_is_one_row_and_ends_a_run() -> None:
    waves = said("waves", is_action=True)
    assert looks(waves, said("one")) == [Look.ACTION]
    assert looks(said("two"), waves) == [Look.NAME, Look.TEXT]


@pytest.mark.parametrize("kind", [Kind.GAP, Kind.FORK, Kind.ROLLBACK, Kind.CHANGED_KEY])
def test_warnings_look_like_nothing_else(kind: Kind) -> None:
    assert looks(Event(kind, NOON, "beware"), said("one")) == [Look.ALARM]


def test_a_message_that_was_altered_is_a_warning() -> None:
    assert looks(Event(Kind.NOTICE, NOON, "Message 7 does not open", sequence=7), said("one")) == [Look.ALARM]
    assert looks(Event(Kind.NOTICE, NOON, "hello"), said("one")) == [Look.NOTICE]


@pytest.mark.parametrize(
    ("text", "links"),
    [
        ("see https://example.org/a?b=c, and more", ["https://example.org/a?b=c"]),
        ("(https://example.org/a_(b))", ["https://example.org/a_(b)"]),
        ("https://one.example. HTTP://TWO.example!", ["https://one.example", "HTTP://TWO.example"]),
        ("\u770bhttps://example.org/\u8def\u3002\u597d", ["https://example.org/\u8def"]),
        ('<a href="https://x.example">y</a>', ["https://x.example"]),
        ("javascript:alert(1) file:///etc/passwd https:// http://)", []),
    ],
)
def test_links_are_told_apart(text: str, links: list[str]) -> None:
    spans = rows.spans_of(text)
    assert "".join(span.text for span in spans) == text
    assert [span.text for span in spans if span.tone is Tone.LINK] == links


@pytest.mark.parametrize(
    ("text", "is_named"),
    [("Alice: look", True), ("ask @alice!", True), ("malice", False), ("alice2", False), ("al ice", False)],
)
def test_a_mention_is_a_word_of_its_own(text: str, is_named: bool) -> None:
    assert rows.is_mention(said(text), "alice") == is_named
    assert not rows.is_mention(said(text, ME), "alice")


def test_a_nickname_is_no_pattern() -> None:
    assert not rows.names("anything", ".*")
    assert rows.names("hello .* there", ".*")


def test_what_a_peer_wrote_is_sanitised() -> None:
    hostile = Sender("\x1b[31m<b>\u202ebo\u200bss" + "\u0335" * 12, b"h" * 32, verified=False, is_me=False)
    shown = text_of(said("\x1b]0;title\x07red \u202eback\u202c <h1>big</h1>\nnext", hostile))
    assert not set(shown) & {"\x1b", "\u202e", "\u202c", "\u200b", "\x07"}
    assert "<b>boss" in shown
    assert shown.count("\u0335") == 4
    assert "red back <h1>big</h1>\nnext" in shown


def test_a_notice_is_one_line() -> None:
    assert "a\u23ceb" in text_of(Event(Kind.NOTICE, NOON, "a\nb"))


def test_times_beyond_the_calendar_are_shown_all_the_same() -> None:
    assert "9999" in text_of(said("far", time=2**63))


def test_remarks_on_time_are_made() -> None:
    late = Event(Kind.MESSAGE, NOON, "x", sender=BOB, is_late=True, clock_error=10 * MINUTE)
    assert "12:00 (dated 10 minutes ahead) (out of order)" in text_of(late)


def test_what_waits_says_so() -> None:
    waiting = [Unsent(NOON, "one", is_action=False), Unsent(NOON, "two", is_action=False)]
    made = rows.pending_rows(waiting, 3, "alice", is_connected=False)
    assert [row.spans[0] for row in made] == [
        Span("alice", Tone.NAME),
        Span("one"),
        Span("two"),
        Span("and 3 more", Tone.MUTED),
    ]
    assert made[0].spans[1].text.strip() == "waits for the connection"
