"""Two members, a server between them: what people and scripts see when all goes well."""

import json
import re
import signal
from pathlib import Path

from tests.support.programs import PASSPHRASE, ROOM, Home, ServerProgram, member_home

STAMP = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"


def test_two_members_talk(tmp_path: Path, server: ServerProgram) -> None:
    alice, bob = (member_home(tmp_path / nick, server) for nick in ("alice", "bob"))
    with alice.chat(server, "alice", "--create") as one, bob.chat(server, "bob") as two:
        one.wait_for(r"-- bob~\w{4} joined\.")
        two.write("hello alice\n")
        one.wait_for(rf"^{STAMP} bob~\w{{4}}: hello alice$")
        one.write("hello bob\n/me makes tea\n//etc\n")
        two.wait_for(rf"^{STAMP} alice~\w{{4}}: hello bob$")
        two.wait_for(rf"^{STAMP} \* alice~\w{{4}} makes tea$")
        two.wait_for(rf"^{STAMP} alice~\w{{4}}: /etc$")
        one.wait_for(rf"^{STAMP} alice: hello bob$")
        one.write("esc\n")
        assert one.finish().code == 0
        two.wait_for(r"-- alice~\w{4} left\.")
        two.write("/quit so long\n")
        assert two.finish().code == 0
    assert alice.tail(server, "--last", "1").out.rstrip().endswith(": so long")


def test_what_send_has_sent_is_what_tail_shows(member: Home, server: ServerProgram) -> None:
    sent = member.send(server, "--create", "--nick", "alice", "one", "message")
    assert sent == (0, "", "")
    assert re.fullmatch(rf"{STAMP} alice: one message\n", member.tail(server).out)


def test_each_line_of_input_is_a_message(member: Home, server: ServerProgram, room: str) -> None:
    lines = [f"line {number} \u2615" for number in range(50)]
    assert member.send(server, typed="\n".join([*lines, "", "esc", "/quit"])).code == 0
    shown = member.tail(server, "--json").out.splitlines()
    assert [json.loads(line)["text"] for line in shown] == ["the first message", *lines, "esc", "/quit"]


def test_json_has_the_documented_fields(member: Home, server: ServerProgram) -> None:
    stored = json.loads(member.send(server, "--create", "--nick", "alice", "--json", "hi\nthere").out)
    shown = json.loads(member.tail(server, "--json").out)
    fingerprint = member.run("identity", "show").out.strip()
    for event in (stored, shown):
        moment = event.pop("time")
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", moment)
        assert abs(event.pop("clock_error")) < 60_000
        assert event == {
            "event": "message",
            "sequence": 1,
            "nick": "alice",
            "fingerprint": fingerprint,
            "verified": True,
            "text": "hi\nthere",
            "action": False,
            "late": False,
        }


def test_tail_begins_where_it_is_told(member: Home, server: ServerProgram, room: str) -> None:
    assert member.send(server, typed="".join(f"{number}\n" for number in range(1, 31))).code == 0
    assert len(member.tail(server).out.splitlines()) == 31
    assert [line.rsplit(" ", 1)[1] for line in member.tail(server, "--last", "3").out.splitlines()] == [
        "28",
        "29",
        "30",
    ]
    assert len(member.tail(server, "--since", "1h").out.splitlines()) == 31
    assert member.tail(server, "--last", "0").out == ""
    with member.start("tail", server.address, "--room", ROOM) as follower:
        follower.wait_for(r": 30$")
        assert len(follower.out.splitlines()) == 20
        assert member.send(server, "news").code == 0
        follower.wait_for(r": news$")
        assert follower.stop(signal.SIGINT).code == 130


def test_a_line_feed_inside_a_message_does_not_break_the_line(member: Home, server: ServerProgram, room: str) -> None:
    assert member.send(server, "one\ntwo\x1b[31m\u202ethree").code == 0
    assert member.tail(server, "--last", "1").out.rstrip("\n").endswith(": one\u23cetwothree")


def test_the_end_of_input_waits_for_what_is_pending(member: Home, server: ServerProgram, room: str) -> None:
    result = member.run("chat", server.address, "--plain", "--room", ROOM, typed="".join(f"{n}\n" for n in range(200)))
    assert result.code == 0
    assert len(member.tail(server).out.splitlines()) == 201


