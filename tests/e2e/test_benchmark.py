"""The benchmark counts what a real server delivers, and finds out one that does not; no figure is judged here."""

import subprocess
from pathlib import Path

import pytest

from scripts.benchmarks.crowd import Crowd
from scripts.benchmarks.dialects import Lines
from scripts.benchmarks.ours import seal_messages
from scripts.benchmarks.servers import CONTENDERS, Running
from scripts.benchmarks.wire import LostError
from tests.support.patience import PATIENCE

ROOT = Path(__file__).parents[2]
NAIVE = next(contender for contender in CONTENDERS if contender.name == "naive threads")


class _Deaf(Lines):
    """Takes the second message for the first, once."""

    def __init__(self) -> None:
        super().__init__()
        self._first = b""
        self._is_done = False

    def split(self, buffer: bytearray) -> list[bytes]:
        tags = super().split(buffer)
        if self._first and tags and tags[0] != self._first and not self._is_done:
            self._is_done = True
            return [self._first, *tags[1:]]
        self._first = self._first or b"".join(tags[:1])
        return tags


def _talk(server: Running) -> Crowd:
    with Crowd(server) as crowd:
        crowd.join([[1], [1], [2]])
        crowd.settle()
        envelopes = iter(seal_messages(20))
        crowd.one_by_one(crowd.letters(6, envelopes), 10.0)
        crowd.saturate(crowd.letters(9, envelopes), 2)
        latencies = crowd.open_loop(crowd.letters(5, envelopes), 1000.0)
        assert len(latencies) == 5 + 4  # of five messages, four were to the room of two
        assert min(latencies) >= 0
    return crowd


def test_every_delivery_is_counted(tmp_path: Path) -> None:
    with NAIVE.run(tmp_path) as server:
        crowd = _talk(server)
    assert crowd.delivered == crowd.expected == 20 + 14  # of twenty messages, fourteen were to the room of two
    crowd.check()


def test_a_message_that_came_in_place_of_another_is_found_out(tmp_path: Path) -> None:
    with NAIVE.run(tmp_path) as server:
        crowd = _talk(server._replace(dialect=_Deaf()))
    with pytest.raises(LostError, match="missed 1 of"):
        crowd.check()


def test_a_quick_run_writes_a_table_and_a_plot(tmp_path: Path) -> None:
    script = [str(ROOT / "scripts" / "bench"), "--quick", "--only", "securechat", "--rounds", "1"]
    chosen = ["--scenario", "fan-out-10", "--scenario", "history", "--out", str(tmp_path)]
    done = subprocess.run([*script, *chosen], capture_output=True, text=True, check=False, timeout=2 * PATIENCE)
    assert done.returncode == 0, done.stderr
    table = (tmp_path / "benchmark.md").read_text()
    assert table == done.stdout.rstrip("\n") + "\n"
    assert "none was lost" in table
    assert (tmp_path / "benchmark.svg").read_text().startswith("<svg")
