"""Write the published vectors: ``python tests/vectors/generate.py`` from the checkout, with securechat installed.

What is random elsewhere comes here from SHAKE-256 of a name, so a second run writes the same files. Envelopes
are put together from the primitives, step by step as PROTOCOL.md says, and not by the code under test.
"""

import base64
import dataclasses
import hashlib
import json
import unicodedata
from collections.abc import Callable, Iterable
from enum import IntEnum
from pathlib import Path
from typing import Any, Final

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from securechat.errors import InputError
from securechat.protocol import chain, messages, proof
from securechat.sealing import identity as identities
from securechat.sealing import keys as room_keys
from securechat.sealing import names, words
from securechat.sealing.keys import RoomKeys, RoomSecret
from securechat.transport import pins

HERE: Final = Path(__file__).parent
MESSAGE: Final = 1
PRESENCE: Final = 2
PRIME: Final = 2**255 - 19
ORDER: Final = 2**252 + 27742317777372353535851937790883648493  # of the group, RFC 8032, section 5.1

Vector = dict[str, Any]


def some(name: str, size: int) -> bytes:
    """Return ``size`` bytes that look random."""
    return hashlib.shake_256(name.encode()).digest(size)


class Writer:
    """An identity."""

    def __init__(self, name: str) -> None:
        self.key = Ed25519PrivateKey.from_private_bytes(some(name, 32))
        self.public = self.key.public_key().public_bytes_raw()


ALICE: Final = Writer("alice")
BOB: Final = Writer("bob")
ROOM: Final = RoomKeys(RoomSecret(some("room secret", 32)))
OTHER_ROOM: Final = RoomKeys(RoomSecret(some("other room secret", 32)))
LOG_ID: Final = some("log id", 16)
NO_LOG: Final = bytes(16)


# Names


def name_vectors() -> Iterable[Vector]:
    """Yield what is typed and what it becomes."""
    rooms = (
        ("as it is", "tea house"),
        ("case", "Tea HOUSE"),
        ("case folding is more than lower case", "Stra\u00dfe"),
        ("width", "\uff34\uff25\uff21"),
        ("compatibility", "\ufb01sh \u2460"),
        ("composition", "cafe\u0301"),
        ("any white space is one space", " tea \t\n\u3000\u00a0house \u2028"),
        ("format characters are dropped", "te\u200ba\u00ad ho\u202eus\ufeffe"),
        ("default-ignorable ones too", "tea\ufe0f \u3164house\u034f"),
        ("white space around what is dropped", "tea \u200b house"),
        ("a dotted capital i", "\u0130stanbul"),
        ("final sigma", "\u039f\u03a3 \u03bf\u03c2"),
        ("iota below needs a second round", "\u0390\u0345\u0301"),
        ("what is dropped parts what then composes", "e\u200b\u0301"),
        ("a space that once was one", "tea\u180ehouse"),
        ("another script", "\u8336\u9986"),
        ("an emoji with its joiners", "\U0001f468\u200d\U0001f469\u200d\U0001f467"),
        ("the longest", "\u00e9" * 64),
        ("a control", "tea\u0007house"),
        ("a NUL", "tea\0house"),
        ("half a surrogate pair", "tea\ud800"),
        ("private use", "tea\ue000"),
        ("unassigned", "tea\u0378"),
        ("empty", ""),
        ("nothing visible", " \u200b\u3000"),
        ("too long by a byte", "a" * 129),
    )
    passphrases = (
        ("as it is", "correct horse"),
        ("case matters", "Correct Horse"),
        ("spaces inside stay, those at the ends go", "  correct  horse "),
        ("other spaces become plain ones", "correct\u00a0horse\u3000battery"),
        ("composition", "cafe\u0301"),
        ("compatibility characters stay", "\ufb01sh"),
        ("invisible characters stay", "a\u200db"),
        ("the longest", "x" * 1024),
        ("a tab is a control", "correct\thorse"),
        ("a line feed is a control", "correct\nhorse"),
        ("half a surrogate pair", "\udfff"),
        ("private use", "\uf8ff"),
        ("unassigned", "\u0378"),
        ("empty", ""),
        ("only spaces", " \u2003 "),
        ("too long by a byte", "x" * 1025),
    )
    nicks = (
        ("as it is", "alice"),
        ("case stays", "Alice"),
        ("composition", "Zoe\u0308"),
        ("the longest", "\U0001f600" * 32),
        ("a space", "al ice"),
        ("an invisible character", "al\u200bice"),
        ("a default-ignorable letter", "al\u3164ice"),
        ("a variation selector", "alice\ufe0f"),
        ("a control", "al\x1bice"),
        ("half a surrogate pair", "al\ud800ice"),
        ("private use", "al\ue000ice"),
        ("unassigned", "al\u0378ice"),
        ("too long by a character", "a" * 33),
        ("empty", ""),
    )
    kinds: tuple[tuple[str, Callable[[str], str], tuple[tuple[str, str], ...]], ...] = (
        ("room", names.normalise_room, rooms),
        ("passphrase", names.normalise_passphrase, passphrases),
        ("nick", names.normalise_nick, nicks),
    )
    for kind, normalise, inputs in kinds:
        for what, given in inputs:
            vector: Vector = {"name": f"{kind}: {what}", "kind": kind, "input": given}
            try:
                yield {**vector, "output": normalise(given)}
            except InputError:
                yield {**vector, "failure": "refused"}


# Keys and words


