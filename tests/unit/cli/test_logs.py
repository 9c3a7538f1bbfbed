"""A server's logs: what becomes of records, and of what Python itself would write."""

import gc
import json
import logging
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from securechat import limits
from securechat.cli.logs import Logs, SinkHandler, open_logs
from securechat.errors import SecurechatError
from securechat.server.destinations import LogFile
from securechat.server.sink import Sink
from tests.support.destinations import PATIENCE, FakeDestination, full

_access = logging.getLogger("securechat.access")
_server = logging.getLogger("securechat.server")


@contextmanager
def run_logs(directory: Path, access_log: Path | None = None, *, as_json: bool = False) -> Iterator[Logs]:
    """Open the logs, with files in place of the standard streams."""
    with (
        pytest.MonkeyPatch.context() as patch,
        (directory / "err").open("w") as error,
        (directory / "out").open("w") as output,
    ):
        patch.setattr(sys, "stderr", error)
        patch.setattr(sys, "stdout", output)
        with open_logs(as_json=as_json, access_log=access_log) as logs:
            yield logs


def lines(path: Path, number: int = 2) -> list[str]:
    """Return the lines of a file without the date and the time."""
    return [line.split(" ", number)[number] for line in path.read_text().splitlines()]


def test_joins_go_to_both_and_the_rest_to_standard_error(tmp_path: Path) -> None:
    with run_logs(tmp_path, tmp_path / "access.log") as logs:
        _access.info("joined")
        _server.info("ready")
        _server.debug("too much")
        logs.output.put("for programs")
    _server.warning("afterwards")
    assert lines(tmp_path / "err") == ["joined", "ready"]
    assert lines(tmp_path / "access.log") == ["joined"]
    assert (tmp_path / "out").read_text() == "for programs\n"


def test_a_file_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(SecurechatError, match=r"cannot be written: .*\. Name another file with --access-log"),
        run_logs(tmp_path, tmp_path / "missing" / "access.log"),
    ):
        pytest.fail("it was opened")
    assert (tmp_path / "err").read_text() == ""


def test_a_fifo_may_get_its_reader_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LOG_RETRY", 0.001)
    path = tmp_path / "fifo"
    os.mkfifo(path)
    with run_logs(tmp_path, path):
        _access.info("joined")
        reader = os.open(path, os.O_RDONLY)
        assert os.read(reader, 1000).endswith(b" joined\n")
        os.close(reader)


def test_a_file_that_takes_long_to_open_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    is_there = threading.Event()
    refresh = LogFile.refresh

    def wait(file: LogFile) -> bool:
        assert is_there.wait(PATIENCE)
        return refresh(file)

    monkeypatch.setattr(limits, "LOG_OPEN_TIMEOUT", 0.0)
    monkeypatch.setattr(limits, "LOG_CLOSE_TIMEOUT", PATIENCE)
    monkeypatch.setattr(LogFile, "refresh", wait)
    path = tmp_path / "access.log"
    with run_logs(tmp_path, path):
        _access.info("joined")
        is_there.set()
    assert lines(path) == ["joined"]
    assert lines(tmp_path / "err") == [
        f"the access log {path} takes long to open: the server starts without it",
        "joined",
    ]


def test_a_failing_sink_is_reported_in_the_others_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LOG_RETRY", 0.001)
    path = tmp_path / "access.log"
    with run_logs(tmp_path, path) as logs:
        assert [sink.label for sink in logs.sinks] == ["stderr", "stdout", "access-log"]
        fakes = [FakeDestination() for _ in logs.sinks]
        for sink, fake in zip(logs.sinks, fakes, strict=True):
            sink._destination = fake
        for sink, fake in zip(logs.sinks, fakes, strict=True):
            fake.outcomes = [full()]
            sink.put("line")
            fake.wait_for(lambda text: "line" in text)
    assert [fake.text.count("cannot be written") for fake in fakes] == [2, 0, 2]


def test_a_record_that_cannot_be_formatted_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    fake = FakeDestination()
    sink = Sink(fake)
    handler = SinkHandler(sink, logging.Formatter())
    for _ in range(3):
        handler.handle(logging.LogRecord("x", logging.INFO, "room.py", 7, "%d %d", ("one",), None))
    handler.handle(logging.LogRecord("x", logging.INFO, "room.py", 8, "%s", ("on",), None))
    assert sink.close(PATIENCE)
    assert fake.text == "on\n"
    assert caplog.messages == ["a log record of room.py, line 7 cannot be formatted (TypeError); please report it"]


def test_all_that_is_written_is_json_where_that_was_asked_for(tmp_path: Path) -> None:
    with run_logs(tmp_path, as_json=True) as logs:
        logs.errors.dropped = logs.errors._unmentioned = 3
        _access.info("joined", extra={"fields": {"change": "joined"}})
        _server.error("failed", exc_info=ZeroDivisionError())
        _server.error("a value: %s", object)
        _server.error("odd", extra={"fields": {"value": object}})
    records = [json.loads(line) for line in (tmp_path / "err").read_text().splitlines()]
    assert [(record["level"], record["message"]) for record in records] == [
        ("warning", "3 records were dropped"),
        ("info", "joined"),
        ("error", "failed"),
        ("error", f"a value: {object}"),
        ("error", records[-1]["message"]),
    ]
    assert records[1]["change"] == "joined"
    assert "ZeroDivisionError" in records[2]["traceback"]
    assert "cannot be formatted (TypeError)" in records[-1]["message"]


class Faulty:
    """Something that fails when it is finalised."""

    def __del__(self) -> None:
        raise ZeroDivisionError("in a finaliser")


def fail() -> None:
    raise ZeroDivisionError("in a thread")


def test_what_python_would_write_itself_is_logged(tmp_path: Path) -> None:
    before = warnings.showwarning, threading.excepthook, sys.unraisablehook
    with warnings.catch_warnings(), run_logs(tmp_path, as_json=True):
        warnings.simplefilter("always")
        warnings.warn_explicit("an old way", DeprecationWarning, "module.py", 7)
        thread = threading.Thread(target=fail, name="worker")
        thread.start()
        thread.join()
        Faulty()
        gc.collect()
    assert (warnings.showwarning, threading.excepthook, sys.unraisablehook) == before
    records = [json.loads(line) for line in (tmp_path / "err").read_text().splitlines()]
    assert [record["message"] for record in records] == [
        "module.py:7: DeprecationWarning: an old way",
        "a fault of this server ended its thread worker; please report it",
        "a fault of this server was ignored; please report it",
    ]
    assert "in a thread" in records[1]["traceback"]
    assert "in a finaliser" in records[2]["traceback"]


def test_what_is_stuck_does_not_keep_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LOG_CLOSE_TIMEOUT", 0.01)
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as error:
        monkeypatch.setattr(sys, "stderr", error)
        with open_logs(as_json=False):
            _server.info("x" * 1_000_000)
        error.write("x" * 1_000_000)  # as the program does that says why it ends
        error.flush()
    os.close(reader)


def test_one_line_a_minute_says_that_descriptors_are_out(tmp_path: Path) -> None:
    with run_logs(tmp_path, as_json=True):
        for _ in range(5):
            logging.getLogger("trio.serve_listeners").error("accept", exc_info=OSError())
    (record,) = (json.loads(line) for line in (tmp_path / "err").read_text().splitlines())
    assert record["message"] == "accept"
    assert "traceback" not in record
