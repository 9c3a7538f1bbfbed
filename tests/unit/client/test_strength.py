import subprocess
import sys

import pytest

from securechat import limits
from securechat.client.strength import check_new, generated_bits, score
from securechat.errors import WeakPassphraseError
from securechat.sealing.words import generate_passphrase


@pytest.mark.parametrize("passphrase", ["password", "letmein1", "qwertyuiop", "1234567890", "abcabcabc"])
def test_a_passphrase_that_can_be_guessed_is_refused_without_being_quoted(passphrase: str) -> None:
    with pytest.raises(WeakPassphraseError) as caught:
        check_new(passphrase, [])
    assert passphrase not in str(caught.value)
    assert "securechat passphrase" in caught.value.next_step
    assert caught.value.exit_code == 6


def test_a_generated_passphrase_is_good_enough() -> None:
    check_new(generate_passphrase(limits.GENERATED_WORDS), [])


def test_the_name_of_the_room_makes_a_passphrase_weaker() -> None:
    names = ["zweibruecken kegelclub"]
    assert score("zweibruecken kegelclub", []) > score("zweibruecken kegelclub", names)
    with pytest.raises(WeakPassphraseError):
        check_new("zweibruecken kegelclub", names)


def test_a_very_long_passphrase_is_rated_by_its_beginning() -> None:
    beginning = "x" * limits.RATED_CHARACTERS
    assert score(beginning + "correct horse battery staple " * 30, []) == score(beginning, [])


def test_each_word_adds_almost_thirteen_bits() -> None:
    assert generated_bits(1) == pytest.approx(12.925, abs=0.001)
    assert generated_bits(6) == pytest.approx(77.5, abs=0.1)


def test_the_rating_is_imported_only_when_a_room_is_opened() -> None:
    code = "import sys, securechat.client.strength; sys.exit('zxcvbn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
