"""How hard a passphrase is to guess, told only to whoever opens a new room."""

import math
from typing import Final

from securechat import limits
from securechat.errors import WeakPassphraseError

_WORD_BITS: Final = math.log2(7776)


def generated_bits(count: int) -> float:
    """Return the bits of a passphrase of ``count`` random words."""
    return count * _WORD_BITS


def score(passphrase: str, names: list[str]) -> int:
    """Return zxcvbn's score, 0 to 4, of the first 72 characters.

    Args:
        passphrase: The normalised passphrase.
        names: Words that whoever guesses tries first, such as the room's name.
    """
    from zxcvbn import zxcvbn  # slow to import, and seldom needed

    rated: int = zxcvbn(passphrase[: limits.RATED_CHARACTERS], user_inputs=names)["score"]
    return rated


def check_new(passphrase: str, names: list[str]) -> None:
    """Check that a passphrase is good enough for a new room.

    Raises:
        WeakPassphraseError: It is not.
    """
    rated = score(passphrase, names)
    if rated < limits.PASSPHRASE_SCORE:
        raise WeakPassphraseError(
            f"This passphrase can be guessed (strength {rated} of 4), and whoever guesses it reads the whole room.",
            "Take one of 'securechat passphrase', or insist with --weak-passphrase.",
        )
