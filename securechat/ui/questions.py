"""What a person is asked before they are in a room: the same words and the same rules on every screen."""

from securechat.client.address import ServerAddress
from securechat.errors import NotTrustedError
from securechat.transport.pins import format_pin, parse_pin

TRUST = "Trust it from now on? (yes, no, or paste the pin)"
CREATE = "Create the room? (yes or no)"


def first_contact(server: ServerAddress, pin: bytes, why: str) -> str:
    """Return what is to be known before ``TRUST`` is asked.

    Args:
        server: Where.
        pin: The SHA-256 of its key, 32 bytes.
        why: Why no authority vouches for it.
    """
    return (
        f"First contact with {server}. {why}\nIts pin is {format_pin(pin)}\n"
        "Compare it with what the server printed at start."
    )


def is_trusted(answer: str, pin: bytes) -> bool:
    """Tell what an answer to ``TRUST`` means.

    Raises:
        InputError: It is neither yes nor no nor a pin.
        NotTrustedError: It is the pin of another server.
    """
    if is_no(answer):
        return False
    if is_yes(answer) or parse_pin(answer) == pin:
        return True
    raise NotTrustedError("The pin that you gave is not the server's.", "Nothing was sent. Ask who runs the server.")


def new_room(server: ServerAddress, words: str) -> str:
    """Return what is to be known before ``CREATE`` is asked; ``words`` are the room's."""
    return (
        f"Nobody has used this room name and passphrase on {server}.\n"
        f"If others should be here, check both; the room words are: {words}"
    )


def is_yes(answer: str) -> bool:
    """Tell whether an answer is yes."""
    return answer.lower() in {"y", "yes"}


def is_no(answer: str) -> bool:
    """Tell whether an answer is no; none is too."""
    return answer.lower() in {"", "n", "no"}
