"""Each harness, on its seeds and on what hypothesis makes of them: the contract of every parser."""

import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.harness import Choices, to_bytes, to_text
from tests.fuzz.table import HARNESSES

_CONSTANT = 64 * 1024  # bytes that a parser may allocate whatever the input
_FILLINGS = (b"\0", b"\x80", b"\x90", b"\x91", b"\xc0", b"\xff", b"=", b"[", b"A")

each = pytest.mark.parametrize("name", HARNESSES)


@each
def test_the_seeds_keep_the_contract(name: str) -> None:
    harness = HARNESSES[name]
    for seed in harness.seeds:
        harness.run(seed)


@each
@settings(max_examples=40, derandomize=True, deadline=None)
@given(data=st.data())
def test_any_bytes_keep_the_contract(name: str, data: st.DataObject) -> None:
    harness = HARNESSES[name]
    harness.run(data.draw(st.binary(max_size=min(harness.most, 300)) | st.text(max_size=80).map(_encoded)))


def _encoded(text: str) -> bytes:
    return text.encode()


@each
@settings(max_examples=60, derandomize=True, deadline=None)
@given(data=st.data())
def test_seeds_that_were_changed_keep_the_contract(name: str, data: st.DataObject) -> None:
    harness = HARNESSES[name]
    seed = data.draw(st.sampled_from(harness.seeds))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(seed)))
        end = data.draw(st.integers(start, min(len(seed), start + 16)))
        seed = seed[:start] + data.draw(st.binary(max_size=12)) + seed[end:]
    harness.run(seed)


@each
def test_memory_is_bounded_by_a_multiple_of_the_input(name: str) -> None:
    harness = HARNESSES[name]
    inputs = [*harness.seeds, *((filling * harness.most)[: harness.most] for filling in _FILLINGS)]
    for given_bytes in inputs:
        harness.run(given_bytes)  # what is imported or cached at first does not count
    tracemalloc.start()
    try:
        for given_bytes in inputs:
            before = tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()
            harness.run(given_bytes)
            used = tracemalloc.get_traced_memory()[1] - before
            assert used <= _CONSTANT + harness.memory * len(given_bytes), given_bytes[:40]
    finally:
        tracemalloc.stop()


def test_choices_are_read_in_order_and_end_in_zeros() -> None:
    choices = Choices(b"\x05\xf0\0\0\0\0\x01\0\0\x07xyz")
    assert [choices.number(), choices.number(), choices.one_of("abc")] == [5, 65536, "b"]
    assert choices.take(9) == b"xyz"
    assert choices.is_over
    assert (choices.byte(), choices.number(), choices.take(2)) == (0, 0, b"")


@pytest.mark.parametrize("data", [b"", b"abc", "\u8336\U0001f600".encode(), b"\xff", b"a\xed\xa0\x80", b"\xed\xa0"])
def test_any_bytes_are_text_and_text_is_bytes_again(data: bytes) -> None:
    assert to_text(data).encode("utf-8", "surrogatepass") == b"".join(to_bytes([to_text(data)]))
