"""Text that peers wrote, made safe for a screen or a pipe, and nicknames compared as people see them."""

import re
import unicodedata
from typing import Final

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


def skeleton(nick: str) -> str:
    """Return what a nickname looks like, to compare two of them: equal skeletons are hard to tell apart.

    Compatibility forms, case, accents, invisible characters and common look-alike letters are folded
    (a small part of Unicode UTS 39, section 4).
    """
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", sanitise(nick)).casefold())
    kept = (c for c in folded if unicodedata.category(c) not in {"Mn", "Me", "Cf", "Zs", "Cn"})
    return "".join(kept).translate(_LOOKALIKES).replace("rn", "m").replace("vv", "w")
