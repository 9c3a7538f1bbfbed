"""Text that peers wrote, made safe for a screen or a pipe, and nicknames compared as people see them."""

import re
import unicodedata
from typing import Final

from securechat.limits import MARKS_PER_CHARACTER

# ECMA-48 control sequences (CSI), operating-system commands and the other string sequences, then what
# is left of an escape. They are removed whole, so that "\x1b[31mred" becomes "red" and not "[31mred".
_ANSI: Final = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f]).*?(?:\x07|\x1b\\|\x9c|$)"
    r"|\x1b[ -/]*[0-~]?",
    re.DOTALL,
)
_BIDI: Final = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_SEPARATORS: Final = "\u2028\u2029"
_UNSAFE: Final = re.compile(rf"[\x00-\x09\x0b-\x1f\x7f-\x9f{_BIDI}{_SEPARATORS}\ud800-\udfff]")
_LINE_FEED: Final = "\n"
LINE_FEED_MARK: Final = "\u23ce"

# What takes no room by itself: format characters, fillers and variation selectors are left out of what is
# laid out in columns; of what is drawn over the character before it, only so much is kept.
_INVISIBLE: Final = re.compile(
    "[\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200d\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0"
    "\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_MARKS: Final = frozenset({"Mn", "Me"})
_CONJOINING: Final = "\u1160\u11ff"  # vowels and final consonants of Hangul
_CARRIER: Final = "\u25cc"  # a dotted circle, on which marks without a letter are drawn

# Letters that look like an ASCII one in common terminal fonts, and that case folding and NFKD do not
# unite: Cyrillic, Greek, digits and strokes.
_LOOKALIKES: Final = str.maketrans(
    "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0458\u0455\u04bb\u0501"
    "\u03b1\u03b5\u03bf\u03c1\u03c5\u03bd\u03b9\u03ba\u03c7\u03c4\u0131\u00f801|i",
    "aeopcyxljshd" + "aeopuvlkxt" + "lo" + "olll",
)


def sanitise(text: str) -> str:
    """Return ``text`` without what could drive a terminal or reorder a line.

    Removed: C0 and C1 controls (a tab becomes a space), ANSI sequences, bidirectional controls,
    line and paragraph separators, surrogates. Line feeds stay.
    """
    text = text.replace("\r\n", "\n").replace("\t", " ")
    return _UNSAFE.sub("", _ANSI.sub("", text))


def one_line(text: str) -> str:
    """Return ``text`` sanitised, with each line feed shown as U+23CE."""
    return sanitise(text).replace(_LINE_FEED, LINE_FEED_MARK)


def legible(text: str) -> str:
    """Return ``text`` sanitised for a grid of characters: each takes the room that a terminal gives it.

    Beyond ``sanitise``, invisible characters are removed (also those that join emoji, which are then drawn
    one by one), and of combining marks a character keeps the first four.
    """
    text = sanitise(text)
    return text if text.isascii() else _cap_marks(_INVISIBLE.sub("", text))


def legible_line(text: str) -> str:
    """Return ``text`` as ``legible`` does, with each line feed shown as U+23CE."""
    return legible(text).replace(_LINE_FEED, LINE_FEED_MARK)


def _cap_marks(text: str) -> str:
    kept: list[str] = []
    marks = 0
    for char in text:
        is_mark = unicodedata.category(char) in _MARKS or _CONJOINING[0] <= char <= _CONJOINING[1]
        marks = marks + 1 if is_mark else 0
        if marks > MARKS_PER_CHARACTER:
            continue
        if is_mark and (not kept or kept[-1] == _LINE_FEED):
            kept.append(_CARRIER)
        kept.append(char)
    return "".join(kept)


def skeleton(nick: str) -> str:
    """Return what a nickname looks like, to compare two of them: equal skeletons are hard to tell apart.

    Compatibility forms, case, accents, invisible characters and common look-alike letters are folded
    (a small part of Unicode UTS 39, section 4).
    """
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", sanitise(nick)).casefold())
    kept = (c for c in folded if unicodedata.category(c) not in {"Mn", "Me", "Cf", "Zs", "Cn"})
    return "".join(kept).translate(_LOOKALIKES).replace("rn", "m").replace("vv", "w")
