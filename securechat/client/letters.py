"""Envelopes opened and their bodies parsed; pure, so that a page of them can be opened in a thread."""

from collections.abc import Iterable
from typing import NamedTuple

from securechat.errors import Failure, OpenError
from securechat.protocol import chain
from securechat.sealing.body import Body, parse
from securechat.sealing.envelope import NO_LOG, Context, open_envelope
from securechat.sealing.keys import RoomKeys


class Letter(NamedTuple):
    """What came of an envelope.

    Attributes:
        digest: SHA-256 of the envelope, 32 bytes.
        identity: Its sender, 32 bytes; empty when it did not open.
        body: What it says; None when it did not open.
        failure: Why it did not open.
        size: Of the envelope, in bytes.
    """

    digest: bytes
    identity: bytes
    body: Body | None
    failure: Failure | None
    size: int = 0


def read_letter(keys: RoomKeys, log_id: bytes, envelope: bytes) -> Letter:
    """Open a message of the log ``log_id`` (16 bytes); a failure is a value here, to be shown."""
    return _read(keys, Context.MESSAGE, log_id, envelope)


def read_letters(keys: RoomKeys, log_id: bytes, envelopes: Iterable[bytes]) -> list[Letter]:
    """Open many."""
    return [read_letter(keys, log_id, envelope) for envelope in envelopes]


def read_presence(keys: RoomKeys, envelope: bytes) -> Letter:
    """Open sealed presence."""
    return _read(keys, Context.PRESENCE, NO_LOG, envelope)


def _read(keys: RoomKeys, context: Context, log_id: bytes, envelope: bytes) -> Letter:
    digest = chain.digest(envelope)
    try:
        opened = open_envelope(keys, context, envelope, log_id)
        body = parse(context, opened.body)
    except OpenError as error:
        return Letter(digest, b"", None, error.failure, len(envelope))
    return Letter(digest, opened.identity, body, None, len(envelope))
