"""What a program did to files and sockets, as strace(1) tells it, in order."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

STRACE: Final = shutil.which("strace")
_CALL = re.compile(
    r"(?P<name>\w+)\((?:\d+<(?P<file>.*?)>(?=[,)])|\"(?P<path>[^\"]*)\")(?P<rest>.*)\)\s+= (?P<result>-?\d+)"
)
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_LINE = re.compile(r"(\d+) +(.*)")
_UNFINISHED = " <unfinished ...>"
_RESUMED = re.compile(r"<\.\.\. \w+ resumed>")


class Call(NamedTuple):
    """A system call that succeeded.

    Attributes:
        name: Its name.
        file: What its descriptor, or its path, is: a path, or a socket in strace's words.
        data: The bytes that were written or sent, as far as they were taken; the new path of a rename.
        numbers: The numbers among its arguments behind those.
        result: What it returned.
    """

    name: str
    file: str
    data: bytes
    numbers: tuple[int, ...]
    result: int


def strace_line(trace: Path, *calls: str) -> list[str]:
    """Return the beginning of a command line that traces what follows; it is strace that gets the signals.

    Args:
        trace: Where the trace goes; read it with ``read_trace`` when the program has ended.
        calls: The system calls to trace.
    """
    assert STRACE is not None
    options = ["-f", "-yy", "-xx", "-qq", "-s", "1000000", "-e", "signal=none"]
    return [STRACE, *options, "-e", f"trace={','.join(calls)}", "-o", str(trace), "--"]


def read_trace(trace: Path) -> Iterator[Call]:
    """Yield the calls that succeeded, in the order in which they ended."""
    begun: dict[str, str] = {}
    with trace.open() as lines:
        for line in lines:
            match = _LINE.match(line)
            if match is None:
                continue
            task, text = match.groups()
            if text.endswith(_UNFINISHED):
                begun[task] = text.removesuffix(_UNFINISHED)
                continue
            if task in begun and _RESUMED.match(text):
                text = begun.pop(task) + _RESUMED.sub("", text)
            call = _parse(text)
            if call is not None:
                yield call


def _parse(text: str) -> Call | None:
    match = _CALL.match(text)
    if match is None or int(match["result"]) < 0:
        return None
    written = _TEXT.search(match["rest"])
    data = _bytes(written[1]) if written else b""
    numbers = tuple(int(n) for n in re.findall(r"(?<=, )-?\d+(?=,|$)", _TEXT.sub("", match["rest"])))
    result = int(match["result"])
    if data and match["name"] != "rename":
        data = data[:result]
    return Call(match["name"], _bytes(match["file"] or match["path"] or "").decode(), data, numbers, result)


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", "")) if text.startswith("\\x") else text.encode()
