"""Every limit of securechat: sizes in bytes, times in seconds, counts. PROTOCOL.md repeats those of the wire.

Constants that belong to version 1 of the protocol are marked (v1): another value does not interoperate.
What the operator of a server may change is in ``ServerLimits``; SECURITY.md has the table.
"""

from dataclasses import dataclass, field
from math import inf
from typing import Any, Final, NamedTuple

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
KEEPALIVE_GRACE: Final = 2.5  # times the keep-alive without a byte: the peer is gone
GOODBYE_TIMEOUT: Final = 5.0  # to flush and say close_notify
KEY_UPDATE_BYTES: Final = MIB  # of answers to TLS key updates that the peer does not read
IN_FLIGHT_MESSAGES: Final = 256  # of one connection, sent and not yet committed
IN_FLIGHT_BYTES: Final = 512 * KIB

# The server: all connections.
ACCEPT_BACKLOG: Final = 1024
DRAIN_TIMEOUT: Final = 10.0
PRESENCE_AT_ONCE: Final = 32  # members of a room up to which changes are told one by one
PRESENCE_DELAY: Final = 1.0  # above: told together, this much later
EXPIRY_INTERVAL: Final = 60.0
FIRST_EXPIRY: Final = 5.0  # of a start, before the server listens; it continues while it serves
CLOCK_JUMP: Final = 600.0  # of the wall clock against the steady one; a larger one has to stand
CLOCK_TRUST: Final = 3600.0  # for this long before the time that it claims counts as age
CLOCK_CLAIM: Final = 366 * 24 * 3600.0  # a larger jump is a wrong clock, or one put right: it never counts as age
CLOCK_LAST: Final = 253_402_214_400_000  # ms since 1970: the last day that calendars can show
DELETION_POLL: Final = 0.1
DELETION_TIMEOUT: Final = 30.0  # for the members of a room to leave it
CONTROL_COMMANDS: Final = 4  # of the operator, served at once
CONTROL_LINE_BYTES: Final = 1024  # of what such a command says
CONTROL_TIMEOUT: Final = 60.0  # between two lines of it
CONTROL_PATIENCE: Final = 15.0  # of a command, for a sign of the server
CONTROL_DELETION_PATIENCE: Final = 60.0  # of a command, for the end of a deletion that has begun
CONTROL_POLL: Final = 0.1
METRICS_READERS: Final = 4  # at once; of more the oldest makes way
METRICS_TIMEOUT: Final = 5.0
STORAGE_RETRY: Final = 5  # announced when a message could not be stored
MINIMUM_DESCRIPTORS: Final = 32  # with which a server starts
RESERVED_DESCRIPTORS: Final = 32 + 100  # files, listeners, pipes, and those who are being refused
REFUSED_AT_ONCE: Final = 100  # connections over the limit that are told so; of more the oldest are closed
REFUSED_RETRY: Final = 30  # announced to them
DISPLACED_RETRY: Final = 1  # announced to a connection that joined nothing and makes way for a newcomer
HELLO_BYTES: Final = 5 + 16 * KIB  # read of a connection before its handshake begins: one TLS record
HANDSHAKE_SHARE: Final = 0.5  # of one core, for the handshakes of all
HANDSHAKE_BURST: Final = 0.02  # seconds of it at once
JOIN_PATIENCE: Final = 6.0  # how long a JOIN that lets nobody in waits for a token before it is refused
JOIN_PAUSE: Final = 1.0  # announced to a refused JOIN if a token comes within that time
JOIN_MARGIN: Final = 0.5  # before the deadline of a connection that has joined nothing
FAILED_JOIN: Final = 24  # joins that one that lets nobody in costs its connection
ROOMS_ASKED_FOR: Final = 20_000  # that let nobody in and are remembered, of all addresses
HELD_BACK_ADDRESSES: Final = 1000  # counted one by one between two reports; far below LOG_QUEUE_RECORDS
OUTBOX_CHECK: Final = 0.25
BUCKETS: Final = 20_000  # addresses remembered at once

# The certificate of a server.
CERTIFICATE_FILE_BYTES: Final = MIB  # a chain is a few KiB
CERTIFICATE_TIMEOUT: Final = 10.0  # to read the files, to sign and to load
CERTIFICATE_INTERVAL: Final = 3600.0  # between two looks at the dates; a clock may be set right in between
CERTIFICATE_REMINDER: Final = 24 * 3600.0  # between two warnings while nothing changes
CERTIFICATE_WARNING_DAYS: Final = 21  # left: then the operator is warned
CERTIFICATE_RENEWAL_DAYS: Final = 60  # left: then a server renews its own
# The server: its logs.
LOG_QUEUE_RECORDS: Final = 10_000  # that wait for one destination; more are dropped and counted
LOG_QUEUE_BYTES: Final = 4 * MIB
LOG_WRITE_BYTES: Final = 4096  # written at once: a pipe never mixes these with what others write (PIPE_BUF)
LOG_RETRY: Final = 1.0  # between two attempts to write
LOG_STALL: Final = 60.0  # without progress, after which a destination is reported
LOG_OPEN_TIMEOUT: Final = 5.0  # to open the access log at the start; then the server starts without it
LOG_CLOSE_TIMEOUT: Final = 1.0  # to write what waits when the server ends
REPORT_INTERVAL: Final = 60.0  # between two reports of one fault
REPORTS: Final = 100  # different faults remembered at once

