"""Sealing, padding, bodies and names, for anything that hypothesis thinks of."""

import contextlib
import unicodedata

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from securechat import limits
from securechat.errors import Failure, InputError, OpenError
from securechat.sealing import body, envelope, names, padding
from securechat.sealing.body import Action, Here, Seen, Text
from securechat.sealing.envelope import Context
from securechat.sealing.identity import Identity
from securechat.sealing.keys import RoomKeys, RoomSecret

ROOM = RoomKeys(RoomSecret(b"r" * 32))
OTHER = RoomKeys(RoomSecret(b"o" * 32))
ALICE = Identity(b"a" * 32)

salts = st.binary(min_size=24, max_size=24)
contexts = st.sampled_from(Context)
log_ids = st.binary(min_size=16, max_size=16)
numbers = st.integers(0, 2**53 - 1)
counters = st.integers(1, 2**53 - 1)
sessions = st.binary(min_size=16, max_size=16)
nicks = st.text(min_size=1, max_size=32).filter(lambda nick: unicodedata.is_normalized("NFC", nick))
seens = st.builds(Seen, numbers, st.binary(min_size=32, max_size=32))
messages = st.one_of(
    *(
        st.builds(kind, sessions, counters, numbers, nicks, seens, st.text(min_size=1, max_size=500))
        for kind in (Text, Action)
    )
)
presences = st.builds(Here, sessions, counters, numbers, nicks, st.one_of(st.none(), seens), numbers, st.booleans())


@given(st.binary(max_size=3000), salts, contexts, log_ids)
def test_env_1_what_was_sealed_opens(said: bytes, salt: bytes, context: Context, log_id: bytes) -> None:
    sealed = envelope.seal(ROOM, context, ALICE, said, salt, log_id)
    assert envelope.open_envelope(ROOM, context, sealed, log_id) == (ALICE.public, said)


@given(st.binary(max_size=600), salts, contexts, st.data())
def test_env_2_any_flipped_bit_fails_to_open(said: bytes, salt: bytes, context: Context, data: st.DataObject) -> None:
    sealed = bytearray(envelope.seal(ROOM, context, ALICE, said, salt))
    sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(OpenError):
        envelope.open_envelope(ROOM, context, bytes(sealed))


@given(st.binary(max_size=300), salts, contexts)
def test_env_3_an_envelope_opens_in_its_own_room_context_and_log_only(
    said: bytes, salt: bytes, context: Context
) -> None:
    sealed = envelope.seal(ROOM, context, ALICE, said, salt, b"the one log.....")
    other_context = Context.PRESENCE if context is Context.MESSAGE else Context.MESSAGE
    for keys, wrong in ((OTHER, context), (ROOM, other_context)):
        with pytest.raises(OpenError) as caught:
            envelope.open_envelope(keys, wrong, sealed, b"the one log.....")
        assert caught.value.failure is Failure.COMMITMENT
    for log_id in (envelope.NO_LOG, b"another log....."):
        with pytest.raises(OpenError) as caught:
            envelope.open_envelope(ROOM, context, sealed, log_id)
        assert caught.value.failure is Failure.SIGNATURE


@given(st.binary(max_size=400))
def test_arbitrary_bytes_do_not_open(data: bytes) -> None:
    with pytest.raises(OpenError):
        envelope.open_envelope(ROOM, Context.MESSAGE, data)


@given(st.binary(max_size=70_000))
def test_pad_1_padding_is_the_least_power_of_two_and_comes_off_again(content: bytes) -> None:
    padded = padding.pad(content)
    size = len(padded)
    assert size & (size - 1) == 0
    assert size >= 256
    assert size == 256 or size // 2 < len(content) + 1 <= size
    assert padding.unpad(padded) == content


@given(st.binary(max_size=600))
def test_pad_2_what_unpads_has_one_padding(padded: bytes) -> None:
    with contextlib.suppress(OpenError):
        assert padding.pad(padding.unpad(padded)) == padded


