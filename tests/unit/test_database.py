"""SQLite files: their marks, their transactions, and their errors in words."""

import sqlite3
from pathlib import Path

import pytest

from securechat.database import Migration, open_database, reported, transaction
from securechat.errors import CorruptError, StorageError, StorageFullError

SCHEMA = """
CREATE TABLE things (name TEXT PRIMARY KEY, size INTEGER NOT NULL) STRICT;
CREATE TABLE parts (name TEXT NOT NULL REFERENCES things) STRICT;
"""


MORE = "CREATE TABLE more (name TEXT) STRICT"


def open_it(path: Path, *migrations: Migration, application_id: int = 7) -> sqlite3.Connection:
    return open_database(path, application_id=application_id, migrations=(SCHEMA, *migrations))


def tables(connection: sqlite3.Connection) -> set[str]:
    return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def test_a_new_database_has_the_schema_and_its_marks(tmp_path: Path) -> None:
    connection = open_it(tmp_path / "db", MORE, lambda _: None)
    assert tables(connection) == {"things", "parts", "more"}
    assert connection.execute("PRAGMA application_id").fetchone() == (7,)
    assert connection.execute("PRAGMA user_version").fetchone() == (3,)
    assert connection.execute("PRAGMA auto_vacuum").fetchone() == (2,), "incremental"
    connection.close()


def test_opening_again_keeps_what_is_there(tmp_path: Path) -> None:
    first = open_it(tmp_path / "db")
    first.execute("INSERT INTO things VALUES ('a', 1)")
    first.close()
    second = open_it(tmp_path / "db")
    assert second.execute("SELECT * FROM things").fetchall() == [("a", 1)]
    second.close()


def test_an_empty_file_becomes_a_database(tmp_path: Path) -> None:
    (tmp_path / "db").touch()
    connection = open_it(tmp_path / "db")
    assert connection.execute("SELECT count(*) FROM things").fetchone() == (0,)
    connection.close()


def test_references_are_enforced(tmp_path: Path) -> None:
    connection = open_it(tmp_path / "db")
    with pytest.raises(sqlite3.IntegrityError):
        connection.execute("INSERT INTO parts VALUES ('of nothing')")
    connection.close()


def test_a_schema_that_fails_leaves_an_empty_database_and_no_connection(tmp_path: Path) -> None:
    path = tmp_path / "db"
    with pytest.raises(StorageError, match="cannot be used"):
        open_database(path, application_id=7, migrations=("CREATE TABLE good (x); CREATE TABLE bad (",))
    connection = open_it(path)
    assert tables(connection) == {"things", "parts"}, "the transaction took the first table back"
    connection.close()


def test_an_older_file_goes_through_what_is_missing(tmp_path: Path) -> None:
    first = open_it(tmp_path / "db")
    first.execute("INSERT INTO things VALUES ('a', 1)")
    first.close()
    seen = []

    def grow(connection: sqlite3.Connection) -> None:
        seen.append(connection.execute("PRAGMA user_version").fetchone())
        connection.execute("UPDATE things SET size = size + 1")

    for _ in range(2):
        connection = open_it(tmp_path / "db", grow, MORE)
        assert tables(connection) == {"things", "parts", "more"}
        assert connection.execute("SELECT * FROM things").fetchall() == [("a", 2)], "once"
        assert connection.execute("PRAGMA user_version").fetchone() == (3,)
        connection.close()
    assert seen == [(1,)]


def test_a_migration_that_fails_leaves_the_version_it_began_with(tmp_path: Path) -> None:
    open_it(tmp_path / "db").close()
    with pytest.raises(StorageError, match="cannot be used"):
        open_it(tmp_path / "db", MORE, "CREATE TABLE half (x); CREATE TABLE things (x)")
    connection = open_it(tmp_path / "db", MORE)
    assert connection.execute("PRAGMA user_version").fetchone() == (2,), "what went well is kept"
    assert tables(connection) == {"things", "parts", "more"}
    connection.close()


