"""Every limit of securechat: sizes in bytes, times in seconds, counts. PROTOCOL.md repeats those of the wire.

Constants that belong to version 1 of the protocol are marked (v1): another value does not interoperate.
"""

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB

# Names and passphrases, after normalisation (v1).
ROOM_NAME_BYTES: Final = 128
PASSPHRASE_BYTES: Final = 1024
NICK_CODE_POINTS: Final = 32
TEXT_BYTES: Final = 32_000

BODY_DEPTH: Final = 32  # of arrays and maps in a body of a later version (v1)

# Argon2id (v1): RFC 9106 parameters, memory in KiB.
ARGON2_MEMORY_KIB: Final = 256 * KIB
ARGON2_ITERATIONS: Final = 3
ARGON2_LANES: Final = 4

# Passphrases of new rooms.
GENERATED_WORDS: Final = 6
PASSPHRASE_SCORE: Final = 4  # of zxcvbn's 0..4
RATED_CHARACTERS: Final = 72  # zxcvbn's time grows fast with length

# Frames (v1).
ENVELOPE_BYTES: Final = 64 * KIB  # the largest that a server may announce
PRESENCE_BYTES: Final = KIB
PAGE_BYTES: Final = 256 * KIB  # the entries of one PAST
PAGE_ENTRIES: Final = 1000
RECORD_BYTES: Final = 12  # what PAST adds to an envelope
FRAME_BYTES: Final = PAGE_BYTES + 256  # type and body of any frame
CLIENT_FRAME_BYTES: Final = ENVELOPE_BYTES + 256  # type and body of a frame that a client sends
MEMBERS_PER_FRAME: Final = 100
ERROR_TEXT_BYTES: Final = 256

# What a client lets a server dictate.
KEEPALIVE_SECONDS: Final = (10, 300)
RETRY_SECONDS: Final = (1, 3600)

# The server: one connection.
HANDSHAKE_TIMEOUT: Final = 10.0
FIRST_JOIN_TIMEOUT: Final = 10.0
KEEPALIVE: Final = 60  # announced in WELCOME
KEEPALIVE_GRACE: Final = 2.5  # times the keep-alive without a byte: the peer is gone
GOODBYE_TIMEOUT: Final = 5.0  # to flush and say close_notify
ROOMS_PER_CONNECTION: Final = 16
OUTBOX_BYTES: Final = 4 * MIB  # a reader further behind than this reconnects and resumes
IN_FLIGHT_MESSAGES: Final = 256  # of one connection, sent and not yet committed
IN_FLIGHT_BYTES: Final = 512 * KIB

# The server: all connections.
ACCEPT_BACKLOG: Final = 1024
DRAIN_TIMEOUT: Final = 10.0
PRESENCE_AT_ONCE: Final = 32  # members of a room up to which changes are told one by one
PRESENCE_DELAY: Final = 1.0  # above: told together, this much later
EXPIRY_INTERVAL: Final = 60.0
STORAGE_RETRY: Final = 5  # announced when a message could not be stored

# Token buckets: (burst, refill per second).
HANDSHAKES_PER_ADDRESS: Final = (500, 50.0)
REFUSED_JOINS_PER_ADDRESS: Final = (30, 0.5)
CREATIONS_PER_ADDRESS: Final = (30, 0.2)
MESSAGES_PER_CONNECTION: Final = (5000, 1000.0)
CHANGES_PER_CONNECTION: Final = (30, 1.0)  # of presence
JOINS_PER_CONNECTION: Final = (32, 2.0)
BUCKETS: Final = 20_000  # addresses remembered at once

# History.
RETAIN_SECONDS: Final = 7 * 24 * 3600
RETAIN_MESSAGES: Final = 10_000
MEMORY_BYTES: Final = 256 * MIB  # of all rooms together with --memory: the oldest go first
COMMIT_MESSAGES: Final = 2000  # appended by one commit
COMMIT_BYTES: Final = MIB  # and delivered at once: well below the outbox of a reader that keeps up

# The old base64 mode.
LEGACY_READ_BYTES: Final = 4096  # what old programs read at once
LEGACY_UNIT_BYTES: Final = 3072  # which is this much in base64
LEGACY_PACE: Final = 0.01  # between two times so much
LEGACY_GREETING_CHARACTERS: Final = 1024
LEGACY_MESSAGE_CHARACTERS: Final = 32_000  # a longer one is told in parts
LEGACY_SENT_BYTES: Final = 768  # of one message: an old server may read 1,024 characters at once
LEGACY_GREETING_TIMEOUT: Final = 10.0
LEGACY_QUIET: Final = 0.05  # ends a unit that does not end itself
LEGACY_FLUSH_TIMEOUT: Final = 2.0  # for what was said last, before the reset
LEGACY_OUTBOX_BYTES: Final = MIB
LEGACY_ECHO_TIMEOUT: Final = 1.0  # then the next message goes out all the same
LEGACY_MESSAGES_PER_CONNECTION: Final = (200, 20.0)
LEGACY_MEMBERS: Final = 1000  # of all rooms together

# The client.
CONNECT_TIMEOUT: Final = 10.0
REPLY_TIMEOUT: Final = 20.0  # JOINED, PAST, PONG
RECONNECT_FIRST: Final = 0.5  # doubled up to the most, with jitter
RECONNECT_MOST: Final = 30.0
SEND_TIMEOUT: Final = 30.0
LEAVE_TIMEOUT: Final = 10.0  # at end of input, for what is pending
BACKLOG: Final = 20
SEND_WINDOW: Final = 128  # messages in flight
PENDING_MESSAGES: Final = 10_000  # typed and not yet acknowledged
EVENTS: Final = 1000  # buffered for a screen
REPLAY_WINDOW: Final = 1024  # counters per (identity, session) (v1)
REPLAY_FORGET_SECONDS: Final = 30 * 24 * 3600
CHAIN_WINDOW: Final = 10_000  # links kept to judge what others have seen
CLOCK_SKEW_SECONDS: Final = 5 * 60
MARKS_PER_CHARACTER: Final = 4  # combining marks that are drawn
INPUT_LINE_BYTES: Final = 64 * KIB  # a longer line of input is refused, not split

# The desktop client.
SHOWN_EVENTS: Final = 20_000  # of a room; the oldest go first
SHOWN_PENDING: Final = 100  # of the messages that wait; the others are counted
OLDER_MESSAGES: Final = 50  # asked for at once when the top is reached
REFRESH_INTERVAL: Final = 0.5  # between looks at what changes without an event: lag, members, connection
PICTURE_INTERVAL: Final = 0.03  # between two changes of what a room shows
SENT_LINES: Final = 100  # that the arrow keys bring back
