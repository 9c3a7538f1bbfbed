"""What peers wrote, on its way to a screen."""

import re
import unicodedata
from typing import Final

from securechat.text import one_line, sanitise, skeleton
from tests.fuzz.harness import Harness, to_bytes, to_text, vectors

_FORBIDDEN: Final = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\u2028\u2029\ud800-\udfff]"
)


def sanitised(data: bytes) -> None:
    """What is shown drives no terminal and reorders no line; nothing is made up, and once is enough."""
    text = to_text(data)
    shown = sanitise(text)
    assert not _FORBIDDEN.search(shown)
    assert sanitise(shown) == shown
    assert len(shown) <= len(text)
    shown.encode()
    line = one_line(text)
    assert "\n" not in line
    assert one_line(line) == line
    assert len(line.splitlines()) <= 1


def look(data: bytes) -> None:
    """What a nickname looks like is what its own look looks like, whatever is invisible in it."""
    nick = to_text(data)
    seen = skeleton(nick)
    assert skeleton(seen) == seen
    assert skeleton(unicodedata.normalize("NFD", sanitise(nick))) == seen
    assert skeleton(f"{nick}\u200b") == seen or not sanitise(f"{nick}\u200b").endswith("\u200b")


_TEXTS = [
    "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07 \x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\",
    "\x9b31mred \x9d0;x\x9c \x90q\x9c",
    "one\r\ntwo\rthree\n",
    "\u202etxt.exe\u202c \u2066x\u2069",
    "\t\u2028\u2029\u0085",
]
_NICKS = ["alice", "\u0430lice", "rnary", "vvilma", "Zoe\u0308", "\u00f8l0|i", "\uff21nn"]

HARNESSES = {
    "sanitise": Harness(sanitised, to_bytes(_TEXTS)),
    "skeleton": Harness(look, to_bytes([*_NICKS, *(v["input"] for v in vectors("names") if v["kind"] == "nick")]), 256),
}
