"""A server's log: lines for people or JSON for programs, on standard error."""

import json
import logging
import time
from typing import Final

_REPEAT_SECONDS: Final = 60.0


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


class _NowAndThen(logging.Filter):
    """Lets one line through a minute, without its traceback.

    trio says ten times a second that no file descriptor is left for another connection.
    """

    def __init__(self) -> None:
        super().__init__()
        self._last = -_REPEAT_SECONDS

    def filter(self, record: logging.LogRecord) -> bool:
        now = time.monotonic()
        if now - self._last < _REPEAT_SECONDS:
            return False
        self._last = now
        record.exc_info = None
        return True


def set_up_logs(*, as_json: bool) -> None:
    """Send the logs of this process to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(_JsonFormatter() if as_json else logging.Formatter("%(asctime)s %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("securechat").setLevel(logging.INFO)
    logging.getLogger("trio.serve_listeners").addFilter(_NowAndThen())