@given(messages)
def test_body_1_a_message_is_read_as_it_was_written(said: body.Spoken) -> None:
    assume(len(said.text.encode()) <= limits.TEXT_BYTES)
    assert body.parse(Context.MESSAGE, body.encode(said)) == said
    with pytest.raises(OpenError):
        body.parse(Context.PRESENCE, body.encode(said))


@given(messages, seens)
def test_ord_7_a_message_that_is_sealed_anew_differs_in_seen_alone(said: body.Spoken, seen: Seen) -> None:
    again = msgspec.structs.replace(said, seen=seen)
    assert body.without_seen(again) == body.without_seen(said)
    later = msgspec.structs.replace(said, clock=said.clock ^ 1)
    assert body.without_seen(later) != body.without_seen(said)


@given(presences)
def test_body_1_a_presence_is_read_as_it_was_written(here: Here) -> None:
    assert body.parse(Context.PRESENCE, body.encode(here)) == here
    with pytest.raises(OpenError):
        body.parse(Context.MESSAGE, body.encode(here))


@given(messages, st.data())
def test_body_2_a_changed_byte_is_another_body_or_none(said: body.Spoken, data: st.DataObject) -> None:
    raw = bytearray(body.encode(said))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(OpenError):
        assert body.parse(Context.MESSAGE, bytes(raw)) != said


@given(st.binary(max_size=200), contexts)
def test_body_2_arbitrary_bytes_are_a_body_or_an_open_error(raw: bytes, context: Context) -> None:
    with contextlib.suppress(OpenError):
        body.parse(context, raw)


_HEADER = [b"s" * 16, 1, 1, "nick", [1, b"h" * 32]]


@given(
    st.integers(3, 127),
    st.recursive(
        st.one_of(
            st.none(), st.booleans(), st.integers(1 - 2**53, 2**53 - 1), st.text(max_size=9), st.binary(max_size=9)
        ),
        lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
        max_leaves=8,
    ),
)
def test_body_3_a_later_kind_with_any_fields_is_known_to_be_unknown(kind: int, field: object) -> None:
    raw = body._encoder.encode([kind, *_HEADER, field])
    parsed = body.parse(Context.MESSAGE, raw)
    assert isinstance(parsed, body.Unknown)
    assert parsed.kind == kind
    assert parsed.header.nick == "nick"
    again = body.parse(Context.MESSAGE, body._encoder.encode([kind, *_HEADER[:4], [2, b"g" * 32], field]))
    assert isinstance(again, body.Unknown)
    assert body.without_seen(again) == body.without_seen(parsed)


@given(st.text(max_size=60))
def test_nam_1_a_room_name_has_one_form_and_it_is_stable(name: str) -> None:
    try:
        normal = names.normalise_room(name)
    except InputError:
        return
    assert names.normalise_room(normal) == normal
    assert 1 <= len(normal.encode()) <= limits.ROOM_NAME_BYTES
    assert names.normalise_room(f" {unicodedata.normalize('NFD', name)}\u3000") == normal


@given(st.from_regex(r"[A-Za-z0-9 ]{1,30}", fullmatch=True).filter(str.strip))
def test_nam_1_case_and_spacing_do_not_matter(name: str) -> None:
    normal = names.normalise_room(name)
    for variant in (name.upper(), name.lower(), f" {name}\u3000", name.replace(" ", " \u200b\t ")):
        assert names.normalise_room(variant) == normal


@given(st.text(max_size=60))
def test_nam_2_a_passphrase_has_one_form_and_it_is_stable(passphrase: str) -> None:
    try:
        normal = names.normalise_passphrase(passphrase)
    except InputError:
        return
    assert names.normalise_passphrase(normal) == normal
    assert names.normalise_passphrase(f" {unicodedata.normalize('NFD', passphrase)} ") == normal
