"""The rooms that are offered again."""

from pathlib import Path

from securechat.client import recent
from securechat.client.address import ServerAddress
from securechat.client.profile import Profile


def test_the_last_room_comes_first_and_once(tmp_path: Path) -> None:
    state = Profile(tmp_path).open_state()
    assert recent.recent(state) == []
    for room in ("one", "tea house", "一", "one"):
        recent.remember(state, ServerAddress("chat.example", pin=b"\1" * 32), room)
    assert [where.room for where in recent.recent(state)] == ["one", "一", "tea house"]
    assert all(where.pin == b"" for where in recent.recent(state)), "the known hosts have it"
    state.close()


def test_only_some_are_kept_and_what_cannot_be_read_is_passed_over(tmp_path: Path) -> None:
    state = Profile(tmp_path).open_state()
    for number in range(20):
        recent.remember(state, ServerAddress("::1", 7000 + number), "room")
    assert [where.port for where in recent.recent(state)] == list(range(7019, 7011, -1))
    state.set_setting("recent", "securechat://ok/room newer://thing")
    assert [str(where) for where in recent.recent(state)] == ["ok:7443"]
    state.close()