def key_vectors() -> Iterable[Vector]:
    """Yield rooms with all that is derived from them."""
    for name, passphrase in (
        ("tea house", "correct horse battery staple"),
        ("tea house", "Correct horse battery staple"),
        ("\u8336\u9986", "p\u00e4sswort mit umlaut"),
    ):
        secret, head = room_keys.derive_secret(name, passphrase), some("head", 32)
        keys = RoomKeys(secret)
        yield {
            "name": f"{name} / {passphrase}",
            "room": name,
            "passphrase": passphrase,
            "salt": room_keys.room_salt(name).hex(),
            "room_secret": secret.bytes.hex(),
            "address": keys.address.hex(),
            "message_key": keys.message_key.hex(),
            "presence_key": keys.presence_key.hex(),
            "room_words": keys.words,
            "check": {"sequence": 41, "hash": head.hex(), "words": keys.check_words(41, head)},
        }


def word_vectors() -> Iterable[Vector]:
    """Yield 32 bytes and their words, and the words by which members verify each other."""
    for what, number in (("zero", bytes(32)), ("the largest", b"\xff" * 32), ("any", some("words", 32))):
        yield {"name": what, "bytes": number.hex(), "words": words.to_words(number, 8)}
    alice, bob, carol = (writer.public for writer in (ALICE, BOB, Writer("carol")))
    for what, one, other in (
        ("two identities", alice, bob),
        ("the other way round", bob, alice),
        ("another order as little-endian integers", alice, carol),
    ):
        verify = identities.verify_words(one, other)
        yield {"name": what, "identities": [one.hex(), other.hex()], "verify_words": verify}


# Envelopes


def body_of(**changes: Any) -> list[Any]:
    """Return the fields of a text message."""
    fields: dict[str, Any] = {
        "kind": 1,
        "session": some("session", 16),
        "counter": 7,
        "clock": 1_767_225_600_000,
        "nick": "alice",
        "seen": [41, some("head", 32)],
        "text": "Is anybody here?",
    }
    return list((fields | changes).values())


def here_of(**changes: Any) -> list[Any]:
    """Return the fields of a presence."""
    fields: dict[str, Any] = {
        "kind": 128,
        "session": some("session", 16),
        "counter": 1,
        "clock": 1_767_225_600_000,
        "nick": "alice",
        "seen": None,
        "messages": 6,
        "reader": False,
    }
    return list((fields | changes).values())


def packed(value: Any) -> bytes:
    """Return the msgpack of ``value``, each number and length in its shortest form."""
    return msgspec.msgpack.encode(value)


def content_of(body: bytes, salt: bytes, **changes: Any) -> bytes:
    """Return signed content; ``changes`` tell what is wrong with it."""
    writer, room, context = changes.get("writer", ALICE), changes.get("room", ROOM), changes.get("context", MESSAGE)
    log_id = changes.get("log_id", LOG_ID if context == MESSAGE else NO_LOG)
    signed = b"securechat v1 message\0" + bytes([context]) + room.address + log_id + writer.public + salt + body
    signature: bytes = changes.get("sign", writer.key.sign)(signed)
    return bytes(changes.get("public", writer.public)) + signature + bytes(changes.get("said", body))


def padded_to(content: bytes, size: int, mark: bytes = b"\x80") -> bytes:
    """Return ``content`` with its mark, filled up with zeros."""
    return (content + mark).ljust(size, b"\0")


def sealed(padded: bytes, salt: bytes, context: int = MESSAGE, room: RoomKeys = ROOM, aad_of: bytes = b"") -> bytes:
    """Return the envelope of padded content."""
    secret = room.message_key if context == MESSAGE else room.presence_key
    info = b"securechat v1 envelope" + room.address
    derived = HKDF(hashes.SHA256(), length=76, salt=salt, info=info).derive(secret)
    key, nonce, commitment = derived[:32], derived[32:44], derived[44:]
    header: bytes = b"\x01" + salt + commitment
    return header + ChaCha20Poly1305(key).encrypt(nonce, padded, header + (aad_of or room.address))


def flipped(data: bytes, at: int) -> bytes:
    """Return ``data`` with one bit changed."""
    changed = bytearray(data)
    changed[at] ^= 1
    return bytes(changed)


def unreduced(content: bytes) -> bytes:
    """Return signed content whose signature has S + L in place of S."""
    s = int.from_bytes(content[64:96], "little") + ORDER
    return content[:64] + s.to_bytes(32, "little") + content[96:]


def scalar(seed: bytes) -> int:
    """Return the private scalar of a seed, RFC 8032, section 5.1.5."""
    low = int.from_bytes(hashlib.sha512(seed).digest()[:32], "little")
    return (low & ((1 << 254) - 8)) | 1 << 254


def sign_with_order_2(signed: bytes) -> bytes:
    """Return a signature by alice whose R has a part of order 2: it verifies with the cofactor, and only then.

    The point of order 2 is (0, -1); adding it to (x, y) gives (-x, -y).
    """
    nonce = int.from_bytes(Writer("nonce").public, "little")
    sign, y = nonce >> 255, nonce & ((1 << 255) - 1)
    point = (PRIME - y | (1 - sign) << 255).to_bytes(32, "little")
    k = int.from_bytes(hashlib.sha512(point + ALICE.public + signed).digest(), "little")
    return point + ((scalar(some("nonce", 32)) + k * scalar(some("alice", 32))) % ORDER).to_bytes(32, "little")


