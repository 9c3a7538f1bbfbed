"""What a harness is, and how one reads the bytes that a fuzzer makes up.

A harness takes any bytes and returns, or raises because the code under it broke its contract: a value, or
one documented error. So the fuzzer (``scripts/fuzz``) and the tests (``test_harnesses.py``) run the same.
"""

import atexit
import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

_VECTORS: Final = Path(__file__).parents[1] / "vectors"
T = TypeVar("T")


class Harness(NamedTuple):
    """A parser under its contract.

    Attributes:
        run: Takes any bytes; what it raises is a finding.
        seeds: Inputs to begin with: the published vectors, and what was once a finding.
        most: Bytes of an input at the most.
        memory: Bytes that may be allocated for each byte of input, apart from a constant.
    """

    run: Callable[[bytes], None]
    seeds: Sequence[bytes]
    most: int = 4096
    memory: int = 32


class Choices:
    """Bytes, read as a sequence of small decisions; behind their end all are zero."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def is_over(self) -> bool:
        """Whether all bytes were read."""
        return self._at >= len(self._data)

    def take(self, size: int) -> bytes:
        """Return the next ``size`` bytes, or what is left of them."""
        taken = self._data[self._at : self._at + size]
        self._at += size
        return taken

    def byte(self) -> int:
        """Return the next byte."""
        return int.from_bytes(self.take(1), "big")

    def number(self) -> int:
        """Return a number: small ones take a byte, all others up to 2^56 eight."""
        first = self.byte()
        return first if first < 0xF0 else int.from_bytes(self.take(7), "big")

    def one_of(self, options: Sequence[T]) -> T:
        """Return one of ``options``."""
        return options[self.byte() % len(options)]


def make_directory() -> Path:
    """Return a directory for the files of a harness, which goes when the process ends."""
    path = Path(tempfile.mkdtemp(prefix="securechat-fuzz-"))
    atexit.register(shutil.rmtree, path)
    return path


def vectors(stem: str) -> list[dict[str, Any]]:
    """Return the published vectors of one file."""
    found: list[dict[str, Any]] = json.loads((_VECTORS / f"{stem}.json").read_text(encoding="ascii"))["vectors"]
    return found


def to_bytes(texts: Iterable[str]) -> list[bytes]:
    """Return texts as ``to_text`` reads them."""
    return [text.encode("utf-8", "surrogatepass") for text in texts]


def to_text(data: bytes) -> str:
    """Return any bytes as text: what is not UTF-8 becomes halves of surrogate pairs, as in Python's arguments."""
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return data.decode("utf-8", "surrogateescape")
