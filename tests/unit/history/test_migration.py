"""A file that version 1 wrote, as it wrote it, opens with all that it held and ages from there."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from securechat.history import schema
from securechat.history.age import Clocks
from securechat.history.log import Retention
from securechat.history.sqlite import SqliteLog
from securechat.history.survey import summarise
from securechat.protocol.messages import Direction, Record

ADDRESS = bytes(range(32))
EMPTY = bytes(range(32, 64))
LOG_ID = b"log id, 16 bytes"
FIRST = 1_700_000_000_000
LAST = 1_700_000_100_000
IN_2100 = 4_102_444_800_000
WEEK = 7 * 24 * 3600
# Three messages, one that was stored while the clock said 2100, and one after it; a room without messages.
WRITTEN = """
INSERT INTO rooms VALUES(1, X'000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F',
    X'6C6F672069642C203136206279746573', 5,
    X'7ED65B1F12E744D71BC7053583928023BDC7CF6502DF84B68A3BA3B3DA07E551', 48, 1700000100000);
INSERT INTO rooms VALUES(2, X'202122232425262728292A2B2C2D2E2F303132333435363738393A3B3C3D3E3F',
    X'616E6F74686572203136206279746573', 0,
    X'19EC92E10BD6D70A55EB482EAAED00C93A0F2D99CB2376B83DACC9E8BAFC210D', 0, 1700000050000);
INSERT INTO messages VALUES(1, 1, 1700000000000, X'F0BD02504C77EC3D17352442D11BECD7',
    X'BBCC239F45B2BBA249E66940915F2FDFDBD22512E44B7A91A4A80B80D6FDEE9A', X'656E76656C6F70652030');
INSERT INTO messages VALUES(1, 2, 1700000000001, X'F093A077F303BA3E52EAE31A584BE0BC',
    X'C87CCFC876EABF9FE992789626232311C4EC9B2854CAE3CA6190E82AB33E0908', X'656E76656C6F70652031');
INSERT INTO messages VALUES(1, 3, 1700000000002, X'0371C1D61E187C93BC78CDDCFF57BE8D',
    X'33657B5F7BAC966E32AC05944084EBCA575AECFEEE50FD87D38F1F524BC7B23E', X'656E76656C6F70652032');
INSERT INTO messages VALUES(1, 4, 4102444800000, X'F896EE242000508820E27623CA7F3D5C',
    X'8F83CBA1831CD5CAEAE792B7D1B8A849AB0A5FE5BAEB48B2CFC9F48B05FAAEDD', X'66726F6D2032313030');
INSERT INTO messages VALUES(1, 5, 1700000100000, X'B1C898411DA979EF2F3885E37107BAA5',
    X'D24BCE03044C928C3C93F3D5381C39E47D18B7F825A81F6E3B21B8C84AEA7C13', X'616E64206166746572');
