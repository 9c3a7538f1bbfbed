"""What members seal: envelopes, their padding, and bodies."""

import unicodedata
from typing import Final

from securechat import limits
from securechat.errors import Failure, OpenError
from securechat.sealing import body as bodies
from securechat.sealing import padding
from securechat.sealing.envelope import Context, open_envelope
from tests.fuzz.harness import Harness, vectors
from tests.vectors.generate import PRESENCE, ROOM, body_of, content_of, packed, sealed

_SALT: Final = bytes(24)


def envelope(data: bytes) -> None:
    """Any bytes are an envelope of this room, or do not open."""
    for context in Context:
        try:
            opened = open_envelope(ROOM, context, data)
        except OpenError as error:
            assert error.failure in Failure
            assert len(str(error)) < 100
        else:
            assert len(opened.identity) == 32
            assert len(opened.body) < len(data)


def content(data: bytes) -> None:
    """Somebody who has the key may seal anything: it is signed content, or does not open."""
    for context in Context:
        try:
            opened = open_envelope(ROOM, context, sealed(data, _SALT, context))
        except OpenError as error:
            assert error.failure in {
                *(Failure.LENGTH, Failure.PADDING, Failure.IDENTITY, Failure.SIGNATURE),
            }
        else:
            assert opened.identity in data
            assert opened.body in data


def unpad(data: bytes) -> None:
    """What unpads has one padding."""
    try:
        inside = padding.unpad(data)
    except OpenError as error:
        assert error.failure is Failure.PADDING
    else:
        assert padding.pad(inside) == data


def body(data: bytes) -> None:
    """Signed bytes are the one encoding of a body, or an error."""
    for context in Context:
        try:
            parsed = bodies.parse(context, data)
        except OpenError as error:
            assert error.failure is Failure.BODY
        else:
            _check_body(context, parsed, data)


def _check_body(context: Context, parsed: bodies.Body, raw: bytes) -> None:
    header = parsed.header if isinstance(parsed, bodies.Unknown) else parsed
    assert 1 <= len(header.nick) <= limits.NICK_CODE_POINTS
    assert unicodedata.is_normalized("NFC", header.nick)
    assert 1 <= header.counter < 2**53
    if isinstance(parsed, bodies.Unknown):
        assert parsed.kind not in {1, 2, 128}
        assert (parsed.kind < 128) == (context is Context.MESSAGE)
        assert len(parsed.unseen) <= len(raw)
        return
    assert bodies.encode(parsed) == raw
    if isinstance(parsed, bodies.Here):
        assert context is Context.PRESENCE
    else:
        assert context is Context.MESSAGE
        assert 1 <= len(parsed.text.encode()) <= limits.TEXT_BYTES
        assert len(bodies.without_seen(parsed)) < len(raw)


_BODIES = [bytes.fromhex(vector["body"]) for vector in vectors("bodies")]
_CROWDED = packed([*body_of(kind=3), [[]] * 3000])  # a byte for each array
_ENVELOPES = [bytes.fromhex(vector["envelope"]) for vector in vectors("envelopes")]
_SIGNED = [padding.pad(content_of(raw, _SALT, context=PRESENCE)) for raw in _BODIES if len(raw) < 2000]

HARNESSES = {
    "envelope": Harness(envelope, _ENVELOPES),
    "content": Harness(content, _SIGNED),
    "unpad": Harness(unpad, [*_SIGNED, padding.pad(b""), padding.pad(b"")[:-1] + b"\1", bytes(256), b"\x80"]),
    "body": Harness(body, [*_BODIES, _CROWDED], memory=256),
}
