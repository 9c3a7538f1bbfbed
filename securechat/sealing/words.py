"""Bytes as words that people can read to each other, and passphrases made of words.

The list is the EFF's large one, 7,776 words (see NOTICE): 12.9 bits a word.
"""

import functools
import secrets
from importlib import resources
from typing import Final

ROOM_WORDS: Final = 3
CHECK_WORDS: Final = 8
VERIFY_WORDS: Final = 6  # for each of the two


@functools.cache
def word_list() -> tuple[str, ...]:
    """Return the 7,776 words in their published order."""
    source = resources.files("securechat.sealing").joinpath("eff_large_wordlist.txt")
    return tuple(source.read_text(encoding="ascii").split())


def to_words(number: bytes, count: int) -> str:
    """Return ``count`` words for 32 bytes, with a space between them.

    The bytes are one big-endian integer; each word is its remainder by 7,776, the quotient goes on.
    """
    words = word_list()
    rest = int.from_bytes(number, "big")
    chosen = []
    for _ in range(count):
        rest, index = divmod(rest, len(words))
        chosen.append(words[index])
    return " ".join(chosen)


def generate_passphrase(count: int) -> str:
    """Return ``count`` random words with a space between them."""
    return " ".join(secrets.choice(word_list()) for _ in range(count))
