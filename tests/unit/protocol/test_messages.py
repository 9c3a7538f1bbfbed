"""What no vector shows of the messages."""

import pytest

from securechat import limits
from securechat.errors import ProtocolError
from securechat.protocol import messages
from securechat.protocol.frames import FrameDecoder
from securechat.protocol.messages import Change, Error, Goodbye, Member, MemberChange


def parse_all(data: bytes) -> list[messages.Message]:
    return [messages.parse(frame) for frame in FrameDecoder(limits.FRAME_BYTES).feed(data)]


def test_rel_4_a_long_list_of_members_comes_in_pages_of_at_most_100() -> None:
    changes = [MemberChange(Change.HERE, number, b"p" * 329) for number in range(1, 251)]
    pages = parse_all(messages.list_members(9, changes))
    assert [len(page.changes) for page in pages if isinstance(page, Member)] == [100, 100, 50]
    assert [change for page in pages if isinstance(page, Member) for change in page.changes] == changes


def test_no_change_is_no_frame() -> None:
    assert messages.list_members(9, []) == b""


@pytest.mark.parametrize(
    "message", [Error(999, 0, 0, bytes(16), "of a later version"), Goodbye(99, 5, "of a later version")]
)
def test_err_1_codes_and_reasons_of_a_later_version_are_taken(message: messages.Message) -> None:
    assert parse_all(message.encode()) == [message]


def test_the_largest_page_fits_a_frame() -> None:
    record = messages.Record(0, bytes(limits.ENVELOPE_BYTES - limits.RECORD_BYTES))
    past = messages.Past(1, 9, 1, 4, 1, bytes(32), (record,) * 4)
    assert len(past.encode()) - 4 <= limits.FRAME_BYTES
    assert parse_all(past.encode()) == [past]


def test_half_a_record_and_half_an_entry_are_refused() -> None:
    past = messages.Past(1, 9, 1, 1, 1, bytes(32), (messages.Record(0, b"envelope"),)).encode()
    member = Member(9, (MemberChange(Change.LEFT, 1, b""),)).encode()
    for frame, cut in ((past, 9), (past, 1), (member + b"\1", 0)):
        body = frame[5 : len(frame) - cut]
        with pytest.raises(ProtocolError):
            parse_all((len(body) + 1).to_bytes(4, "big") + frame[4:5] + body)
