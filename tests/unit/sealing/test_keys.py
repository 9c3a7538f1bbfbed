"""Keys: what they cost, and what they never show."""

import pytest

from securechat.errors import InputError, OpenError, SecurechatError
from securechat.sealing import envelope, keys, words
from securechat.sealing.identity import Identity
from securechat.sealing.keys import Cost, RoomKeys, RoomSecret

CHEAP = Cost(memory_kib=64, iterations=1, lanes=1)


def test_key_1_version_1_has_one_cost() -> None:
    assert (keys.V1.memory_kib, keys.V1.iterations, keys.V1.lanes) == (256 * 1024, 3, 4)


def test_key_2_another_name_or_passphrase_is_another_room() -> None:
    pairs = [("a", "b"), ("b", "a"), ("ab", ""), ("a", "B")]
    addresses = {RoomKeys(keys.derive_secret(*pair, CHEAP)).address for pair in pairs}
    assert len(addresses) == len(pairs)


def test_key_3_the_keys_of_a_room_are_told_apart() -> None:
    room = RoomKeys(RoomSecret(b"s" * 32))
    assert len({room.address, room.message_key, room.presence_key, b"s" * 32}) == 4


def test_too_little_memory_is_a_sentence_and_no_traceback() -> None:
    with pytest.raises(SecurechatError, match=r"4194303 MiB of memory, and there is not enough"):
        keys.derive_secret("room", "passphrase", Cost(memory_kib=2**32 - 1, iterations=1, lanes=1))


def test_a_room_secret_has_32_bytes() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        RoomSecret(bytes(31))


def test_no_repr_shows_a_secret() -> None:
    secret = RoomSecret(b"s" * 32)
    room, me = RoomKeys(secret), Identity(b"i" * 32)
    for shown in (repr(secret), repr(room), repr(me)):
        for hidden in (b"s" * 32, b"i" * 32, room.message_key, room.presence_key):
            assert hidden.hex() not in shown
            assert repr(hidden) not in shown


def test_an_identity_survives_its_file() -> None:
    me = Identity(b"i" * 32)
    assert Identity.from_pem(me.to_pem()).public == me.public


def test_other_files_are_no_identity() -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    other = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    unheard_of = Identity(b"i" * 32).to_pem().replace(b"AwBQYDK2Vw", b"AwBQYDK2V1")  # another object identifier
    for pem in (b"", b"-----BEGIN PRIVATE KEY-----\n", other, unheard_of):
        with pytest.raises(InputError) as caught:
            Identity.from_pem(pem)
        assert "identity export" in str(caught.value)


def test_env_4_an_envelope_above_64_kib_is_refused_by_its_length() -> None:
    room = RoomKeys(RoomSecret(b"s" * 32))
    with pytest.raises(OpenError) as caught:
        envelope.open_envelope(room, envelope.Context.MESSAGE, b"\1" + bytes(72 + 65_536))
    assert caught.value.failure == "length"


def test_generated_passphrases_are_words_and_differ() -> None:
    made = {words.generate_passphrase(6) for _ in range(20)}
    assert len(made) == 20
    assert all(len(passphrase.split(" ")) == 6 for passphrase in made)
    assert {word for passphrase in made for word in passphrase.split(" ")} <= set(words.word_list())
