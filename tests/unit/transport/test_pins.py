"""Pins as people read and paste them."""

import base64

import pytest

from securechat.errors import InputError
from securechat.transport.pins import PIN_BYTES, format_pin, parse_pin

PIN = bytes(range(223, 255))
TEXT = "sha256:" + base64.urlsafe_b64encode(PIN).decode().rstrip("=")


def test_a_pin_is_the_prefix_and_43_characters() -> None:
    assert format_pin(PIN) == TEXT
    assert len(TEXT) == len("sha256:") + 43
    assert format_pin(b"\xff" * 32) == "sha256:" + "_" * 42 + "8"


@pytest.mark.parametrize("pin", [bytes(32), b"\xff" * 32, PIN, bytes(range(32))])
def test_what_is_written_is_read_again(pin: bytes) -> None:
    assert parse_pin(format_pin(pin)) == pin
    assert parse_pin(pin.hex()) == pin
    assert len(parse_pin(pin.hex())) == PIN_BYTES


@pytest.mark.parametrize(
    "text",
    [
        TEXT.removeprefix("sha256:"),
        f"  {TEXT}\n",
        PIN.hex(),
        PIN.hex().upper(),
        f"sha256:{PIN.hex()}",
    ],
)
def test_pasted_forms_are_understood(text: str) -> None:
    assert parse_pin(text) == PIN


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha256:",
        TEXT[:-1],
        TEXT + "A",
        TEXT + "=",
        "md5:" + TEXT.removeprefix("sha256:"),
        "sha256:sha256:" + TEXT.removeprefix("sha256:"),
        PIN.hex()[:-1],
        PIN.hex() + "0",
        "g" * 64,
        "é" * 43,
        "é" * 64,
        "+" + "A" * 42,
        "/" + "A" * 42,
        "A" * 20 + " " + "A" * 22,
        "A" * 40 + "===",
        "sha256:" + ":".join(["ab"] * 32),
    ],
)
def test_what_is_no_pin_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"This is not a pin\. A pin is 'sha256:' and 43 characters"):
        parse_pin(text)


def test_a_pin_has_one_spelling_in_base64() -> None:
    # The last character carries four bits; two that are ignored have to be zero.
    assert parse_pin("sha256:" + "A" * 43) == bytes(32)
    for last in "BCD":
        with pytest.raises(InputError):
            parse_pin("sha256:" + "A" * 42 + last)


def test_a_pin_in_hexadecimal_has_no_space_inside() -> None:
    with pytest.raises(InputError):
        parse_pin("aa" + " " * 60 + "bb")
