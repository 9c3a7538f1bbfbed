from pathlib import Path

import pytest

from securechat.errors import StorageError
from securechat.ui.tui.screen_commands import _write


@pytest.mark.parametrize("name", ["~no-such-user-here/file", "~"])
def test_a_home_directory_that_is_not_there_is_told(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import pwd

    def unknown(_: object) -> None:
        raise KeyError

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.delenv("HOME", raising=False)
    with pytest.raises(StorageError, match=r"names no home directory\. Name another file\."):
        _write(name, [], str)


def test_a_home_directory_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert _write("~/file", [], str) == tmp_path / "file"
    assert (tmp_path / "file").read_text() == ""
