"""Faults that come again and again are logged once a minute."""

import pytest

from securechat import limits
from securechat.errors import StorageError
from securechat.server.repeats import FaultLog, OnceAMinute


class Clock:
    """A clock that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_subject_is_due_once_a_minute() -> None:
    clock = Clock()
    repeats = OnceAMinute(clock)
    assert [repeats.is_due() for _ in range(3)] == [True, False, False]
    assert repeats.is_due("another")
    clock.now += limits.REPORT_INTERVAL - 1
    assert not repeats.is_due()
    clock.now += 1
    assert [repeats.is_due() for _ in range(2)] == [True, False]


def test_subjects_are_bounded_and_forgotten() -> None:
    clock = Clock()
    repeats = OnceAMinute(clock, maximum=3)
    assert [repeats.is_due(str(number)) for number in range(5)] == [True] * 3 + [False] * 2
    clock.now += limits.REPORT_INTERVAL
    assert [repeats.is_due(str(number)) for number in range(5)] == [True] * 3 + [False] * 2
    clock.now += limits.REPORT_INTERVAL
    assert repeats.is_due("4")
    assert len(repeats._reported) == 1


def test_the_same_fault_is_logged_once_and_others_too(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    faults = FaultLog(clock)
    for _ in range(3):
        faults.report("a room could not be opened", StorageError("The disk is full.", "Make room on it."))
        faults.report("a room could not be opened", StorageError("It broke."))
        faults.report("history could not be read", StorageError("It broke."))
    assert caplog.messages == [
        "a room could not be opened: The disk is full. Make room on it.",
        "a room could not be opened: It broke.",
        "history could not be read: It broke.",
    ]
