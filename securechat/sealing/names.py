"""Room names, passphrases, nicknames and texts brought to one form: what is typed alike, is alike.

PROTOCOL.md, section 2.1. Case folding and NFKC are those of Unicode (chapter 3.13, UAX 15); the rules
for passphrases are in the spirit of RFC 8265, section 4.2 (OpaqueString).
"""

import unicodedata
from typing import Final

from securechat import limits
from securechat.errors import InputError

# White_Space of the Unicode Character Database; of these a control is refused only in a passphrase.
_WHITE_SPACE: Final = frozenset(
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
# Default_Ignorable_Code_Point of the Unicode Character Database, first and last of each range.
_IGNORABLE: Final = (
    *((0xAD, 0xAD), (0x34F, 0x34F), (0x61C, 0x61C), (0x115F, 0x1160), (0x17B4, 0x17B5)),
    *((0x180B, 0x180F), (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F), (0x3164, 0x3164)),
    *((0xFE00, 0xFE0F), (0xFEFF, 0xFEFF), (0xFFA0, 0xFFA0), (0xFFF0, 0xFFF8)),
    *((0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF)),
)
_KIND: Final = {
    "Cc": "a control character",
    "Cs": "half a surrogate pair",
    "Co": "a private-use character",
    "Cn": "a character that Unicode has not assigned",
}


def _is_ignored(char: str) -> bool:
    code = ord(char)
    return unicodedata.category(char) == "Cf" or any(a <= code <= b for a, b in _IGNORABLE)


def _refuse(text: str, what: str) -> None:
    for char in text:
        kind = _KIND.get(unicodedata.category(char))
        if kind:
            raise InputError(f"The {what} holds {kind}.", "Leave it out.")


def _check_size(text: str, most: int, what: str) -> None:
    size = len(text.encode())
    if not size:
        raise InputError(f"The {what} is empty.", "Type at least one visible character.")
    if size > most:
        raise InputError(f"The {what} takes {size} bytes of at most {most}.", "Choose a shorter one.")


def _fold(text: str) -> str:
    """One round of what makes room names equal."""
    text = unicodedata.normalize("NFD", text).casefold()
    text = unicodedata.normalize("NFKC", text).casefold()
    text = unicodedata.normalize("NFKC", text)
    spaced = (" " if c in _WHITE_SPACE else c for c in text if not _is_ignored(c))
    return " ".join(filter(None, "".join(spaced).split(" ")))


def normalise_room(name: str) -> str:
    """Return the one form of a room name: case, width, spacing and invisible characters do not matter.

    Raises:
        InputError: It holds a control, surrogate, private-use or unassigned code point, or is not 1
            to 128 bytes of UTF-8 afterwards.
    """
    _refuse("".join(c for c in name if c not in _WHITE_SPACE), "room name")
    while (folded := _fold(name)) != name:
        name = folded
    _check_size(name, limits.ROOM_NAME_BYTES, "room name")
    return name


def normalise_passphrase(passphrase: str) -> str:
    """Return the one form of a passphrase: NFC, each other space a plain one, none at the ends.

    Raises:
        InputError: It holds a control, surrogate, private-use or unassigned code point, or is not 1
            to 1,024 bytes of UTF-8 afterwards. The message does not quote it.
    """
    _refuse(passphrase, "passphrase")
    spaced = "".join(" " if unicodedata.category(c) == "Zs" else c for c in passphrase)
    passphrase = unicodedata.normalize("NFC", spaced).strip(" ")
    _check_size(passphrase, limits.PASSPHRASE_BYTES, "passphrase")
    return passphrase


def normalise_nick(nick: str) -> str:
    """Return a person's own nickname in NFC, as bodies carry it.

    Raises:
        InputError: It is not 1 to 32 code points, or holds white space, a control, an invisible or an
            unassigned character.
    """
    _refuse(nick, "nickname")
    nick = unicodedata.normalize("NFC", nick)
    if any(c in _WHITE_SPACE or _is_ignored(c) for c in nick):
        raise InputError("A nickname has no spaces or invisible characters.", "Choose one without.")
    if not 1 <= len(nick) <= limits.NICK_CODE_POINTS:
        most = limits.NICK_CODE_POINTS
        raise InputError(f"A nickname has 1 to {most} characters; this has {len(nick)}.", "Choose another.")
    return nick


def check_text(text: str) -> None:
    """Check that ``text`` can be sent.

    Raises:
        InputError: It is empty, above 32,000 bytes of UTF-8, or holds a NUL or half a surrogate pair.
    """
    if not text:
        raise InputError("The message is empty.", "Type something.")
    if "\0" in text:
        raise InputError("The message holds a NUL character.", "Send text only.")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise InputError("The message is not valid UTF-8 text.", "Send UTF-8.") from None
    if size > limits.TEXT_BYTES:
        raise InputError(f"The message takes {size} bytes of at most {limits.TEXT_BYTES}.", "Send it in parts.")
