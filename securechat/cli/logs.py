"""A server's logs: lines for people or JSON for programs, on standard error and in the access log.

Whatever writes to standard output or standard error of a running server goes through a sink: log records, what the
server announces, Python's warnings, and errors in threads and finalisers.
"""

import errno
import json
import logging
import signal
import stat
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from securechat import limits
from securechat.errors import SecurechatError
from securechat.server.destinations import LogFile, Stream
from securechat.server.repeats import OnceAMinute
from securechat.server.sink import Sink

_PLAIN: Final = "%(asctime)s %(message)s"
_FILE_LOGGERS: Final = ("securechat.access", "securechat.logs")  # what the access log holds: also faults of the others
_logger = logging.getLogger("securechat.logs")


class _JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return json.dumps(fields)


class SinkHandler(logging.Handler):
    """Hands records to a sink as lines. It never waits and never raises.

    Args:
        sink: Where they go.
        formatter: Makes lines of them.
    """

    def __init__(self, sink: Sink, formatter: logging.Formatter) -> None:
        super().__init__()
        self._sink = sink
        self.setFormatter(formatter)
        self._repeats = OnceAMinute()

    def emit(self, record: logging.LogRecord) -> None:
        """Hand on a record, unless it is about this very sink."""
        if getattr(record, "about", None) is self._sink:
            return
        try:
            line = self.format(record)
        except Exception as error:  # noqa: BLE001 - the caller works, and its record does not
            self._report(record, type(error).__name__)
        else:
            self._sink.put(line)

    def _report(self, record: logging.LogRecord, kind: str) -> None:
        place = f"{record.module}.py, line {record.lineno}"
        if self._repeats.is_due(place):
            _logger.error("a log record of %s cannot be formatted (%s); please report it", place, kind)


class _OnceAMinuteFilter(logging.Filter):
    """Lets one line through a minute, without its traceback.

    trio says ten times a second that no file descriptor is left for another connection.
    """

    def __init__(self) -> None:
        super().__init__()
        self._repeats = OnceAMinute()

    def filter(self, record: logging.LogRecord) -> bool:
        record.exc_info = None
        return self._repeats.is_due()


class Logs(NamedTuple):
    """The sinks of a server.

    Attributes:
        errors: Standard error.
        output: Standard output, for announcements.
        access: The access log; None where there is none but standard error.
    """

    errors: Sink
    output: Sink
    access: Sink | None

    @property
    def sinks(self) -> tuple[Sink, ...]:
        """All of them."""
        return tuple(sink for sink in self if sink is not None)

    def reopen(self) -> None:
        """Open what was rotated, and try again what failed."""
        for sink in self.sinks:
            sink.reopen()


@contextmanager
def open_logs(*, as_json: bool, access_log: Path | None = None) -> Iterator[Logs]:
    """Send the logs of this process to standard error, and joins and leaves to a file too, until the context ends.

    Args:
        as_json: Whether standard error gets JSON.
        access_log: The file.

    Raises:
        SecurechatError: The file cannot be written.
    """
    with ExitStack() as stack:
        # A job in the background would be halted by its first line where the terminal has "tostop" set.
        stack.callback(signal.signal, signal.SIGTTOU, signal.signal(signal.SIGTTOU, signal.SIG_IGN))
        formatter = _JsonFormatter() if as_json else logging.Formatter(_PLAIN)
        errors = _open_sink(stack, Stream("stderr", "standard error", sys.stderr.fileno()), formatter)
        for name, level in (("", logging.WARNING), ("securechat", logging.INFO)):
            logger = logging.getLogger(name)
            stack.callback(logger.setLevel, logger.level)
            logger.setLevel(level)
        _handle(stack, SinkHandler(errors, formatter), "")
        stack.enter_context(_filtered("trio.serve_listeners"))
        stack.enter_context(_hooked())
        output = _open_sink(stack, Stream("stdout", "standard output", sys.stdout.fileno()))
        access = _open_access_log(stack, access_log) if access_log else None
        yield Logs(errors, output, access)


def _open_sink(stack: ExitStack, destination: Stream | LogFile, formatter: logging.Formatter | None = None) -> Sink:
    """Return a sink that is closed with the stack; its remarks are records as ``formatter`` makes them."""

    def render(remark: str) -> str:
        assert formatter is not None
        record = logging.makeLogRecord({"msg": remark, "levelname": "WARNING", "levelno": logging.WARNING})
        return formatter.format(record)

    sink = Sink(destination, render if formatter else None)
    stack.callback(_close, sink, destination)
    return sink


def _open_access_log(stack: ExitStack, path: Path) -> Sink:
    """Return the sink of the access log.

    Raises:
        SecurechatError: It cannot be opened.
    """
    formatter = logging.Formatter(_PLAIN)
    sink = _open_sink(stack, LogFile("access-log", f"the access log {path}", path), formatter)
    try:
        if not sink.wait_open(limits.LOG_OPEN_TIMEOUT):
            _logger.error("the access log %s takes long to open: the server starts without it", path)
    except OSError as error:
        if error.errno != errno.ENXIO or not stat.S_ISFIFO(path.stat().st_mode):  # a FIFO may get its reader later
            raise SecurechatError(
                f"The access log {path} cannot be written: {error.strerror}.",
                "Name another file with --access-log.",
                option="--access-log",
            ) from error
    for name in _FILE_LOGGERS:
        _handle(stack, SinkHandler(sink, formatter), name)
    return sink


def _handle(stack: ExitStack, handler: logging.Handler, name: str) -> None:
    """Add a handler to a logger until the stack ends."""
    logger = logging.getLogger(name)
    logger.addHandler(handler)
    stack.callback(logger.removeHandler, handler)


def _close(sink: Sink, destination: Stream | LogFile) -> None:
    """Write what waits, for a moment; what the process writes to a stream that is stuck goes nowhere afterwards."""
    is_closed = sink.close(limits.LOG_CLOSE_TIMEOUT)
    if is_closed and isinstance(destination, LogFile):
        destination.close()
    elif not is_closed and isinstance(destination, Stream):
        destination.discard()


@contextmanager
def _filtered(name: str) -> Iterator[None]:
    """Let one line of a logger through a minute."""
    once = _OnceAMinuteFilter()
    logging.getLogger(name).addFilter(once)
    try:
        yield
    finally:
        logging.getLogger(name).removeFilter(once)


@contextmanager
def _hooked() -> Iterator[None]:
    """Log what Python itself would write to standard error: warnings, errors in threads and finalisers."""
    shown, thread, finaliser = warnings.showwarning, threading.excepthook, sys.unraisablehook
    warnings.showwarning = _log_warning
    threading.excepthook = _log_thread_error
    sys.unraisablehook = _log_finaliser_error
    try:
        yield
    finally:
        warnings.showwarning, threading.excepthook, sys.unraisablehook = shown, thread, finaliser


def _log_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: object, **__: object
) -> None:
    _logger.warning("%s:%d: %s: %s", filename, lineno, category.__name__, message)


def _log_thread_error(hook: threading.ExceptHookArgs) -> None:
    if hook.exc_value is not None and hook.exc_type is not SystemExit:
        name = hook.thread.name if hook.thread else "without a name"
        _logger.error("a fault of this server ended its thread %s; please report it", name, exc_info=hook.exc_value)


def _log_finaliser_error(hook: "sys.UnraisableHookArgs") -> None:
    if hook.exc_value is not None:
        _logger.error("a fault of this server was ignored; please report it", exc_info=hook.exc_value)