def good_envelopes() -> Iterable[Vector]:
    """Yield envelopes that open."""
    long_body = packed(body_of(text="x" * 700))
    longest = packed(body_of(text="\u8336" * 10_666))
    spare = 255 - 96 - len(packed(body_of(text="y" * 40)))
    exact = packed(body_of(text="y" * (40 + spare)))
    over = packed(body_of(text="y" * (41 + spare)))
    for what, context, body, size in (
        ("a message", MESSAGE, packed(body_of()), 256),
        ("a message of an identity with the highest bit", MESSAGE, packed(body_of(nick="dave")), 256),
        ("a presence", PRESENCE, packed(here_of()), 256),
        ("a longer message", MESSAGE, long_body, 1024),
        ("content of one byte less than the padded size", MESSAGE, exact, 256),
        ("content of the padded size: the mark needs twice as much", MESSAGE, over, 512),
        ("the longest message", MESSAGE, longest, 32768),
    ):
        salt = some(what, 24)
        name = "dave" if "highest bit" in what else "alice"
        writer = Writer(name)
        envelope = sealed(padded_to(content_of(body, salt, context=context, writer=writer), size), salt, context)
        yield {
            "name": what,
            "context": context,
            "seed": some(name, 32).hex(),
            "salt": salt.hex(),
            "envelope": envelope.hex(),
            "identity": writer.public.hex(),
            "body": body.hex(),
        }


