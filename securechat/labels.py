"""Every label that separates one use of a hash, key or signature from another (PROTOCOL.md).

Labels are ASCII. Where a label is hashed or signed together with other bytes, a 0x00 follows it.
"""

from typing import Final

ROOM_SALT: Final = b"securechat v1 room salt"
ROOM_ADDRESS: Final = b"securechat v1 room address"
MESSAGE_KEY: Final = b"securechat v1 message key"
PRESENCE_KEY: Final = b"securechat v1 presence key"
ROOM_WORDS: Final = b"securechat v1 room words"
CHECK_KEY: Final = b"securechat v1 check key"

ENVELOPE: Final = b"securechat v1 envelope"
SIGNATURE: Final = b"securechat v1 message"
VERIFY_WORDS: Final = b"securechat v1 verify words"

JOIN: Final = b"securechat v1 join"
LOG_ROOT: Final = b"securechat v1 log"
LOG_LINK: Final = b"securechat v1 link"

ALPN: Final = "securechat/1"
LEGACY_ALPN: Final = "securechat-legacy/1"
