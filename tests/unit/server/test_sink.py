"""A sink: whatever its destination does, its caller goes on, and what is lost is counted and said."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from securechat import limits
from securechat.server.destinations import Stream
from securechat.server.sink import Sink
from tests.support.destinations import PATIENCE, FakeDestination, full, hung_up


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LOG_RETRY", 0.001)


@contextmanager
def open_sink(fake: FakeDestination, render: Callable[[str], str] | None = str) -> Iterator[Sink]:
    sink = Sink(fake, render)
    try:
        yield sink
    finally:
        fake.is_open.set()
        assert sink.close(PATIENCE)


def put_numbers(sink: Sink, count: int) -> str:
    for number in range(count):
        sink.put(str(number))
    return "".join(f"{number}\n" for number in range(count))


def test_lines_are_written_in_order() -> None:
    fake = FakeDestination()
    with open_sink(fake) as sink:
        expected = put_numbers(sink, 5000)
    assert fake.text == expected
    assert (sink.dropped, sink.failures, sink.waiting) == (0, 0, 0)


def test_a_stuck_write_holds_nobody_up_and_what_is_lost_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(limits, "LOG_QUEUE_RECORDS", 4)
    fake = FakeDestination()
    fake.is_open.clear()
    with open_sink(fake) as sink:
        sink.put("the first")
        assert fake.is_hanging.wait(PATIENCE)
        put_numbers(sink, 100)
        assert (sink.waiting, sink.dropped) == (4, 97)
        fake.is_open.set()
        fake.wait_for(lambda text: "dropped" in text)
        sink.put("the last")
    assert fake.text == "the first\n0\n1\n2\n97 records were dropped\nthe last\n"
    assert caplog.messages == ["the fake log does not keep up: records are dropped"]


def test_nothing_more_is_taken_until_the_queue_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LOG_QUEUE_RECORDS", 2)
    monkeypatch.setattr(limits, "LOG_WRITE_BYTES", 1)  # line by line
    fake = FakeDestination()
    fake.is_open.clear()
    with open_sink(fake) as sink:
        sink.put("a")
        assert fake.is_hanging.wait(PATIENCE)
        for line in ("b", "dropped"):
            sink.put(line)
        fake.is_open.set()
        fake.wait_for(lambda text: "was" in text)
    assert fake.text == "a\nb\n1 record was dropped\n"


def test_a_queue_is_bounded_in_bytes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LOG_QUEUE_BYTES", 100)
    fake = FakeDestination()
    fake.is_open.clear()
    with open_sink(fake) as sink:
        sink.put("x" * 60)
        sink.put("y" * 60)
        assert sink.dropped == 1
    assert fake.text == f"{'x' * 60}\n1 record was dropped\n"


def test_a_line_above_the_bound_costs_itself_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LOG_QUEUE_BYTES", 100)
    fake = FakeDestination()
    with open_sink(fake) as sink:
        sink.put("x" * 1000)
        sink.put("on")
    assert fake.text == "1 record was dropped\non\n"


def test_a_full_disk_is_reported_once_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    fake = FakeDestination()
    fake.outcomes = [full() for _ in range(20)]
    with open_sink(fake) as sink:
        sink.put("one")
        fake.wait_for(bool)
        sink.put("two")
    assert fake.text == "one\ntwo\n"
    assert (sink.dropped, sink.failures) == (0, 20)
    assert caplog.messages == [
        "the fake log cannot be written: No space left on device; records waiting: 1",
        "the fake log can be written again",
    ]
    assert {vars(record)["about"] for record in caplog.records} == {sink}


def test_a_failure_is_reported_again_after_a_minute(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(limits, "REPORT_INTERVAL", 0.0)
    fake = FakeDestination()
    fake.outcomes = [full(), full()]
    with open_sink(fake) as sink:
        sink.put("one")
        fake.wait_for(bool)
    assert [message.split(":")[0] for message in caplog.messages] == [
        "the fake log cannot be written",
        "the fake log cannot be written",
        "the fake log can be written again",
    ]


def test_a_torn_line_goes_on_where_it_was_torn() -> None:
    fake = FakeDestination()
    fake.outcomes = [3, full()]
    with open_sink(fake) as sink:
        sink.put("abcdef")
        fake.wait_for(lambda text: text.endswith("\n"))
    assert fake.text == "abcdef\n"


def test_a_torn_line_is_whole_in_another_file() -> None:
    fake = FakeDestination()
    fake.outcomes = [6, full()]
    fake.refreshes = [False, False, True]
    with open_sink(fake) as sink:
        sink.put("one\ntwo")
        fake.wait_for(lambda text: text.endswith("two\n"))
    assert fake.text == "one\ntw" + "two\n"


def test_what_nobody_will_read_is_dropped(caplog: pytest.LogCaptureFixture) -> None:
    fake = FakeDestination(may_recover=False)
    fake.outcomes = [hung_up()]
    with open_sink(fake) as sink:
        sink.put("lost")
        assert fake.has_failed.wait(PATIENCE)
        sink.put("on")
    assert fake.text == "1 record was dropped\non\n"
    assert (sink.dropped, sink.failures) == (1, 1)
    assert caplog.messages == [
        "the fake log cannot be written: Broken pipe; what goes there is dropped",
        "the fake log can be written again",
    ]


def test_without_a_renderer_nothing_is_said_of_losses() -> None:
    fake = FakeDestination(may_recover=False)
    fake.outcomes = [hung_up()]
    with open_sink(fake, None) as sink:
        sink.put("lost")
        assert fake.has_failed.wait(PATIENCE)
        sink.put("on")
    assert fake.text == "on\n"


def test_a_file_that_was_not_followed_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    fake = FakeDestination()
    fake.fault = PermissionError(13, "Permission denied")
    with open_sink(fake) as sink:
        sink.put("on")
    assert fake.text == "on\n"
    assert (sink.failures, sink.dropped) == (1, 0)
    expected = "the fake log cannot be opened: Permission denied; the file that was there before is written"
    assert caplog.messages == [expected]


def test_a_destination_that_takes_nothing_is_reported(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(limits, "LOG_STALL", 0.0)
    fake = FakeDestination()
    fake.is_open.clear()
    with open_sink(fake) as sink:
        sink.put("one")
    assert caplog.messages == ["the fake log has taken nothing for 0 s; records waiting: 1"]


def test_closing_waits_no_longer_than_it_is_told() -> None:
    fake = FakeDestination()
    fake.is_open.clear()
    with open_sink(fake) as sink:
        sink.put("stuck")
        assert fake.is_hanging.wait(PATIENCE)
        assert not sink.close(0.0)


def test_closing_gives_up_what_cannot_be_written() -> None:
    fake = FakeDestination()
    fake.outcomes = [full() for _ in range(10_000)]
    with open_sink(fake) as sink:
        sink.put("lost")
        assert sink.close(PATIENCE)
    assert (sink.dropped, sink.waiting) == (1, 0)


def test_asked_to_look_again_it_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LOG_RETRY", 1000.0)
    fake = FakeDestination()
    fake.outcomes = [full()]
    with open_sink(fake) as sink:
        sink.put("one")
        assert fake.has_failed.wait(PATIENCE)
        sink.reopen()
        fake.wait_for(bool)
    assert fake.text == "one\n"


def test_text_that_is_no_unicode_is_written() -> None:
    fake = FakeDestination()
    with open_sink(fake) as sink:
        sink.put("\ud800 长")
    assert fake.text == "\\ud800 长\n"


def test_a_pipe_gets_whole_lines_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LOG_WRITE_BYTES", 20)
    fake = FakeDestination()
    writes: list[bytes] = []
    take = fake.write

    def write(data: bytes) -> int:
        writes.append(data)
        return take(data)

    monkeypatch.setattr(fake, "write", write)
    with open_sink(fake) as sink:
        sink.put("\n".join(["seven", "lines", "of five", "words", "are", "written", "whole"]))
        sink.put("x" * 30)
    assert all(data.endswith(b"\n") or len(data) == 20 for data in writes)
    assert all(len(data) <= 20 for data in writes)
    assert fake.text.count("\n") == 8


def test_a_slow_reader_of_a_non_blocking_pipe_gets_all() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    sink = Sink(Stream("pipe", "the pipe", writer))
    expected = put_numbers(sink, 9000) + "x" * 200_000 + "\n"
    sink.put("x" * 200_000)
    received = b""
    while not received.endswith(b"x\n"):
        received += os.read(reader, 65536)
    assert sink.close(PATIENCE)
    os.close(reader)
    os.close(writer)
    assert received.decode() == expected
    assert sink.failures == 0


def test_many_threads_may_log_at_once() -> None:
    fake = FakeDestination()
    with open_sink(fake) as sink:
        threads = [threading.Thread(target=put_numbers, args=(sink, 500)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(fake.text.split()) == sorted([str(number) for number in range(500)] * 4)
    assert sink.waiting == 0