# History.
RETAIN_SECONDS: Final = 7 * 24 * 3600
RETAIN_MESSAGES: Final = 10_000
EXPIRE_MESSAGES: Final = 500  # deleted by one commit, and in memory between two checkpoints
EXPIRE_BYTES: Final = 512 * KIB  # of their envelopes; all of it is overwritten, so it passes through the WAL
EMPTY_ROOM_SECONDS: Final = 24 * 3600  # after which a room without a message or a member is forgotten
EMPTY_ROOMS: Final = 100  # forgotten by one commit
USED_ROOMS: Final = 500  # recorded as in use by one commit
AGE_INTERVAL: Final = 600.0  # between two records of the age clock while nothing else is written
AGE_GAPS: Final = 1000  # times without a running server that are kept apart
WAL_BYTES: Final = 8 * MIB  # of the write-ahead log that stays on the disk after a checkpoint
DISK_RESERVE: Final = 8 * MIB  # on the disk (at most a sixteenth of it) that appends leave to deletions
SHRINK_BYTES: Final = MIB  # of free space given back by one commit
SHRINK_STEPS: Final = 100  # such commits a minute
FREE_PAGES: Final = 256  # that a file keeps free for new messages, in addition to an eighth of it
COMPACT_BYTES: Final = 64 * MIB  # a file of an older version up to this size is rewritten when it is opened
EVICTED_SHARE: Final = 32  # of its bound: a full log in memory drops one such part
COMMIT_MESSAGES: Final = 2000  # appended by one commit
COMMIT_BYTES: Final = MIB
SHARED_MESSAGES: Final = 256  # of a commit, shared by the rooms that want it, because others wait for it
TURN_MESSAGES: Final = 32  # of one room in any case
TURN_BYTES: Final = 256 * KIB  # and delivered at once: well below the outbox of a reader that keeps up
FAN_OUT_BYTES: Final = MIB  # encrypted for all members before the first is written to

# The old base64 mode.
LEGACY_READ_BYTES: Final = 4096  # what old programs read at once
LEGACY_CELL_CHARACTERS: Final = 256  # what is told goes in such cells, which a read of so much does not cut
LEGACY_CELL_BYTES: Final = 189  # of text in a cell; its base64 leaves room for the mark of an end
LEGACY_WRITE_BYTES: Final = 1024  # whole cells that fit in one segment of any network
LEGACY_PACE: Final = 0.01  # between two times what old programs read at once
LEGACY_QUEUE_BYTES: Final = 64 * KIB  # that the pace holds back for one member; with more, the room is not heard
LEGACY_GREETING_CHARACTERS: Final = 1024
LEGACY_MESSAGE_CHARACTERS: Final = 32_000  # a longer one is told in parts
LEGACY_NOTICE_CHARACTERS: Final = 64 * KIB  # of a server; a longer one is shown in parts
LEGACY_SENT_BYTES: Final = 768  # of one message: an old server may read 1,024 characters at once
LEGACY_GREETING_TIMEOUT: Final = 10.0
LEGACY_QUIET: Final = 0.05  # ends a unit that does not end itself
LEGACY_HEAD_TIMEOUT: Final = 5.0  # for the rest of a notice's head or of a welcome
LEGACY_FLUSH_TIMEOUT: Final = 2.0  # for what was said last, before the reset
LEGACY_OUTBOX_BYTES: Final = MIB  # that wait for a member whose socket is full; one with more is sent away
LEGACY_ECHO_TIMEOUT: Final = 1.0  # then the next message goes out all the same
LEGACY_MESSAGES_PER_CONNECTION: Final = (200, 20.0)  # each 4,096 characters of a longer one count as one
LEGACY_MEMBERS: Final = 1000  # of all rooms together
LEGACY_MEMBERS_PER_ADDRESS: Final = 500

# The client.
CONNECT_TIMEOUT: Final = 10.0
REPLY_TIMEOUT: Final = 20.0  # JOINED, PAST, PONG
BUSY_PATIENCE: Final = 25.0  # for the first join, if the server is busy
BUSY_PAUSE: Final = 2.0  # between two attempts of it, or as long as the server says
RECONNECT_FIRST: Final = 0.5  # doubled up to the most, with jitter
RECONNECT_MOST: Final = 30.0
SEND_TIMEOUT: Final = 30.0
LEAVE_TIMEOUT: Final = 10.0  # at end of input, for what is pending
BACKLOG: Final = 20
SEND_WINDOW: Final = 128  # messages in flight
PENDING_MESSAGES: Final = 10_000  # typed and not yet acknowledged
EVENTS: Final = 1000  # buffered for a screen
PRESENT_MEMBERS: Final = 20_000  # member numbers of a room that are followed
PONG_BACKLOG: Final = 64 * KIB  # with more of ours unsent, a PING is not answered
ALARMS_AT_ONCE: Final = 10  # of one sort that the server alone can cause; then
ALARMS_INTERVAL: Final = 60  # s between two of them
REPLAY_WINDOW: Final = 1024  # counters per (identity, session) (v1)
REPLAY_FORGET_SECONDS: Final = 30 * 24 * 3600
CHAIN_WINDOW: Final = 10_000  # links kept to judge what others have seen
CLOCK_SKEW_SECONDS: Final = 5 * 60
MARKS_PER_CHARACTER: Final = 4  # combining marks that are drawn
INPUT_LINE_BYTES: Final = 64 * KIB  # a longer line of input is refused, not split