def bad_envelopes() -> Iterable[tuple[str, str, bytes]]:
    """Yield name, failure and envelope; each is wrong in one way."""
    body, salt = packed(body_of()), some("salt", 24)
    content = content_of(body, salt)
    good = sealed(padded_to(content, 256), salt)
    yield "empty", "version", b""
    yield "a later version", "version", b"\x02" + good[1:]
    yield "a byte less", "length", good[:-1]
    yield "a byte more", "length", good + b"\0"
    yield "the header alone", "length", good[:73]
    yield "padded to less than 256", "length", sealed(bytes(128), salt)
    yield "padded to no power of two", "length", sealed(padded_to(content, 384), salt)
    yield "another salt", "commitment", flipped(good, 1)
    yield "another commitment", "commitment", flipped(good, 25)
    yield (
        "another room",
        "commitment",
        sealed(padded_to(content_of(body, salt, room=OTHER_ROOM), 256), salt, room=OTHER_ROOM),
    )
    yield (
        "a presence where a message belongs",
        "commitment",
        sealed(padded_to(content_of(packed(here_of()), salt, context=PRESENCE), 256), salt, PRESENCE),
    )
    yield "the first bit of the ciphertext", "tag", flipped(good, 57)
    yield "the last bit of the tag", "tag", flipped(good, -1)
    yield "associated data of another room", "tag", sealed(padded_to(content, 256), salt, aad_of=OTHER_ROOM.address)
    yield "no mark", "padding", sealed(bytes(256), salt)
    yield "something behind the mark", "padding", sealed(padded_to(content, 255) + b"\x01", salt)
    yield "another mark", "padding", sealed(padded_to(content, 256, b"\x81"), salt)
    yield "padded to more than is needed", "padding", sealed(padded_to(content, 512), salt)
    for what, public in (
        ("no identity", b""),
        ("the neutral point as identity", (1).to_bytes(32, "little")),
        ("an identity of order 8", bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05")),
        ("another of order 8", bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a")),
        ("the neutral point with the highest bit", (1 << 255 | 1).to_bytes(32, "little")),
        ("an identity that is not canonical", (PRIME + 3).to_bytes(32, "little")),
        ("another that is not, with the highest bit", (1 << 255 | PRIME + 3).to_bytes(32, "little")),
        ("the room's address as identity", ROOM.address),
    ):
        wrong = content_of(body, salt, public=public) if public else b""
        yield what, "identity", sealed(padded_to(wrong, 256), salt)
    for what, wrong in (
        ("an identity that is no point", content_of(body, salt, public=(2).to_bytes(32, "little"))),
        ("another identity", content_of(body, salt, public=BOB.public)),
        ("another bit of the signature", flipped(content, 40)),
        ("a signature whose S is not reduced", unreduced(content)),
        ("a signature that verifies with the cofactor alone", content_of(body, salt, sign=sign_with_order_2)),
        ("another body", content_of(body, salt, said=packed(body_of(text="Is nobody here?")))),
        ("signed as a presence", content_of(body, salt, context=PRESENCE)),
        ("signed for another room", content_of(body, salt, room=OTHER_ROOM)),
        ("signed for another log", content_of(body, salt, log_id=some("another log id", 16))),
        ("signed for no log", content_of(body, salt, log_id=NO_LOG)),
        ("signed under another salt", content_of(body, some("another salt", 24))),
        ("half a signature", content[:64]),
    ):
        yield what, "signature", sealed(padded_to(wrong, 256), salt)


def bad_presences() -> Iterable[tuple[str, str, bytes]]:
    """Yield the same of presence."""
    body, salt = packed(here_of()), some("salt of a presence", 24)
    content = content_of(body, salt, context=PRESENCE, log_id=LOG_ID)
    yield "a presence signed for a log", "signature", sealed(padded_to(content, 256), salt, PRESENCE)


def envelope_vectors() -> Vector:
    """Return envelopes that open in ROOM and such that do not."""
    bad = [
        {"name": name, "context": context, "envelope": envelope.hex(), "failure": failure}
        for context, vectors in ((MESSAGE, bad_envelopes()), (PRESENCE, bad_presences()))
        for name, failure, envelope in vectors
    ]
    keys = {"room_secret": some("room secret", 32).hex(), "log_id": LOG_ID.hex()}
    return {**keys, "vectors": [*good_envelopes(), *bad]}


# Bodies


def nested(levels: int, innermost: Any = None) -> Any:
    """Return arrays inside each other, ``innermost`` in the last of them."""
    for _ in range(levels):
        innermost = [innermost]
    return innermost


def mapped(levels: int) -> Any:
    """Return maps inside each other, with nil in the last of them."""
    value: Any = None
    for _ in range(levels):
        value = {"a": value}
    return value


def later(*fields: Any, **changes: Any) -> bytes:
    """Return a message of a kind of a later version."""
    return packed([*body_of(**{"kind": 3} | changes)[:6], *fields])


def good_bodies() -> Iterable[tuple[str, int, list[Any]]]:
    """Yield name, context and fields of bodies that are accepted."""
    yield "text", MESSAGE, body_of()
    yield "text of two lines", MESSAGE, body_of(text="one\ntwo")
    yield "action", MESSAGE, body_of(kind=2, text="makes tea")
    yield "nothing seen yet", MESSAGE, body_of(seen=[0, some("root", 32)], counter=1)
    yield (
        "the largest numbers",
        MESSAGE,
        body_of(counter=2**53 - 1, clock=2**53 - 1, seen=[2**53 - 1, some("head", 32)]),
    )
    yield "the longest nickname", MESSAGE, body_of(nick="\U0001f600" * 32)
    yield "the longest text", MESSAGE, body_of(text="x" * 32_000)
    yield "presence", PRESENCE, here_of()
    yield "presence of a reader that has seen", PRESENCE, here_of(seen=[41, some("head", 32)], reader=True, messages=0)
    yield "a kind of a later version", MESSAGE, body_of(kind=3)
    yield "a kind with a map and a float", MESSAGE, [*body_of(kind=127), {"a": [1.5, None, True, b"x"]}]
    yield "a kind with a map in no order", MESSAGE, [*body_of(kind=127), {"b": 1, "a": 2}]
    yield "a kind with the largest numbers", MESSAGE, [*body_of(kind=127), 2**53 - 1, 1 - 2**53]
    yield "a kind with 32 levels of arrays", MESSAGE, [*body_of(kind=127), nested(31)]
    yield "a kind with 32 levels of arrays, the last empty", MESSAGE, [*body_of(kind=127), nested(30, [])]
    yield "a kind with 32 levels of maps", MESSAGE, [*body_of(kind=127), mapped(31)]
    yield "a NUL, which a writer is asked not to write", MESSAGE, body_of(text="a\0b")
    yield "controls, which are not shown", MESSAGE, body_of(text="\x1b[31m\u202e", kind=2)
    yield "a nickname that nobody can type", MESSAGE, body_of(nick="\x1b \u200b\0\u0378")
    yield "a presence of a later version", PRESENCE, here_of(kind=129)
    yield "the last kind", PRESENCE, here_of(kind=255)[:6]


def bad_bodies() -> Iterable[tuple[str, int, bytes]]:
    """Yield name, context and bytes of bodies that are refused."""
    good = packed(body_of())
    seen = some("head", 32)
    yield "empty", MESSAGE, b""
    yield "nil", MESSAGE, packed(None)
    yield "a map", MESSAGE, packed({"kind": 1})
    yield "an empty array", MESSAGE, packed([])
    yield "cut short", MESSAGE, good[:-1]
    yield "a byte behind it", MESSAGE, good + b"\0"
    yield "a field too many", MESSAGE, packed([*body_of(), 1])
    yield "a field too few", MESSAGE, packed(body_of()[:-1])
    yield "the array's length in two bytes", MESSAGE, b"\xdc\x00\x07" + good[1:]
    yield (
        "a number in more bytes than it needs",
        MESSAGE,
        good.replace(b"\x07\xcf", b"\xcc\x07\xcf", 1),
    )
    yield "a string's length in more bytes than it needs", MESSAGE, good.replace(b"\xa5alice", b"\xd9\x05alice")
    yield "text that is not UTF-8", MESSAGE, good.replace(b"Is any", b"Is \xffny")
    yield "text as bytes", MESSAGE, packed(body_of(text=b"Is anybody here?"))
    yield "a presence where a message belongs", MESSAGE, packed(here_of())
    yield "a message where a presence belongs", PRESENCE, packed(body_of())
    yield "kind 0", MESSAGE, packed(body_of(kind=0))
    yield "a negative kind", MESSAGE, packed(body_of(kind=-1))
    yield "a presence's later kind as a message", MESSAGE, packed(body_of(kind=129))
    yield "a message's later kind as a presence", PRESENCE, packed(here_of(kind=3))
    yield "kind 256", PRESENCE, packed(here_of(kind=256))
    yield "a kind that is no number", MESSAGE, packed(body_of(kind="text"))
    yield "session of 15 bytes", MESSAGE, packed(body_of(session=bytes(15)))
    yield "counter 0", MESSAGE, packed(body_of(counter=0))
    yield "counter 2^53", MESSAGE, packed(body_of(counter=2**53))
    yield "a clock of 2^53", MESSAGE, packed(body_of(clock=2**53))
    yield "seen of 2^53", MESSAGE, packed(body_of(seen=[2**53, seen]))
    yield "a presence of 2^53 messages", PRESENCE, packed(here_of(messages=2**53))
    yield "a presence of -1 messages", PRESENCE, packed(here_of(messages=-1))
    yield "counter as a float", MESSAGE, packed(body_of(counter=7.0))
    yield "a clock before 1970", MESSAGE, packed(body_of(clock=-1))
    yield "no nickname", MESSAGE, packed(body_of(nick=""))
    yield "a nickname of 33 code points", MESSAGE, packed(body_of(nick="a" * 33))
    yield "a nickname that is not in NFC", MESSAGE, packed(body_of(nick=unicodedata.normalize("NFD", "Zo\u00eb")))
    yield "a presence whose nickname is not in NFC", PRESENCE, packed(here_of(nick="Zoe\u0308"))
    yield "a message that has seen nil", MESSAGE, packed(body_of(seen=None))
    yield "seen with a hash of 31 bytes", MESSAGE, packed(body_of(seen=[41, seen[:31]]))
    yield "seen with a third field", MESSAGE, packed(body_of(seen=[41, seen, 1]))
    yield "no text", MESSAGE, packed(body_of(text=""))
    yield "an action without a text", MESSAGE, packed(body_of(kind=2, text=""))
    yield "an action of 32,001 bytes", MESSAGE, packed(body_of(kind=2, text="x" * 32_001))
    yield "a text of 32,001 bytes", MESSAGE, packed(body_of(text="x" * 32_001))
    yield "reader as a number", PRESENCE, packed(here_of(reader=1))
    yield "a later kind with a header that is wrong", MESSAGE, packed(body_of(kind=3, counter=0))
    yield "a later kind whose nickname is not in NFC", MESSAGE, packed(body_of(kind=3, nick="Zoe\u0308"))
    yield "a later kind that has seen nil", MESSAGE, packed(body_of(kind=3, seen=None))
    yield "a later kind with a key twice", MESSAGE, packed([*body_of(kind=3), {}])[:-1] + b"\x82\xa1a\x01\xa1a\x02"
    yield "a later kind with 33 levels of arrays", MESSAGE, later(nested(32))
    yield "a later kind with 33 levels of arrays, the last empty", MESSAGE, later(nested(31, []))
    yield "a later kind with 33 levels of maps", MESSAGE, later(mapped(32))
    yield "a later kind with 2^53", MESSAGE, later(2**53)
    yield "a later kind with -2^53", MESSAGE, later(-(2**53))
    yield "a later kind with 2^53 far inside", MESSAGE, later([{"a": 2**53}])
    yield "a later kind with NaN", MESSAGE, later(float("nan"))
    yield "a later kind that announces more than there is", MESSAGE, later(0)[:-1] + b"\xdd\xff\xff\xff\xff"
    yield "a later kind whose counter is a float", MESSAGE, later(counter=7.0)
    yield "a later kind with a key that is no string", MESSAGE, packed([*body_of(kind=3), {1: 2}])
    yield "a later kind with an extension", MESSAGE, packed([*body_of(kind=3), 0])[:-1] + b"\xd4\x01\x00"
    yield "a later kind with a timestamp", MESSAGE, packed([*body_of(kind=3), 0])[:-1] + b"\xd6\xff\0\0\0\1"
    yield "a later kind with a number too long", MESSAGE, packed([*body_of(kind=3), 0])[:-1] + b"\xcc\x00"
    yield "a later kind with a short float", MESSAGE, packed([*body_of(kind=3), 0])[:-1] + b"\xca\x3f\xc0\x00\x00"


def plain(value: Any) -> Any:
    """Return ``value`` as JSON has it: bytes as hexadecimal digits, messages as their fields."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, IntEnum):
        return int(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value


def body_vectors() -> Iterable[Vector]:
    """Yield bodies that are accepted and such that are refused."""
    for name, context, fields in good_bodies():
        vector = {"name": name, "context": context, "body": packed(fields).hex(), "fields": plain(fields)}
        unseen = packed([*fields[:5], None, *fields[6:]])
        yield vector | ({"digest": hashlib.sha256(unseen).hexdigest()} if context == MESSAGE else {})
    for name, context, body in bad_bodies():
        yield {"name": name, "context": context, "body": body.hex(), "failure": "body"}


# The relay


def proof_vectors() -> Iterable[Vector]:
    """Yield join proofs."""
    challenge, spki = some("challenge", 32), some("server key", 32)
    good = ROOM.sign_join(b"securechat v1 join\0" + challenge + spki + ROOM.address)
    neutral, high = (1).to_bytes(32, "little"), (1 << 255 | 1).to_bytes(32, "little")
    for name, address, seen, server, given, is_valid in (
        ("a proof", ROOM.address, challenge, spki, good, True),
        ("another challenge", ROOM.address, some("other", 32), spki, good, False),
        ("another server's key", ROOM.address, challenge, some("other", 32), good, False),
        ("another room", OTHER_ROOM.address, challenge, spki, good, False),
        ("another bit", ROOM.address, challenge, spki, flipped(good, 3), False),
        ("an S that is not reduced", ROOM.address, challenge, spki, unreduced(bytes(32) + good)[32:], False),
        ("an address that is no point", (2).to_bytes(32, "little"), challenge, spki, good, False),
        ("an address of small order, under which this verifies", neutral, challenge, spki, neutral + bytes(32), False),
        ("the same with the highest bit", high, challenge, spki, high + bytes(32), False),
        ("an address that is not canonical", (2**255 - 18).to_bytes(32, "little"), challenge, spki, good, False),
    ):
        signed = proof.signed_bytes(seen, server, address)
        yield {
            "name": name,
            "address": address.hex(),
            "challenge": seen.hex(),
            "spki_hash": server.hex(),
            "signed": signed.hex(),
            "proof": given.hex(),
            "valid": is_valid,
        }


def chain_vectors() -> Vector:
    """Return a log of three messages with its hashes."""
    head = chain.root(ROOM.address, LOG_ID)
    vectors: list[Vector] = []
    for sequence in (1, 2, 3):
        envelope = some(f"envelope {sequence}", 329)
        head = chain.link(head, sequence, hashlib.sha256(envelope).digest())
        vectors.append(
            {
                "sequence": sequence,
                "envelope": envelope.hex(),
                "envelope_id": hashlib.sha256(envelope).digest()[:16].hex(),
                "hash": head.hex(),
                "check_words": ROOM.check_words(sequence, head),
            }
        )
    return {
        "room_secret": some("room secret", 32).hex(),
        "address": ROOM.address.hex(),
        "log_id": LOG_ID.hex(),
        "root": chain.root(ROOM.address, LOG_ID).hex(),
        "vectors": vectors,
    }


def good_frames() -> Iterable[tuple[str, messages.Message]]:
    """Yield one message of each type, and a few more."""
    changes = (
        messages.MemberChange(messages.Change.HERE, 1, some("presence 1", 329)),
        messages.MemberChange(messages.Change.LEFT, 2, b""),
    )
    records = (
        messages.Record(1_767_225_600_000, some("envelope 1", 329)),
        messages.Record(1_767_225_600_001, some("envelope 2", 585)),
    )
    before, envelope = some("before", 32), some("envelope", 329)
    yield "server", messages.Welcome(some("challenge", 32), 65536, 60, 1_767_225_600_000)
    yield "client", messages.Join(1, ROOM.address, some("proof", 64), False, some("presence", 329))
    yield "client", messages.Join(2, ROOM.address, some("proof", 64), True, b"")
    yield "server", messages.Joined(1, 9, 3, False, some("log id", 16), 5, 41, some("head", 32), 2)
    yield "client", messages.Send(9, envelope)
    yield "server", messages.Deliver(9, 42, 1_767_225_600_000, envelope)
    yield "server", messages.Member(9, changes)
    yield "client", messages.Presence(9, some("presence", 329))
    yield "client", messages.History(7, 9, messages.Direction.FORWARD, 42, 1000)
    yield "client", messages.History(8, 9, messages.Direction.BACKWARD, 42, 20)
    yield "server", messages.Past(7, 9, 5, 43, 42, before, records)
    yield "server", messages.Past(7, 9, 44, 43, 44, before, ())
    yield "client", messages.Leave(9)
    yield "client", messages.Ping(some("token", 8))
    yield "server", messages.Pong(some("token", 8))
    yield "server", messages.Error(messages.Code.STORAGE, 0, 5, some("id", 16), "the message could not be stored")
    yield "server", messages.Goodbye(messages.Reason.SHUTDOWN, 1, "")


def raw(frame_type: int, body: bytes) -> bytes:
    """Return a frame."""
    return (len(body) + 1).to_bytes(4, "big") + bytes([frame_type]) + body


def bad_frames() -> Iterable[tuple[str, str, str, bytes]]:
    """Yield name, violation, who sends it and the bytes; each is wrong in one way."""
    good = {type(message).__name__: message.encode() for _, message in good_frames()}
    yield "a length of 0", "length", "client", bytes(4)
    yield "a length above the limit", "length", "client", (65536 + 256 + 1).to_bytes(4, "big")
    yield "a length above the limit", "length", "server", (262144 + 256 + 1).to_bytes(4, "big")
    yield "an HTTP request", "length", "client", b"GET / HTTP/1.1\r\n\r\n"
    yield "type 0", "type", "client", raw(0, b"")
    yield "a type of a later version", "type", "client", raw(15, b"")
    for name, _ in {(type(message).__name__, 0): 0 for _, message in good_frames()}:
        sender = next(s for s, m in good_frames() if type(m).__name__ == name)
        if name not in {"Send", "Deliver", "Presence", "Error", "Goodbye", "Join"}:
            yield f"{name.upper()} with a byte more", "malformed", sender, raw(good[name][4], good[name][5:] + b"\0")
        yield f"{name.upper()} cut short", "malformed", sender, raw(good[name][4], good[name][5:][:2])
    yield "WELCOME of a later version", "malformed", "server", raw(1, b"\0\2" + good["Welcome"][7:])
    yield "a clock of 2^53", "malformed", "server", raw(1, good["Welcome"][5:-8] + (2**53).to_bytes(8, "big"))
    join = good["Join"][5:]
    yield "JOIN with another flag", "malformed", "client", raw(2, join[:100] + b"\2" + join[101:])
    yield "a presence of 1,025 bytes", "malformed", "client", raw(2, join[:101] + bytes(1025))
    joined = good["Joined"][5:]
    yield (
        "JOINED that keeps nothing of what it has",
        "malformed",
        "server",
        raw(3, joined[:29] + (43).to_bytes(8, "big") + joined[37:]),
    )
    yield "JOINED whose oldest is 0", "malformed", "server", raw(3, joined[:29] + bytes(8) + joined[37:])
    yield "an empty envelope", "malformed", "client", raw(4, bytes(4))
    yield "an envelope of 65,537 bytes", "malformed", "client", raw(4, bytes(4 + 65537))
    yield "MEMBER that left and has presence", "malformed", "server", raw(6, bytes(4) + b"\3\0\0\0\1\0\1x")
    yield "MEMBER that is here without presence", "malformed", "server", raw(6, bytes(4) + b"\1\0\0\0\1\0\0")
    yield "JOINED with another flag", "malformed", "server", raw(3, joined[:12] + b"\2" + joined[13:])
    yield "DELIVER of sequence 0", "malformed", "server", raw(5, bytes(4) + bytes(16) + b"envelope")
    yield "MEMBER without an entry", "malformed", "server", raw(6, bytes(4))
    yield "MEMBER with an unknown change", "malformed", "server", raw(6, bytes(4) + b"\5\0\0\0\1\0\0")
    yield "MEMBER with half a presence", "malformed", "server", raw(6, bytes(4) + b"\1\0\0\0\1\0\2x")
    entry = b"\1\0\0\0\1\0\1x"
    large = b"\1\0\0\0\1\4\1" + bytes(1025)
    yield "MEMBER of 101 entries", "malformed", "server", raw(6, bytes(4) + entry * 101)
    yield "MEMBER with a presence of 1,025 bytes", "malformed", "server", raw(6, bytes(4) + large)
    yield "an empty presence", "malformed", "client", raw(7, bytes(4))
    yield "PRESENCE of 1,025 bytes", "malformed", "client", raw(7, bytes(4 + 1025))
    history = good["History"][5:]
    yield "HISTORY in no direction", "malformed", "client", raw(8, history[:8] + b"\3" + history[9:])
    yield "HISTORY from 0", "malformed", "client", raw(8, history[:9] + bytes(8) + history[17:])
    yield "HISTORY of 0 messages", "malformed", "client", raw(8, history[:17] + bytes(2))
    past = good["Past"][5:]
    yield "PAST with an empty record", "malformed", "server", raw(9, past + bytes(12))
    yield (
        "PAST behind the end of its log",
        "malformed",
        "server",
        raw(9, past[:24] + (45).to_bytes(8, "big") + past[32:]),
    )
    for what, at in (("oldest", 8), ("first", 24)):
        yield f"PAST whose {what} is 0", "malformed", "server", raw(9, past[:at] + bytes(8) + past[at + 8 :])
    yield from large_numbers()
    yield "text that is not UTF-8", "malformed", "server", raw(14, b"\1\0\0\xff")
    yield "text of 257 bytes", "malformed", "server", raw(14, b"\1\0\0" + b"x" * 257)


def large_numbers() -> Iterable[tuple[str, str, str, bytes]]:
    """Yield frames in which one number of 64 bits is 2^53, and nothing else is wrong."""
    most, large = 2**53 - 1, (2**53).to_bytes(8, "big")
    head, envelope = some("head", 32), some("envelope", 329)
    joined = messages.Joined(1, 9, 3, False, LOG_ID, 5, most, head, 0)
    empty = messages.Past(7, 9, 5, most, 44, head, ())
    record = messages.Past(7, 9, 5, most, 44, head, (messages.Record(0, envelope),))
    changed: tuple[tuple[str, str, messages.Message, int], ...] = (
        ("JOINED whose oldest is 2^53", "server", joined, 29),
        ("JOINED whose newest is 2^53", "server", joined, 37),
        ("DELIVER of sequence 2^53", "server", messages.Deliver(9, 42, 0, envelope), 4),
        ("DELIVER at a clock of 2^53", "server", messages.Deliver(9, 42, 0, envelope), 12),
        ("HISTORY from 2^53", "client", messages.History(7, 9, messages.Direction.FORWARD, 42, 9), 9),
        ("PAST whose oldest is 2^53", "server", empty, 8),
        ("PAST whose newest is 2^53", "server", empty, 16),
        ("PAST whose first is 2^53", "server", empty, 24),
        ("PAST with a record at a clock of 2^53", "server", record, 64),
    )
    for what, sender, message, at in changed:
        frame = message.encode()
        body = frame[5:]
        yield what, "malformed", sender, raw(frame[4], body[:at] + large + body[at + 8 :])


def frame_vectors() -> Iterable[Vector]:
    """Yield frames that are accepted and such that end the connection."""
    for sender, message in good_frames():
        name = type(message).__name__.upper()
        frame = message.encode()
        yield {"name": name, "from": sender, "type": frame[4], "frame": frame.hex(), "fields": plain(message)}
    for name, violation, sender, data in bad_frames():
        yield {"name": name, "from": sender, "frame": data.hex(), "violation": violation}


def join_of(ref: int) -> bytes:
    """Return a JOIN."""
    return messages.Join(ref, ROOM.address, some("proof", 64), False, some("presence", 329)).encode()


def joined_of(ref: int) -> bytes:
    """Return a JOINED under the handle that all of ``good_frames`` have."""
    return messages.Joined(ref, 9, 3, False, LOG_ID, 5, 41, some("head", 32), 2).encode()


def past_of(ref: int, handle: int = 9) -> bytes:
    """Return a PAST."""
    return messages.Past(ref, handle, 5, 43, 44, some("before", 32), ()).encode()


def error_of(ref: int) -> bytes:
    """Return an ERROR that answers a JOIN or HISTORY."""
    return messages.Error(messages.Code.STORAGE, ref, 5, bytes(16), "storage").encode()


def connection_vectors() -> Iterable[Vector]:
    """Yield what one end said (0) and heard (1): what the last frame brings, or the rule that it breaks."""
    frames = {type(message).__name__.upper(): message.encode() for _, message in good_frames()}
    welcome, goodbye, leave = (frames[name] for name in ("WELCOME", "GOODBYE", "LEAVE"))
    ping = messages.Ping(some("token", 8)).encode()
    client = [(1, welcome), (0, join_of(1)), (1, joined_of(1))]
    server = [(0, welcome), (1, join_of(1)), (0, joined_of(1))]
    asked, left = (
        [*client, (0, messages.History(8, 9, messages.Direction.FORWARD, 42, 9).encode())],
        [*client, (0, leave)],
    )
    good: tuple[tuple[str, str, list[tuple[int, bytes]], int], ...] = (
        ("GOODBYE before WELCOME", "client", [(1, goodbye)], 1),
        ("PING from a server", "client", [(1, welcome), (1, ping)], 1),
        ("PING before a JOIN", "server", [(0, welcome), (1, ping)], 1),
        ("SEND to a room", "server", [*server, (1, frames["SEND"])], 1),
        ("DELIVER in a room", "client", [*client, (1, frames["DELIVER"])], 1),
        ("ERROR for a SEND", "client", [*client, (1, frames["ERROR"])], 1),
        ("ERROR for a JOIN", "client", [(1, welcome), (0, join_of(1)), (1, error_of(1))], 1),
        ("ERROR for a HISTORY", "client", [*asked, (1, error_of(8))], 1),
        ("PAST for a HISTORY", "client", [*asked, (1, past_of(8))], 1),
        ("PAST after LEAVE", "client", [*asked, (0, leave), (1, past_of(8))], 0),
        ("DELIVER after LEAVE", "client", [*left, (1, frames["DELIVER"])], 0),
        (
            "DELIVER in a room that was joined again",
            "client",
            [*left, (0, join_of(2)), (1, joined_of(2)), (1, frames["DELIVER"])],
            1,
        ),
    )
    bad: tuple[tuple[str, str, list[tuple[int, bytes]], str], ...] = (
        ("a client before WELCOME", "client", [(1, frames["PONG"])], "state"),
        ("a second WELCOME", "client", [(1, welcome), (1, welcome)], "state"),
        ("something after GOODBYE", "client", [(1, welcome), (1, goodbye), (1, frames["PONG"])], "state"),
        ("a client's frame from a server", "client", [*client, (1, frames["SEND"])], "state"),
        ("a server's frame from a client", "server", [*server, (1, frames["DELIVER"])], "state"),
        ("SEND after LEAVE", "server", [*server, (1, leave), (1, frames["SEND"])], "handle"),
        *(
            (f"{name} to a room that was not joined", "server", [(0, welcome), (1, frames[name])], "handle")
            for name in ("SEND", "PRESENCE", "HISTORY", "LEAVE")
        ),
        *(
            (f"{name} of a room that was not joined", "client", [(1, welcome), (1, frames[name])], "handle")
            for name in ("DELIVER", "MEMBER")
        ),
        ("PAST of a room that was not joined", "client", [*asked, (1, past_of(8, handle=10))], "handle"),
        ("JOINED that nobody asked for", "client", [(1, welcome), (1, joined_of(1))], "reference"),
        ("JOINED twice", "client", [*client, (1, joined_of(1))], "reference"),
        ("JOINED for a HISTORY", "client", [*asked, (1, joined_of(8))], "reference"),
        ("PAST for a JOIN", "client", [*client, (0, join_of(2)), (1, past_of(2))], "reference"),
        ("PAST that nobody asked for", "client", [*client, (1, past_of(8))], "reference"),
        ("PAST twice", "client", [*asked, (1, past_of(8)), (1, past_of(8))], "reference"),
        ("ERROR for what nobody asked", "client", [*client, (1, error_of(5))], "reference"),
    )
    for name, end, steps, brings in good:
        yield {"name": name, "end": end, "frames": said_and_heard(steps), "brings": brings}
    for name, end, steps, violation in bad:
        yield {"name": name, "end": end, "frames": said_and_heard(steps), "violation": violation}


def said_and_heard(steps: list[tuple[int, bytes]]) -> list[Vector]:
    """Return frames as JSON has them."""
    return [{"heard" if direction else "said": frame.hex()} for direction, frame in steps]


def pin_vectors() -> Iterable[Vector]:
    """Yield pins as they are written."""
    pin = some("server key", 32)
    written = "sha256:" + base64.urlsafe_b64encode(pin).decode().rstrip("=")
    last = written[-1]
    for name, text in (
        ("as it is printed", written),
        ("in hexadecimal digits", pin.hex()),
        ("in capital hexadecimal digits, with the prefix", "sha256:" + pin.hex().upper()),
    ):
        yield {"name": name, "text": text, "pin": pin.hex(), "printed": pins.format_pin(pin)}
    for name, text in (
        ("cut short", written[:-1]),
        ("with padding", written + "="),
        ("another hash", written.replace("sha256", "sha512")),
        ("bits left over", written[:-1] + chr(ord(last) + 1)),
        ("not base64url", written[:-2] + "+" + last),
        ("empty", ""),
    ):
        yield {"name": name, "text": text, "failure": "refused"}


def files() -> dict[str, Any]:
    """Return what belongs into each file."""
    return {
        "names": {"unicode": "14.0.0 or later", "vectors": list(name_vectors())},
        "keys": {"vectors": list(key_vectors())},
        "words": {"vectors": list(word_vectors())},
        "envelopes": envelope_vectors(),
        "bodies": {"vectors": list(body_vectors())},
        "proofs": {"vectors": list(proof_vectors())},
        "chain": chain_vectors(),
        "frames": {"vectors": list(frame_vectors())},
        "connections": {"vectors": list(connection_vectors())},
        "pins": {"vectors": list(pin_vectors())},
    }


def render(content: Any) -> str:
    """Return the text of a file."""
    return json.dumps(content, indent=1) + "\n"


if __name__ == "__main__":
    for stem, written in files().items():
        (HERE / f"{stem}.json").write_text(render(written), encoding="ascii")
