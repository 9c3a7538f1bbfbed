import sqlite3
import stat
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from securechat import limits
from securechat.client.state import APPLICATION_ID, Heard, Position, State
from securechat.errors import StorageError

ROOM = b"r" * 32
OTHER_ROOM = b"o" * 32
LOG_ID = b"log id 16 bytes."
DAY = 86400


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.sqlite"


@pytest.fixture
def state(path: Path) -> Iterator[State]:
    opened = State.open(path)
    yield opened
    opened.close()


def heard(counter: int, *, run: bytes = b"a run of 16 byte", who: bytes = b"a" * 32) -> Heard:
    return Heard(who, run, counter, b"d" * 16, LOG_ID, counter)


def position(sequence: int, log_id: bytes = LOG_ID) -> Position:
    return Position(log_id, sequence, bytes([sequence]) * 32)


def at(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    monkeypatch.setattr("securechat.client.state.time.time", lambda: seconds)


def test_a_new_profile_remembers_nothing(state: State) -> None:
    assert state.position(ROOM) is None
    assert state.heard(ROOM) == []
    assert state.owner(ROOM, "ann") is None
    assert not state.is_verified(b"a" * 32)
    assert state.secret("room") is None
    assert state.setting("nick") is None


def test_what_was_saved_is_there_after_closing(path: Path) -> None:
    with closing(State.open(path)) as state:
        state.save(ROOM, position(2), [heard(1), heard(2)])
        state.set_owner(ROOM, "ann", b"a" * 32)
        state.set_verified(b"a" * 32)
        state.set_secret("room", b"s" * 32)
        state.set_setting("nick", "ann")
    with closing(State.open(path)) as state:
        assert state.position(ROOM) == position(2)
        assert state.heard(ROOM) == [heard(1), heard(2)]
        assert state.owner(ROOM, "ann") == b"a" * 32
        assert state.is_verified(b"a" * 32)
        assert state.secret("room") == b"s" * 32
        assert state.setting("nick") == "ann"


def test_only_its_owner_can_read_the_file(state: State, path: Path) -> None:
    assert state.setting("nick") is None
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_rooms_are_kept_apart(state: State) -> None:
    state.save(ROOM, position(2), [heard(1)])
    state.set_owner(ROOM, "ann", b"a" * 32)
    assert state.position(OTHER_ROOM) is None
    assert state.heard(OTHER_ROOM) == []
    assert state.owner(OTHER_ROOM, "ann") is None


def test_what_was_heard_comes_in_the_order_of_its_counters(state: State) -> None:
    state.save(ROOM, position(3), [heard(3), heard(1)])
    state.save(ROOM, position(3), [heard(2)])
    assert [row.counter for row in state.heard(ROOM)] == [1, 2, 3]


def test_another_program_that_is_further_keeps_its_position(state: State, path: Path) -> None:
    with closing(State.open(path)) as other:
        other.save(ROOM, position(9), [])
        state.save(ROOM, position(4), [heard(4)])
    assert state.position(ROOM) == position(9)
    assert state.heard(ROOM) == [heard(4)]


def test_another_log_takes_the_place_of_the_first(state: State) -> None:
    state.save(ROOM, position(9), [])
    state.save(ROOM, position(1, b"another log id.."), [])
    assert state.position(ROOM) == position(1, b"another log id..")


def test_a_position_can_be_reset_and_set_lower(state: State) -> None:
    state.save(ROOM, position(9), [heard(1)])
    state.reset_position(ROOM)
    assert state.position(ROOM) is None
    assert state.heard(ROOM) == [heard(1)]
    state.save(ROOM, position(3), [])
    assert state.position(ROOM) == position(3)


def test_what_was_heard_first_stays(state: State) -> None:
    state.save(ROOM, position(1), [heard(1)])
    state.save(ROOM, position(2), [heard(1)._replace(digest=b"x" * 16, sequence=2)])
    assert state.heard(ROOM) == [heard(1)]


def test_a_save_that_fails_leaves_all_as_it_was(state: State) -> None:
    state.save(ROOM, position(1), [heard(1)])
    bad = heard(2)._replace(digest="not bytes")  # type: ignore[arg-type]  # STRICT tables refuse it
    with pytest.raises(StorageError):
        state.save(ROOM, position(2), [heard(3), bad])
    assert state.position(ROOM) == position(1)
    assert state.heard(ROOM) == [heard(1)]


def test_runs_that_ended_long_ago_are_forgotten(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    old, new = b"an old run......", b"a new run......."
    at(monkeypatch, now - limits.REPLAY_FORGET_SECONDS - 2 * DAY)
    state.save(ROOM, position(1), [heard(1, run=old), heard(1, run=new)])
    state.save(OTHER_ROOM, position(1), [heard(1, run=old)])
    at(monkeypatch, now)
    state.save(ROOM, position(2), [heard(2, run=new)])
    state.forget_old(ROOM)
    assert state.heard(ROOM) == [heard(1, run=new), heard(2, run=new)]
    assert state.heard(OTHER_ROOM) == [heard(1, run=old)]


def test_what_is_below_the_window_is_forgotten(state: State) -> None:
    most = limits.REPLAY_WINDOW + 5
    state.save(ROOM, position(9), [heard(n) for n in range(1, most + 1)])
    state.save(ROOM, position(9), [heard(1, who=b"b" * 32)])
    state.forget_old(ROOM)
    kept = state.heard(ROOM)
    assert [row.counter for row in kept if row.identity == b"a" * 32] == list(range(6, most + 1))
    assert [row.counter for row in kept if row.identity == b"b" * 32] == [1]


def test_settings_secrets_and_owners_can_be_replaced(state: State) -> None:
    for value in ("ann", "bob"):
        state.set_setting("nick", value)
        state.set_secret("room", value.encode().ljust(32))
        state.set_owner(ROOM, "ann", value.encode().ljust(32))
    state.set_verified(b"a" * 32)
    state.set_verified(b"a" * 32)
    assert state.setting("nick") == "bob"
    assert state.secret("room") == b"bob".ljust(32)
    assert state.owner(ROOM, "ann") == b"bob".ljust(32)


def test_no_text_of_a_message_has_a_column(path: Path, state: State) -> None:
    state.set_setting("nick", "ann")
    with closing(sqlite3.connect(path)) as raw:
        columns = [row[1] for row in raw.execute("PRAGMA table_info(heard)")]
    assert columns == ["address", "identity", "session", "counter", "digest", "log_id", "sequence", "day"]


def test_a_file_that_is_no_database_is_refused_in_words(path: Path) -> None:
    path.write_bytes(b"this is no database at all" * 100)
    with pytest.raises(StorageError, match="corrupt or no database"):
        State.open(path)


def test_a_database_of_another_program_is_refused(path: Path) -> None:
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("CREATE TABLE recipes (name TEXT)")
    with pytest.raises(StorageError, match="another program"):
        State.open(path)


def test_a_database_of_a_newer_version_is_refused(path: Path) -> None:
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("CREATE TABLE positions (name TEXT)")
        raw.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        raw.execute("PRAGMA user_version = 99")
    with pytest.raises(StorageError, match="newer securechat"):
        State.open(path)


def test_a_directory_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be used"):
        State.open(tmp_path / "missing" / "state.sqlite")
