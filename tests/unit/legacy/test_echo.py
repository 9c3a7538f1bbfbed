"""How the old mode knows that its own messages have come back."""

import pytest

from securechat.client.conversation import Unsent
from securechat.legacy.hearing import Unacknowledged


@pytest.mark.parametrize(
    ("sent", "heard", "whole"),
    [
        (["one", "two"], ["one", "two"], [True, True]),
        (["one two"], ["one ", "two  "], [False, True]),
        (["one", "two"], ["onetwo"], [True]),
        (["one", "two"], ["onet", "wo"], [True, True]),
        (["one"], ["of another of this name", "one"], [False, True]),
        (["lost", "two", "three"], ["two", "three"], [True, True]),
    ],
)
def test_leg_3_a_message_is_acknowledged_in_parts_and_glued(
    sent: list[str], heard: list[str], whole: list[bool]
) -> None:
    waiting = Unacknowledged()
    for text in sent:
        waiting.append(Unsent(0, text, is_action=False))
    assert [waiting.hear(text) for text in heard] == whole
    assert len(waiting) == (1 if "lost" in sent else 0)