PRAGMA application_id = 0x53434C47;
PRAGMA user_version = 1;
"""
RECORDS = (
    *(Record(FIRST + number, b"envelope %d" % number) for number in range(3)),
    Record(IN_2100, b"from 2100"),
    Record(LAST, b"and after"),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "history.sqlite"
    connection = sqlite3.connect(made)
    connection.executescript("PRAGMA journal_mode = WAL;" + schema._VERSION_1 + WRITTEN)
    connection.close()
    return made


class Hands:
    """Clocks that a test sets, in seconds."""

    def __init__(self, wall: float) -> None:
        self.steady = 0.0
        self.wall = wall
        self.clocks = Clocks(lambda: self.steady, lambda: self.wall)

    def run(self, log: SqliteLog, seconds: float) -> None:
        """Let time pass, with a look at the clock each minute."""
        for _ in range(int(seconds // 60)):
            self.steady += 60
            self.wall += 60
            log.age.look()


async def kept(log: SqliteLog) -> list[int]:
    page = await log.read(1, Direction.FORWARD, 1, 100)
    return list(range(page.first, page.newest + 1))


def values(path: Path, query: str) -> list[object]:
    connection = sqlite3.connect(path)
    try:
        return [value for (value,) in connection.execute(query)]
    finally:
        connection.close()


async def test_all_that_it_held_is_there(path: Path) -> None:
    log = SqliteLog.open(path, clocks=Hands(LAST / 1000 + 60).clocks)
    opened = await log.open_room(ADDRESS, None)
    assert opened is not None
    assert opened[0][:4] == (1, LOG_ID, 1, 5)
    page = await log.read(1, Direction.FORWARD, 1, 100)
    assert page.records == RECORDS
    assert await log.count_rooms() == 2
    await log.aclose()
    assert values(path, "PRAGMA user_version") == [2]
    assert values(path, "PRAGMA auto_vacuum") == [2], "it was rewritten, and can shrink now"
    assert values(path, "PRAGMA integrity_check") == ["ok"]


async def test_its_messages_are_as_old_as_they_were(path: Path) -> None:
    hands = Hands(LAST / 1000 + 60)
    log = SqliteLog.open(path, clocks=hands.clocks)
    log.age.look()
    retention = Retention(seconds=100, messages=None)
    await log.expire(retention)
    assert await kept(log) == [4, 5]
    hands.run(log, 120)
    await log.expire(retention)
    assert await kept(log) == [], "the one from 2100 was as old as the last"
    await log.aclose()


@pytest.mark.parametrize(
    "wall",
    [
        pytest.param(0.0, id="in 1970"),
        pytest.param(LAST / 1000 + 40 * 365 * 86400, id="40 years ahead"),
        pytest.param(2.0**63, id="at the end of time"),
        pytest.param(LAST / 1000 + 300 * 86400, id="300 days ahead"),
    ],
)
async def test_a_wrong_clock_at_the_migration_removes_nothing(path: Path, wall: float) -> None:
    hands = Hands(wall)
    log = SqliteLog.open(path, clocks=hands.clocks)
    for _ in range(58):
        hands.run(log, 60)
        await log.expire(Retention(seconds=WEEK, messages=None))
    assert await kept(log) == [1, 2, 3, 4, 5]
    hands.wall = LAST / 1000 + 3600  # it is put right
    for _ in range(24):
        hands.run(log, 3600)
        await log.expire(Retention(seconds=WEEK, messages=None))
    assert await kept(log) == [1, 2, 3, 4, 5]
    hands.run(log, WEEK + 100)
    await log.expire(Retention(seconds=WEEK, messages=None))
    assert await kept(log) == []
    await log.aclose()


async def test_its_rooms_are_listed_before_and_after(path: Path) -> None:
    expected = [(ADDRESS, 5, 48, LAST), (EMPTY, 0, 0, 1_700_000_050_000)]
    assert [room[:4] for room in summarise(path)] == expected
    assert values(path, "PRAGMA user_version") == [1], "who lists writes nothing"
    hands = Hands(LAST / 1000 + 60)
    log = SqliteLog.open(path, clocks=hands.clocks)
    hands.run(log, 60)
    await log.record(())
    assert [room[:4] for room in summarise(path)] == expected
    await log.aclose()


async def test_a_crash_in_the_middle_of_the_migration_leaves_version_1(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def migrations(_: Callable[[], float]) -> tuple[object, ...]:
        return (schema._VERSION_1, schema._VERSION_2 + "; DROP TABLE nowhere")

    with monkeypatch.context() as patch:
        patch.setattr("securechat.history.sqlite.migrations", migrations)
        with pytest.raises(Exception, match="nowhere"):
            SqliteLog.open(path)
    assert values(path, "PRAGMA user_version") == [1]
    log = SqliteLog.open(path, clocks=Hands(LAST / 1000 + 60).clocks)
    assert await kept(log) == [1, 2, 3, 4, 5]
    await log.aclose()


async def test_a_new_file_and_an_old_one_have_one_schema(path: Path) -> None:
    await SqliteLog.open(path).aclose()
    new = path.with_name("new.sqlite")
    await SqliteLog.open(new).aclose()
    query = "SELECT type || name || coalesce(sql, '') FROM sqlite_master WHERE name != 'generation' ORDER BY name"
    assert values(path, query) == values(new, query)
