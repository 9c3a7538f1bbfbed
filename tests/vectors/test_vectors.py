"""Our code against the published vectors; each vector is a test of its own, by its name."""

import hashlib
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

from securechat import limits
from securechat.errors import InputError, OpenError, ProtocolError
from securechat.protocol import chain, frames, messages, proof
from securechat.protocol.connection import ClientConnection, ServerConnection
from securechat.sealing import body, envelope, identity, keys, names, words
from securechat.sealing.envelope import Context
from securechat.sealing.identity import Identity
from securechat.sealing.keys import RoomKeys, RoomSecret
from securechat.transport import pins
from tests.vectors import generate

HERE = Path(__file__).parent
_WORD_LIST = "6d557f0693958fb5e650b68b5bee585eb82cf4da32965505c789e924743bc522"  # SHA-256, one word a line


def load(stem: str) -> Any:
    return json.loads((HERE / f"{stem}.json").read_text(encoding="ascii"))


def each(stem: str, *, fails: bool | None = None) -> pytest.MarkDecorator:
    """Parametrise a test with the vectors of a file: all of them, those that fail, or the others."""
    chosen = [v for v in load(stem)["vectors"] if fails is None or ("failure" in v or "violation" in v) == fails]
    return pytest.mark.parametrize(
        "vector", [pytest.param(v, id=v["name"].encode("ascii", "replace").decode()) for v in chosen]
    )


def test_the_published_files_are_what_the_generator_writes() -> None:
    for stem, content in generate.files().items():
        assert (HERE / f"{stem}.json").read_text(encoding="ascii") == generate.render(content), stem


_NORMALISE = {"room": names.normalise_room, "passphrase": names.normalise_passphrase, "nick": names.normalise_nick}


@each("names", fails=False)
def test_names_normalise(vector: dict[str, Any]) -> None:
    normalise = _NORMALISE[vector["kind"]]
    assert normalise(vector["input"]) == vector["output"]
    assert normalise(vector["output"]) == vector["output"]


@each("names", fails=True)
def test_names_are_refused(vector: dict[str, Any]) -> None:
    with pytest.raises(InputError) as caught:
        _NORMALISE[vector["kind"]](vector["input"])
    assert caught.value.exit_code == 2
    assert not vector["input"] or vector["input"] not in str(caught.value)


@each("keys")
def test_keys_follow_from_name_and_passphrase(vector: dict[str, Any]) -> None:
    assert keys.room_salt(vector["room"]).hex() == vector["salt"]
    secret = keys.derive_secret(vector["room"], vector["passphrase"])
    assert secret.bytes.hex() == vector["room_secret"]
    derived = RoomKeys(secret)
    assert derived.address.hex() == vector["address"]
    assert derived.message_key.hex() == vector["message_key"]
    assert derived.presence_key.hex() == vector["presence_key"]
    assert derived.words == vector["room_words"]
    check = vector["check"]
    assert derived.check_words(check["sequence"], bytes.fromhex(check["hash"])) == check["words"]


@each("words")
def test_words_are_read_alike(vector: dict[str, Any]) -> None:
    if "bytes" in vector:
        assert words.to_words(bytes.fromhex(vector["bytes"]), 8) == vector["words"]
    else:
        assert identity.verify_words(*map(bytes.fromhex, vector["identities"])) == vector["verify_words"]


def envelope_keys() -> RoomKeys:
    return RoomKeys(RoomSecret(bytes.fromhex(load("envelopes")["room_secret"])))


def log_of(context: Context) -> bytes:
    """Return what a signature covers of the log: of presence, nothing."""
    return bytes.fromhex(load("envelopes")["log_id"]) if context is Context.MESSAGE else envelope.NO_LOG