# What the environment gives.
LOOK_UP_TIMEOUT: Final = 10.0  # of a name to listen on
FREE_PORT_ATTEMPTS: Final = 20  # to find a port that is free in both families
CONFIG_BYTES: Final = 32 * KIB  # of config.toml

# The full screen and the window.
SCREEN_ENTRIES: Final = 20_000  # in the log
SCREEN_CHARACTERS: Final = 8 * MIB  # in all of them
SCREEN_ENTRY_OVERHEAD: Final = 200  # characters' worth of memory that any entry takes
SCREEN_PAGE: Final = 200  # older messages that are loaded at once
SCREEN_REFRESH: Final = 0.03  # changes that come within this time are drawn together
SCREEN_TICK: Final = 0.5  # how often the state of the connection is looked at
SCREEN_CLOSE_TIMEOUT: Final = 5.0  # for the terminal to be as it was
SCREEN_WRAPPED: Final = 1000  # entries whose lines are kept
SCREEN_REQUESTS: Final = 100  # typed and not yet looked at
INPUT_ROWS: Final = 5
INPUT_HISTORY: Final = 500
SHOWN_PENDING: Final = 100  # of the messages that wait, in the window; the others are counted
PASTED_LINES: Final = 5  # above, it is asked


class Rate(NamedTuple):
    """A token bucket: so much at once, then so much a second."""

    burst: int
    per_second: float

    def __str__(self) -> str:
        return f"{self.burst:g}:{self.per_second:g}"


def _limit(default: Any, unit: str, meaning: str, within: tuple[float, float] = (0, inf)) -> Any:
    return field(default=default, metadata={"unit": unit, "meaning": meaning, "within": within})


@dataclass(frozen=True)
class ServerLimits:
    """What one server allows. Each field has its unit and its meaning as metadata.

    A ``Rate`` is written BURST:PER_SECOND.
    """

    connections: int = _limit(10_000, "connections", "in all; fewer where the system gives fewer file descriptors")
    connections_per_address: int = _limit(
        2_000, "connections", "from one address (an IPv6 /64); above, unfinished ones make way"
    )
    handshakes: Rate = _limit(
        Rate(500, 50), "handshakes", "of one address that come to nothing; more come after those of other addresses"
    )
    handshake_seconds: float = _limit(10.0, "s", "to finish TLS")
    join_seconds: float = _limit(10.0, "s", "from there to the first join")
    keepalive: int = _limit(
        60, "s", "announced to clients; 2.5 times as much silence ends a connection", within=KEEPALIVE_SECONDS
    )
    frames: Rate = _limit(Rate(5_000, 1_000), "frames", "of one connection; a pasted block of lines is one")
    received: Rate = _limit(Rate(16 * MIB, 4 * MIB), "bytes", "of one connection")
    presence: Rate = _limit(Rate(30, 1), "changes", "of presence of one connection")
    history: Rate = _limit(Rate(64 * MIB, 8 * MIB), "bytes", "of older messages for one connection")
    joins: Rate = _limit(Rate(32, 2), "joins", "of one connection; one that lets nobody in counts as 25")
    refused_joins: Rate = _limit(Rate(30, 0.5), "rooms", "that do not exist, asked for by one address; more wait")
    creations: Rate = _limit(Rate(30, 0.2), "rooms", "created by one address; more wait")
    log_lines: Rate = _limit(Rate(2_000, 2), "lines", "logged about one address; of more, only their number")
    rooms: int = _limit(10_000, "rooms", "in all")
    rooms_per_connection: int = _limit(16, "rooms", "joined by one connection")
    members_per_room: int = _limit(5_000, "members", "of one room")
    outbox_bytes: int = _limit(4 * MIB, "bytes", "that wait for one reader; one further behind is sent away to resume")
    outboxes_bytes: int = _limit(256 * MIB, "bytes", "that wait for all readers; who is furthest behind goes first")
    in_flight_bytes: int = _limit(64 * MIB, "bytes", "received and not yet stored; with more, nothing is read")
    room_bytes: int = _limit(64 * MIB, "bytes", "of ciphertext kept of one room; the oldest goes first")
    kept_bytes: int = _limit(4096 * MIB, "bytes", "of ciphertext kept in all; the largest rooms lose their oldest")
    memory_bytes: int = _limit(256 * MIB, "bytes", "the same with --memory")


SERVER: Final = ServerLimits()