def test_commands_answer_and_send_nothing(member: Home, server: ServerProgram, room: str) -> None:
    with member.chat(server, "alice") as program:
        for line, answer in (
            ("/help", r"-- /quit \[TEXT\]"),
            ("/help nick", r"-- /nick NICK: "),
            ("/nope", r"There is no command /nope\."),
            ("/room", r"securechat://127\.0\.0\.1:\d+/tea%20house\?pin=sha256:\S{43}$"),
            ("/check", r"After message 1: ([\w-]+ ){7}[\w-]+\."),
            ("/server-view", r"The server knows this room as [0-9a-f]{64}\."),
            ("/whois nobody", r"Nobody here is called nobody\."),
            ("/nick alicia", r"You are called alicia now\."),
            ("/names", r"Here: alicia \(you\)$"),
            ("/history 99999999999999999999", r"/history takes a number\."),
            ("/history", r"There is nothing older"),
            ("/reconnect", r"-- connected again$"),
            ("/me", r"The message is empty\."),
        ):
            program.write(f"{line}\n")
            program.wait_for(answer)
        assert program.finish().code == 0
    assert len(member.tail(server).out.splitlines()) == 1


def test_members_verify_each_other(tmp_path: Path, server: ServerProgram) -> None:
    alice, bob = (member_home(tmp_path / nick, server) for nick in ("alice", "bob"))
    with alice.chat(server, "alice", "--create") as one, bob.chat(server, "bob") as two:
        one.wait_for(r"-- bob~\w{4} joined\.")
        one.write("/verify bob\n")
        two.write("/verify alice\n")
        words = [p.wait_for(r"face to face: ((?:[\w-]+ ){11}[\w-]+)$")[1] for p in (one, two)]
        assert words[0] == words[1]
        one.write("/verify bob yes\n")
        one.wait_for(r"bob is verified on this machine, and bob has to confirm you as well\.")
        two.write("it is me\n")
        one.wait_for(r" bob: it is me$")


def test_somebody_may_be_ignored(tmp_path: Path, server: ServerProgram) -> None:
    alice, bob = (member_home(tmp_path / nick, server) for nick in ("alice", "bob"))
    with alice.chat(server, "alice", "--create") as one, bob.chat(server, "bob") as two:
        one.wait_for(r"-- bob~\w{4} joined\.")
        one.write("/ignore bob\n")
        one.wait_for(r"is hidden until this chat ends\.")
        two.write("unheard\n")
        two.wait_for(r" bob: unheard$")
        one.write("after it\n")
        one.wait_for(r" alice: after it$")
        one.write("/ignore bob\n")
        one.wait_for(r"is shown again\.")
        two.write("heard\n")
        one.wait_for(r": heard$")
        assert "unheard" not in one.out


def test_another_passphrase_and_another_case_of_the_room(tmp_path: Path, member: Home, server: ServerProgram) -> None:
    """The passphrase from a file, a descriptor and the environment; each time the full derivation."""
    secret = tmp_path / "passphrase"
    secret.write_text(f"{PASSPHRASE}\nnot this\n")
    secret.chmod(0o600)
    stranger = Home(member.directory.parent / "stranger")
    stranger.directory.mkdir()
    line = ("send", server.address, "--pin", server.pin, "--nick", "x", "--create")
    assert stranger.run(*line, "--room", "TEA  house", "--passphrase-file", str(secret), "from a file") == (0, "", "")
    secret.chmod(0o644)
    warned = stranger.run(*line, "--room", "tea house", "--passphrase-file", str(secret), "from an open file")
    assert warned.code == 0
    assert "others can read" in warned.err
    with secret.open("rb") as file:
        number = str(file.fileno())
        options = ("--room", ROOM, "--passphrase-fd", number, "from a descriptor")
        assert stranger.run(*line, *options, pass_fds=(file.fileno(),)).code == 0
    env = {"SECURECHAT_PASSPHRASE": PASSPHRASE}
    assert stranger.run(*line, "--room", ROOM, "--remember", "from the environment", env=env).code == 0
    assert stranger.run(*line, "--room", ROOM, "remembered").code == 0
    assert [line.rsplit(": ", 1)[1] for line in member.tail(server).out.splitlines()] == [
        "from a file",
        "from an open file",
        "from a descriptor",
        "from the environment",
        "remembered",
    ]
