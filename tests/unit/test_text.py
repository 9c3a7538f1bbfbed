"""What peers wrote, made safe to show; and nicknames compared as people see them."""

import sys
import unicodedata

import pytest

from securechat.text import LINE_FEED_MARK, legible, legible_line, one_line, sanitise, skeleton


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b[1;38;5;200mbold\x1b[m", "bold"),
        ("\x1b[?1049hscreen", "screen"),
        ("\x1b[2 qcursor", "cursor"),
        ("\x9b31mred", "red"),
        ("\x1b[", ""),
        ("\x1b[31", ""),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;https://evil.example\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x9d0;title\x9ctext", "text"),
        ("\x1b]52;c;Y29weQ==\x07pasted", "pasted"),
        ("\x1b]never ends", ""),
        ("before\x1b]never\nends", "before"),
        ("\x1bPq#0;2;0;0;0\x1b\\sixel", "sixel"),
        ("\x90q\x9csixel", "sixel"),
        ("\x1bXstart of string\x1b\\x", "x"),
        ("\x1b^private\x1b\\x", "x"),
        ("\x1b_application\x1b\\x", "x"),
        ("\x98a\x9cb\x9ec\x9cd\x9fe\x9cf", "bdf"),
        ("\x1bcreset", "reset"),
        ("\x1b(Bcharset", "charset"),
        ("\x1b#8aligned", "aligned"),
        ("\x1b7saved\x1b8", "saved"),
        ("\x1b", ""),
        ("a\x1b\x1b[31mb", "ab"),
        ("a\x1b\x1b[0m[31mb", "a[31mb"),
        ("[31mplain brackets]", "[31mplain brackets]"),
    ],
)
def test_ansi_sequences_are_removed_whole(text: str, expected: str) -> None:
    assert sanitise(text) == expected


def test_control_characters_are_removed_except_the_line_feed() -> None:
    controls = [chr(code) for code in [*range(0x20), *range(0x7F, 0xA0)]]
    for control in controls:
        safe = sanitise(f"a{control}")
        if control == "\n":
            assert safe == "a\n"
        elif control == "\t":
            assert safe == "a "
        else:
            assert safe == "a", repr(control)
    assert sanitise("a\x08b\x7fc\x00d\x85e") == "abcde"


def test_line_ends_become_line_feeds_and_a_return_cannot_overwrite() -> None:
    assert sanitise("one\r\ntwo\nthree") == "one\ntwo\nthree"
    assert sanitise("me: hello\rhe: I agree") == "me: hellohe: I agree"


@pytest.mark.parametrize("code", [0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)])
def test_bidirectional_controls_are_removed(code: int) -> None:
    assert sanitise(f"a{chr(code)}b") == "ab"


def test_no_bidirectional_control_of_unicode_is_forgotten() -> None:
    kinds = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    forgotten = [
        hex(code)
        for code in range(sys.maxunicode + 1)
        if unicodedata.bidirectional(chr(code)) in kinds and sanitise(chr(code))
    ]
    assert forgotten == []


def test_separators_and_surrogates_are_removed() -> None:
    assert sanitise("a\u2028b\u2029c") == "abc"
    assert sanitise("a\ud800b\udfffc") == "abc"
    sanitise("".join(map(chr, range(sys.maxunicode + 1)))).encode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "plain",
        "Grüße, 世界 \U0001f44b",
        "\u05e2\u05d1\u05e8\u05d9\u05ea",
        "e\u0301",
        "a\u00a0b",
        "\U0001f468\u200d\U0001f469",
    ],
)
def test_what_people_write_is_left_as_it_is(text: str) -> None:
    assert sanitise(text) == text
    assert one_line(text) == text


def test_sanitising_twice_changes_nothing_more() -> None:
    text = "\x1b\x1b[0m[31m\x9b\x1b]a\x1b[\x07\r\n\t\u202e\ud800x"
    assert sanitise(sanitise(text)) == sanitise(text)


def test_one_line_has_one_line() -> None:
    text = "one\ntwo\r\nthree\u2028\x0b\x0c\x1c\x1d\x1e\x85\x1b[2Jfour\n"
    assert one_line(text) == f"one{LINE_FEED_MARK}two{LINE_FEED_MARK}threefour{LINE_FEED_MARK}"
    every = one_line("".join(map(chr, range(sys.maxunicode + 1))).replace("\x1b", "").replace("\x9b", ""))
    assert len(every.splitlines()) <= 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("alice", "Alice"),
        ("alice", "al\u0456ce"),
        ("alice", "\u0430lice"),
        ("alice", "a1ice"),
        ("alice", "aIice"),
        ("alice", "a|ice"),
        ("alice", "\u03b1lice"),
        ("alice", "álice"),
        ("alice", "ali\u200bce"),
        ("alice", "ali\u00adce"),
        ("alice", "ali\ufeffce"),
        ("alice", "\u202ealice"),
        ("alice", "al ice"),
        ("alice", "al\u00a0ice"),
        ("alice", "\uff41lice"),
        ("alice", "\U0001d41alice"),
        ("alice", "\x1b[31malice"),
        ("bob", "b0b"),
        ("bob", "b\u043eb"),
        ("bob", "b\u03bfb"),
        ("bob", "b\u00f8b"),
        ("mary", "rnary"),
        ("walter", "vvalter"),
        ("strasse", "straße"),
        ("PETER", "\u0420eter"),
        ("ahmet", "\u0430\u04bbmet"),
        ("file", "\ufb01le"),
        ("i", "\u0131"),
        ("i", "L"),
    ],
)
def test_lookalikes_have_one_skeleton(one: str, other: str) -> None:
    assert skeleton(one) == skeleton(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("alice", "alicia"), ("bob", "rob"), ("anna", "hanna"), ("a", "b"), ("世", "界"), ("tom", "ton"), ("v", "w")],
)
def test_different_names_have_different_skeletons(one: str, other: str) -> None:
    assert skeleton(one) != skeleton(other)


def test_a_name_of_nothing_visible_has_an_empty_skeleton() -> None:
    assert skeleton("\u200b \u00ad\u0301") == ""


def test_a_skeleton_is_its_own() -> None:
    for nick in ("Álice", "rnary", "vVvv", "straße", "B0B", "\u0420eter"):
        assert skeleton(skeleton(nick)) == skeleton(nick)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("\x1b[31mred\u202e", "red"),
        ("al\u200bi\u2060ce\ufeff\u00ad", "alice"),
        ("\U0001f469\u200d\U0001f680", "\U0001f469\U0001f680"),
        ("\u2764\ufe0f", "\u2764"),
        ("a" + "\u0301" * 500 + "b", "a" + "\u0301" * 4 + "b"),
        ("\u0301" * 9, "\u25cc" + "\u0301" * 4),
        ("a\n\u0301", "a\n\u25cc\u0301"),
        ("\u1112\u1161\u11ab" + "\u11ab" * 50, "\u1112\u1161" + "\u11ab" * 3),
        ("\u3164", ""),
        ("\u6f22\u5b57", "\u6f22\u5b57"),
    ],
)
def test_text_for_a_grid_has_nothing_invisible_and_few_marks(text: str, expected: str) -> None:
    assert legible(text) == expected
    assert legible_line(text) == expected.replace("\n", LINE_FEED_MARK)
