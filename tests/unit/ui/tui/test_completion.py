import pytest

from securechat.ui.tui.completion import complete

COMMANDS = ["help", "history", "names"]
NICKS = ["bob", "Bobby", "\u674e\u5c0f\u9f8d", "alice~3f2a"]


@pytest.mark.parametrize(
    ("before", "start", "candidates"),
    [
        ("/h", 0, ["/help ", "/history "]),
        ("/n", 0, ["/names "]),
        ("/x", 0, []),
        ("//h", 0, []),
        ("/help hi", 6, ["history"]),
        ("bo", 0, ["bob: ", "Bobby: "]),
        ("BOB", 0, ["bob: ", "Bobby: "]),
        ("hello @bo", 6, ["bob ", "Bobby "]),
        ("/whois al", 7, ["alice~3f2a "]),
        ("\u674e", 0, ["\u674e\u5c0f\u9f8d: "]),
        ("", 0, []),
        ("hello ", 6, []),
    ],
)
def test_a_word_is_completed_by_where_it_stands(before: str, start: int, candidates: list[str]) -> None:
    assert complete(before, COMMANDS, NICKS) == (start, candidates)
