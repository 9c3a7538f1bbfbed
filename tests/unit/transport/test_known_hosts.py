"""The file of known hosts: what is in it, what stays in it, and what is said when it is bad."""

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from filelock import FileLock

from securechat.errors import InputError, StorageError
from securechat.transport import known_hosts
from securechat.transport.known_hosts import CA, Entry, KnownHosts, parse_line
from securechat.transport.pins import format_pin

ONE, TWO = bytes(32), b"\xff" * 32
PINNED = Entry(frozenset({ONE}))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "profile" / "known_hosts"


def written(path: Path, text: str) -> KnownHosts:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return KnownHosts(path)


def test_a_file_that_is_absent_knows_nobody(path: Path) -> None:
    assert KnownHosts(path).entries() == {}
    assert not path.parent.exists(), "reading makes nothing"


def test_an_added_server_is_known(path: Path) -> None:
    hosts = KnownHosts(path)
    hosts.add("chat.example.org:4433", PINNED)
    hosts.add("[::1]:4433", CA)
    assert hosts.entries() == {"chat.example.org:4433": PINNED, "[::1]:4433": CA}
    assert path.read_text() == f"chat.example.org:4433 pin {format_pin(ONE)}\n[::1]:4433 ca\n"


def test_every_call_reads_the_file_afresh(path: Path) -> None:
    first, second = KnownHosts(path), KnownHosts(path)
    first.add("a:1", PINNED)
    assert second.entries() == {"a:1": PINNED}
    second.remove("a:1")
    assert first.entries() == {}


def test_an_entry_may_have_several_pins(path: Path) -> None:
    both = Entry(frozenset({TWO, ONE}))
    KnownHosts(path).add("a:1", both)
    assert path.read_text() == f"a:1 pin {format_pin(ONE)},{format_pin(TWO)}\n"
    assert KnownHosts(path).entries() == {"a:1": both}
    assert not both.uses_ca
    assert CA.uses_ca


def test_adding_again_replaces_what_was_known(path: Path) -> None:
    hosts = written(path, f"a:1 ca\nb:1 ca\na:1 pin {format_pin(ONE)}\n")
    hosts.add("a:1", Entry(frozenset({TWO})))
    assert path.read_text() == f"b:1 ca\na:1 pin {format_pin(TWO)}\n"


def test_removing_tells_whether_it_was_known(path: Path) -> None:
    hosts = written(path, "a:1 ca\nb:1 ca\na:10 ca\n")
    assert hosts.remove("a:1")
    assert not hosts.remove("a:1")
    assert path.read_text() == "b:1 ca\na:10 ca\n"


def test_comments_and_blank_lines_are_kept(path: Path) -> None:
    hosts = written(path, "# my servers\n\n  \n#a:1 ca\na:1 ca\n# the end, Grüße\n")
    assert hosts.entries() == {"a:1": CA}
    hosts.add("b:1", CA)
    hosts.remove("a:1")
    assert path.read_text(encoding="utf-8") == "# my servers\n\n  \n#a:1 ca\n# the end, Grüße\nb:1 ca\n"


def test_a_line_without_its_end_is_a_line(path: Path) -> None:
    hosts = written(path, "a:1 ca")
    hosts.add("b:1", CA)
    assert path.read_text() == "a:1 ca\nb:1 ca\n"


def test_the_last_of_two_lines_for_a_server_counts(path: Path) -> None:
    assert written(path, f"a:1 ca\na:1 pin {format_pin(ONE)}\n").entries() == {"a:1": PINNED}


def test_space_around_the_parts_of_a_line_does_not_matter(path: Path) -> None:
    assert written(path, f"  a:1\tpin   {format_pin(ONE)} \n").entries() == {"a:1": PINNED}


