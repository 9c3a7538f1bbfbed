import os
import stat
from pathlib import Path

import pytest

from securechat.client.profile import IDENTITY_FILE, Profile
from securechat.errors import SecurechatError, StorageError
from securechat.sealing.identity import Identity
from securechat.transport.known_hosts import CA
from tests.support.rooms import ME


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_profile_is_made_private_with_its_parents(tmp_path: Path) -> None:
    profile = Profile(tmp_path / "some" / "where")
    assert mode(profile.directory) == 0o700


def test_an_identity_is_made_once_and_is_private(tmp_path: Path) -> None:
    profile = Profile(tmp_path / "profile")
    made = profile.load_identity()
    assert profile.load_identity().public == made.public
    assert Profile(tmp_path / "profile").load_identity().public == made.public
    assert mode(profile.directory / IDENTITY_FILE) == 0o600
    assert [path.name for path in profile.directory.iterdir()] == [IDENTITY_FILE]  # nothing is left behind


def test_two_profiles_have_two_identities(tmp_path: Path) -> None:
    assert Profile(tmp_path / "a").load_identity().public != Profile(tmp_path / "b").load_identity().public


def test_of_two_programs_that_make_an_identity_the_faster_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    profile = Profile(tmp_path / "profile")
    link = os.link

    def lose(source: Path, target: Path) -> None:
        target.write_bytes(ME.to_pem())  # the other program was here meanwhile
        link(source, target)

    monkeypatch.setattr("securechat.client.profile.os.link", lose)
    assert profile.load_identity().public == ME.public
    assert [path.name for path in profile.directory.iterdir()] == [IDENTITY_FILE]


def test_a_file_that_holds_no_identity_is_refused_and_kept(tmp_path: Path) -> None:
    profile = Profile(tmp_path / "profile")
    (profile.directory / IDENTITY_FILE).write_bytes(b"something else")
    with pytest.raises(StorageError, match=rf"{IDENTITY_FILE} holds no identity"):
        profile.load_identity()
    assert (profile.directory / IDENTITY_FILE).read_bytes() == b"something else"


def test_an_identity_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    profile = Profile(tmp_path / "profile")
    (profile.directory / IDENTITY_FILE).mkdir()
    with pytest.raises(StorageError, match="cannot be read"):
        profile.load_identity()


def test_an_identity_that_cannot_be_made_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_path: Path, _content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("securechat.client.profile.write_private", full)
    profile = Profile(tmp_path / "profile")
    with pytest.raises(StorageError, match="No space left"):
        profile.load_identity()
    with pytest.raises(StorageError, match="No space left"):
        profile.save_identity(ME, overwrite=False)


def test_an_identity_is_put_in_place_and_never_replaced_unasked(tmp_path: Path) -> None:
    profile = Profile(tmp_path / "profile")
    profile.save_identity(ME, overwrite=False)
    assert profile.load_identity().public == ME.public
    other = Identity(b"o" * 32)
    with pytest.raises(SecurechatError, match="exists already"):
        profile.save_identity(other, overwrite=False)
    assert profile.load_identity().public == ME.public
    profile.save_identity(other, overwrite=True)
    assert profile.load_identity().public == other.public


def test_state_and_known_hosts_are_in_the_profile(tmp_path: Path) -> None:
    profile = Profile(tmp_path / "profile")
    state = profile.open_state()
    state.set_setting("nick", "ann")
    state.close()
    profile.known_hosts.add("host:1", CA)
    again = Profile(tmp_path / "profile")
    assert again.known_hosts.entries() == {"host:1": CA}
    state = again.open_state()
    assert state.setting("nick") == "ann"
    state.close()


def test_a_profile_below_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be made"):
        Profile(tmp_path / "file" / "profile")


def test_the_command_that_forgets_a_server_names_the_profile_where_it_has_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    usual, other = Profile(tmp_path / "securechat" / "profile"), Profile(tmp_path / "other")
    assert usual.known_hosts.how_to_forget("a:1") == "securechat known-hosts remove a:1"
    assert other.known_hosts.how_to_forget("a:1") == f"securechat known-hosts remove a:1 --profile {tmp_path / 'other'}"