def test_a_file_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    open_it(tmp_path / "db", MORE).close()
    with pytest.raises(StorageError, match=r"newer securechat \(schema 2, this one knows 1\)"):
        open_it(tmp_path / "db")


def test_a_transaction_is_all_or_nothing(tmp_path: Path) -> None:
    connection = open_it(tmp_path / "db")
    insert = "INSERT INTO things VALUES (?, 1)"
    with pytest.raises(sqlite3.IntegrityError), transaction(connection):
        [connection.execute(insert, (name,)) for name in "aba"]
    assert not connection.in_transaction
    with transaction(connection):
        connection.execute(insert, ("b",))
        connection.execute(insert, ("c",))
    assert connection.execute("SELECT name FROM things ORDER BY name").fetchall() == [("b",), ("c",)]
    connection.close()


def test_a_transaction_that_sqlite_took_back_itself_is_not_taken_back_twice(tmp_path: Path) -> None:
    connection = open_it(tmp_path / "db")
    insert = "INSERT OR ROLLBACK INTO things VALUES (?, 1)"
    with pytest.raises(sqlite3.IntegrityError), transaction(connection):
        [connection.execute(insert, (name,)) for name in "aba"]
    assert connection.execute("SELECT count(*) FROM things").fetchone() == (0,)
    connection.close()


@pytest.mark.parametrize(
    ("code", "kind", "sentence"),
    [
        (sqlite3.SQLITE_FULL, StorageFullError, "The disk that holds some/db is full."),
        (sqlite3.SQLITE_CORRUPT, CorruptError, "some/db is corrupt or no database."),
        (sqlite3.SQLITE_CORRUPT | 1 << 8, CorruptError, "some/db is corrupt or no database."),
        (sqlite3.SQLITE_NOTADB, CorruptError, "some/db is corrupt or no database."),
        (sqlite3.SQLITE_READONLY, StorageError, "some/db cannot be written."),
        (sqlite3.SQLITE_CANTOPEN, StorageError, "some/db cannot be written."),
        (sqlite3.SQLITE_PERM, StorageError, "some/db cannot be written."),
        (sqlite3.SQLITE_BUSY, StorageError, "some/db is in use by another program."),
        (sqlite3.SQLITE_LOCKED, StorageError, "some/db is in use by another program."),
        (sqlite3.SQLITE_IOERR, StorageError, "some/db cannot be used (what sqlite says)."),
    ],
)
def test_each_error_of_sqlite_is_a_sentence_and_a_next_step(code: int, kind: type[StorageError], sentence: str) -> None:
    error = sqlite3.OperationalError("what sqlite says")
    error.sqlite_errorcode = code
    with pytest.raises(StorageError) as caught, reported(Path("some/db")):
        raise error
    assert type(caught.value) is kind
    assert caught.value.message == sentence
    assert caught.value.next_step
    assert caught.value.__cause__ is error


def test_an_error_without_a_code_and_one_of_the_file_system_are_reported_too() -> None:
    with pytest.raises(StorageError, match=r"some/db cannot be used \(odd\)"), reported(Path("some/db")):
        raise sqlite3.ProgrammingError("odd")
    with pytest.raises(StorageError, match="some/db cannot be used: No space left"), reported(Path("some/db")):
        raise OSError(28, "No space left on device")


def test_errors_of_other_kinds_pass_unchanged() -> None:
    with pytest.raises(ZeroDivisionError), reported(Path("db")):
        raise ZeroDivisionError
    with pytest.raises(StorageError, match="mine"), reported(Path("db")):
        raise StorageError("mine")


def test_another_programs_database_is_left_byte_for_byte(tmp_path: Path) -> None:
    path = tmp_path / "theirs.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StorageError):
        open_database(path, application_id=1, migrations=("CREATE TABLE ours (x)",))
    assert path.read_bytes() == before