@each("envelopes", fails=False)
def test_envelopes_seal_and_open(vector: dict[str, Any]) -> None:
    room, context, said = envelope_keys(), Context(vector["context"]), bytes.fromhex(vector["body"])
    sender = Identity(bytes.fromhex(vector["seed"]))
    log_id = log_of(context)
    sealed = envelope.seal(room, context, sender, said, bytes.fromhex(vector["salt"]), log_id)
    assert sealed.hex() == vector["envelope"]
    assert envelope.open_envelope(room, context, sealed, log_id) == (bytes.fromhex(vector["identity"]), said)


@each("envelopes", fails=True)
def test_envelopes_fail_with_the_class_that_is_named(vector: dict[str, Any]) -> None:
    room, context = envelope_keys(), Context(vector["context"])
    with pytest.raises(OpenError) as caught:
        envelope.open_envelope(room, context, bytes.fromhex(vector["envelope"]), log_of(context))
    assert caught.value.failure == vector["failure"]


@each("bodies", fails=False)
def test_bodies_parse_to_their_fields(vector: dict[str, Any]) -> None:
    raw = bytes.fromhex(vector["body"])
    parsed = body.parse(Context(vector["context"]), raw)
    if isinstance(parsed, body.Unknown):
        assert parsed.kind == vector["fields"][0]
        assert generate.plain(msgspec.to_builtins(parsed.header, builtin_types=(bytes,))) == vector["fields"][1:6]
    else:
        assert body.encode(parsed) == raw
        assert generate.plain(msgspec.to_builtins(parsed, builtin_types=(bytes,))) == vector["fields"]


@each("bodies", fails=False)
def test_ord_3_what_a_message_says_has_one_digest(vector: dict[str, Any]) -> None:
    said = body.parse(Context(vector["context"]), bytes.fromhex(vector["body"]))
    if "digest" in vector:
        assert isinstance(said, body.Text | body.Action | body.Unknown)
        assert hashlib.sha256(body.without_seen(said)).hexdigest() == vector["digest"]


@each("bodies", fails=True)
def test_bodies_are_refused(vector: dict[str, Any]) -> None:
    with pytest.raises(OpenError) as caught:
        body.parse(Context(vector["context"]), bytes.fromhex(vector["body"]))
    assert caught.value.failure == vector["failure"]


@each("proofs")
def test_join_proofs_verify_or_not(vector: dict[str, Any]) -> None:
    address, challenge, spki, given = (
        bytes.fromhex(vector[name]) for name in ("address", "challenge", "spki_hash", "proof")
    )
    assert proof.signed_bytes(challenge, spki, address).hex() == vector["signed"]
    assert proof.is_proven(address, given, challenge, spki) is vector["valid"]


def test_the_chain_links_as_published() -> None:
    published = load("chain")
    room = RoomKeys(RoomSecret(bytes.fromhex(published["room_secret"])))
    head = chain.root(bytes.fromhex(published["address"]), bytes.fromhex(published["log_id"]))
    assert head.hex() == published["root"]
    for vector in published["vectors"]:
        sealed = bytes.fromhex(vector["envelope"])
        assert chain.envelope_id(sealed).hex() == vector["envelope_id"]
        head = chain.link(head, vector["sequence"], chain.digest(sealed))
        assert head.hex() == vector["hash"]
        assert room.check_words(vector["sequence"], head) == vector["check_words"]


def decode(vector: dict[str, Any]) -> list[messages.Message]:
    most = limits.CLIENT_FRAME_BYTES if vector["from"] == "client" else limits.FRAME_BYTES
    decoder = frames.FrameDecoder(most)
    return [messages.parse(frame) for frame in decoder.feed(bytes.fromhex(vector["frame"]))]


@each("frames", fails=False)
def test_frames_parse_to_their_fields_and_back(vector: dict[str, Any]) -> None:
    (message,) = decode(vector)
    assert vector["type"] == message.TYPE
    assert generate.plain(message) == vector["fields"]
    assert message.encode().hex() == vector["frame"]