@pytest.mark.parametrize(
    "line",
    [
        "a:1",
        "a:1 pin",
        "a:1 trust",
        "a:1 ca ca",
        "a:1 pin x y",
        f"a:1 PIN {format_pin(ONE)}",
        "a:1 pin sha256:short",
        f"a:1 pin {format_pin(ONE)},",
        f"a:1 pin {format_pin(ONE)}, {format_pin(TWO)}",
        "a:1 pin ,",
    ],
)
def test_a_malformed_line_is_named_by_its_number(path: Path, line: str) -> None:
    with pytest.raises(InputError):
        parse_line(line)
    hosts = written(path, f"# comment\n\nb:1 ca\n{line}\n")
    with pytest.raises(StorageError, match=r"known_hosts, line 4: ") as caught:
        hosts.entries()
    assert caught.value.next_step


def test_a_malformed_line_survives_an_addition(path: Path) -> None:
    hosts = written(path, "what is this\n")
    hosts.add("a:1", CA)
    assert path.read_text() == "what is this\na:1 ca\n"


def test_the_file_is_private(path: Path) -> None:
    before = os.umask(0)
    try:
        KnownHosts(path).add("a:1", CA)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_threads_that_add_at_once_lose_nothing(path: Path) -> None:
    start = threading.Barrier(8)

    def add(number: int) -> None:
        start.wait()
        for at in range(3):
            KnownHosts(path).add(f"host{number}-{at}:1", CA)

    threads = [threading.Thread(target=add, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(KnownHosts(path).entries()) == 24


def test_processes_that_add_at_once_lose_nothing(path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from securechat.transport.known_hosts import CA, KnownHosts\n"
        "sys.stdin.readline()\n"
        "for at in range(10): KnownHosts(Path(sys.argv[1])).add(f'{sys.argv[2]}-{at}:1', CA)"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", program, str(path), name], stdin=subprocess.PIPE) for name in "ab"
    ]
    for process in running:
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.flush()
    for process in running:
        process.communicate(timeout=30)
        assert process.returncode == 0
    assert len(KnownHosts(path).entries()) == 20


def test_a_lock_that_somebody_holds_is_an_error_after_a_while(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_hosts, "_LOCK_SECONDS", 0.01)
    hosts = written(path, "a:1 ca\n")
    with (
        FileLock(path.with_name("known_hosts.lock")),
        pytest.raises(StorageError, match=r"known_hosts cannot be written: .*\. Check the directory"),
    ):
        hosts.add("b:1", CA)
    assert hosts.entries() == {"a:1": CA}


def test_a_profile_that_cannot_be_made_is_an_error(path: Path) -> None:
    path.parent.touch()
    with pytest.raises(StorageError, match="profile cannot be made: File exists"):
        KnownHosts(path).add("a:1", CA)


def test_a_directory_in_place_of_the_file_is_an_error(path: Path) -> None:
    path.mkdir(parents=True)
    hosts = KnownHosts(path)
    with pytest.raises(StorageError, match="known_hosts cannot be read"):
        hosts.entries()
    with pytest.raises(StorageError, match="known_hosts cannot be read"):
        hosts.add("a:1", CA)


def test_a_lock_that_cannot_be_made_is_an_error(path: Path) -> None:
    path.with_name("known_hosts.lock").mkdir(parents=True)
    with pytest.raises(StorageError, match="known_hosts cannot be written"):
        KnownHosts(path).add("a:1", CA)


def test_a_file_that_is_not_text_is_an_error(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"a:1 ca\n\xff\xfe\n")
    with pytest.raises(StorageError, match="known_hosts cannot be read"):
        KnownHosts(path).entries()
    with pytest.raises(StorageError, match="known_hosts cannot be read"):
        KnownHosts(path).add("b:1", CA)
    assert path.read_bytes() == b"a:1 ca\n\xff\xfe\n"


def test_a_form_feed_does_not_end_a_comment(tmp_path: Path) -> None:
    (tmp_path / "known-hosts").write_text("# page\fbreak\na:1 ca\n")
    assert KnownHosts(tmp_path / "known-hosts").entries() == {"a:1": CA}


def test_a_server_is_forgotten_though_another_line_is_malformed(tmp_path: Path) -> None:
    (tmp_path / "known-hosts").write_text("nonsense\na:1 ca\n")
    assert KnownHosts(tmp_path / "known-hosts").remove("a:1")
    assert (tmp_path / "known-hosts").read_text() == "nonsense\n"
