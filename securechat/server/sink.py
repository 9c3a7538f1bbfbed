"""Where lines of text go: for each destination a bounded queue and a thread, so that none of them stops the server.

The system decides how long a write takes: a terminal on which somebody pressed Ctrl-S, a pipe that nobody reads and
a network disk that hangs take for ever. So the event loop only puts lines into a queue, and one thread for each
destination opens, writes and tries again. The threads are apart, because a hung disk must not silence the terminal.
They are daemons that write with ``os.write``: one that is stuck holds no lock of Python's streams, and the process
ends without it.

When a queue is full, what comes is dropped until the queue has been written empty. What is lost is then one stretch,
and one line at its place in the destination says how long it was.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import Final

from securechat import limits
from securechat.server.destinations import Destination
from securechat.server.repeats import OnceAMinute

_LOOK_AGAIN: Final = b""  # in a queue: a line that is none, before which the destination is looked at
_logger = logging.getLogger("securechat.logs")


class Sink:
    """A destination that never makes its caller wait.

    Args:
        destination: Where lines go.
        render: Makes a line, without its end, of a remark about dropped records; None leaves the remark out.

    Attributes:
        dropped: How many records were dropped.
        failures: How many attempts to write failed.
    """

    def __init__(self, destination: Destination, render: Callable[[str], str] | None = None) -> None:
        self.dropped = 0
        self.failures = 0
        self._destination = destination
        self._render = render
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._lock = threading.RLock()  # a finaliser may log while it is held; the same goes for the queue
        self._records = 0  # that wait or are being written
        self._bytes = 0
        self._moved = time.monotonic()  # when the last one was written, or the first one came
        self._unmentioned = 0  # of the dropped records
        self._is_full = False  # until the queue is empty
        self._is_failing = False
        self._reports = OnceAMinute()
        self._hurry = threading.Event()
        self._is_closing = threading.Event()
        self._is_opened = threading.Event()
        self._opening_fault: OSError | None = None
        self._thread = threading.Thread(target=self._run, name=f"log-{destination.label}", daemon=True)
        self._thread.start()

    @property
    def label(self) -> str:
        """Its name in metrics."""
        return self._destination.label

    @property
    def waiting(self) -> int:
        """How many records wait."""
        return self._records

    def put(self, line: str) -> None:
        """Write a line soon, or drop it. This neither waits nor raises.

        Args:
            line: The text, without its end.
        """
        data = line.encode("utf-8", "backslashreplace") + b"\n"
        with self._lock:
            now = time.monotonic()
            if not self._records:
                self._moved = now
            is_accepted = self._accept(len(data))
            if is_accepted:
                self._lines.put(data)
            stalled = now - self._moved
        if not is_accepted:
            self._report("does not keep up: records are dropped")
        elif stalled >= limits.LOG_STALL and not self._is_failing:
            self._report(f"has taken nothing for {stalled:.0f} s; records waiting: {self._records}")

    def _accept(self, size: int) -> bool:
        is_above = self._records >= limits.LOG_QUEUE_RECORDS or self._bytes + size > limits.LOG_QUEUE_BYTES
        if self._is_full or is_above:
            self._is_full = bool(self._records)
            self.dropped += 1
            self._unmentioned += 1
            return False
        self._records += 1
        self._bytes += size
        return True

    def reopen(self) -> None:
        """Look at the path of the destination soon, and try again at once where a write failed."""
        self._lines.put(_LOOK_AGAIN)
        self._hurry.set()

    def wait_open(self, timeout: float) -> bool:
        """Wait until the destination was opened for the first time; tell whether it was.

        Args:
            timeout: How long, in seconds.

        Raises:
            OSError: It cannot be opened. The thread will try again for each line.
        """
        is_opened = self._is_opened.wait(timeout)
        if self._opening_fault is not None:
            raise self._opening_fault
        return is_opened

    def close(self, timeout: float) -> bool:
        """Write what waits, and end the thread, at the first failure too.

        Args:
            timeout: How long that may take, in seconds.

        Returns:
            Whether the thread has ended.
        """
        self._is_closing.set()
        self._hurry.set()
        self._lines.put(None)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    # The thread

    def _run(self) -> None:
        try:
            self._destination.refresh()
        except OSError as error:
            self._opening_fault = error
        finally:
            self._is_opened.set()
        is_open = True
        while is_open:
            lines, is_open = self._collect()
            if lines:
                self._pass_on(lines)
        if self._unmentioned:
            self._pass_on([_LOOK_AGAIN])

    def _collect(self) -> tuple[list[bytes], bool]:
        """Wait for lines; return about as many as one write carries, and whether there may be more."""
        lines: list[bytes] = []
        size = 0
        line = self._lines.get()
        while line is not None:
            lines.append(line)
            size += len(line)
            if size >= limits.LOG_WRITE_BYTES:
                break
            try:
                line = self._lines.get_nowait()
            except queue.Empty:
                break
        return lines, line is not None

    def _pass_on(self, lines: list[bytes]) -> None:
        """Write lines, behind a remark where some are missing before them."""
        with self._lock:
            dropped = 0 if self._is_full else self._unmentioned
        data = self._remark(dropped) + b"".join(lines)
        is_written = self._write(data)
        self._settle(lines, dropped, is_written=is_written)
        if is_written and data:
            self._report_success()

    def _remark(self, dropped: int) -> bytes:
        if not dropped or self._render is None:
            return b""
        return self._render(f"{dropped} {'records were' if dropped > 1 else 'record was'} dropped").encode() + b"\n"

    def _write(self, data: bytes) -> bool:
        """Write lines, however long it takes; tell whether they were written.

        A line that a failure has torn goes on where it was torn. It is repeated whole in another file.
        """
        done = 0
        while True:
            try:
                if self._destination.refresh():
                    done = data.rfind(b"\n", 0, done) + 1
                while done < len(data):
                    most = done + limits.LOG_WRITE_BYTES
                    end = most if most >= len(data) else data.rfind(b"\n", done, most) + 1 or most
                    done += self._destination.write(data[done:end])
            except OSError as error:
                if not self._may_go_on(error):
                    return False
            else:
                return True

    def _may_go_on(self, error: OSError) -> bool:
        """Report a failure and wait a moment; tell whether to try again."""
        is_slow = isinstance(error, BlockingIOError)  # ``put`` reports that
        may_recover = is_slow or self._destination.may_recover
        if not is_slow:
            what = f"records waiting: {self._records}" if may_recover else "what goes there is dropped"
            self._report_failure(f"cannot be written: {error.strerror}; {what}")
        if not may_recover or self._is_closing.is_set():
            return False
        self._hurry.wait(limits.LOG_RETRY)
        self._hurry.clear()
        return True

    def _settle(self, lines: list[bytes], mentioned: int, *, is_written: bool) -> None:
        """Count lines that were written, or given up."""
        records = sum(1 for line in lines if line)
        with self._lock:
            self._moved = time.monotonic()
            self._records -= records
            self._bytes -= sum(map(len, lines))
            if is_written:
                self._unmentioned -= mentioned
            else:
                self.dropped += records
                self._unmentioned += records
            if self._is_full and not self._records:
                self._is_full = False
                self._lines.put(_LOOK_AGAIN)  # so that the remark does not wait for the next line

    def _report_success(self) -> None:
        if fault := self._destination.fault:
            self._report_failure(f"cannot be opened: {fault.strerror}; the file that was there before is written")
        elif self._is_failing:
            self._is_failing = False
            self._log(logging.WARNING, "can be written again")

    def _report_failure(self, sentence: str) -> None:
        self.failures += 1
        self._is_failing = self._report(sentence) or self._is_failing

    def _report(self, sentence: str) -> bool:
        """Log a sentence about this sink in the others, once a minute; tell whether it was logged."""
        is_due = self._reports.is_due()
        if is_due:
            self._log(logging.ERROR, sentence)
        return is_due

    def _log(self, level: int, sentence: str) -> None:
        extra = {"about": self, "fields": {"sink": self.label}}
        _logger.log(level, "%s %s", self._destination.name, sentence, extra=extra)
