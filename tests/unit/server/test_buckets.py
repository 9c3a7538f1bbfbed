"""Token buckets, and what counts as one peer."""

import pytest

from securechat.server.buckets import AddressBuckets, Bucket, network


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_burst_is_granted_and_then_the_rate(clock: Clock) -> None:
    bucket = Bucket(3, 2.0, clock)
    assert [bucket.take() for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
    clock.now += 0.5
    assert bucket.take() == 0.0
    assert bucket.take() == 0.5


def test_a_refusal_takes_no_token(clock: Clock) -> None:
    bucket = Bucket(1, 1.0, clock)
    assert bucket.take() == 0.0
    assert [bucket.take() for _ in range(100)] == [1.0] * 100
    clock.now += 1
    assert bucket.take() == 0.0


def test_no_more_than_the_burst_is_ever_saved_up(clock: Clock) -> None:
    bucket = Bucket(2, 1.0, clock)
    clock.now += 1000
    assert [bucket.take() for _ in range(3)] == [0.0, 0.0, 1.0]


def test_waiting_tells_and_takes_nothing(clock: Clock) -> None:
    bucket = Bucket(1, 0.5, clock)
    assert [bucket.wait() for _ in range(3)] == [0.0, 0.0, 0.0]
    assert bucket.take() == 0.0
    assert [bucket.wait() for _ in range(3)] == [2.0, 2.0, 2.0]
    clock.now += 1
    assert bucket.wait() == 1.0
    clock.now += 1
    assert bucket.wait() == 0.0


def test_who_pays_in_advance_owes_ever_more_and_pays_it_off(clock: Clock) -> None:
    bucket = Bucket(2, 10.0, clock)
    assert [bucket.spend() for _ in range(5)] == pytest.approx([0.0, 0.0, 0.1, 0.2, 0.3])
    clock.now += 0.3
    assert bucket.spend() == pytest.approx(0.1)
    clock.now += 1000
    assert bucket.spend() == 0.0


def test_a_clock_that_stands_still_grants_nothing(clock: Clock) -> None:
    bucket = Bucket(0.5, 1.0, clock)
    assert [bucket.take() for _ in range(3)] == [0.5, 0.5, 0.5]


def test_each_address_has_its_own_bucket(clock: Clock) -> None:
    buckets = AddressBuckets(1, 1.0, clock)
    assert buckets.of("192.0.2.1").take() == 0.0
    assert buckets.of("192.0.2.1").take() == 1.0
    assert buckets.of("192.0.2.2").take() == 0.0


def test_the_address_that_was_unused_for_longest_is_forgotten(clock: Clock) -> None:
    buckets = AddressBuckets(1, 1.0, clock, most=2)
    for address in ("192.0.2.1", "192.0.2.2", "192.0.2.1"):
        buckets.of(address).take()
    assert buckets.of("192.0.2.3").take() == 0.0
    assert buckets.of("192.0.2.1").take() == 1.0, "used last, remembered"
    assert buckets.of("192.0.2.2").take() == 0.0, "forgotten"


@pytest.mark.parametrize(
    ("address", "peer"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:1:2:3", "2001:db8::/64"),
        ("2001:db8:0:1::1", "2001:db8:0:1::/64"),
        ("::1", "::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("local", "local"),
        ("?", "?"),
    ],
)
def test_a_peer_is_an_ipv4_address_or_a_64_of_ipv6(address: str, peer: str) -> None:
    assert network(address) == peer
