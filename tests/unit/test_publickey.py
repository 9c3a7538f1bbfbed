"""Which keys are refused, against the curve itself (RFC 8032, section 5.1)."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from securechat.publickey import PUBLIC_KEY_BYTES, is_acceptable

P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P
Point = tuple[int, int]


def add(one: Point, two: Point) -> Point:
    """Add two points of the twisted Edwards curve -x² + y² = 1 + d x² y²."""
    (x1, y1), (x2, y2) = one, two
    t = D * x1 * x2 * y1 * y2 % P
    return (x1 * y2 + x2 * y1) * pow(1 + t, -1, P) % P, (y1 * y2 + x1 * x2) * pow(1 - t, -1, P) % P


def eight_times(point: Point) -> Point:
    for _ in range(3):
        point = add(point, point)
    return point


def points_at(y: int) -> list[Point]:
    """Return the points of the curve with this y coordinate."""
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square:
        x = x * pow(2, (P - 1) // 4, P) % P
    return [(x, y), (-x % P, y)] if x * x % P == square else []


def encode(y: int, sign: int = 0) -> bytes:
    return (y | sign << 255).to_bytes(32, "little")


def points_of_small_order() -> set[Point]:
    """Return the eight points whose order divides 8, found by multiplying others by the prime order."""
    order = 2**252 + 27742317777372353535851937790883648493
    found: set[Point] = set()
    for y in range(2, 60):
        for point in points_at(y):
            total: Point = (0, 1)
            for bit in f"{order:b}":
                total = add(total, total)
                if bit == "1":
                    total = add(total, point)
            found.add(total)
        if len(found) == 8:
            break
    return found


def test_keys_as_people_have_them_are_acceptable() -> None:
    for seed in range(50):
        key = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32).public_key().public_bytes_raw()
        assert is_acceptable(key)


def test_every_point_of_small_order_is_refused() -> None:
    points = points_of_small_order()
    assert len(points) == 8
    for point in points:
        assert eight_times(point) == (0, 1)
        assert not is_acceptable(encode(point[1], point[0] & 1))


def test_the_sign_of_x_does_not_save_a_point_of_small_order() -> None:
    for _, y in points_of_small_order():
        assert not is_acceptable(encode(y, 0))
        assert not is_acceptable(encode(y, 1))


@pytest.mark.parametrize("sign", [0, 1])
@pytest.mark.parametrize("excess", range(19))
def test_a_coordinate_that_is_not_below_the_prime_is_refused(excess: int, sign: int) -> None:
    assert not is_acceptable(encode(P + excess, sign))
    if excess > 1:
        assert is_acceptable(encode(excess, sign)), "the same point in its one canonical encoding"


def test_the_largest_coordinate_below_those_refused_is_acceptable() -> None:
    assert is_acceptable(encode(P - 2))
    assert is_acceptable(encode(2))


@pytest.mark.parametrize("length", [0, 1, 31, 33, 64])
def test_a_key_of_another_length_is_refused(length: int) -> None:
    assert PUBLIC_KEY_BYTES == 32
    assert not is_acceptable(b"\x42" * length)


def test_what_is_refused_would_have_fooled_the_library() -> None:
    # Under the neutral element S = 0 and R = the neutral element sign every message.
    neutral = encode(1)
    Ed25519PublicKey.from_public_bytes(neutral).verify(neutral + bytes(32), b"any message")
    assert not is_acceptable(neutral)