@each("frames", fails=True)
def test_frames_are_refused_with_the_violation_that_is_named(vector: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError) as caught:
        decode(vector)
    assert caught.value.violation == vector["violation"]


def up_to_the_last(vector: dict[str, Any]) -> tuple[ServerConnection | ClientConnection, bytes]:
    """Return one end of a connection as it is before the last frame, and that frame."""
    end: ServerConnection | ClientConnection = ServerConnection() if vector["end"] == "server" else ClientConnection()
    *before, last = vector["frames"]
    for step in before:
        if "heard" in step:
            list(end.receive(bytes.fromhex(step["heard"])))
        else:
            (frame,) = frames.FrameDecoder(limits.FRAME_BYTES).feed(bytes.fromhex(step["said"]))
            end.send(messages.parse(frame))
    return end, bytes.fromhex(last["heard"])


@each("connections", fails=False)
def test_connections_bring_what_was_said(vector: dict[str, Any]) -> None:
    end, last = up_to_the_last(vector)
    assert len(list(end.receive(last))) == vector["brings"]


@each("connections", fails=True)
def test_connections_end_with_the_violation_that_is_named(vector: dict[str, Any]) -> None:
    end, last = up_to_the_last(vector)
    with pytest.raises(ProtocolError) as caught:
        list(end.receive(last))
    assert caught.value.violation == vector["violation"]


@each("pins", fails=False)
def test_pins_are_read_in_every_form(vector: dict[str, Any]) -> None:
    assert pins.parse_pin(vector["text"]).hex() == vector["pin"]
    assert pins.format_pin(bytes.fromhex(vector["pin"])) == vector["printed"]


@each("pins", fails=True)
def test_pins_are_refused(vector: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        pins.parse_pin(vector["text"])


# What we build on, against its own standards


@each("rfc5869")
def test_hkdf_is_that_of_rfc_5869(vector: dict[str, Any]) -> None:
    ikm, salt, info, prk, okm = (bytes.fromhex(vector[name]) for name in ("ikm", "salt", "info", "prk", "okm"))
    assert HKDF(hashes.SHA256(), length=len(okm), salt=salt, info=info).derive(ikm) == okm
    assert HKDFExpand(hashes.SHA256(), length=len(okm), info=info).derive(prk) == okm


@each("rfc9106")
def test_argon2id_is_that_of_rfc_9106(vector: dict[str, Any]) -> None:
    kdf = Argon2id(
        salt=bytes.fromhex(vector["salt"]),
        length=32,
        iterations=vector["iterations"],
        lanes=vector["lanes"],
        memory_cost=vector["memory_kib"],
        ad=bytes.fromhex(vector["ad"]),
        secret=bytes.fromhex(vector["secret"]),
    )
    assert kdf.derive(bytes.fromhex(vector["password"])).hex() == vector["tag"]


@each("rfc8439")
def test_chacha20_poly1305_is_that_of_rfc_8439(vector: dict[str, Any]) -> None:
    key, nonce, aad, plaintext = (bytes.fromhex(vector[name]) for name in ("key", "nonce", "aad", "plaintext"))
    assert ChaCha20Poly1305(key).encrypt(nonce, plaintext, aad).hex() == vector["ciphertext"] + vector["tag"]


@each("rfc8032")
def test_ed25519_is_that_of_rfc_8032(vector: dict[str, Any]) -> None:
    seed, public, message, signature = (
        bytes.fromhex(vector[name]) for name in ("seed", "public", "message", "signature")
    )
    mine = Identity(seed)
    assert mine.public == public
    assert mine.sign(message) == signature
    Ed25519PublicKey.from_public_bytes(public).verify(signature, message)


def test_the_word_list_is_the_published_one() -> None:
    text = "".join(f"{word}\n" for word in words.word_list())
    assert len(words.word_list()) == len(set(words.word_list())) == 7776
    assert hashlib.sha256(text.encode()).hexdigest() == _WORD_LIST
